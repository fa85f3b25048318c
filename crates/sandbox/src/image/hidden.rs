//! Hiding parts of a layered directory: overlayfs whiteouts in the upper layer, placed before the
//! program starts. Removing or replacing a whiteout inside never shows what it covers.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};

/// What the sandbox keeps of the host's `/var`: package managers' databases and caches.
const VAR_KEPT: [&str; 17] = [
    "cache/apt",
    "cache/debconf",
    "cache/fontconfig",
    "cache/ldconfig",
    "lib/apk",
    "lib/apt",
    "lib/ca-certificates-java",
    "lib/dnf",
    "lib/dpkg",
    "lib/pacman",
    "lib/pam",
    "lib/python",
    "lib/rpm",
    "lib/sgml-base",
    "lib/ucf",
    "lib/xml-core",
    "lib/shells.state",
];

/// A directory of the host and the upper layer that covers it.
#[derive(Debug)]
pub struct Cover<'a> {
    pub lower: &'a Path,
    pub upper: &'a Path,
}

impl Cover<'_> {
    /// Hides all that not every user of the host may read: `/etc/shadow`, host keys, and the like.
    pub fn hide_private(&self) -> io::Result<()> {
        self.hide_private_below("")
    }

    /// As [`hide_private`](Self::hide_private), of one directory of the layer.
    pub fn hide_private_below(&self, start: &str) -> io::Result<()> {
        let mut queue = VecDeque::from([PathBuf::from(start)]);
        while let Some(directory) = queue.pop_front() {
            let entries = match fs::read_dir(self.lower.join(&directory)) {
                Ok(entries) => entries,
                // Not readable to this user, so hidden by the kernel as well.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_symlink() {
                    continue;
                }
                let path = directory.join(entry.file_name());
                let mode = entry.metadata()?.permissions().mode();
                let readable_by_all = if kind.is_dir() {
                    mode & 0o005 == 0o005
                } else {
                    kind.is_file() && mode & 0o004 != 0
                };
                if !readable_by_all {
                    self.hide(&path)?;
                } else if kind.is_dir() {
                    queue.push_back(path);
                }
            }
        }
        Ok(())
    }

    /// Hides all of `/var` but [`VAR_KEPT`], and gives the sandbox empty directories of its own in
    /// place of those that programs expect.
    pub fn hide_most_of_var(&self) -> io::Result<()> {
        for directory in ["", "cache", "lib"] {
            let entries = match fs::read_dir(self.lower.join(directory)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // What cannot be listed cannot be hidden.
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let path = Path::new(directory).join(entry.file_name());
                let leads_to_kept = VAR_KEPT
                    .iter()
                    .any(|kept| Path::new(kept).starts_with(&path));
                if !leads_to_kept && !entry.file_type()?.is_symlink() {
                    self.hide(&path)?;
                }
            }
        }
        for kept in VAR_KEPT {
            let cover = Cover {
                lower: &self.lower.join(kept),
                upper: &self.upper.join(kept),
            };
            match fs::metadata(cover.lower) {
                Ok(metadata) if metadata.mode() & 0o005 != 0o005 => self.hide(Path::new(kept))?,
                Ok(metadata) if metadata.is_dir() => {
                    cover.hide_private_children(self, Path::new(kept))?;
                }
                _ => {}
            }
        }
        for (name, mode) in [
            ("log", 0o755),
            ("tmp", 0o1777),
            ("spool", 0o755),
            ("lib/misc", 0o755),
        ] {
            self.replace_directory(Path::new(name), mode)?;
        }
        Ok(())
    }

    fn hide_private_children(&self, root: &Cover<'_>, below: &Path) -> io::Result<()> {
        for entry in fs::read_dir(self.lower)? {
            let entry = entry?;
            if !entry.file_type()?.is_symlink() && entry.metadata()?.mode() & 0o004 == 0 {
                root.hide(&below.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// Covers one path, relative to the layer.
    pub fn hide(&self, path: &Path) -> io::Result<()> {
        self.make_parents(path)?;
        // A character device 0:0 is overlayfs' whiteout; making one needs no privilege.
        rustix::fs::mknodat(
            CWD,
            self.upper.join(path),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        )
        .or_else(|errno| match errno {
            rustix::io::Errno::EXIST => Ok(()),
            errno => Err(errno.into()),
        })
    }

    /// Puts a file over what the host has at `path`.
    pub fn replace_file(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        self.make_parents(path)?;
        let target = self.upper.join(path);
        match fs::remove_file(&target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::write(&target, content)?,
        }
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))
    }

    fn replace_directory(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.make_parents(path)?;
        let target = self.upper.join(path);
        match fs::remove_file(&target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match fs::create_dir(&target) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        // Nothing of the host's directory shows through.
        rustix::fs::setxattr(
            &target,
            "user.overlay.opaque",
            b"y",
            rustix::fs::XattrFlags::empty(),
        )
        .map_err(io::Error::from)
    }

    /// Directories of the upper layer replace the lower one's attributes: they get the same mode.
    fn make_parents(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        let mut so_far = PathBuf::new();
        for component in parent.components() {
            so_far.push(component);
            let upper = self.upper.join(&so_far);
            match fs::DirBuilder::new().mode(0o755).create(&upper) {
                Ok(()) => {
                    let mode = fs::metadata(self.lower.join(&so_far))
                        .map_or(0o755, |metadata| metadata.permissions().mode() & 0o7777);
                    fs::set_permissions(&upper, fs::Permissions::from_mode(mode))?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileTypeExt;

    fn whiteout(path: &Path) -> bool {
        fs::symlink_metadata(path)
            .is_ok_and(|metadata| metadata.file_type().is_char_device() && metadata.rdev() == 0)
    }

    #[test]
    fn hides_what_not_everybody_reads() {
        let base = tempfile::tempdir().unwrap();
        let (lower, upper) = (base.path().join("lower"), base.path().join("upper"));
        fs::create_dir_all(lower.join("ssl/private")).unwrap();
        fs::create_dir_all(lower.join("ssl/certs")).unwrap();
        fs::create_dir(&upper).unwrap();
        for (path, mode) in [
            ("passwd", 0o644),
            ("shadow", 0o640),
            ("ssl/certs/a", 0o644),
            ("ssl/key", 0o600),
        ] {
            fs::write(lower.join(path), "x").unwrap();
            fs::set_permissions(lower.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(lower.join("ssl/private"), fs::Permissions::from_mode(0o710)).unwrap();

        let cover = Cover {
            lower: &lower,
            upper: &upper,
        };
        cover.hide_private().unwrap();
        for hidden in ["shadow", "ssl/key", "ssl/private"] {
            assert!(whiteout(&upper.join(hidden)), "{hidden}");
        }
        assert!(!upper.join("passwd").exists() && !upper.join("ssl/certs").exists());

        cover
            .replace_file(Path::new("shadow"), b"mine", 0o600)
            .unwrap();
        assert_eq!(fs::read(upper.join("shadow")).unwrap(), b"mine");
    }
}
