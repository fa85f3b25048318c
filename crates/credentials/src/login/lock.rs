//! One renewal at a time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::FlockOperation;

use super::LoginError;

/// A renewal takes seconds; whoever holds a lock for longer has a problem that waiting does not solve.
const PATIENCE: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(100);

/// Among all custodians of this account. The kernel gives it back when its holder dies.
#[derive(Debug)]
pub(super) struct OurLock {
    _file: File,
}

impl OurLock {
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let end = Instant::now() + PATIENCE;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => {
                    std::thread::sleep(PAUSE);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// With the program's own instances: a directory that exists while one of them renews, and whose time of change shows
/// that its maker is alive. (The convention of the `proper-lockfile` package, with its times.)
#[derive(Debug)]
pub(super) struct ClientLock {
    path: PathBuf,
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// Not touched for so long, a lock is of a process that died.
const STALE: Duration = Duration::from_secs(10);
const TOUCH: Duration = Duration::from_secs(3);

impl ClientLock {
    pub(super) fn take(path: &Path) -> Result<Self, LoginError> {
        let end = Instant::now() + PATIENCE;
        loop {
            match fs::create_dir(path) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if is_stale(path) {
                        // Whoever was first removed it; then the next attempt tells.
                        let _ = fs::remove_dir(path);
                        continue;
                    }
                }
                Err(source) => {
                    let path = path.to_owned();
                    return Err(LoginError::Lock { path, source });
                }
            }
            if Instant::now() >= end {
                return Err(LoginError::Busy(path.to_owned()));
            }
            std::thread::sleep(PAUSE);
        }
        let (stop, stopped) = mpsc::channel();
        let touched = path.to_owned();
        let keeper = std::thread::spawn(move || {
            while stopped.recv_timeout(TOUCH) == Err(RecvTimeoutError::Timeout) {
                // If it fails, the lock goes stale: nothing that we could do about it.
                let _ = File::open(&touched).and_then(|file| file.set_modified(SystemTime::now()));
            }
        });
        Ok(Self {
            path: path.to_owned(),
            stop: Some(stop),
            keeper: Some(keeper),
        })
    }
}

impl Drop for ClientLock {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
        let _ = fs::remove_dir(&self.path);
    }
}

fn is_stale(path: &Path) -> bool {
    fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > STALE))
}
