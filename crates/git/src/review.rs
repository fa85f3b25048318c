//! What a session has that the user's repository has not.
//!
//! ```text
//! quick   refs that moved, files that changed              without git; at the end of each run
//! whole   commits, and the work tree as a tree object      with git, confined; for people
//! ```

mod applied;
mod loose_ends;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use gix::refs::FullName;
use rustix::fs::{CWD, Mode as FileMode, OFlags};
use thiserror::Error;

use crate::apply::{ApplyError, Repositories, UserTree, Version, Wanted};
use crate::base::{Base, BaseError};
use crate::changes::{BaseTree, Changes, ChangesError, FileKind, LiveTree, Lower};
use crate::confined::{
    Change, Commit, Confined, ConfinedError, Content, Difference, Git, Mode, SessionError,
    SessionRepository, Side, View,
};
use crate::pointer::Pointer;
use crate::refs::{self, RefChange, RefsError, SessionRefs};
use crate::repository::RepositoryError;
use crate::transfer;

pub use applied::WorkDigest;
pub use loose_ends::LooseEnds;
pub(crate) use work::remember;
pub use work::{Files, Work};

/// Refs whose files are looked at.
const MOST_TIPS: usize = 200;
/// Digits of an id in the name of a branch.
const SHORT: usize = 10;
/// The most commits that are listed.
const MOST_COMMITS: u32 = 10_000;

#[derive(Debug, Error)]
pub enum ReviewError {
    #[error(transparent)]
    Base(#[from] BaseError),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Refs(#[from] RefsError),
    #[error(transparent)]
    Changes(#[from] ChangesError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Git(#[from] ConfinedError),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// All work in a workspace, and what is needed to show it or bring it back.
#[derive(Debug)]
pub struct Review {
    /// Of the session's new commits, newest first. None where there is no session.
    pub commits: Vec<Commit>,
    /// Refs that differ from the start.
    pub refs: Vec<RefChange>,
    /// What the branches do not lead to, and no ref of the user either.
    pub loose_ends: LooseEnds,
    /// What is not committed, by file; in an overlay, everything that changed.
    pub uncommitted: Vec<Difference>,
    /// What became of the files since the start, committed or not.
    pub changes: Changes,
    base: Option<Base>,
    known: refs::Tips,
    /// What the work began with: a commit, or a tree of the files that an overlay changed.
    start: Option<ObjectId>,
    /// The commit that is checked out; in an overlay, as `start`.
    head: Option<ObjectId>,
    /// The work tree as an object.
    work_tree: ObjectId,
    git: Git,
    view: View,
    upper: OwnedFd,
    /// Objects of the work tree; gone with this value.
    _scratch: Scratch,
}

/// What refs lead to, as far as it is new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesOfRefs {
    /// In the order of paths.
    pub files: Vec<FileOfRef>,
    /// Refs that were not looked into: they lead to no tree, or are too many.
    pub unseen: Vec<FullName>,
}

/// One version of a file, with the first of the refs that lead to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOfRef {
    pub path: BString,
    /// As it is to be called in the user's repository.
    pub name: FullName,
    pub new: Side,
}

impl Review {
    /// Of a session clone. `workspace` is its directory in the sandbox's state, and `git` the user's.
    pub fn of_session(workspace: &Path, git: Git) -> Result<Self, ReviewError> {
        let base = Base::load(workspace)?;
        let tree = BaseTree::open(workspace, &base)?;
        let session = SessionRepository::open(workspace)?;
        let session_refs = SessionRefs::read(&session, tree.object_hash())?;
        let known = refs::read_base(workspace, tree.object_hash())?;
        let scratch = Scratch::make(workspace)?;
        let view = View::of_user(&base)?
            .with_session(&session)?
            .writing_to(&scratch.0);
        let upper = open_upper(workspace)?;
        let start = id(base.commit.as_deref());
        let head = session_refs.head_commit().or(start);
        let confined = git.on(&view);
        let tracked = tracked(&confined, start, head)?;
        let changes = list(workspace, &tree, &tracked)?;
        let steps = steps(&changes, |path, kind| open_file(&upper, path, kind));
        let work_tree = confined.tree_with(id(base.tree.as_deref()), steps)?;
        let mut uncommitted = confined.differences(head, work_tree)?;
        if session.open_at(Path::new("lfs"), OFlags::PATH)?.is_some() {
            let open = |path: &BString| open_file(&upper, path, FileKind::Plain);
            drop_committed_large_files(&mut uncommitted, &confined, open)?;
        }
        let refs = moved(&session_refs, &known, &base);
        let new = refs.iter().filter_map(|change| change.new);
        let tips: Vec<_> = new.chain(head).collect();
        let old: Vec<_> = known.values().copied().chain(start).collect();
        let commits = confined.log(&tips, &old, MOST_COMMITS)?;
        let at_home = base.tips()?;
        let is_branch = |change: &&RefChange| change.name.as_bstr().starts_with(b"refs/heads/");
        let branches = refs.iter().filter(is_branch);
        let branches = branches.filter_map(|change| change.new).chain(head);
        let not_lost: Vec<_> = old
            .into_iter()
            .chain(at_home.values().copied())
            .chain(branches)
            .collect();
        let mut loose_ends = LooseEnds::find(&session, &refs, &not_lost, &confined)?;
        let is_at_home = |tag: &RefChange| {
            let name = away(&base, "refs/tags/", &tag.name);
            name.is_some_and(|name| at_home.get(&name).copied() == tag.new)
        };
        loose_ends.tags.retain(|tag| !is_at_home(tag));
        Ok(Self {
            commits,
            refs,
            loose_ends,
            uncommitted,
            changes,
            known,
            start,
            head,
            work_tree,
            base: Some(base),
            git,
            view,
            upper,
            _scratch: scratch,
        })
    }

    /// Of an overlay upon `directory` of the user, as both are now.
    pub fn of_directory(workspace: &Path, directory: &Path, git: Git) -> Result<Self, ReviewError> {
        let user = UserTree::open(directory, gix::hash::Kind::Sha1, Repositories::Enter)?;
        let upper = open_upper(workspace)?;
        let changes = Changes::list(upper.as_fd(), &LiveTree(&user), &BTreeSet::new(), b"")?;
        let scratch = Scratch::make(workspace)?;
        let view = View::of_nothing().writing_to(&scratch.0);
        let confined = git.on(&view);
        let before = changes.changed.iter().filter_map(|change| {
            let before = change.before?;
            Some(put(&user, &change.path, before.kind))
        });
        let start = confined.tree_with(None, before)?;
        let steps = steps(&changes, |path, kind| open_file(&upper, path, kind));
        let work_tree = confined.tree_with(Some(start), steps)?;
        let uncommitted = confined.differences(Some(start), work_tree)?;
        Ok(Self {
            commits: Vec::new(),
            refs: Vec::new(),
            loose_ends: LooseEnds::default(),
            uncommitted,
            changes,
            base: None,
            known: refs::Tips::new(),
            start: Some(start),
            head: Some(start),
            work_tree,
            git,
            view,
            upper,
            _scratch: scratch,
        })
    }

    /// Of a session clone, what it started from.
    pub fn base(&self) -> Option<&Base> {
        self.base.as_ref()
    }

    pub fn object_hash(&self) -> gix::hash::Kind {
        self.view.format()
    }

    /// Git on all objects that this is about.
    pub fn git(&self) -> Confined<'_> {
        self.git.on(&self.view)
    }

    /// What the work began with; `None` is nothing.
    pub fn start(&self) -> Option<ObjectId> {
        self.start
    }

    /// What the files are now.
    pub fn end(&self) -> ObjectId {
        self.work_tree
    }

    /// The files that are not committed, as they are to be in the user's tree.
    pub fn wanted_files(&self) -> Vec<Wanted> {
        let version = |side: Side| {
            let kind = match side.mode {
                0o100_755 => FileKind::Executable,
                0o120_000 => FileKind::Symlink,
                _ => FileKind::Plain,
            };
            Version { kind, id: side.id }
        };
        let files = self.uncommitted.iter().filter(|file| !file.is_submodule());
        files
            .map(|file| Wanted {
                path: file.path.clone(),
                base: file.old.map(version),
                theirs: file.new.map(version),
            })
            .collect()
    }

    /// The branches that the session made or moved, as they are to be called in the user's repository: its own
    /// branch by its name, others below `wardian-NAME/`, and what is checked out without a branch as `HEAD` there.
    pub fn wanted_branches(&self) -> Vec<transfer::Wanted> {
        let Some(base) = &self.base else {
            return Vec::new();
        };
        let own = format!("refs/heads/{}", base.branch);
        let mut branches = BTreeMap::new();
        for change in &self.refs {
            let Some(tip) = change.new else { continue };
            if change.name.as_bstr() == own.as_str() {
                branches.insert(change.name.clone(), tip);
            } else if let Some(name) = away(base, "refs/heads/", &change.name) {
                branches.insert(name, tip);
            }
        }
        let is_on_a_branch = self.refs.iter().any(|change| change.new == self.head)
            || self.known.values().any(|tip| Some(*tip) == self.head);
        match self.head {
            Some(head) if !is_on_a_branch && self.head != self.start => {
                branches.extend(named(base, "refs/heads/", "HEAD").map(|name| (name, head)));
            }
            _ => {}
        }
        branches.into_iter().map(wanted).collect()
    }

    /// The loose ends as they are to be called in the user's repository, all below `wardian-NAME/`: tags by their
    /// names, stashes and lost commits as branches `stash-ID` and `lost-ID`.
    pub fn wanted_loose_ends(&self) -> Vec<transfer::Wanted> {
        let Some(base) = &self.base else {
            return Vec::new();
        };
        let LooseEnds {
            tags,
            stashes,
            commits,
        } = &self.loose_ends;
        let mut all: Vec<_> = tags
            .iter()
            .filter_map(|tag| Some(wanted((away(base, "refs/tags/", &tag.name)?, tag.new?))))
            .collect();
        let branches = self.wanted_branches();
        let mut taken: BTreeSet<_> = branches.into_iter().map(|branch| branch.name).collect();
        let kinds = [("stash", stashes), ("lost", commits)];
        for (kind, commit) in kinds
            .into_iter()
            .flat_map(|(kind, commits)| commits.iter().map(move |commit| (kind, commit)))
        {
            let mut name = format!("{kind}-{}", commit.id.to_hex_with_len(SHORT));
            let mut free = || loop {
                let full = named(base, "refs/heads/", &name)?;
                // Somebody may have made two that begin alike, or a branch of this name.
                if taken.insert(full.clone()) {
                    return Some(full);
                }
                name.push('+');
            };
            all.extend(free().map(|name| wanted((name, commit.id))));
        }
        all
    }

    /// Files that differ from the start in what `refs` lead to.
    pub fn files_of(&self, refs: &[transfer::Wanted]) -> Result<FilesOfRefs, ReviewError> {
        let (few, others) = refs.split_at(refs.len().min(MOST_TIPS));
        let mut unseen: Vec<_> = others.iter().map(|wanted| wanted.name.clone()).collect();
        let mut files = BTreeMap::new();
        for wanted in few {
            let found = match self.git().differences(self.start, wanted.tip) {
                // A tag may be of anything, and a ref may lead to nothing.
                Err(ConfinedError::Failed { .. }) => {
                    unseen.push(wanted.name.clone());
                    continue;
                }
                found => found?,
            };
            for file in found.into_iter().filter(|file| !file.is_submodule()) {
                if let Some(Side { mode, id }) = file.new {
                    let key = (file.path, mode, id);
                    files.entry(key).or_insert_with(|| wanted.name.clone());
                }
            }
        }
        let file = |((path, mode, id), name)| FileOfRef {
            path,
            name,
            new: Side { mode, id },
        };
        let files = files.into_iter().map(file).collect();
        Ok(FilesOfRefs { files, unseen })
    }

    /// The session's file at `path`, as it is at the end.
    pub fn open(&self, path: &BString) -> io::Result<Box<dyn Read>> {
        let changed = self
            .changes
            .changed
            .iter()
            .find(|change| change.path == *path);
        if let Some(after) = changed.and_then(|change| change.after.as_ref()) {
            return open_file(&self.upper, path, after.kind);
        }
        // As it was at the start, though commits of the session have it otherwise.
        let file = self.uncommitted.iter().find(|file| file.path == *path);
        let side = file.and_then(|file| file.new);
        let id = side.ok_or(io::ErrorKind::NotFound)?.id;
        let content = self.git().blob(&id).map_err(io::Error::other)?;
        Ok(Box::new(io::Cursor::new(content)))
    }
}

fn wanted((name, tip): (FullName, ObjectId)) -> transfer::Wanted {
    transfer::Wanted {
        tip,
        name,
        expected: None,
    }
}

/// A ref of the session, which starts with `kind`, by the name that it gets at home.
fn away(base: &Base, kind: &str, name: &FullName) -> Option<FullName> {
    let name = name.as_bstr().strip_prefix(kind.as_bytes())?;
    named(base, kind, name.to_str().ok()?)
}

fn named(base: &Base, kind: &str, name: &str) -> Option<FullName> {
    let ours = base.branch.replacen('/', "-", 1);
    FullName::try_from(format!("{kind}{ours}/{name}")).ok()
}

fn id(hex: Option<&str>) -> Option<ObjectId> {
    ObjectId::from_hex(hex?.as_bytes()).ok()
}

/// A file of Git LFS that is what `HEAD`'s pointer says is committed, though its bytes are others.
fn drop_committed_large_files(
    uncommitted: &mut Vec<Difference>,
    git: &Confined<'_>,
    open: impl Fn(&BString) -> io::Result<Box<dyn Read>>,
) -> Result<(), ReviewError> {
    let mut left = Vec::new();
    for file in uncommitted.drain(..) {
        let sides = (file.old, file.new);
        if let (Some(old), Some(new)) = sides
            && old.mode == new.mode
            && !file.is_submodule()
            && let Some(pointer) = Pointer::parse(&git.blob(&old.id)?)
            && let Ok(content) = open(&file.path)
            && matches!(pointer.names(content, &mut io::sink()), Ok(true))
        {
            continue;
        }
        left.push(file);
    }
    *uncommitted = left;
    Ok(())
}

/// The session's own branch counts once it leads somewhere else than the commit it was made at.
fn moved(refs: &SessionRefs, known: &refs::Tips, base: &Base) -> Vec<RefChange> {
    let own = format!("refs/heads/{}", base.branch);
    let start = id(base.commit.as_deref());
    let mut moved = refs.changes_since(known);
    moved.retain(|change| {
        let name = change.name.as_bstr();
        let is_own = name == own.as_bytes().as_bstr();
        // What a fetch moved is the remote's, and can be had again.
        let is_remote = name.starts_with(b"refs/remotes/");
        !(is_remote || is_own && change.new == start)
    });
    moved
}

fn list(
    workspace: &Path,
    tree: &BaseTree,
    tracked: &BTreeSet<BString>,
) -> Result<Changes, ReviewError> {
    let path = workspace.join("base.exclude");
    let excludes = fs::read(&path).map_err(|source| ReviewError::Io { path, source })?;
    let upper = open_upper(workspace)?;
    Ok(Changes::list(upper.as_fd(), tree, tracked, &excludes)?)
}

fn open_upper(workspace: &Path) -> Result<OwnedFd, ReviewError> {
    let path = workspace.join("upper");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, &path, flags, FileMode::empty()).map_err(|errno| ReviewError::Io {
        path,
        source: errno.into(),
    })
}

/// Paths that the session's commits have touched.
fn tracked(
    git: &Confined<'_>,
    start: Option<ObjectId>,
    head: Option<ObjectId>,
) -> Result<BTreeSet<BString>, ReviewError> {
    let Some(head) = head.filter(|_| head != start) else {
        return Ok(BTreeSet::new());
    };
    let touched = git.differences(start, head)?;
    Ok(touched.into_iter().map(|file| file.path).collect())
}

/// From the start's tree to that of the end.
fn steps<'a>(
    changes: &'a Changes,
    open: impl Fn(&BString, FileKind) -> io::Result<Box<dyn Read>> + 'a,
) -> impl Iterator<Item = io::Result<Change<Box<dyn Read>>>> + 'a {
    // What goes comes first: a file may become a directory.
    let gone = changes
        .changed
        .iter()
        .filter(|change| change.after.is_none());
    let gone = gone.map(|change| {
        Ok(Change::Remove {
            path: change.path.clone(),
        })
    });
    let there = changes.changed.iter().filter_map(move |change| {
        let after = change.after.as_ref()?;
        let content = open(&change.path, after.kind);
        Some(content.map(|reader| Change::Put {
            path: change.path.clone(),
            mode: mode(after.kind),
            content: Content::Bytes {
                length: after.size,
                reader,
            },
        }))
    });
    gone.chain(there)
}

/// The user's own file.
fn put(user: &UserTree, path: &BString, kind: FileKind) -> io::Result<Change<Box<dyn Read>>> {
    let mut content = Vec::new();
    user.read(path.as_bstr(), kind)
        .map_err(io::Error::other)?
        .read_to_end(&mut content)?;
    Ok(Change::Put {
        path: path.clone(),
        mode: mode(kind),
        content: Content::Bytes {
            length: content.len() as u64,
            reader: Box::new(io::Cursor::new(content)),
        },
    })
}

fn mode(kind: FileKind) -> Mode {
    match kind {
        FileKind::Plain => Mode::File,
        FileKind::Executable => Mode::Executable,
        FileKind::Symlink => Mode::Symlink,
    }
}

fn open_file(upper: &OwnedFd, path: &BString, kind: FileKind) -> io::Result<Box<dyn Read>> {
    let (directory, name) = match path.rsplit_once_str("/") {
        Some((directory, name)) => (directory, name),
        None => (&b""[..], path.as_slice()),
    };
    let mut parent = upper.try_clone()?;
    for component in directory.split_str("/").filter(|part| !part.is_empty()) {
        parent = crate::changes::open_directory(parent.as_fd(), component.as_bstr())?;
    }
    let name = name.as_bstr();
    Ok(match kind {
        FileKind::Symlink => {
            let target = crate::changes::read_link(parent.as_fd(), name)?;
            Box::new(io::Cursor::new(target.to_vec()))
        }
        FileKind::Plain | FileKind::Executable => Box::new(fs::File::from(
            crate::changes::open_file(parent.as_fd(), name)?,
        )),
    })
}

/// A directory that nothing inside knows of.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn make(workspace: &Path) -> Result<Self, ReviewError> {
        let path = workspace.join(format!("scratch-{}", std::process::id()));
        remove_old(workspace);
        fs::create_dir(&path).map_err(|source| ReviewError::Io {
            path: path.clone(),
            source,
        })?;
        Ok(Self(path))
    }
}

/// What killed reviews have left.
fn remove_old(workspace: &Path) {
    let Ok(entries) = fs::read_dir(workspace) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("scratch-"));
        let is_old = process.is_some_and(|process| !Path::new("/proc").join(process).exists());
        if is_old {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Found by the next review if it fails.
        let _ = fs::remove_dir_all(&self.0);
    }
}
