//! Landlock: what a process may reach, on top of all other confinement. See landlock(7).
//!
//! Older kernels know less of it, or nothing. What they know is enforced, and the caller is told.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, RestrictSelfAttr,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, make_bitflags,
};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{SyscallError, SyscallResult};

/// The first version that can scope sockets and signals, of Linux 6.12.
const SCOPES: u8 = 6;

/// The last version whose file system rights are handled here. Later ones restrict connections to
/// sockets in the file system, and networks are none of this module's business.
const FILES: ABI = ABI::V5;

/// What became of a restriction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enforcement {
    Enforced {
        /// The version of Landlock's interface in this kernel.
        abi: u8,
        reach: Reach,
    },
    /// For people.
    NotEnforced { why: String },
}

/// Whom a restriction binds, besides all threads and processes that they start later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    CallingThread,
    /// Since version 8, of Linux 7.0.
    AllThreads,
}

/// The version of Landlock's interface in this kernel; `None` if it has none, or one that was not
/// enabled at boot.
pub fn abi() -> Option<u8> {
    const LANDLOCK_CREATE_RULESET_VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the pointer must be null and the size 0; nothing is read or written.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    match version {
        1.. => Some(u8::try_from(version).unwrap_or(u8::MAX)),
        _ => None,
    }
}

/// For the program inside: its processes can connect to abstract sockets of, send signals to, and
/// trace or look into only one another, not pid 1 or whatever else is in the sandbox. Files are
/// left to its mount namespace: a ruleset over them would forbid all mounts and nested sandboxes.
///
/// Sets `no_new_privs`.
pub fn restrict_program() -> SyscallResult<Enforcement> {
    let Some(abi) = abi() else {
        return Ok(unsupported());
    };
    if abi < SCOPES {
        return Ok(Enforcement::NotEnforced {
            why: format!(
                "version {abi} of Landlock in this kernel cannot scope sockets and signals; \
                 Linux 6.12 can"
            ),
        });
    }
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::AbstractUnixSocket | Scope::Signal)
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.restrict_self())
        .map_err(failed)?;
    Ok(enforcement(abi, &status))
}

/// For a supervisor whose sandbox runs: of the file system it can open only what is at or below the
/// paths given, and execute nothing. Paths that do not exist are passed over. What is open stays
/// usable.
///
/// Mounts can no longer be changed, and processes that are not started by the restricted threads
/// cannot be traced or looked into (`/proc/<pid>/root`, `ns`, `mem`); signals to them still go out.
/// The network is left alone. Sets `no_new_privs`.
///
/// Before version 8, threads that run already stay as they are: to be called before they start, or
/// on each of them.
pub fn restrict_supervisor(
    read_only: &[&Path],
    read_write: &[&Path],
) -> SyscallResult<Enforcement> {
    let Some(abi) = abi() else {
        return Ok(unsupported());
    };
    let status = supervisor_ruleset(read_only, read_write)?
        .restrict_self()
        .map_err(failed)?;
    Ok(enforcement(abi, &status))
}

fn supervisor_ruleset(read_only: &[&Path], read_write: &[&Path]) -> SyscallResult<RulesetCreated> {
    let reading = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let nothing_to_execute_or_device =
        AccessFs::from_all(FILES) & !make_bitflags!(AccessFs::{Execute | MakeChar | MakeBlock});
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(FILES))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.all_threads(true))
        .map_err(failed)?;
    for (paths, access) in [
        (read_only, reading),
        (read_write, nothing_to_execute_or_device),
    ] {
        for path in paths {
            if let Some((place, access)) = open(path, access)? {
                ruleset = ruleset
                    .add_rule(PathBeneath::new(place, access))
                    .map_err(failed)?;
            }
        }
    }
    Ok(ruleset)
}

/// The place that a rule is for, with those of the rights that its kind can have.
fn open(
    path: &Path,
    access: BitFlags<AccessFs>,
) -> SyscallResult<Option<(OwnedFd, BitFlags<AccessFs>)>> {
    let failed = |errno| SyscallError::new(format!("open({path:?}, O_PATH)"), errno);
    let place = match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        place => place.map_err(failed)?,
    };
    let status = rustix::fs::fstat(&place).map_err(failed)?;
    let access = match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => access,
        _ => access & AccessFs::from_file(FILES),
    };
    Ok(Some((place, access)))
}

fn unsupported() -> Enforcement {
    Enforcement::NotEnforced {
        why: "this kernel has no Landlock, or it was not enabled at boot (lsm=landlock,...)".into(),
    }
}

fn enforcement(abi: u8, status: &RestrictionStatus) -> Enforcement {
    match status.ruleset {
        RulesetStatus::NotEnforced => Enforcement::NotEnforced {
            why: format!("version {abi} of Landlock in this kernel knows none of the restrictions"),
        },
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Enforcement::Enforced {
            abi,
            reach: match status.all_threads {
                true => Reach::AllThreads,
                false => Reach::CallingThread,
            },
        },
    }
}

fn failed(error: RulesetError) -> SyscallError {
    let call = match &error {
        RulesetError::CreateRuleset(_) => "landlock_create_ruleset()",
        RulesetError::AddRules(_) => "landlock_add_rule(LANDLOCK_RULE_PATH_BENEATH)",
        RulesetError::RestrictSelf(_) => "landlock_restrict_self()",
        // Found wrong before the kernel was asked.
        _ => "landlock",
    };
    SyscallError::new(call, io_error(&error))
}

/// The kernel's error if there is one below, or else the text.
fn io_error(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(errno) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            return io::Error::from_raw_os_error(errno);
        }
        next = error.source();
    }
    io::Error::other(error.to_string())
}

#[cfg(test)]
mod tests;
