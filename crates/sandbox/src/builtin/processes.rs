//! What is executed inside, seen from outside.
//!
//! ```text
//! a thread inside ──execve──▶ waits
//! pid 1                       takes the call, reads what is asked for ──▶ Report::Starting
//! supervisor                  records it, then lets the call go on, or refuses it
//! pid 1                       looks once more, a little later ──────────▶ Report::Found, if it is something else
//!                             waits for the end of the process ─────────▶ Report::Exited
//! ```
//!
//! Pid 1 is the one that looks: it sees the sandbox's own numbers and paths, may read every process inside, and
//! the supervisor, which Landlock keeps from looking into processes, may not. The supervisor is the one that
//! answers: nothing goes on that it has not recorded. Both hold the listener.

mod look;
mod memory;
mod pipe;
mod watch;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wardian_linux::SyscallResult;
use wardian_linux::seccomp::{CallId, Listener};

use super::protocol::Ended;
use pipe::{Pipe, Received};

pub(super) use watch::Watch;

/// Hears of every process that is to execute something, and has the say in it.
#[derive(Debug)]
pub struct ProcessReports {
    listener: Listener,
    pipe: Pipe,
}

/// Nobody hears of anything, and nothing waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    /// For a person.
    pub why: String,
}

/// What pid 1 saw. Numbers and paths are those of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// Waits for [`ProcessReports::permit`] or [`ProcessReports::refuse`].
    Starting { call: Call, start: Start },
    /// What runs is not what was asked for.
    Found { pid: u32, program: Program },
    Exited {
        pid: u32,
        ended: Option<Ended>,
        milliseconds: u64,
    },
}

/// Names a call that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call(u64);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    pub pid: u32,
    pub parent: u32,
    pub program: Program,
    pub directory: OsString,
    /// Why something could not be read, for a person.
    pub unreadable: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub executable: OsString,
    /// The name that the program gets for itself comes first.
    pub arguments: Vec<OsString>,
    /// There was more than [`MOST_BYTES`] of arguments.
    pub truncated: bool,
}

/// How much of a program's arguments is taken down: with it, a report fits into one record.
pub const MOST_BYTES: usize = 8 << 10;

#[derive(Debug)]
pub enum Next {
    Report(Report),
    /// Nothing happened for as long as the caller would wait.
    Nothing,
    /// The sandbox is gone.
    Over,
}

impl ProcessReports {
    /// From the two descriptors that pid 1 sends.
    pub(super) fn from_descriptors([listener, pipe]: [OwnedFd; 2]) -> Self {
        Self {
            listener: Listener::from(listener),
            pipe: Pipe::from(pipe),
        }
    }

    pub fn next(&mut self, patience: Option<Duration>) -> io::Result<Next> {
        Ok(match self.pipe.receive(patience)? {
            Received::Message(report) => Next::Report(report),
            Received::Nothing => Next::Nothing,
            Received::Closed => Next::Over,
        })
    }

    pub fn permit(&self, Call(id): Call) -> SyscallResult<()> {
        self.listener.proceed(CallId(id))
    }

    /// Fails the call with EPERM.
    pub fn refuse(&self, Call(id): Call) -> SyscallResult<()> {
        self.listener.refuse(CallId(id), NOT_PERMITTED)
    }
}

const NOT_PERMITTED: i32 = rustix::io::Errno::PERM.raw_os_error();
