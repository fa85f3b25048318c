//! User namespace id maps. See user_namespaces(7).

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use rustix::process::Pid;

use crate::error::{SyscallError, SyscallResult, check};
use crate::procfs;

/// One line of a map: `length` ids from `inside` on are the parent namespace's from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub length: u32,
}

impl IdRange {
    pub fn one(inside: u32, outside: u32) -> Self {
        Self {
            inside,
            outside,
            length: 1,
        }
    }

    /// The same id on both sides, for every id that `ranges` has inside.
    pub fn identity_of(ranges: &[IdRange]) -> Vec<IdRange> {
        ranges
            .iter()
            .map(|range| IdRange {
                outside: range.inside,
                ..*range
            })
            .collect()
    }

    /// Where `inside` lies in the parent namespace, if it is mapped.
    pub fn outside_of(ranges: &[IdRange], inside: u32) -> Option<u32> {
        ranges.iter().find_map(|range| {
            let offset = inside.checked_sub(range.inside)?;
            (offset < range.length).then(|| range.outside + offset)
        })
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.inside, self.outside, self.length)
    }
}

/// The maps of one user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMaps {
    pub uids: Vec<IdRange>,
    pub gids: Vec<IdRange>,
}

/// How the maps can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapWriter {
    /// The caller holds CAP_SETUID and CAP_SETGID over the parent namespace.
    Privileged,
    /// An ordinary user maps their own uid and gid, and `setgroups` is turned off.
    OwnIdsOnly,
    /// An ordinary user, through the set-uid `newuidmap` and `newgidmap` of the host, for
    /// subordinate ranges.
    Helpers,
}

/// Writes the maps of the user namespace that process `pid` is in.
pub fn write_maps(pid: Pid, maps: &IdMaps, writer: MapWriter) -> SyscallResult<()> {
    match writer {
        MapWriter::Helpers => {
            run_helper("newuidmap", pid, &maps.uids)?;
            run_helper("newgidmap", pid, &maps.gids)
        }
        MapWriter::OwnIdsOnly => {
            let process = procfs::process(pid)?;
            write(&process, "setgroups", "deny")?;
            write(&process, "uid_map", &lines(&maps.uids))?;
            write(&process, "gid_map", &lines(&maps.gids))
        }
        MapWriter::Privileged => {
            let process = procfs::process(pid)?;
            write(&process, "uid_map", &lines(&maps.uids))?;
            write(&process, "gid_map", &lines(&maps.gids))
        }
    }
}

/// The user namespace of process `pid`, for id-mapped mounts.
pub fn of_process(pid: Pid) -> SyscallResult<OwnedFd> {
    procfs::user_namespace(pid)
}

/// Puts the calling process into a new user namespace, where it holds all capabilities until it
/// executes a program.
pub fn unshare() -> SyscallResult<()> {
    check!(
        // SAFETY: unshare takes no pointer; it changes this process's credentials only.
        unsafe { libc::unshare(libc::CLONE_NEWUSER) },
        "unshare(CLONE_NEWUSER)"
    )?;
    Ok(())
}

/// Puts the calling process, which must have one thread, into a user namespace that its user made or
/// that lies below such a one. It holds all capabilities there until it executes a program.
pub fn join(namespace: BorrowedFd<'_>) -> SyscallResult<()> {
    rustix::thread::move_into_link_name_space(
        namespace,
        Some(rustix::thread::LinkNameSpaceType::User),
    )
    .map_err(|errno| SyscallError::new("setns(CLONE_NEWUSER)", errno))
}

/// Sets the real, effective and saved ids of a single-threaded process. Supplementary groups are
/// dropped where that is allowed in this namespace.
pub fn set_ids(uid: u32, gid: u32, groups: SupplementaryGroups) -> SyscallResult<()> {
    if groups == SupplementaryGroups::Drop {
        check!(
            // SAFETY: a count of 0 means that the (null) list is not read.
            unsafe { libc::setgroups(0, std::ptr::null()) },
            "setgroups([])"
        )?;
    }
    check!(
        // SAFETY: takes no pointer.
        unsafe { libc::setresgid(gid, gid, gid) },
        "setresgid({gid})"
    )?;
    check!(
        // SAFETY: takes no pointer.
        unsafe { libc::setresuid(uid, uid, uid) },
        "setresuid({uid})"
    )?;
    Ok(())
}

/// What becomes of the groups that the user has besides their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupplementaryGroups {
    Drop,
    /// `setgroups` is off in a namespace that an ordinary user mapped without helpers.
    Keep,
}

fn write(process: &impl AsFd, file: &str, text: &str) -> SyscallResult<()> {
    procfs::write(process, file, text.as_bytes())
}

fn lines(ranges: &[IdRange]) -> String {
    ranges.iter().map(|range| format!("{range}\n")).collect()
}

fn run_helper(helper: &str, pid: Pid, ranges: &[IdRange]) -> SyscallResult<()> {
    let mut command = Command::new(helper);
    command.arg(pid.as_raw_nonzero().to_string());
    for range in ranges {
        command.args([range.inside, range.outside, range.length].map(|number| number.to_string()));
    }
    command.stdin(Stdio::null()).env_clear();
    let output = command
        .output()
        .map_err(|source| SyscallError::new(format!("execve({helper:?})"), source))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(SyscallError::new(
        format!("{helper} {}", lines(ranges).trim().replace('\n', ", ")),
        io::Error::other(said.trim().to_owned()),
    ))
}
