//! Work that no branch leads to: stashes, and commits that only the reflog of `HEAD` remembers.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::hash::Kind;

use super::{RefsError, SessionRefs, Tips, loose, object_id};
use crate::confined::{Confined, SessionRepository};

/// What would be lost with the session although all its branches were taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LostWork {
    /// Entries of `git stash list`.
    pub stashes: usize,
    /// Commits that were checked out once, and that neither a branch, a tag nor a stash leads to.
    pub commits: u64,
}

const STASH: &str = "refs/stash";
/// The end of a longer log is read.
const MAX_LOG: u64 = 4 << 20;

impl LostWork {
    /// `git` must see the session's objects.
    pub fn find(
        session: &SessionRepository,
        refs: &SessionRefs,
        base: &Tips,
        git: &Confined<'_>,
    ) -> Result<Self, RefsError> {
        let format = git.format();
        let stash = refs.tips.iter().find(|(name, _)| name.as_bstr() == STASH);
        let mut stashed: BTreeSet<ObjectId> = stash.map(|(_, id)| *id).into_iter().collect();
        let mut stashes = stashed.len();
        if stashes > 0 {
            let logged = new_ids(session, Path::new("logs/refs/stash"), format)?;
            stashed.extend(logged);
            stashes = stashed.len();
        }
        let visited = visited(session, format)?;
        let known: BTreeSet<ObjectId> = refs
            .tips
            .values()
            .chain(base.values())
            .chain(&stashed)
            .copied()
            .collect();
        let only_logged: Vec<_> = visited.difference(&known).copied().collect();
        let commits = match only_logged.is_empty() {
            true => 0,
            false => git.count_commits(&only_logged, &Vec::from_iter(known))?,
        };
        Ok(Self { stashes, commits })
    }

    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What `HEAD` has led to, as its log says.
pub(crate) fn visited(
    session: &SessionRepository,
    format: Kind,
) -> Result<BTreeSet<ObjectId>, RefsError> {
    new_ids(session, Path::new("logs/HEAD"), format)
}

/// What a log says that its ref pointed to. A line is `<old> <new> <who> <when>TAB<why>`.
fn new_ids(
    session: &SessionRepository,
    path: &Path,
    format: Kind,
) -> Result<BTreeSet<ObjectId>, RefsError> {
    let Some(mut file) = loose::open_file(session, path)? else {
        return Ok(BTreeSet::new());
    };
    let failed = |source| RefsError::Io {
        path: session.shown(path),
        source,
    };
    let length = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LOG)))
        .map_err(failed)?;
    let mut text = Vec::new();
    file.take(MAX_LOG).read_to_end(&mut text).map_err(failed)?;
    let ids = text.lines().filter_map(|line| {
        let new = line.split_str(" ").nth(1)?;
        object_id(new, format).ok()
    });
    Ok(ids.collect())
}
