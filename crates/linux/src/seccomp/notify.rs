//! Calls that wait until somebody has looked at them. See seccomp_unotify(2).
//!
//! A listener sees the arguments as they were given, and pointers among them lead to memory that other
//! threads can write to: between a look and the call itself it may change. So what is read by way of these
//! pointers says what was asked for, and is nothing to decide on.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::process::Pid;

use crate::error::{SyscallError, SyscallResult, check};

/// The calls by which a process becomes another program. There are no others: io_uring has no such operation.
pub(super) const EXECUTIONS: [u32; 2] = [libc::SYS_execve as u32, libc::SYS_execveat as u32];

/// Gets the calls to decide on. Can be held by several processes; whoever takes a call sees the ids of
/// its own pid namespace.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// One waiting call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallId(pub u64);

/// An `execveat`, or an `execve`, which is one with `AT_FDCWD` and no flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingExec {
    pub id: CallId,
    /// Which waits. Its process may have others.
    pub thread: Pid,
    /// A descriptor of the thread's, or `AT_FDCWD`.
    pub directory: i32,
    /// Where, in its memory, the path is, and the list of arguments.
    pub path: u64,
    pub arguments: u64,
    pub flags: i32,
}

impl Listener {
    /// Another handle, for another process.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// The next call, once the listener is readable; `None` if who made it is gone. There must be no other
    /// who takes calls, or this waits for the next one.
    pub fn next(&self) -> SyscallResult<Option<WaitingExec>> {
        // SAFETY: all fields are integers, for which zeroes are valid; the kernel asks for zeroes.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: `call` is writable, and of the size that the request's number tells.
        let taken =
            unsafe { libc::ioctl(self.number(), libc::SECCOMP_IOCTL_NOTIF_RECV, &mut call) };
        match check!(taken, "ioctl(SECCOMP_IOCTL_NOTIF_RECV)") {
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
            Err(error) => Err(error),
            Ok(_) => WaitingExec::from(&call).map(Some),
        }
    }

    /// Whether the call still waits: else its thread's number may be another's by now.
    pub fn is_waiting(&self, CallId(id): CallId) -> bool {
        // SAFETY: the request reads a u64, which lives across the call.
        let answer = unsafe {
            libc::ioctl(
                self.number(),
                libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
                &raw const id,
            )
        };
        answer == 0
    }

    /// Lets the kernel carry the call out. One whose process is gone is no error.
    pub fn proceed(&self, id: CallId) -> SyscallResult<()> {
        self.answer(id, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32)
    }

    /// Fails the call with `errno`. One whose process is gone is no error.
    pub fn refuse(&self, id: CallId, errno: i32) -> SyscallResult<()> {
        self.answer(id, -errno, 0)
    }

    fn answer(&self, CallId(id): CallId, error: i32, flags: u32) -> SyscallResult<()> {
        let mut answer = libc::seccomp_notif_resp {
            id,
            val: 0,
            error,
            flags,
        };
        let request = libc::SECCOMP_IOCTL_NOTIF_SEND;
        // SAFETY: `answer` lives across the call, and is of the size that the request's number tells.
        let answered = unsafe { libc::ioctl(self.number(), request, &mut answer) };
        match check!(answered, "ioctl(SECCOMP_IOCTL_NOTIF_SEND, {error})") {
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(()),
            answered => answered.map(drop),
        }
    }

    fn number(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

impl WaitingExec {
    fn from(call: &libc::seccomp_notif) -> SyscallResult<Self> {
        let [first, second, third, _, fifth, _] = call.data.args;
        // The kernel, too, takes the low half of what is an int.
        let low = |argument: u64| argument as i32;
        let (directory, path, arguments, flags) = match i64::from(call.data.nr) {
            libc::SYS_execveat => (low(first), second, third, low(fifth)),
            _ => (libc::AT_FDCWD, first, second, 0),
        };
        let thread = i32::try_from(call.pid).ok().and_then(Pid::from_raw);
        Ok(Self {
            id: CallId(call.id),
            thread: thread.ok_or_else(|| {
                // The filter is of a process that the taker's pid namespace does not show.
                SyscallError::from_errno("ioctl(SECCOMP_IOCTL_NOTIF_RECV)", libc::ESRCH)
            })?,
            directory,
            path,
            arguments,
            flags,
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

#[cfg(test)]
mod tests;
