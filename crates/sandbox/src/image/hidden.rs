//! Hiding parts of a layered directory: overlayfs whiteouts in the upper layer, placed before the
//! program starts. Removing or replacing a whiteout inside never shows what it covers.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, StatxAttributes, StatxFlags};

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

/// Whether a sandbox may see something of the host at or below `path`, which is relative to `/var`.
pub(super) fn is_kept_of_var(path: &Path) -> bool {
    leads_to_kept(path) || VAR_KEPT.iter().any(|kept| path.starts_with(kept))
}

fn leads_to_kept(path: &Path) -> bool {
    VAR_KEPT
        .iter()
        .any(|kept| Path::new(kept).starts_with(path))
}

/// A directory of the host and the upper layer that covers it.
#[derive(Debug)]
pub struct Cover<'a> {
    pub lower: &'a Path,
    pub upper: &'a Path,
}

impl Cover<'_> {
    /// Hides all that not every user of the host may read: `/etc/shadow`, host keys, and the like. What is
    /// mounted below is another matter: see [`hide_private_at`](Self::hide_private_at).
    pub fn hide_private(&self) -> io::Result<()> {
        self.hide_private_below("")
    }

    /// As [`hide_private`](Self::hide_private), of one directory of the layer.
    pub fn hide_private_below(&self, start: impl Into<PathBuf>) -> io::Result<()> {
        let mut queue = VecDeque::from([start.into()]);
        while let Some(directory) = queue.pop_front() {
            let entries = match fs::read_dir(self.lower.join(&directory)) {
                Ok(entries) => entries,
                // Not readable to this user, so hidden by the kernel as well.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let path = directory.join(entry?.file_name());
                match self.look(&path)? {
                    Seen::Private => self.hide(&path)?,
                    Seen::Directory => queue.push_back(path),
                    Seen::Elsewhere | Seen::Other => {}
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
                if !leads_to_kept(&path) && !entry.file_type()?.is_symlink() {
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
                Ok(metadata) if !is_readable_by_all(metadata.mode()) => {
                    self.hide(Path::new(kept))?;
                }
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

    /// As [`hide_private`](Self::hide_private), of what is mounted at `path`.
    pub fn hide_private_at(&self, path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(self.lower.join(path)) {
            Ok(metadata) if !is_readable_by_all(metadata.mode()) => self.hide(path),
            Ok(metadata) if metadata.is_dir() => self.hide_private_below(path),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn look(&self, path: &Path) -> io::Result<Seen> {
        let status = rustix::fs::statx(
            CWD,
            self.lower.join(path),
            AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
            StatxFlags::TYPE | StatxFlags::MODE,
        )?;
        let mode = u32::from(status.stx_mode);
        let is_mount = status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        Ok(match FileType::from_raw_mode(mode) {
            _ if is_mount => Seen::Elsewhere,
            FileType::Symlink => Seen::Other,
            _ if !is_readable_by_all(mode) => Seen::Private,
            FileType::Directory => Seen::Directory,
            _ => Seen::Other,
        })
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

    /// Covers one path, relative to the layer. What the sandbox already has of its own there stays.
    pub fn hide(&self, path: &Path) -> io::Result<()> {
        self.make_parents(path)?;
        let target = self.upper.join(path);
        // A character device 0:0 is overlayfs' whiteout; making one needs no privilege.
        rustix::fs::mknodat(CWD, &target, FileType::CharacterDevice, Mode::empty(), 0).or_else(
            |errno| match errno {
                rustix::io::Errno::EXIST if target.is_dir() => make_opaque(&target),
                rustix::io::Errno::EXIST => Ok(()),
                errno => Err(errno.into()),
            },
        )
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
        make_opaque(&target)
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

/// Nothing of the host's directory shows through this one of an upper layer.
fn make_opaque(directory: &Path) -> io::Result<()> {
    rustix::fs::setxattr(
        directory,
        "user.overlay.opaque",
        b"y",
        rustix::fs::XattrFlags::empty(),
    )
    .map_err(io::Error::from)
}

/// What is to be done about an entry of a directory.
enum Seen {
    /// Not for every user of the host.
    Private,
    /// To be looked into.
    Directory,
    /// On another mount.
    Elsewhere,
    Other,
}

/// Neither directory nor file is: a device or a socket does more than be read.
fn is_readable_by_all(mode: u32) -> bool {
    match FileType::from_raw_mode(mode) {
        FileType::Directory => mode & 0o005 == 0o005,
        FileType::RegularFile => mode & 0o004 != 0,
        _ => false,
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

        // The first was hidden in part.
        for path in ["ssl", "passwd"] {
            cover.hide(Path::new(path)).unwrap();
        }
        let mut opaque = [0; 4];
        let length = rustix::fs::getxattr(upper.join("ssl"), "user.overlay.opaque", &mut opaque);
        assert_eq!((length, opaque[0]), (Ok(1), b'y'));
        assert!(whiteout(&upper.join("passwd")));

        cover
            .replace_file(Path::new("shadow"), b"mine", 0o600)
            .unwrap();
        assert_eq!(fs::read(upper.join("shadow")).unwrap(), b"mine");
    }
}
