//! Where named volumes lie.
//!
//! ```text
//! <data>/wardian/volumes/<name>/
//!     lock    held (flock), shared, by each `wardian run` that uses the volume
//!     data/   what programs inside see
//! ```

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use wardian_sandbox::SandboxName;

use crate::failure::Failure;
use crate::output::visible_path;
use crate::sandboxes;

/// Volumes on their way out begin with this, which no name does.
const REMOVED: &str = ".removed-";

/// All volumes of one user.
#[derive(Debug)]
pub(in crate::commands) struct Volumes(PathBuf);

/// Names of volumes are made as those of sandboxes are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::commands) struct VolumeName(SandboxName);

/// Keeps a volume from being removed.
#[derive(Debug)]
pub(in crate::commands) struct InUse {
    _lock: File,
}

impl VolumeName {
    pub(in crate::commands) fn parse(text: &str) -> anyhow::Result<Self> {
        SandboxName::parse(text).map(Self).map_err(|_| {
            anyhow!(
                "{text:?} is not the name of a volume: use 1 to 48 of a-z, 0-9, '-' and '_', starting with a \
                 letter or digit"
            )
        })
    }

    pub(in crate::commands) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Volumes {
    pub(in crate::commands) fn discover() -> Result<Self, Failure> {
        let sandboxes = sandboxes::state_root()?;
        Ok(Self(sandboxes.path().with_file_name("volumes")))
    }

    pub(in crate::commands) fn all(&self) -> io::Result<Vec<VolumeName>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            names.extend(name.to_str().and_then(|name| VolumeName::parse(name).ok()));
        }
        names.sort();
        Ok(names)
    }

    /// What programs inside see of it.
    pub(in crate::commands) fn data(&self, name: &VolumeName) -> PathBuf {
        self.directory(name).join("data")
    }

    fn directory(&self, name: &VolumeName) -> PathBuf {
        self.0.join(name.as_str())
    }

    /// The volume whose data lies at `path`.
    fn at(&self, path: &Path) -> Option<VolumeName> {
        let name = path.strip_prefix(&self.0).ok()?.parent()?.to_str()?;
        VolumeName::parse(name).ok()
    }

    /// Makes the volume whose data is to lie at `path`, if there is none yet. `None` for other paths.
    pub(in crate::commands) fn take(&self, path: &Path) -> anyhow::Result<Option<InUse>> {
        let Some(name) = self.at(path) else {
            return Ok(None);
        };
        loop {
            self.make(&name)?;
            // Whoever holds it alone does so for a moment. If that was to remove it, there will be a new one.
            let lock = self.lock(&name, FlockOperation::LockShared)?;
            if let Some(lock) = lock {
                return Ok(Some(InUse { _lock: lock }));
            }
        }
    }

    fn make(&self, name: &VolumeName) -> anyhow::Result<()> {
        let make = |path: &Path, mode| {
            let made = DirBuilder::new().mode(mode).recursive(true).create(path);
            made.with_context(|| visible_path(path))
        };
        make(&self.0, 0o700)?;
        let status = fs::symlink_metadata(&self.0)?;
        let is_own = status.uid() == rustix::process::geteuid().as_raw();
        if !is_own || !status.is_dir() || status.mode() & 0o022 != 0 {
            bail!(
                "{} belongs to another user or can be written by others",
                visible_path(&self.0)
            );
        }
        make(&self.directory(name), 0o700)?;
        make(&self.data(name), 0o755)
    }

    /// `None` if somebody holds it otherwise.
    fn lock(&self, name: &VolumeName, how: FlockOperation) -> anyhow::Result<Option<File>> {
        let path = self.directory(name).join("lock");
        let shown = || visible_path(&path);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32)
            .open(&path)
            .with_context(shown)?;
        match rustix::fs::flock(&lock, how) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno).with_context(shown),
        }
        let there = fs::symlink_metadata(&path).map(|status| (status.dev(), status.ino()));
        let ours = lock.metadata().map(|status| (status.dev(), status.ino()))?;
        // Removed since it was opened.
        Ok(there.is_ok_and(|there| there == ours).then_some(lock))
    }

    pub(in crate::commands) fn is_in_use(&self, name: &VolumeName) -> anyhow::Result<bool> {
        let lock = self.lock(name, FlockOperation::NonBlockingLockExclusive)?;
        Ok(lock.is_none())
    }

    pub(in crate::commands) fn exists(&self, name: &VolumeName) -> bool {
        self.directory(name).is_dir()
    }

    /// Removes it with all that is in it, unless it is in use.
    pub(in crate::commands) fn remove(&self, name: &VolumeName) -> anyhow::Result<()> {
        let lock = self.lock(name, FlockOperation::NonBlockingLockExclusive)?;
        let lock = lock.ok_or_else(|| anyhow!("a sandbox uses the volume {}", name.as_str()))?;
        // From here on it is gone: what a kill leaves, the next removal takes.
        let process = std::process::id();
        let removed = format!("{REMOVED}{}-{process}", name.as_str());
        fs::rename(self.directory(name), self.0.join(removed))?;
        drop(lock);
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let is_removed = |name: &str| name.starts_with(REMOVED);
            if entry.file_name().to_str().is_some_and(is_removed) {
                wardian_sandbox::janitor::remove_whole(&entry.path(), None)?;
            }
        }
        Ok(())
    }
}
