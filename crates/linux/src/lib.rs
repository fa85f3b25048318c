//! What Wardian asks of the Linux kernel, and the only crate of the workspace with `unsafe` code.

pub mod capabilities;
pub mod cgroup;
pub mod error;
pub mod fdpass;
pub mod jail;
pub mod landlock;
pub mod locked;
pub mod mount;
pub mod mountinfo;
pub mod process;
pub mod procfs;
pub mod rlimit;
pub mod seal;
pub mod seccomp;
pub mod signal;
#[cfg(test)]
mod testing;
pub mod userns;

pub use error::{SyscallError, SyscallResult};
