//! The system calls that no program in a sandbox has a use for, refused. See seccomp(2).
//!
//! The filter is a list of refusals ([`table`]), each with its reason, over a default of allowing:
//! what a sandboxed program may *reach* is decided by namespaces, mounts and the absence of
//! capabilities, and this filter takes away parts of the kernel that would only be attack surface.
//! Calls newer than the last that was reviewed do not exist in here.

mod bpf;
mod filter;
mod table;
#[cfg(test)]
mod tests;

use crate::error::{SyscallError, SyscallResult, check, failed};

pub use table::{Condition, Denial, Test, When};

/// Which refusals apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Profile {
    /// Programs may make user namespaces and, as the superuser of one, the other kinds and mounts:
    /// for browsers, bubblewrap, and rootless containers inside. More of the kernel is in reach.
    pub nested: bool,
    /// Programs write to directories that the host sees too: nothing that gives privileges there may
    /// be made, neither set-id bits nor file capabilities nor devices.
    pub files_of_the_host: bool,
}

/// Every refusal there is, for documentation; [`Denial::applies_to`] tells which a profile has.
pub fn table() -> &'static [Denial] {
    table::TABLE
}

/// Filters the calling thread's system calls, and those of all that it starts, for good.
///
/// # Errors
///
/// EACCES unless no_new_privs is set: a filter must not be something that set-user-ID programs run
/// under, nor something that they escape.
pub fn install(profile: &Profile) -> SyscallResult<()> {
    const CALL: &str = "seccomp(SECCOMP_SET_MODE_FILTER)";
    let privileges_are_fixed =
        rustix::thread::no_new_privs().map_err(failed!("prctl(PR_GET_NO_NEW_PRIVS)"))?;
    if !privileges_are_fixed {
        return Err(SyscallError::from_errno(CALL, libc::EACCES));
    }
    let denials = table().iter().filter(|denial| denial.applies_to(profile));
    load(&filter::compile(denials))
}

/// For tests of what happens where the kernel lacks something.
#[cfg(test)]
pub(crate) fn install_only(denials: &[Denial]) {
    rustix::thread::set_no_new_privs(true).unwrap();
    load(&filter::compile(denials.iter())).unwrap();
}

fn load(program: &[libc::sock_filter]) -> SyscallResult<()> {
    let length = u16::try_from(program.len()).unwrap_or(u16::MAX);
    let program = libc::sock_fprog {
        len: length,
        // The kernel only reads it; the C structure lacks the const.
        filter: program.as_ptr().cast_mut(),
    };
    check!(
        // SAFETY: `program` points to `len` instructions that live across the call, which copies them.
        unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            )
        },
        "seccomp(SECCOMP_SET_MODE_FILTER, {length} instructions)"
    )?;
    Ok(())
}
