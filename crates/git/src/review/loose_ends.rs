//! Work that no branch of a session leads to: tags, stashes, and commits that only the log of `HEAD` remembers.

use std::collections::BTreeSet;

use gix::ObjectId;

use super::{MOST_COMMITS, ReviewError};
use crate::confined::{Commit, Confined, SessionRepository};
use crate::refs::{self, RefChange};

/// What would be lost with the session although all its branches were taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LooseEnds {
    /// Tags that were made or moved.
    pub tags: Vec<RefChange>,
    /// Of `git stash list`.
    pub stashes: Vec<Commit>,
    /// The last of each line of commits that was checked out once, or that a ref of another kind leads to. What
    /// was amended or rebased lives on in what came of it, and does not count.
    pub commits: Vec<Commit>,
}

impl LooseEnds {
    /// `moved` are the session's refs that differ from the start, and `known` commits that are not lost, with all
    /// that they lead to. `git` must see the session's objects.
    pub fn find(
        session: &SessionRepository,
        moved: &[RefChange],
        known: &[ObjectId],
        git: &Confined<'_>,
    ) -> Result<Self, ReviewError> {
        let (mut tags, mut stashed, mut others) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for change in moved {
            let Some(new) = change.new else { continue };
            match change.name.as_bstr() {
                name if name.starts_with(b"refs/heads/") => {}
                name if name.starts_with(b"refs/tags/") => tags.push(change.clone()),
                name if name == "refs/stash" => {
                    stashed.insert(new);
                    stashed.extend(refs::stashed(session, git.format())?);
                }
                _ => {
                    others.insert(new);
                }
            }
        }
        let left = refs::Left::read(session, git.format())?;
        others.extend(left.behind);
        let of = |ids: BTreeSet<ObjectId>, known: &[ObjectId]| {
            // A log may name anything.
            let ids = git.commits(&Vec::from_iter(ids))?;
            git.log(&ids, known, MOST_COMMITS)
                .map(|commits| (ids, commits))
        };
        let (ids, listed) = of(stashed, known)?;
        let is_stash = |commit: &Commit| ids.contains(&commit.id);
        let stashes: Vec<_> = listed.into_iter().filter(is_stash).collect();
        let known: Vec<_> = known
            .iter()
            .copied()
            .chain(stashes.iter().map(|stash| stash.id))
            .chain(left.superseded)
            .collect();
        let (_, mut commits) = of(others, &known)?;
        let parents: BTreeSet<_> = commits
            .iter()
            .flat_map(|commit| commit.parents.iter().copied())
            .collect();
        commits.retain(|commit| !parents.contains(&commit.id));
        Ok(Self {
            tags,
            stashes,
            commits,
        })
    }

    pub fn is_empty(&self) -> bool {
        let Self {
            tags,
            stashes,
            commits,
        } = self;
        tags.is_empty() && stashes.is_empty() && commits.is_empty()
    }
}
