//! The user's repository, as far as objects and refs are put into it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice};
use gix::hash::Kind;
use gix::refs::{FullName, Target};

use super::{TransferError, io_error};
use crate::Base;
use crate::confined::{ConfinedError, user_config};

#[derive(Debug)]
pub(super) struct Destination {
    pub(super) common_dir: PathBuf,
    /// Its own object directory.
    pub(super) objects: PathBuf,
    pub(super) format: Kind,
    pub(super) reflogs: Reflogs,
    sharing: u32,
}

/// `core.logAllRefUpdates`, see git-config(1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reflogs {
    /// Of those that have one.
    Existing,
    /// Of branches too.
    Branches,
    All,
}

impl Destination {
    pub(super) fn open(base: &Base) -> Result<Self, TransferError> {
        let common_dir = base.common_dir.clone();
        let config = user_config(&common_dir)?;
        let reftable = common_dir.join("reftable");
        if reftable.exists()
            || config
                .string("extensions.refstorage")
                .is_some_and(|kind| kind != "files")
        {
            return Err(TransferError::Reftable { path: reftable });
        }
        let Some(objects) = base.objects.first().cloned() else {
            let path = common_dir.join("objects");
            return Err(io_error(path)(std::io::ErrorKind::NotFound.into()));
        };
        let is_bare = config.boolean("core.bare").ok().flatten() == Some(true);
        let reflogs = match config.string("core.logallrefupdates") {
            Some(value) if value.eq_ignore_ascii_case(b"always") => Reflogs::All,
            Some(value) if is_false(value.as_bstr()) => Reflogs::Existing,
            None if is_bare => Reflogs::Existing,
            Some(_) | None => Reflogs::Branches,
        };
        let sharing = config.string("core.sharedrepository");
        Ok(Self {
            format: match base.object_format.as_str() {
                "sha256" => Kind::Sha256,
                _ => Kind::Sha1,
            },
            sharing: sharing.map_or(0, |value| sharing_bits(value.as_bstr())),
            common_dir,
            objects,
            reflogs,
        })
    }

    /// Read anew each time: another git may be at work.
    fn store(&self) -> gix::refs::file::Store {
        gix::refs::file::Store::at(self.common_dir.clone(), self.format)
    }

    fn broken(&self, why: impl ToString) -> TransferError {
        ConfinedError::Repository {
            path: self.common_dir.clone(),
            why: why.to_string(),
        }
        .into()
    }

    /// Everything that refs and the heads of worktrees point to.
    pub(super) fn tips(&self) -> Result<Vec<ObjectId>, TransferError> {
        let mut tips = BTreeSet::new();
        let store = self.store();
        let refs = store.iter().map_err(|error| self.broken(error))?;
        for reference in refs.all().map_err(|error| self.broken(error))? {
            // One broken ref of the user's is no reason to bring nothing: it excludes nothing.
            if let Ok(reference) = reference
                && let Target::Object(id) = reference.target
            {
                tips.insert(id);
            }
        }
        for (_, head) in self.worktrees()? {
            let head = fs::read(head.join("HEAD")).unwrap_or_default();
            tips.extend(ObjectId::from_hex(head.trim_end()).ok());
        }
        Ok(tips.into_iter().collect())
    }

    /// What `name` points to now.
    pub(super) fn find(&self, name: &FullName) -> Result<Option<ObjectId>, TransferError> {
        let found = self.store().try_find(name.as_ref());
        match found.map_err(|error| self.broken(error))? {
            None => Ok(None),
            Some(reference) if reference.name != *name => Ok(None),
            Some(reference) => match reference.target {
                Target::Object(id) => Ok(Some(id)),
                Target::Symbolic(_) => Err(TransferError::Symbolic {
                    name: name.to_string(),
                }),
            },
        }
    }

    /// Whether `name` may be moved from `expected` to `new`. Returns what it points to.
    pub(super) fn check(
        &self,
        name: &FullName,
        expected: Option<ObjectId>,
        new: ObjectId,
    ) -> Result<Option<ObjectId>, TransferError> {
        let found = self.find(name)?;
        if found == Some(new) {
            return Ok(found);
        }
        if found != expected {
            return Err(TransferError::Moved {
                name: name.to_string(),
                found,
                expected,
            });
        }
        if let Some(worktree) = self.checked_out(name)? {
            return Err(TransferError::CheckedOut {
                name: name.to_string(),
                worktree,
            });
        }
        if found.is_none() {
            self.check_clashes(name)?;
        }
        Ok(found)
    }

    /// A ref is a file where another would need a directory.
    fn check_clashes(&self, name: &FullName) -> Result<(), TransferError> {
        let store = self.store();
        let refs = store.iter().map_err(|error| self.broken(error))?;
        let name = name.as_bstr();
        for reference in refs.all().map_err(|error| self.broken(error))?.flatten() {
            let other = reference.name.as_bstr();
            if is_below(name, other) || is_below(other, name) {
                return Err(TransferError::Clash {
                    name: name.to_string(),
                    other: other.to_string(),
                });
            }
        }
        Ok(())
    }

    /// The worktree that has the branch checked out, or is about to return to it.
    pub(super) fn checked_out(&self, name: &FullName) -> Result<Option<PathBuf>, TransferError> {
        for (worktree, git_dir) in self.worktrees()? {
            let names = |file: &str, prefix: &[u8]| {
                let text = fs::read(git_dir.join(file)).unwrap_or_default();
                let text = text.strip_prefix(prefix).map(|rest| rest.trim().as_bstr());
                text.is_some_and(|text| {
                    text == name.as_bstr()
                        || name.as_bstr().strip_prefix(b"refs/heads/") == Some(text)
                })
            };
            let in_use = names("HEAD", b"ref:")
                || names("rebase-merge/head-name", b"")
                || names("rebase-apply/head-name", b"")
                || names("BISECT_START", b"");
            if in_use {
                return Ok(Some(worktree));
            }
        }
        Ok(None)
    }

    /// The main worktree and the linked ones: where each is, as a person knows it, and its git directory.
    fn worktrees(&self) -> Result<Vec<(PathBuf, PathBuf)>, TransferError> {
        let main = match self.common_dir.file_name() {
            Some(name) if name == ".git" => self.common_dir.parent().unwrap_or(&self.common_dir),
            _ => &self.common_dir,
        };
        let mut worktrees = vec![(main.to_owned(), self.common_dir.clone())];
        let linked = self.common_dir.join("worktrees");
        let entries = match fs::read_dir(&linked) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(worktrees),
            entries => entries.map_err(io_error(&linked))?,
        };
        for entry in entries {
            let git_dir = entry.map_err(io_error(&linked))?.path();
            let place = fs::read(git_dir.join("gitdir")).unwrap_or_default();
            let place = PathBuf::from(place.trim_end().to_str_lossy().into_owned());
            let place = place.parent().map(Path::to_owned);
            worktrees.push((place.unwrap_or_else(|| git_dir.clone()), git_dir));
        }
        Ok(worktrees)
    }

    /// Gives what was made the mode that git would: `core.sharedRepository` on top of the umask's.
    pub(super) fn share(&self, path: &Path) -> Result<(), TransferError> {
        if self.sharing == 0 {
            return Ok(());
        }
        let metadata = fs::metadata(path).map_err(io_error(path))?;
        let mode = shared_mode(metadata.mode() & 0o7777, metadata.is_dir(), self.sharing);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io_error(path))
    }
}

fn is_below(name: &BStr, other: &BStr) -> bool {
    name.strip_prefix(other.as_bytes())
        .is_some_and(|rest| rest.starts_with(b"/"))
}

fn is_false(value: &BStr) -> bool {
    gix::config::Boolean::try_from(value).is_ok_and(|value| !value.is_true())
}

/// As `git_config_perm` in git's setup.c.
fn sharing_bits(value: &BStr) -> u32 {
    match value.to_str_lossy().to_ascii_lowercase().as_str() {
        "group" | "true" | "1" | "yes" | "on" | "" => 0o660,
        "all" | "world" | "everybody" | "2" => 0o664,
        octal => u32::from_str_radix(octal, 8).unwrap_or(0) & 0o666,
    }
}

/// As `calc_shared_perm` in git's path.c.
fn shared_mode(mode: u32, is_directory: bool, bits: u32) -> u32 {
    let mut bits = bits;
    if mode & 0o200 == 0 {
        bits &= !0o222;
    }
    if mode & 0o100 != 0 {
        bits |= (bits & 0o444) >> 2;
    }
    let set_group = if is_directory { 0o2000 } else { 0 };
    mode | bits | set_group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gits() {
        assert_eq!(shared_mode(0o400, false, 0o660), 0o440);
        assert_eq!(shared_mode(0o600, false, 0o664), 0o664);
        assert_eq!(shared_mode(0o700, true, 0o660), 0o2770);
        assert_eq!(sharing_bits("group".into()), 0o660);
        assert_eq!(sharing_bits("umask".into()), 0);
        assert_eq!(sharing_bits("0640".into()), 0o640);
    }

    #[test]
    fn names_below_others() {
        assert!(is_below("refs/heads/a/b".into(), "refs/heads/a".into()));
        assert!(!is_below("refs/heads/ab".into(), "refs/heads/a".into()));
        assert!(!is_below("refs/heads/a".into(), "refs/heads/a".into()));
    }
}
