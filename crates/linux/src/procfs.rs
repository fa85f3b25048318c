//! procfs, proven to be what it seems before anything is written to it.
//!
//! Set-up writes id maps, limits and settings to files below `/proc`. Whoever prepares the mount
//! namespace that it runs in can put other files in their places, and then what was to be confined
//! is not, or something else is written (CVE-2025-52881). Nothing here goes through
//!
//! - another file system at `/proc`, or a part of procfs instead of its root;
//! - the procfs of another pid namespace, in which a number means another process;
//! - a mount or a symlink on the way to a file, or over the file itself.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::{SyscallError, SyscallResult, failed};

/// `PROC_ROOT_INO` of the kernel's `proc_ns.h`, which is part of its interface.
const ROOT_INODE: u64 = 1;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const NOWHERE_ELSE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_XDEV)
    .union(ResolveFlags::NO_MAGICLINKS);

/// `/proc` as it was when it was opened, for who looks at many processes of this pid namespace.
#[derive(Debug)]
pub struct Processes(OwnedFd);

impl Processes {
    pub fn open() -> SyscallResult<Self> {
        let root = root()?;
        require_own_pid_namespace(&root)?;
        Ok(Self(root))
    }

    /// `/proc/<pid>`, also of a thread.
    pub fn process(&self, pid: Pid) -> SyscallResult<OwnedFd> {
        directory(&self.0, &pid.as_raw_nonzero().to_string())
    }
}

/// `/proc/<pid>` of a process of this pid namespace.
pub fn process(pid: Pid) -> SyscallResult<OwnedFd> {
    let root = root()?;
    require_own_pid_namespace(&root)?;
    directory(&root, &pid.as_raw_nonzero().to_string())
}

/// `/proc/self`, in whatever pid namespace's procfs.
pub fn myself() -> SyscallResult<OwnedFd> {
    // The only symlink that is followed: procfs's own, or NO_XDEV would refuse it.
    directory(&root()?, "self")
}

/// `/proc/sys/net`, which shows the network namespace of the thread that looks.
pub fn network_settings() -> SyscallResult<OwnedFd> {
    directory(&root()?, "sys/net")
}

/// Writes `bytes` in one call to `file` below a directory of procfs.
pub fn write(directory: impl AsFd, file: &str, bytes: &[u8]) -> SyscallResult<()> {
    let fd = file_below(directory, file, OFlags::WRONLY)?;
    let failed = |errno| {
        SyscallError::new(
            format!("write({file:?}, {:?})", bytes.escape_ascii().to_string()),
            errno,
        )
    };
    let written = rustix::io::write(&fd, bytes).map_err(failed)?;
    if written == bytes.len() {
        Ok(())
    } else {
        Err(failed(Errno::IO))
    }
}

/// `file` below a directory of procfs, to be read.
pub fn open(directory: impl AsFd, file: &str) -> SyscallResult<File> {
    file_below(directory, file, OFlags::RDONLY).map(File::from)
}

/// The text of a link below a directory of procfs, such as `exe`.
pub fn link(directory: impl AsFd, file: &str) -> SyscallResult<OsString> {
    let target = rustix::fs::readlinkat(directory, file, Vec::new())
        .map_err(failed!("readlink({file:?})"))?;
    Ok(OsString::from_vec(target.into_bytes()))
}

/// The text of `file` below a directory of procfs.
pub fn read(directory: impl AsFd, file: &str) -> SyscallResult<String> {
    let mut text = String::new();
    open(directory, file)?
        .read_to_string(&mut text)
        .map_err(failed!("read({file:?})"))?;
    Ok(text)
}

/// The user namespace of process `pid`.
pub fn user_namespace(pid: Pid) -> SyscallResult<OwnedFd> {
    const LINK: &str = "ns/user";
    let process = process(pid)?;
    // The link itself, under the rules of this module, tells where it leads; following it cannot be
    // under these rules, because it leaves procfs.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let link = rustix::fs::openat2(&process, LINK, flags, Mode::empty(), NOWHERE_ELSE)
        .map_err(failed_below(LINK))?;
    let told = rustix::fs::readlinkat(&link, "", Vec::new())
        .map_err(failed!("readlink({LINK:?})"))?
        .into_bytes();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::openat(&process, LINK, flags, Mode::empty())
        .map_err(failed!("open({LINK:?})"))?;
    let kind = rustix::fs::fstatfs(&namespace).map_err(failed!("fstatfs({LINK:?})"))?;
    let (_, inode) = identity(&namespace)?;
    if kind.f_type == libc::NSFS_MAGIC && told == format!("user:[{inode}]").into_bytes() {
        Ok(namespace)
    } else {
        Err(planted(LINK, "something is mounted over it"))
    }
}

/// A path of an open file, for system calls that take nothing else. There is none where procfs was
/// tampered with, so that the path would lead to another file.
pub fn path_of(fd: impl AsFd) -> SyscallResult<String> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let reached =
        rustix::fs::open(&path, flags, Mode::empty()).map_err(failed!("open({path:?}, O_PATH)"))?;
    if identity(&reached)? == identity(fd)? {
        Ok(path)
    } else {
        Err(planted(&path, "leads to another file"))
    }
}

/// `/proc` itself.
fn root() -> SyscallResult<OwnedFd> {
    const PATH: &str = "/proc";
    let root = rustix::fs::open(PATH, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
        .map_err(failed!("open({PATH:?})"))?;
    let kind = rustix::fs::fstatfs(&root).map_err(failed!("fstatfs({PATH:?})"))?;
    let (_, inode) = identity(&root)?;
    if kind.f_type == PROC_SUPER_MAGIC && inode == ROOT_INODE {
        Ok(root)
    } else {
        Err(planted(
            PATH,
            "not a procfs: something else is mounted over it",
        ))
    }
}

/// From the namespace that a procfs is of inward, `NSpid` lists the numbers of a process. See
/// proc_pid_status(5).
fn require_own_pid_namespace(root: &OwnedFd) -> SyscallResult<()> {
    let status = read(directory(root, "self")?, "status")?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let own = rustix::process::getpid().as_raw_nonzero().to_string();
    if numbers.map(str::trim) == Some(&own) {
        Ok(())
    } else {
        Err(planted(
            "/proc",
            "shows the processes of another pid namespace",
        ))
    }
}

fn directory(root: &OwnedFd, path: &str) -> SyscallResult<OwnedFd> {
    rustix::fs::openat2(root, path, DIRECTORY, Mode::empty(), NOWHERE_ELSE)
        .map_err(failed_below(&format!("/proc/{path}")))
}

fn file_below(directory: impl AsFd, file: &str, access: OFlags) -> SyscallResult<OwnedFd> {
    let resolve = NOWHERE_ELSE | ResolveFlags::NO_SYMLINKS;
    let flags = access | OFlags::CLOEXEC;
    rustix::fs::openat2(directory, file, flags, Mode::empty(), resolve).map_err(failed_below(file))
}

fn failed_below(path: &str) -> impl Fn(Errno) -> SyscallError {
    move |errno| match errno {
        Errno::XDEV => planted(path, "something is mounted over it, or on the way to it"),
        errno => SyscallError::new(format!("openat2({path:?})"), errno),
    }
}

fn planted(path: &str, what: &str) -> SyscallError {
    SyscallError::new(format!("openat2({path:?})"), io::Error::other(what))
}

/// Device and inode.
fn identity(fd: impl AsFd) -> SyscallResult<(u64, u64)> {
    let status = rustix::fs::fstat(fd).map_err(failed!("fstat()"))?;
    Ok((status.st_dev, status.st_ino))
}

#[cfg(test)]
mod tests;
