//! `/proc` opened once and checked to be procfs, so that no file planted there is written in its
//! place. See CVE-2025-52881.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};
use rustix::process::Pid;

use crate::error::{SyscallError, SyscallResult};

/// `/proc/<pid>` of the host, proven to be on procfs.
pub fn process(pid: Pid) -> SyscallResult<OwnedFd> {
    directory(&format!("/proc/{}", pid.as_raw_nonzero()))
}

/// `/proc/self`, proven to be on procfs.
pub fn myself() -> SyscallResult<OwnedFd> {
    directory("/proc/self")
}

fn directory(path: &str) -> SyscallResult<OwnedFd> {
    let failed = |errno| SyscallError::new(format!("open({path:?})"), errno);
    let fd = rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(failed)?;
    let kind = rustix::fs::fstatfs(&fd).map_err(failed)?;
    if kind.f_type != PROC_SUPER_MAGIC {
        return Err(SyscallError::new(
            format!("fstatfs({path:?})"),
            std::io::Error::other("not a procfs: something else is mounted over /proc"),
        ));
    }
    Ok(fd)
}

/// Writes `bytes` in one call to `file` below a directory of procfs. No symlink, magic link or
/// other mount is followed on the way.
pub fn write(directory: impl AsFd, file: &str, bytes: &[u8]) -> SyscallResult<()> {
    let failed = |errno| {
        SyscallError::new(
            format!("write({file:?}, {:?})", bytes.escape_ascii().to_string()),
            errno,
        )
    };
    let fd = rustix::fs::openat2(
        directory,
        file,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )
    .map_err(failed)?;
    let written = rustix::io::write(&fd, bytes).map_err(failed)?;
    if written == bytes.len() {
        Ok(())
    } else {
        Err(failed(rustix::io::Errno::IO))
    }
}
