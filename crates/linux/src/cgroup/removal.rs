//! Ending what runs in a cgroup, and removing it.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::{PARENT, file};
use crate::error::{SyscallError, SyscallResult};

/// How long processes may take to die after SIGKILL, and a cgroup to become empty.
const PATIENCE: Duration = Duration::from_secs(2);

const PAUSE: Duration = Duration::from_millis(2);

/// As [`super::remove_stale`].
pub(super) fn remove_stale(path: &Path) -> SyscallResult<()> {
    if !is_ours(path) {
        return Err(refused(path, "not a cgroup of a sandbox"));
    }
    let directory = rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let directory = match directory {
        Err(rustix::io::Errno::NOENT) => {
            remove_parent(path);
            return Ok(());
        }
        directory => {
            directory.map_err(|errno| SyscallError::new(format!("open({path:?})"), errno))?
        }
    };
    require_cgroup(path, &directory)?;
    kill(path)?;
    remove(path)
}

/// Kills all that is in the cgroup and those below it, and waits until nothing is.
pub(super) fn kill(path: &Path) -> SyscallResult<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let tree = tree(path)?;
        let mut empty = true;
        for cgroup in &tree {
            empty &= kill_members(cgroup)?;
        }
        if empty {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(refused(path, "processes in it do not end"));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Removes the cgroup and those below it, none of which has a process that is alive, and then the
/// parent that all of ours share if this was the last.
pub(super) fn remove(path: &Path) -> SyscallResult<()> {
    let deadline = Instant::now() + PATIENCE;
    for cgroup in tree(path)? {
        loop {
            match rustix::fs::rmdir(&cgroup) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => break,
                // Processes that are still on their way out.
                Err(rustix::io::Errno::BUSY) if Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                Err(errno) => {
                    return Err(SyscallError::new(format!("rmdir({cgroup:?})"), errno));
                }
            }
        }
    }
    remove_parent(path);
    Ok(())
}

/// Other sandboxes may be using it, or this process may not remove it; then it stays.
fn remove_parent(path: &Path) {
    if let Some(parent) = path.parent() {
        let _ = rustix::fs::rmdir(parent);
    }
}

pub(super) fn is_empty(path: &Path) -> SyscallResult<bool> {
    for cgroup in tree(path)? {
        match file::members(&cgroup) {
            Ok(members) if members.is_empty() => {}
            Ok(_) => return Ok(false),
            Err(error) if file::is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// `<absolute>/wardian/<name>`
fn is_ours(path: &Path) -> bool {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let name = path.file_name().and_then(OsStr::to_str);
    let valid = |name: &str| {
        name.bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    let parent = path.parent().and_then(Path::file_name);
    path.is_absolute() && plain && name.is_some_and(valid) && parent == Some(OsStr::new(PARENT))
}

fn require_cgroup(path: &Path, directory: &OwnedFd) -> SyscallResult<()> {
    let status = rustix::fs::fstatfs(directory)
        .map_err(|errno| SyscallError::new(format!("fstatfs({path:?})"), errno))?;
    match status.f_type {
        libc::CGROUP_SUPER_MAGIC | libc::CGROUP2_SUPER_MAGIC => Ok(()),
        _ => Err(refused(path, "not on a cgroup filesystem")),
    }
}

fn refused(path: &Path, why: &str) -> SyscallError {
    SyscallError::new(
        format!("remove cgroup {path:?}"),
        std::io::Error::other(why.to_owned()),
    )
}

/// The cgroup and all below it, the innermost first. What vanishes meanwhile is left out.
fn tree(path: &Path) -> SyscallResult<Vec<PathBuf>> {
    let mut found = vec![path.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next).cloned() {
        next += 1;
        let failed = |source| SyscallError::new(format!("readdir({directory:?})"), source);
        let entries = match std::fs::read_dir(&directory).map_err(failed) {
            Err(error) if file::is_gone(&error) => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path());
            }
        }
    }
    found.reverse();
    Ok(found)
}

/// Whether there was nothing to kill.
fn kill_members(cgroup: &Path) -> SyscallResult<bool> {
    let members = match file::members(cgroup) {
        Err(error) if file::is_gone(&error) => return Ok(true),
        members => members?,
    };
    if members.is_empty() {
        return Ok(true);
    }
    // One blow for all, forks in flight included. Version 2 only, since Linux 5.14.
    if file::write(cgroup, "cgroup.kill", "1").is_ok() {
        return Ok(false);
    }
    // Where processes are counted, no more of them from now on.
    let _ = file::write(cgroup, "pids.max", "0");
    // An id can pass to a process elsewhere before it is killed, a descriptor cannot: whoever is
    // still listed after it was opened is whom the descriptor holds, or has ended.
    let held: Vec<_> = members
        .into_iter()
        .filter_map(|member| {
            let pid = Pid::from_raw(member)?;
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
            Some((member, pidfd))
        })
        .collect();
    let still = match file::members(cgroup) {
        Err(error) if file::is_gone(&error) => return Ok(true),
        still => still?,
    };
    for (member, pidfd) in held {
        if still.contains(&member) {
            // It may have ended by itself.
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
    Ok(false)
}
