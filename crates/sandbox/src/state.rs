//! Where sandboxes live on disk: one directory each, alive while its lock is held.
//!
//! ```text
//! <data>/wardian/sandboxes/<name>/
//!     lock             held (flock) by the CLI and the supervisor while the sandbox lives
//!     record.json      what it is, for `ls`, `gc` and whoever cleans up after a crash
//!     journal.jsonl    the record of what it did
//!     start.json       how it was started, for whoever resumes it
//!     supervisor.log   what the supervisor said last, and supervisor.log.old before that
//!     layers/          upper layers and the private home, while it lives or keeps work
//!         workspaces/<n>/  the n-th directory that it works on
//! ```

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
use thiserror::Error;

use crate::name::SandboxName;
use crate::record::SandboxRecord;

/// The directory of all of one user's sandboxes.
#[derive(Debug, Clone)]
pub struct StateRoot(PathBuf);

/// One sandbox's directory.
#[derive(Debug, Clone)]
pub struct SandboxDirectory {
    name: SandboxName,
    path: PathBuf,
}

/// The state of one workspace.
///
/// ```text
///     upper/       what the program wrote; the session's `.git` included
///     work/        overlayfs's own
///     tree/        the files of the base, where they are not served
///     base.*       what a session clone started from (crate `wardian-git`)
/// ```
#[derive(Debug, Clone)]
pub struct WorkspaceDirectory(PathBuf);

/// Directories that have no name yet begin with this, which no sandbox's name does.
const UNNAMED: &str = ".new-";

/// Proof that this process, or one it passed the descriptor to, keeps the sandbox alive.
#[derive(Debug)]
pub struct Lock(OwnedFd);

#[derive(Debug, Error)]
pub enum StateError {
    #[error("neither XDG_DATA_HOME nor a home directory is set to an absolute path")]
    NoHome,
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} belongs to another user (uid {owner}) or can be written by others")]
    Untrusted { path: PathBuf, owner: u32 },
    #[error("a sandbox named {0} exists already")]
    Exists(SandboxName),
    #[error("sandbox {0} is running")]
    Running(SandboxName),
    #[error("{path}: {source}")]
    Record {
        path: PathBuf,
        source: serde_json::Error,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StateError + '_ {
    move |source| StateError::Io {
        path: path.to_owned(),
        source,
    }
}

impl StateRoot {
    /// `$XDG_DATA_HOME/wardian/sandboxes`, or below `~/.local/share`. Nothing in the working
    /// directory has a say in it.
    pub fn discover(home: &Path) -> Result<Self, StateError> {
        let data = std::env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| home.is_absolute().then(|| home.join(".local/share")))
            .ok_or(StateError::NoHome)?;
        Ok(Self(data.join("wardian/sandboxes")))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes a new sandbox's directory and takes its lock. It gets its name once it is locked, so that
    /// nobody takes it for a dead one.
    pub fn create(&self, name: &SandboxName) -> Result<(SandboxDirectory, Lock), StateError> {
        make_private_directories(&self.0)?;
        let unnamed = self
            .0
            .join(format!("{UNNAMED}{}-{name}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&unnamed)
            .map_err(io_error(&unnamed))?;
        let new = SandboxDirectory::at(unnamed.clone(), name.clone());
        let lock = new.try_lock()?.ok_or(StateError::Running(name.clone()))?;
        let path = self.0.join(name.as_str());
        match rustix::fs::renameat_with(CWD, &unnamed, CWD, &path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok((SandboxDirectory::at(path, name.clone()), lock)),
            Err(errno) => {
                let _ = fs::remove_file(unnamed.join("lock"));
                let _ = fs::remove_dir(&unnamed);
                Err(match errno {
                    rustix::io::Errno::EXIST => StateError::Exists(name.clone()),
                    errno => io_error(&path)(errno.into()),
                })
            }
        }
    }

    /// Directories whose makers died before they had named them.
    pub fn abandoned(&self) -> Result<Vec<PathBuf>, StateError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error(&self.0)(error)),
        };
        let names = entries.map_while(Result::ok).map(|entry| entry.file_name());
        let abandoned = names.filter(|name| name.to_str().is_some_and(is_abandoned));
        Ok(abandoned.map(|name| self.0.join(name)).collect())
    }

    /// All sandboxes, by name.
    pub fn sandboxes(&self) -> Result<Vec<SandboxDirectory>, StateError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error(&self.0)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error(&self.0))?;
            let name = entry.file_name().into_string().ok();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let Some(name) = name.and_then(|name| SandboxName::parse(&name).ok())
                && is_directory
            {
                found.push(SandboxDirectory {
                    path: self.0.join(name.as_str()),
                    name,
                });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

impl SandboxDirectory {
    /// The directory that a supervisor was told to serve.
    pub fn at(path: PathBuf, name: SandboxName) -> Self {
        Self { name, path }
    }

    pub fn name(&self) -> &SandboxName {
        &self.name
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    pub fn layers(&self) -> PathBuf {
        self.path.join("layers")
    }

    /// What is kept about the workspace of this number.
    pub fn workspace(&self, number: usize) -> WorkspaceDirectory {
        WorkspaceDirectory(self.layers().join(workspace_layer(number)))
    }

    /// Where the supervisor's own words go.
    pub fn log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }

    /// Opens the log to append to it. Fails if the file exists as anything but a plain file.
    pub fn open_log(&self) -> Result<File, StateError> {
        let path = self.log();
        open_private(&path)
            .append(true)
            .open(&path)
            .map_err(io_error(&path))
    }

    /// Sets the log aside, in place of what was set aside before, and opens a new one.
    pub fn turn_log_over(&self) -> Result<File, StateError> {
        let path = self.log();
        fs::rename(&path, self.path.join("supervisor.log.old")).map_err(io_error(&path))?;
        self.open_log()
    }

    /// Takes the lock, or `None` if the sandbox is alive.
    pub fn try_lock(&self) -> Result<Option<Lock>, StateError> {
        let path = self.path.join("lock");
        let file = open_private(&path)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io_error(&path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Removed since it was opened: the name may be another sandbox's by now.
            Ok(()) if !is_at(&file, &path) => Ok(None),
            Ok(()) => Ok(Some(Lock(file.into()))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(io_error(&path)(errno.into())),
        }
    }

    /// Whether somebody holds the lock. Asks for a shared one, so that two who ask do not take each
    /// other for the sandbox.
    pub fn is_alive(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(lock) = rustix::fs::open(self.path.join("lock"), flags, Mode::empty()) else {
            return false;
        };
        let locked = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared);
        locked == Err(rustix::io::Errno::WOULDBLOCK)
    }

    /// Writes the record, replacing the last one whole.
    pub fn write_record(&self, record: &SandboxRecord) -> Result<(), StateError> {
        let path = self.path.join("record.json");
        let new = self.path.join("record.json.new");
        let text = serde_json::to_vec_pretty(record).map_err(|source| StateError::Record {
            path: path.clone(),
            source,
        })?;
        let mut file = open_private(&new)
            .write(true)
            .truncate(true)
            .open(&new)
            .map_err(io_error(&new))?;
        io::Write::write_all(&mut file, &text).map_err(io_error(&new))?;
        fs::rename(&new, &path).map_err(io_error(&path))
    }

    /// Without its record, a directory is nothing that would be missed.
    pub fn remove_record(&self) -> Result<(), StateError> {
        let path = self.path.join("record.json");
        fs::remove_file(&path).map_err(io_error(&path))
    }

    /// `None` if the sandbox died before it had one.
    pub fn read_record(&self) -> Result<Option<SandboxRecord>, StateError> {
        let path = self.path.join("record.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&path)(error)),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| StateError::Record { path, source })
    }
}

impl WorkspaceDirectory {
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }

    pub fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }
}

/// Of a workspace, relative to all layers.
pub(crate) fn workspace_layer(number: usize) -> String {
    format!("workspaces/{number}")
}

impl Lock {
    /// The lock belongs to the open file: whoever inherits this descriptor holds it too.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Lock {
    /// `fd` was received from the process that took the lock.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// Whether a directory has no name yet, and the process that was to give it one is gone.
fn is_abandoned(name: &str) -> bool {
    let maker = name
        .strip_prefix(UNNAMED)
        .and_then(|rest| rest.split('-').next());
    let maker: Option<u32> = maker.and_then(|maker| maker.parse().ok());
    maker.is_some_and(|maker| !Path::new(&format!("/proc/{maker}")).exists())
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |status: rustix::fs::Stat| (status.st_dev, status.st_ino);
    let there = rustix::fs::lstat(path).map(identity);
    there.is_ok() && there == rustix::fs::fstat(file).map(identity)
}

fn open_private(_path: &Path) -> fs::OpenOptions {
    let mut options = File::options();
    options
        .create(true)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32);
    options
}

/// Makes the missing directories with mode 0700, and refuses a last one that others could write.
fn make_private_directories(path: &Path) -> Result<(), StateError> {
    use std::os::unix::fs::MetadataExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error(path))?;
    let metadata = fs::symlink_metadata(path).map_err(io_error(path))?;
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if own && metadata.is_dir() && metadata.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(StateError::Untrusted {
            path: path.to_owned(),
            owner: metadata.uid(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, StateRoot) {
        let home = tempfile::tempdir().unwrap();
        let root = StateRoot(home.path().join("wardian/sandboxes"));
        (home, root)
    }

    fn name(text: &str) -> SandboxName {
        SandboxName::parse(text).unwrap()
    }

    #[test]
    fn a_name_is_taken_once_and_alive_while_locked() {
        let (_home, root) = root();
        let (directory, lock) = root.create(&name("one")).unwrap();
        assert!(matches!(
            root.create(&name("one")),
            Err(StateError::Exists(_))
        ));
        assert!(directory.try_lock().unwrap().is_none());
        drop(lock);
        assert!(directory.try_lock().unwrap().is_some());
    }

    #[test]
    fn what_nobody_will_name_is_abandoned() {
        let (_home, root) = root();
        assert!(root.abandoned().unwrap().is_empty());
        drop(root.create(&name("one")).unwrap());
        let make = |maker: u32| {
            let path = root.path().join(format!("{UNNAMED}{maker}-two"));
            fs::create_dir(&path).unwrap();
            path
        };
        make(std::process::id());
        // Beyond what the kernel gives out, see proc_sys_kernel(5), "pid_max".
        let dead = make(u32::MAX);
        assert_eq!(root.abandoned().unwrap(), [dead]);
    }

    #[test]
    fn a_lock_that_was_removed_is_no_lock() {
        let (_home, root) = root();
        let (directory, lock) = root.create(&name("one")).unwrap();
        let path = directory.path().join("lock");
        let file = File::open(&path).unwrap();
        assert!(is_at(&file, &path));
        drop(lock);
        fs::remove_dir_all(directory.path()).unwrap();
        assert!(!is_at(&file, &path));
        let (_again, _lock) = root.create(&name("one")).unwrap();
        assert!(!is_at(&file, &path));
    }

    #[test]
    fn a_planted_symlink_is_not_followed() {
        let (home, root) = root();
        let (directory, _lock) = root.create(&name("one")).unwrap();
        let victim = home.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        std::os::unix::fs::symlink(&victim, directory.path().join("supervisor.log")).unwrap();
        assert!(directory.open_log().is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    }

    #[test]
    fn a_log_is_turned_over_in_place_of_the_last() {
        use std::io::Write;
        let (_home, root) = root();
        let (directory, _lock) = root.create(&name("one")).unwrap();
        for text in ["first", "second", "third"] {
            write!(directory.open_log().unwrap(), "{text}").unwrap();
            directory.turn_log_over().unwrap();
            let old = fs::read_to_string(directory.path().join("supervisor.log.old"));
            assert_eq!(old.unwrap(), text);
            assert_eq!(fs::read_to_string(directory.log()).unwrap(), "");
        }
    }

    #[test]
    fn a_root_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let (_home, root) = root();
        drop(root.create(&name("one")).unwrap());
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(
            root.create(&name("two")),
            Err(StateError::Untrusted { .. })
        ));
    }
}
