//! Signals as data: a signalfd, the mask, and a clean slate before `execve`.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{SyscallError, SyscallResult, check};

/// Delivers the given signals as reads instead of interruptions. Nonblocking, close-on-exec.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks `signals` in the calling thread (threads started later inherit that) and opens the
    /// descriptor. See signalfd(2).
    pub fn new(signals: &[i32]) -> SyscallResult<Self> {
        let set = signal_set(signals);
        check!(
            // SAFETY: `set` is an initialised sigset_t that lives across both calls; the old mask is not asked for.
            unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) },
            "sigprocmask(SIG_BLOCK, {signals:?})"
        )?;
        let fd = check!(
            // SAFETY: as above; -1 asks for a new descriptor.
            unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) },
            "signalfd({signals:?})"
        )?;
        // SAFETY: signalfd succeeded, so `fd` is a fresh descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next pending signal, if any.
    pub fn next(&self) -> SyscallResult<Option<i32>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is writable and `size` bytes long.
        let read = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if read == size as isize {
            // SAFETY: the kernel filled the whole structure, which holds integers only.
            return Ok(Some(unsafe { info.assume_init() }.ssi_signo as i32));
        }
        let error = std::io::Error::last_os_error();
        match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted => Ok(None),
            _ => Err(SyscallError::new("read(signalfd)", error)),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Default dispositions and an empty mask: what a program expects to start with.
pub fn reset() -> SyscallResult<()> {
    for signal in 1..=64 {
        // KILL and STOP, and the two that libc keeps to itself, refuse; the others cannot fail.
        // SAFETY: SIG_DFL installs no handler, so no code pointer is involved.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let empty = signal_set(&[]);
    check!(
        // SAFETY: `empty` is an initialised sigset_t that lives across the call.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &empty, std::ptr::null_mut()) },
        "sigprocmask(SIG_SETMASK, [])"
    )?;
    Ok(())
}

fn signal_set(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the whole set through a valid pointer; sigaddset then gets an
    // initialised set and refuses numbers out of range.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}
