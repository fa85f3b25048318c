//! How the user's work tree differs from the commit, found without git.
//!
//! A file is unchanged if its index entry says so by size and times, or else if its content is the
//! commit's blob, byte for byte. No filter runs: a file that only differs by one (line ends, git-lfs) and
//! is not known from the index counts as changed and comes along as it lies there, which is
//! what git inside, with the same settings, takes it for.

mod on_disk;

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use gix::bstr::{BStr, BString, ByteSlice};
use gix::index::entry::{Flags, Mode as EntryMode, Stage, stat};
use gix::index::{Entry, State};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::{SessionError, Skipped, git_dir, index};
use crate::changes::ignored::IgnoreStack;
use crate::repository::{Repository, files};
use on_disk::OnDisk;

/// Directories below each other.
const DEEPEST: usize = 200;

/// What is to be done in an upper layer to have the user's work tree there. All paths are relative to its
/// top, sorted.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) bring: Vec<Bring>,
    pub(super) removed: Vec<PathBuf>,
    pub(super) skipped: Vec<(PathBuf, Skipped)>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bring {
    pub(super) path: PathBuf,
    pub(super) times: Times,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Times {
    /// The index may know the file by them.
    Keep,
    /// The index would take the file for another content by them, see "racy git".
    Now,
}

/// Compares with the index of the commit, `base`, and with what the user's own index has besides.
pub(super) fn find(repository: &Repository, base: &[u8]) -> Result<Found, SessionError> {
    let kind = repository.object_format();
    let users = match repository.index()? {
        Some(_) => index::decode(repository)?,
        None => State::new(kind),
    };
    let base = State::from_bytes(base, users.timestamp(), kind, Default::default());
    let (base, _) = base.map_err(|error| SessionError::Unencodable {
        problem: error.to_string(),
    })?;
    let config = repository.config();
    let is_off = |key| config.boolean(key) == Some(false);
    let is_minimal = config
        .text("core.checkstat")
        .is_some_and(|value| value == "minimal");
    let mut search = Search {
        seen: vec![false; base.entries().len()],
        base,
        users,
        rules: stat::Options {
            trust_ctime: !is_off("core.trustctime"),
            check_stat: !is_minimal,
            use_nsec: false,
            use_stdev: false,
        },
        mode_counts: !is_off("core.filemode"),
        ignore: IgnoreStack::new(&git_dir::excludes(repository)?),
        directories: HashSet::new(),
        brought: HashSet::new(),
        found: Found::default(),
    };
    let top = files::directory(repository.worktree())?;
    search.enter(&top, BStr::new(""), Cover::None, 0);
    Ok(search.finish())
}

/// Whether a directory is ignored, and so whatever is not tracked in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cover {
    None,
    Ignored,
}

struct Search {
    base: State,
    users: State,
    rules: stat::Options,
    /// The executable bit is part of a file.
    mode_counts: bool,
    ignore: IgnoreStack,
    /// Entries of `base` for which there is a file.
    seen: Vec<bool>,
    directories: HashSet<BString>,
    brought: HashSet<BString>,
    found: Found,
}

impl Search {
    fn enter(&mut self, fd: &OwnedFd, path: &BStr, cover: Cover, depth: usize) {
        let names = match on_disk::names(fd.as_fd()) {
            Ok(names) if depth <= DEEPEST => names,
            Ok(_) => return self.pass_over(path, "nested too deeply".to_owned()),
            Err(errno) => return self.pass_over(path, format!("getdents64(): {errno}")),
        };
        self.directories.insert(path.to_owned());
        let outer = self.ignore.depth();
        if let Some(rules) = on_disk::ignore_file(fd.as_fd()) {
            self.ignore.push(path, &rules);
        }
        for name in names {
            let path = join(path, &name);
            match rustix::fs::statat(fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(status) => self.visit(fd.as_fd(), &name, path.as_bstr(), &status, cover, depth),
                Err(errno) => self.pass_over(path.as_bstr(), format!("fstatat(): {errno}")),
            }
        }
        self.ignore.truncate(outer);
    }

    fn visit(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &BStr,
        status: &rustix::fs::Stat,
        cover: Cover,
        depth: usize,
    ) {
        let kind = FileType::from_raw_mode(status.st_mode);
        let is_directory = kind == FileType::Directory;
        let cover = match cover {
            Cover::None if self.ignore.covers(path, is_directory) => Cover::Ignored,
            same => same,
        };
        match kind {
            FileType::Directory => self.visit_directory(parent, name, path, cover, depth),
            FileType::RegularFile | FileType::Symlink => {
                self.visit_file(parent, name, path, status, cover);
            }
            _ if cover == Cover::None => {
                let path = files::as_path(path).to_owned();
                self.found.skipped.push((path, Skipped::Special));
            }
            _ => {}
        }
    }

    fn visit_directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &BStr,
        cover: Cover,
        depth: usize,
    ) {
        if [&self.base, &self.users]
            .into_iter()
            .any(|index| is_submodule(index, path))
        {
            return self.see(path);
        }
        let is_tracked = is_above_entries(&self.base, path) || is_above_entries(&self.users, path);
        if !is_tracked && cover == Cover::Ignored {
            return;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(errno) => return self.pass_over(path, format!("openat(): {errno}")),
        };
        let is_repository = rustix::fs::statat(&fd, ".git", AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if !is_tracked && is_repository {
            let path = files::as_path(path).to_owned();
            return self.found.skipped.push((path, Skipped::Repository));
        }
        self.enter(&fd, path, cover, depth + 1);
    }

    fn visit_file(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &BStr,
        status: &rustix::fs::Stat,
        cover: Cover,
    ) {
        self.see(path);
        let base = self.base.entry_by_path(path);
        let users = self.users.entry_by_path(path);
        if base.is_none() && users.is_none() && cover == Cover::Ignored {
            return;
        }
        let file = OnDisk {
            parent,
            name,
            status,
        };
        if base.is_some_and(|entry| self.is_same(entry, &file)) {
            return;
        }
        let times = match users {
            Some(entry) if self.is_mistakable(entry, &file) => Times::Now,
            _ => Times::Keep,
        };
        self.brought.insert(path.to_owned());
        self.found.bring.push(Bring {
            path: files::as_path(path).to_owned(),
            times,
        });
    }

    /// Whether the file is what the entry of the commit's index says.
    fn is_same(&self, entry: &Entry, file: &OnDisk<'_>) -> bool {
        if entry.flags.contains(Flags::SKIP_WORKTREE) || !self.is_kind(entry.mode, file.status) {
            return false;
        }
        let stat = file.stat();
        if entry.stat.matches(&stat, self.rules) && !self.is_racy(entry) {
            return true;
        }
        // Git writes a size of zero for a file that it does not want to know by its times.
        let is_known = entry.stat.size != 0 && entry.stat.size != stat.size;
        !is_known && file.id(entry.id.kind()) == Some(entry.id)
    }

    fn is_kind(&self, mode: EntryMode, status: &rustix::fs::Stat) -> bool {
        let is_link = FileType::from_raw_mode(status.st_mode) == FileType::Symlink;
        let is_executable = status.st_mode & 0o100 != 0;
        match mode {
            EntryMode::SYMLINK => is_link,
            EntryMode::FILE => !is_link && (!is_executable || !self.mode_counts),
            EntryMode::FILE_EXECUTABLE => !is_link && (is_executable || !self.mode_counts),
            _ => false,
        }
    }

    /// Written in the same second as the index, or later.
    fn is_racy(&self, entry: &Entry) -> bool {
        entry.stat.is_racy(self.users.timestamp(), self.rules)
    }

    /// Whether the user's index, with a date of today, would take the file for what it is not.
    fn is_mistakable(&self, entry: &Entry, file: &OnDisk<'_>) -> bool {
        entry.stage() == Stage::Unconflicted
            && self.is_racy(entry)
            && entry.stat.matches(&file.stat(), self.rules)
            && file.id(entry.id.kind()) != Some(entry.id)
    }

    fn see(&mut self, path: &BStr) {
        if let Ok(number) = self.base.entry_index_by_path(path) {
            self.seen[number] = true;
        }
    }

    /// What cannot be looked at stays as the commit has it.
    fn pass_over(&mut self, path: &BStr, problem: String) {
        self.see(path);
        if let Some(below) = self.base.prefixed_entries_range(below(path).as_bstr()) {
            self.seen[below].fill(true);
        }
        let path = files::as_path(path).to_owned();
        self.found
            .skipped
            .push((path, Skipped::Unreadable(problem)));
    }

    fn finish(mut self) -> Found {
        let mut removed = BTreeSet::new();
        for (entry, seen) in self.base.entries().iter().zip(&self.seen) {
            let is_shown = [
                EntryMode::FILE,
                EntryMode::FILE_EXECUTABLE,
                EntryMode::SYMLINK,
            ];
            let is_left_out = entry.flags.contains(Flags::SKIP_WORKTREE);
            if !seen && !is_left_out && is_shown.contains(&entry.mode) {
                removed.extend(self.gone(entry.path(&self.base)));
            }
        }
        self.found.removed = removed
            .into_iter()
            .map(|path: BString| files::as_path(path.as_bstr()).to_owned())
            .collect();
        self.found.bring.sort();
        self.found
    }

    /// The uppermost part of a missing file's path that is missing as well, if nothing new is in its place.
    fn gone(&self, path: &BStr) -> Option<BString> {
        let ends = path.find_iter("/").chain([path.len()]);
        let mut parts = ends.map(|end| path[..end].as_bstr());
        let part = parts
            .find(|part| !self.directories.contains(*part))
            .unwrap_or(path);
        let below = below(part);
        let is_replaced = self.brought.contains(part)
            || self.directories.contains(part)
                && self.brought.iter().any(|other| other.starts_with(&below));
        (!is_replaced).then(|| part.to_owned())
    }
}

fn is_submodule(index: &State, path: &BStr) -> bool {
    let entry = index.entry_by_path(path);
    entry.is_some_and(|entry| entry.mode == EntryMode::COMMIT)
}

fn is_above_entries(index: &State, path: &BStr) -> bool {
    index
        .prefixed_entries_range(below(path).as_bstr())
        .is_some()
}

fn below(directory: &BStr) -> BString {
    match directory.is_empty() {
        true => BString::default(),
        false => [directory.as_bytes(), b"/"].concat().into(),
    }
}

fn join(directory: &BStr, name: &OsStr) -> BString {
    let mut path = below(directory);
    path.extend_from_slice(name.as_bytes());
    path
}
