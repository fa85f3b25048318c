//! From an upper layer to the list of changes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::validate::path::component;
use rustix::io::Errno;

use super::base_tree::{Found, Lower};
use super::ignored::{self, IgnoreStack};
use super::upper::{self, UpperEntry, UpperKind};
use super::{
    BaseEntry, Change, Changes, ChangesError, DEEPEST, File, FileKind, LeftOut, MOST_ENTRIES,
    Reason, hash,
};

/// What git itself refuses in trees, on whatever system they may be checked out one day.
const NAMES: component::Options = component::Options {
    protect_windows: false,
    protect_hfs: true,
    protect_ntfs: true,
};

/// Whether a file of this name can come out of a session: it means nothing special to git on any system.
pub fn is_allowed_name(name: &[u8], kind: FileKind) -> bool {
    let mode = (kind == FileKind::Symlink).then_some(component::Mode::Symlink);
    gix::validate::path::component(name.as_bstr(), mode, NAMES).is_ok()
}

pub(super) fn list(
    upper: BorrowedFd<'_>,
    base: &dyn Lower,
    tracked: &BTreeSet<BString>,
    excludes: &[u8],
) -> Result<Changes, ChangesError> {
    let mut walk = Walk {
        base,
        tracked,
        ignores: IgnoreStack::new(excludes),
        seen: 0,
        changes: Changes::default(),
    };
    let top = Directory {
        path: BString::default(),
        depth: 0,
        is_excluded: false,
        base_shows: true,
    };
    walk.directory(upper, &top)?;
    let mut changes = walk.changes;
    // Also what is gone: the `.git` of a repository that an overlay covered stays as it is.
    let (fine, forbidden): (Vec<_>, Vec<_>) = changes.changed.into_iter().partition(has_fine_names);
    changes.changed = fine;
    changes
        .left_out
        .extend(forbidden.into_iter().map(|change| LeftOut {
            path: change.path,
            why: Reason::Name,
        }));
    changes.changed.sort_by(|a, b| a.path.cmp(&b.path));
    changes.left_out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(changes)
}

fn has_fine_names(change: &Change) -> bool {
    change
        .path
        .split_str("/")
        .all(|name| gix::validate::path::component(name.as_bstr(), None, NAMES).is_ok())
}

struct Walk<'a> {
    base: &'a dyn Lower,
    tracked: &'a BTreeSet<BString>,
    ignores: IgnoreStack,
    seen: usize,
    changes: Changes,
}

/// Where the walk is.
struct Directory {
    path: BString,
    depth: usize,
    /// `.gitignore` covers it: only what is tracked counts.
    is_excluded: bool,
    /// Files of the base that the layer does not mention are there.
    base_shows: bool,
}

impl Directory {
    /// What the sandbox saw of the base's entry before it wrote here.
    fn shown(&self, known: Found) -> Found {
        if self.base_shows {
            known
        } else {
            Found::Nothing
        }
    }

    fn join(&self, name: &BStr) -> BString {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }
}

impl Walk<'_> {
    fn directory(&mut self, fd: BorrowedFd<'_>, at: &Directory) -> Result<(), ChangesError> {
        let entries = upper::entries(fd)?;
        self.seen += entries.len();
        if self.seen > MOST_ENTRIES {
            return Err(ChangesError::TooMany);
        }
        let outer = self.ignores.depth();
        self.read_ignore_file(fd, at, &entries);
        for entry in entries {
            self.entry(fd, at, &entry)?;
        }
        self.ignores.truncate(outer);
        Ok(())
    }

    /// The directory's `.gitignore`: the session's if it wrote one, else that of the base.
    fn read_ignore_file(&mut self, fd: BorrowedFd<'_>, at: &Directory, entries: &[UpperEntry]) {
        let name = b".gitignore".as_bstr();
        let text = match entries.iter().find(|entry| entry.name == name) {
            Some(entry) => match entry.kind() {
                UpperKind::File => upper::open_file(fd, name).ok().and_then(|file| {
                    let mut text = Vec::new();
                    let mut limited = fs::File::from(file).take(ignored::LARGEST + 1);
                    limited.read_to_end(&mut text).ok()?;
                    (text.len() as u64 <= ignored::LARGEST).then_some(text)
                }),
                _ => None,
            },
            None if at.base_shows => self.base.ignore_file(at.join(name).as_bstr()),
            None => None,
        };
        if let Some(text) = text {
            self.ignores.push(at.path.as_bstr(), &text);
        }
    }

    fn entry(
        &mut self,
        parent: BorrowedFd<'_>,
        at: &Directory,
        entry: &UpperEntry,
    ) -> Result<(), ChangesError> {
        let name = entry.name.as_bstr();
        let path = at.join(name);
        let known = self.base.find(path.as_bstr())?;
        if let UpperKind::Whiteout = entry.kind() {
            return self.gone(&path, at.shown(known));
        }
        if at.depth == 0 && name == ".git" {
            return Ok(());
        }
        let mode = matches!(entry.kind(), UpperKind::Symlink).then_some(component::Mode::Symlink);
        if gix::validate::path::component(name, mode, NAMES).is_err() {
            self.leave_out(path, Reason::Name);
            return Ok(());
        }
        if let UpperKind::Directory = entry.kind() {
            return self.subdirectory(parent, at, name, path, known);
        }
        let is_known = matches!(known, Found::File(_)) || self.tracked.contains(&path);
        if !is_known && (at.is_excluded || self.ignores.covers(path.as_bstr(), false)) {
            self.changes.ignored.push(path);
            return Ok(());
        }
        let after = match entry.kind() {
            UpperKind::File => self.file(parent, entry),
            UpperKind::Symlink => self.symlink(parent, name),
            _ => Err(Reason::Special),
        };
        match (after, at.shown(known)) {
            (Err(why), _) => self.leave_out(path, why),
            (Ok(after), Found::File(before)) => self.compared(path, before, after),
            (Ok(after), before) => {
                self.gone(&path, before)?;
                self.changes.changed.push(Change {
                    path,
                    before: None,
                    after: Some(after),
                });
            }
        }
        Ok(())
    }

    fn subdirectory(
        &mut self,
        parent: BorrowedFd<'_>,
        at: &Directory,
        name: &BStr,
        path: BString,
        known: Found,
    ) -> Result<(), ChangesError> {
        // A submodule is a workspace of its own, mounted here.
        if let Found::Submodule = known {
            return Ok(());
        }
        let was_directory = matches!(known, Found::Directory);
        let before = at.shown(known);
        let is_merged = matches!(before, Found::Directory);
        if let Found::File(_) = before {
            self.gone(&path, before)?;
        }
        let is_excluded = at.is_excluded || self.ignores.covers(path.as_bstr(), true);
        if is_excluded && !was_directory && !self.tracks_below(&path) {
            self.changes.ignored.push(path);
            return Ok(());
        }
        if at.depth >= DEEPEST {
            self.leave_out(path, Reason::TooDeep);
            return Ok(());
        }
        let fd = match upper::open_directory(parent, name) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(()),
            Err(_) => {
                self.leave_out(path, Reason::Unreadable);
                return Ok(());
            }
        };
        if !was_directory
            && rustix::fs::statat(&fd, ".git", rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
        {
            self.leave_out(path, Reason::NestedRepository);
            return Ok(());
        }
        let base_shows = is_merged && !upper::is_opaque(fd.as_fd(), path.as_bstr())?;
        let known = self.changes.changed.len();
        let below = Directory {
            path,
            depth: at.depth + 1,
            is_excluded,
            base_shows,
        };
        self.directory(fd.as_fd(), &below)?;
        if is_merged && !base_shows {
            self.replaced(&below.path, known)?;
        }
        Ok(())
    }

    /// A directory that was made anew in place of one of the base: what is there again has changed at
    /// most, the rest is gone. Its own changes begin at `known`.
    fn replaced(&mut self, directory: &BString, known: usize) -> Result<(), ChangesError> {
        let made = self.changes.changed.split_off(known);
        let mut made: std::collections::BTreeMap<_, _> = made
            .into_iter()
            .map(|change| (change.path.clone(), change))
            .collect();
        for (path, before) in self.base.below(directory.as_bstr())? {
            match made.remove(&path).and_then(|change| change.after) {
                Some(after) => self.compared(path, before, after),
                None => self.gone(&path, Found::File(before))?,
            }
        }
        self.changes.changed.extend(made.into_values());
        Ok(())
    }

    fn tracks_below(&self, directory: &BString) -> bool {
        let mut prefix = directory.clone();
        prefix.push(b'/');
        self.tracked
            .range(prefix.clone()..)
            .next()
            .is_some_and(|path| path.starts_with(&prefix))
    }

    fn file(&self, parent: BorrowedFd<'_>, entry: &UpperEntry) -> Result<File, Reason> {
        let file = upper::open_file(parent, entry.name.as_bstr()).map_err(|errno| match errno {
            Errno::ACCESS | Errno::PERM => Reason::Unreadable,
            _ => Reason::Unsettled,
        })?;
        let size = rustix::fs::fstat(&file)
            .map_err(|_| Reason::Unsettled)?
            .st_size as u64;
        let id = hash::blob(self.base.object_hash(), size, fs::File::from(file))
            .ok()
            .flatten()
            .ok_or(Reason::Unsettled)?;
        Ok(File {
            kind: if entry.is_executable() {
                FileKind::Executable
            } else {
                FileKind::Plain
            },
            id,
            size,
        })
    }

    fn symlink(&self, parent: BorrowedFd<'_>, name: &BStr) -> Result<File, Reason> {
        let target = upper::read_link(parent, name).map_err(|_| Reason::Unsettled)?;
        let size = target.len() as u64;
        let id: Option<ObjectId> = hash::blob(self.base.object_hash(), size, target.as_slice())
            .ok()
            .flatten();
        Ok(File {
            kind: FileKind::Symlink,
            id: id.ok_or(Reason::Unsettled)?,
            size,
        })
    }

    /// Copied up by a mere touch, or really changed.
    fn compared(&mut self, path: BString, before: BaseEntry, after: File) {
        if before.kind == after.kind && before.id == after.id {
            return;
        }
        self.changes.changed.push(Change {
            path,
            before: Some(before),
            after: Some(after),
        });
    }

    fn gone(&mut self, path: &BString, before: Found) -> Result<(), ChangesError> {
        let gone = match before {
            Found::File(entry) => vec![(path.clone(), entry)],
            Found::Directory => self.base.below(path.as_bstr())?,
            Found::Submodule | Found::Nothing => Vec::new(),
        };
        let gone = gone.into_iter().map(|(path, before)| Change {
            path,
            before: Some(before),
            after: None,
        });
        self.changes.changed.extend(gone);
        Ok(())
    }

    fn leave_out(&mut self, path: BString, why: Reason) {
        self.changes.left_out.push(LeftOut { path, why });
    }
}
