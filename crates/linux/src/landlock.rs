//! Landlock: what a process may reach, on top of all other confinement. See landlock(7).

use std::path::Path;

use crate::error::SyscallResult;

/// What became of a restriction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enforcement {
    Enforced { abi: u8, reach: Reach },
    NotEnforced { why: String },
}

/// Whom a restriction binds, besides all who are started later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    CallingThread,
    AllThreads,
}

/// The version of Landlock's interface in this kernel; `None` if there is no Landlock.
pub fn abi() -> Option<u8> {
    None
}

pub fn restrict_program() -> SyscallResult<Enforcement> {
    Ok(Enforcement::NotEnforced {
        why: "not implemented".to_owned(),
    })
}

pub fn restrict_supervisor(
    _read_only: &[&Path],
    _read_write: &[&Path],
) -> SyscallResult<Enforcement> {
    Ok(Enforcement::NotEnforced {
        why: "not implemented".to_owned(),
    })
}
