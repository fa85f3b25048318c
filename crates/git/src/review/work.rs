//! Whether a session holds work, told without git.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};

use super::applied::{Hash, WorkDigest};
use super::{ReviewError, id, list, moved};
use crate::base::Base;
use crate::changes::{BaseTree, Change, Changes, FileKind, Lower};
use crate::confined::{Git, SessionRepository, View};
use crate::refs::{self, RefChange, SessionHead, SessionRefs};

/// What the changes were that came along at the start, if some did.
const BROUGHT: &str = "base.brought";

/// What somebody would miss of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Branches, tags and stashes that were made, moved or deleted. If none of them leads to a commit that was
    /// made, but `HEAD` or its log does, that counts as one.
    pub refs: usize,
    /// Files that differ from the commit that the session started from.
    pub files: usize,
    /// Things that were written and cannot come back.
    pub left_out: usize,
    /// Files and directories that `.gitignore` covers; a directory counts once.
    pub ignored: usize,
    /// Whether the user has all of it; see [`WorkDigest`].
    pub is_applied: bool,
}

/// The files of a session that differ from its start, committed or not.
#[derive(Debug)]
pub struct Files {
    pub changes: Changes,
    base: BaseTree,
}

impl Files {
    /// Bytes that a file had at the start, as git has them; none if it is new.
    pub fn size_before(&self, change: &Change) -> Option<u64> {
        self.base.size(&change.before?.id)
    }
}

/// All that may be work of a session, as it was seen at once.
pub(super) struct Seen {
    moved: Vec<RefChange>,
    head: SessionHead,
    /// See [`unnamed`].
    unnamed: BTreeSet<ObjectId>,
    changes: Changes,
    tree: BaseTree,
}

impl Work {
    /// `workspace` is its directory in the sandbox's state.
    pub fn find(workspace: &Path) -> Result<Self, ReviewError> {
        Ok(Self::look(workspace)?.0)
    }

    /// And the files, if there are any to tell of.
    pub fn look(workspace: &Path) -> Result<(Self, Option<Files>), ReviewError> {
        let Some(seen) = Seen::look(workspace)? else {
            return Ok((Self::default(), None));
        };
        let is_as_brought = match fs::read(workspace.join(BROUGHT)) {
            Ok(brought) => brought == listing(&seen.changes),
            Err(_) => false,
        };
        let of = |count| if is_as_brought { 0 } else { count };
        let has_unnamed = seen.moved.is_empty() && !seen.unnamed.is_empty();
        let work = Self {
            refs: seen.moved.len() + usize::from(has_unnamed),
            files: of(seen.changes.changed.len()),
            left_out: of(seen.changes.left_out.len()),
            ignored: seen.changes.ignored.len(),
            is_applied: seen.digest().is_applied(workspace),
        };
        let files = Files {
            changes: seen.changes,
            base: seen.tree,
        };
        Ok((work, Some(files)))
    }

    /// How many commits a session has that its start had not.
    pub fn commits(workspace: &Path, git: &Git) -> Result<u64, ReviewError> {
        let base = Base::load(workspace)?;
        let tree = BaseTree::open(workspace, &base)?;
        let session = SessionRepository::open(workspace)?;
        let view = View::of_user(&base)?.with_session(&session)?;
        let refs = SessionRefs::read(&session, view.format())?;
        let known = refs::read_base(workspace, view.format())?;
        let moved = moved(&refs, &known, &base);
        let mut tips: Vec<_> = moved.iter().filter_map(|change| change.new).collect();
        if tips.is_empty() {
            tips.extend(unnamed(&session, &refs, &tree)?);
        }
        let start = id(base.commit.as_deref());
        let old: Vec<_> = known.values().copied().chain(start).collect();
        Ok(git.on(&view).count_commits(&tips, &old)?)
    }

    /// Whether somebody would miss it.
    pub fn is_missed(&self) -> bool {
        let Self {
            refs,
            files,
            left_out,
            ignored: _,
            is_applied: _,
        } = self;
        refs + files + left_out > 0
    }
}

impl Seen {
    /// `None` if nothing but the start was ever there.
    pub(super) fn look(workspace: &Path) -> Result<Option<Self>, ReviewError> {
        let base = Base::load(workspace)?;
        let session = SessionRepository::open(workspace)?;
        let refs = SessionRefs::read(&session, base.hash()?)?;
        let known = refs::read_base(workspace, base.hash()?)?;
        let moved = moved(&refs, &known, &base);
        if moved.is_empty() && is_untouched(workspace, &base, &session, &refs)? {
            return Ok(None);
        }
        let tree = BaseTree::open(workspace, &base)?;
        let unnamed = unnamed(&session, &refs, &tree)?.collect();
        let changes = list(workspace, &tree, &BTreeSet::new())?;
        Ok(Some(Self {
            moved,
            head: refs.head,
            unnamed,
            changes,
            tree,
        }))
    }

    pub(super) fn digest(&self) -> WorkDigest {
        let Self {
            moved,
            head,
            unnamed,
            changes,
            tree: _,
        } = self;
        let mut hash = Hash::default();
        for RefChange { name, old: _, new } in moved {
            hash.add(name.as_bstr());
            hash.add(new.map_or(String::new(), |id| id.to_string()));
        }
        hash.add(match head {
            SessionHead::Branch(name) => name.to_string(),
            SessionHead::Detached(id) => id.to_string(),
            SessionHead::Unreadable(why) => why.clone(),
        });
        for id in unnamed {
            hash.add(id.as_bytes());
        }
        hash.add(listing(changes));
        hash.finish()
    }
}

/// Whether nothing but `.git` was ever written, and nothing but the start was ever checked out: told without
/// the index, which is large in a large repository.
fn is_untouched(
    workspace: &Path,
    base: &Base,
    session: &SessionRepository,
    refs: &SessionRefs,
) -> Result<bool, ReviewError> {
    let upper = workspace.join("upper");
    let failed = |source| ReviewError::Io {
        path: upper.clone(),
        source,
    };
    for entry in fs::read_dir(&upper).map_err(failed)? {
        if entry.map_err(failed)?.file_name() != ".git" {
            return Ok(false);
        }
    }
    let visited = refs::visited(session, base.hash()?)?;
    let start = id(base.commit.as_deref());
    let is_start = |visited: &ObjectId| visited.is_null() || Some(*visited) == start;
    Ok(matches!(refs.head, SessionHead::Branch(_))
        && visited.iter().all(is_start)
        && !workspace.join(BROUGHT).exists())
}

/// Commits that `HEAD` leads to or has led to, and that neither a ref of the session nor the user's repository
/// has.
fn unnamed<'a>(
    session: &SessionRepository,
    refs: &'a SessionRefs,
    tree: &'a BaseTree,
) -> Result<impl Iterator<Item = ObjectId> + use<'a>, ReviewError> {
    let mut visited = refs::visited(session, tree.object_hash())?;
    if let SessionHead::Detached(id) = refs.head {
        visited.insert(id);
    }
    let named: BTreeSet<_> = refs.tips.values().copied().collect();
    let is_unnamed = move |id: &ObjectId| !id.is_null() && !named.contains(id) && !tree.has(id);
    Ok(visited.into_iter().filter(is_unnamed))
}

/// Writes down what came along at the start, so that it is no work of the session. `removed` are files that it
/// is not to see.
pub(crate) fn remember(
    workspace: &Path,
    base: &Base,
    removed: &[PathBuf],
) -> Result<(), ReviewError> {
    let tree = BaseTree::open(workspace, base)?;
    let mut changes = list(workspace, &tree, &BTreeSet::new())?;
    for path in removed {
        let path = BString::from(path.as_os_str().as_bytes());
        if let Some(before) = tree.file(path.as_bstr()) {
            changes.changed.push(Change {
                path,
                before: Some(before),
                after: None,
            });
        }
    }
    let path = workspace.join(BROUGHT);
    fs::write(&path, listing(&changes)).map_err(|source| ReviewError::Io { path, source })
}

/// A text that is the same if the changes are.
fn listing(changes: &Changes) -> Vec<u8> {
    let mut lines: BTreeMap<&BStr, String> = BTreeMap::new();
    for change in &changes.changed {
        let after = change.after.as_ref().map(|file| {
            let kind = match file.kind {
                FileKind::Plain => "file",
                FileKind::Executable => "program",
                FileKind::Symlink => "symlink",
            };
            format!("{kind} {}", file.id)
        });
        lines.insert(
            change.path.as_bstr(),
            after.unwrap_or_else(|| "gone".to_owned()),
        );
    }
    for left in &changes.left_out {
        lines.insert(left.path.as_bstr(), left.why.explain().to_owned());
    }
    let mut text = Vec::new();
    for (path, what) in lines {
        text.extend_from_slice(what.as_bytes());
        text.push(b' ');
        text.extend_from_slice(path);
        // No path has it.
        text.push(0);
    }
    text
}
