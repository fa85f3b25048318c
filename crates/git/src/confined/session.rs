//! The repository inside a session, held by a descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use wardian_linux::SyscallError;

use super::SessionError;

/// A session's `.git` directory. All below it was written by the agent, who may still be at work.
#[derive(Debug)]
pub struct SessionRepository {
    workspace: PathBuf,
    git_dir: OwnedFd,
}

/// Below the directory of a workspace in the sandbox's state.
pub(super) const GIT_DIR: &str = "upper/.git";

/// How everything of a session is looked up: no symlink, nothing outside.
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

impl SessionRepository {
    /// `workspace` is the workspace's directory in the sandbox's state, which holds `base.json` and `upper`.
    ///
    /// # Errors
    ///
    /// If `.git` is anything but a directory of its own: a file or link could name any place of the host.
    pub fn open(workspace: &Path) -> Result<Self, SessionError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let refused = |call: String| {
            let path = workspace.join(GIT_DIR);
            move |errno| SessionError::NotADirectory {
                path,
                source: SyscallError::new(call, errno),
            }
        };
        let root = rustix::fs::openat(CWD, workspace, flags, Mode::empty())
            .map_err(refused(format!("open({workspace:?}, O_PATH|O_DIRECTORY)")))?;
        let git_dir =
            rustix::fs::openat2(&root, GIT_DIR, flags, Mode::empty(), RESOLVE).map_err(refused(
                format!("openat2({GIT_DIR:?}, RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS)"),
            ))?;
        Ok(Self {
            workspace: workspace.to_owned(),
            git_dir,
        })
    }

    pub fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// Below `.git`; `None` if there is nothing of that name. Files that are no regular files are not waited
    /// for (`O_NONBLOCK`), and it is for the caller to refuse them.
    pub(crate) fn open_at(
        &self,
        path: &Path,
        flags: OFlags,
    ) -> Result<Option<OwnedFd>, SessionError> {
        open_beneath(self.git_dir.as_fd(), path, flags).map_err(|errno| SessionError::Syscall {
            path: self.shown(path),
            source: SyscallError::new(
                format!("openat2({path:?}, RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS)"),
                errno,
            ),
        })
    }

    /// For messages: never opened.
    pub(crate) fn shown(&self, path: &Path) -> PathBuf {
        self.workspace.join(GIT_DIR).join(path)
    }

    /// Refuses object directories that hold anything but files and directories. The jail would hold without
    /// it; but a fifo in the place of an object would keep git waiting until its time is up.
    pub(super) fn survey_objects(&self) -> Result<(), SessionError> {
        let objects = Path::new("objects");
        if self
            .open_at(objects, OFlags::PATH | OFlags::DIRECTORY)?
            .is_none()
        {
            return Err(SessionError::NotADirectory {
                path: self.shown(objects),
                source: SyscallError::new("openat2(\"objects\")", Errno::NOENT),
            });
        }
        for name in self.survey(objects)? {
            let is_fan_out = name.len() == 2 && name.iter().all(u8::is_ascii_hexdigit);
            if is_fan_out || name == b"pack" {
                let name = String::from_utf8_lossy(&name).into_owned();
                self.survey(&objects.join(name))?;
            }
        }
        Ok(())
    }

    /// The directories in `directory`.
    fn survey(&self, directory: &Path) -> Result<Vec<Vec<u8>>, SessionError> {
        let failed = |call: &str, errno| SessionError::Syscall {
            path: self.shown(directory),
            source: SyscallError::new(format!("{call}({directory:?})"), errno),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Some(fd) = self.open_at(directory, flags)? else {
            return Ok(Vec::new());
        };
        let entries = Dir::new(fd).map_err(|errno| failed("fdopendir", errno))?;
        let mut directories = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|errno| failed("getdents64", errno))?;
            let name = entry.file_name().to_bytes();
            let odd = match entry.file_type() {
                FileType::Directory if matches!(name, b"." | b"..") => continue,
                FileType::Directory => {
                    directories.push(name.to_owned());
                    continue;
                }
                FileType::RegularFile | FileType::Unknown => continue,
                FileType::Symlink => "a symlink",
                FileType::Fifo => "a fifo",
                FileType::Socket => "a socket",
                FileType::CharacterDevice | FileType::BlockDevice => "a device",
            };
            return Err(SessionError::OddEntry {
                path: self
                    .shown(directory)
                    .join(String::from_utf8_lossy(name).into_owned()),
                kind: odd,
            });
        }
        Ok(directories)
    }
}

pub(crate) fn open_beneath(
    directory: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
) -> Result<Option<OwnedFd>, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    // The kernel refuses flags that O_PATH ignores.
    let flags = match flags.contains(OFlags::PATH) {
        true => flags - OFlags::NONBLOCK - OFlags::NOCTTY,
        false => flags,
    };
    match rustix::fs::openat2(directory, path, flags, Mode::empty(), RESOLVE) {
        Err(Errno::NOENT) => Ok(None),
        opened => opened.map(Some),
    }
}
