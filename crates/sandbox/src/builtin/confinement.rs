//! Inside, in the program's own process: what it may not do, whatever it executes.

use wardian_linux::rlimit::{self, Limit};
use wardian_linux::seccomp::{self, Profile};
use wardian_linux::{SyscallError, capabilities, landlock};

use crate::spec::{Account, Nesting, WorkspaceMode};

/// Limits that the kernel keeps for each process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Open descriptors of one process.
    pub open_files: Option<u64>,
    /// Processes and threads, where no cgroup counts them.
    pub processes: Option<u64>,
    /// Bytes of one file.
    pub file_size: Option<u64>,
}

/// Takes away, for good, all that a program inside has no business with. The order matters: each
/// step needs what a later one takes.
pub(super) fn confine(
    account: Account,
    nesting: Nesting,
    workspace: WorkspaceMode,
    limits: &ProcessLimits,
) -> Result<(), SyscallError> {
    for (limit, value) in [
        (Limit::OpenFiles, limits.open_files),
        (Limit::Processes, limits.processes),
        (Limit::FileSize, limits.file_size),
        // A dump would go where the host's core_pattern says.
        (Limit::CoreDump, Some(0)),
    ] {
        if let Some(value) = value {
            rlimit::lower(limit, value)?;
        }
    }
    capabilities::keep_only(match (account, nesting) {
        (Account::User, Nesting::Forbidden) => capabilities::NONE,
        (Account::User, Nesting::Allowed) => capabilities::NESTING,
        (Account::Superuser, _) => capabilities::SUPERUSER,
    })?;
    capabilities::forbid_new_privileges()?;
    landlock::restrict_program()?;
    seccomp::install(&Profile {
        nested: nesting == Nesting::Allowed,
        // Bound directories are the host's: a set-user-ID file in one would be one on the host.
        forbid_set_id_bits: workspace == WorkspaceMode::Bind,
    })
}
