//! A jail for one program that reads hostile bytes: it sees the files that it was given and no others,
//! no network and no process of the host, and everything ends with it.
//!
//! ```text
//!  caller ── fork ──▶ keeper ── clone3(all namespaces) ──▶ pid 1 = the program
//!     └─ socket ────────┘  writes the id maps, waits; kills pid 1 when the socket closes
//! ```
//!
//! It takes no privilege to make one. Pid 1 keeps its uid and gid, loses all capabilities, and is bound by
//! Landlock where the kernel has it, by seccomp and by resource limits. What cannot be made fails the start.

mod inside;
mod keeper;
mod restrict;

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags, WaitIdOptions};

use crate::error::{SyscallError, SyscallResult, check, failed};
use crate::process::Exit;

/// What a program finds, and what it may use up. Entries are carried out in their order.
#[derive(Debug, Clone)]
pub struct Jail {
    pub entries: Vec<Entry>,
    pub limits: Limits,
}

/// Something at an absolute path of the jail. Directories on the way to it are made.
#[derive(Debug, Clone)]
pub struct Entry {
    pub target: PathBuf,
    pub content: Content,
}

#[derive(Debug, Clone)]
pub enum Content {
    Directory,
    File(Vec<u8>),
    Symlink(PathBuf),
    /// An empty directory in memory that can be written to.
    Memory {
        bytes: u64,
    },
    /// A file or directory of the host, with all that is mounted below it.
    Bind {
        source: Source,
        access: Access,
    },
    /// An empty directory over whatever directory an earlier entry has at this place. Where there is no
    /// directory, nothing is done.
    Cover,
}

/// How a place of the host is looked up, by pid 1 itself: nothing can be exchanged after it was looked at.
#[derive(Debug, Clone)]
pub enum Source {
    /// A path of the caller's own choosing.
    Path(PathBuf),
    /// A directory below `root` in a tree that somebody else may write to: a symlink anywhere in `path`
    /// fails the start.
    Beneath { root: PathBuf, path: PathBuf },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Programs and libraries.
    Execute,
    Read,
    Write,
    /// A device such as `/dev/null`.
    Device,
}

/// Of each process inside. See getrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of private, writable memory (`RLIMIT_DATA`); mapped files do not count.
    pub memory: u64,
    /// Bytes of one file.
    pub file_size: u64,
    pub cpu_seconds: u64,
    pub open_files: u64,
    /// Processes and threads.
    pub processes: u64,
}

/// What to execute. `path` and `directory` are paths of the jail.
#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    /// With the name of the program as the first.
    pub arguments: Vec<CString>,
    /// All of the environment: `NAME=value`.
    pub environment: Vec<CString>,
    pub directory: PathBuf,
}

/// A program in its jail. Dropped, all of it is killed and gone before the drop returns.
#[derive(Debug)]
pub struct Jailed {
    keeper: Pid,
    pidfd: OwnedFd,
    /// Taken to end the jail.
    control: Option<UnixStream>,
    ended: Option<Exit>,
}

impl Jail {
    /// Starts `program` with `streams` as its stdin, stdout and stderr, and waits until it was executed.
    ///
    /// The jail ends when the calling thread does. The caller may have other threads.
    pub fn spawn(&self, program: &Program, streams: [OwnedFd; 3]) -> SyscallResult<Jailed> {
        let (ours, theirs) = UnixStream::pair().map_err(failed!("socketpair(AF_UNIX)"))?;
        let caller = rustix::process::getpid();
        // SAFETY: takes no pointer. The child continues with this thread alone. fork(3) of the C library
        // leaves its allocator usable there, and the keeper takes no other lock: it makes system calls on
        // what was prepared here, and leaves by _exit.
        let pid = check!(unsafe { libc::fork() }, "fork()")?;
        if pid == 0 {
            keeper::run(self, program, &streams, &theirs, caller);
        }
        drop((theirs, streams));
        let keeper = Pid::from_raw(pid).expect("fork returns a positive process id to the parent");
        let pidfd = pidfd_open(keeper)?;
        let mut jailed = Jailed {
            keeper,
            pidfd,
            control: Some(ours),
            ended: None,
        };
        jailed.wait_for_start()?;
        Ok(jailed)
    }
}

/// The keeper has not been waited for, so the number is still its own.
fn pidfd_open(pid: Pid) -> SyscallResult<OwnedFd> {
    rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(failed!("pidfd_open({})", pid.as_raw_nonzero()))
}

/// What the keeper reports once: nothing if the program was executed, or the call that failed.
const STARTED: u8 = 0;
const FAILED: u8 = 1;

impl Jailed {
    fn wait_for_start(&mut self) -> SyscallResult<()> {
        let mut report = Vec::new();
        let mut first = [0; 1];
        let mut control = self.control.as_ref().expect("taken only by `kill`");
        control
            .read_exact(&mut first)
            .map_err(failed!("read(<keeper of the jail>)"))?;
        if first == [STARTED] {
            return Ok(());
        }
        control
            .read_to_end(&mut report)
            .map_err(failed!("read(<keeper of the jail>)"))?;
        Err(keeper::decoded(&report))
    }

    /// Readable when the program has ended, and with it everything in the jail.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Ends the program if it still runs.
    pub fn kill(&mut self) {
        self.control = None;
    }

    /// Waits for the end. A signal is reported as the code 128 and up.
    pub fn wait(&mut self) -> SyscallResult<Exit> {
        if let Some(exit) = self.ended {
            return Ok(exit);
        }
        let status = loop {
            let id = rustix::process::WaitId::PidFd(self.pidfd.as_fd());
            match rustix::process::waitid(id, WaitIdOptions::EXITED) {
                Ok(Some(status)) => break status,
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    let call = format!("waitid({})", self.keeper.as_raw_nonzero());
                    return Err(SyscallError::new(call, errno));
                }
            }
        };
        let exit = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Code(0),
        };
        self.ended = Some(exit);
        Ok(exit)
    }
}

impl Drop for Jailed {
    fn drop(&mut self) {
        self.kill();
        let _ = self.wait();
    }
}

/// Takes over a descriptor whose number is known.
fn descriptor(number: i32) -> OwnedFd {
    // SAFETY: only called for the number that `keep_only` has just opened in this forked process, whose
    // former owner is in memory copied from the parent and is never run down.
    unsafe { OwnedFd::from_raw_fd(number) }
}

#[cfg(test)]
mod tests;
