//! Inside: the sandbox's own pseudo-terminal, made in its own devpts.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use wardian_linux::SyscallError;

use crate::spec::TerminalSize;

pub(super) struct Terminal {
    pub(super) master: OwnedFd,
    pub(super) slave: OwnedFd,
}

/// Opens a pair of the given size. The slave's path inside is `/dev/pts/0`.
pub(super) fn open(size: TerminalSize) -> Result<Terminal, SyscallError> {
    let master = rustix::fs::open(
        "/dev/pts/ptmx",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| SyscallError::new("open(\"/dev/pts/ptmx\")", errno))?;
    rustix::pty::unlockpt(&master).map_err(|errno| SyscallError::new("unlockpt()", errno))?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        master.as_fd(),
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .map_err(|errno| SyscallError::new("ioctl(TIOCGPTPEER)", errno))?;
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&slave, size)
        .map_err(|errno| SyscallError::new("ioctl(TIOCSWINSZ)", errno))?;
    Ok(Terminal { master, slave })
}
