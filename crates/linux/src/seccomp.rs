//! The system calls that no program in a sandbox has a use for, refused. See seccomp(2).
//!
//! The filter is a list of refusals ([`table`]), each with its reason, over a default of allowing:
//! what a sandboxed program may *reach* is decided by namespaces, mounts and the absence of
//! capabilities, and this filter takes away parts of the kernel that would only be attack surface.
//! Calls newer than the last that was reviewed do not exist in here.

mod bpf;
mod filter;
mod notify;
mod table;
#[cfg(test)]
mod tests;

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::error::{SyscallError, SyscallResult, check, failed};

pub use notify::{CallId, Listener, WaitingExec};
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
    require_fixed_privileges()?;
    load(&compiled(profile, &[])).map(drop)
}

/// As [`install`], and whoever holds the listener decides on each `execve` and `execveat`. What is refused by
/// the table stays refused; without a listener, both fail with ENOSYS.
///
/// # Errors
///
/// EBUSY if the thread is under a filter with a listener already: the kernel allows one. The same goes for
/// filters that programs under this one install.
pub fn install_with_listener(profile: &Profile) -> SyscallResult<Listener> {
    require_fixed_privileges()?;
    let program = compiled(profile, &notify::EXECUTIONS);
    let listening = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // Else a signal could interrupt a call that is being looked at, and it would be made, and seen, again.
    // Since Linux 5.19.
    let undisturbed = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let listener = match load_with(&program, listening | undisturbed) {
        Err(error) if error.errno() == Some(libc::EINVAL) => load_with(&program, listening)?,
        listener => listener?,
    };
    // SAFETY: with SECCOMP_FILTER_FLAG_NEW_LISTENER the call returns a fresh descriptor that nobody else owns.
    Ok(Listener::from(unsafe { OwnedFd::from_raw_fd(listener) }))
}

fn require_fixed_privileges() -> SyscallResult<()> {
    let fixed = rustix::thread::no_new_privs().map_err(failed!("prctl(PR_GET_NO_NEW_PRIVS)"))?;
    match fixed {
        true => Ok(()),
        false => Err(SyscallError::from_errno(
            "seccomp(SECCOMP_SET_MODE_FILTER)",
            libc::EACCES,
        )),
    }
}

fn compiled(profile: &Profile, asked_about: &[u32]) -> bpf::Program {
    let denials = table().iter().filter(|denial| denial.applies_to(profile));
    filter::compile(denials, asked_about)
}

/// For tests of what happens where the kernel lacks something.
#[cfg(test)]
pub(crate) fn install_only(denials: &[Denial]) {
    rustix::thread::set_no_new_privs(true).unwrap();
    load(&filter::compile(denials.iter(), &[])).unwrap();
}

fn load(program: &[libc::sock_filter]) -> SyscallResult<()> {
    load_with(program, 0).map(drop)
}

/// Returns what the kernel does: the listener, if the flags ask for one.
fn load_with(program: &[libc::sock_filter], flags: libc::c_ulong) -> SyscallResult<RawFd> {
    let length = u16::try_from(program.len()).unwrap_or(u16::MAX);
    let program = libc::sock_fprog {
        len: length,
        // The kernel only reads it; the C structure lacks the const.
        filter: program.as_ptr().cast_mut(),
    };
    let returned = check!(
        // SAFETY: `program` points to `len` instructions that live across the call, which copies them.
        unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        },
        "seccomp(SECCOMP_SET_MODE_FILTER, flags {flags:#x}, {length} instructions)"
    )?;
    Ok(RawFd::try_from(returned).unwrap_or(-1))
}
