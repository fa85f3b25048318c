//! Inside, in the program's own process: what it may not do, whatever it executes.

use rustix::io::Errno;
use wardian_linux::rlimit::{self, Limit};
use wardian_linux::seccomp::{self, Listener, Profile};
use wardian_linux::{SyscallError, capabilities, landlock};

use crate::plan::Access;
use crate::spec::{Account, Mount, Nesting, SandboxSpec, Workspace, WorkspaceMode};

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

/// Where what the program writes ends up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    /// In layers of the sandbox's own, all of them below a directory that nobody else may enter.
    ToLayers,
    /// In directories of the host as well.
    ToHostDirectories,
}

impl Writes {
    pub(super) fn of(spec: &SandboxSpec) -> Self {
        let binds = |(_, workspace): (usize, &Workspace)| workspace.mode == WorkspaceMode::Bind;
        let writes = |mount: &Mount| mount.access == Access::ReadWrite;
        if spec.workspaces.iter().any(binds) || spec.mounts.iter().any(writes) {
            Self::ToHostDirectories
        } else {
            Self::ToLayers
        }
    }
}

/// Whether what is executed from here on can be seen.
#[derive(Debug)]
pub(super) enum Seen {
    /// Whoever has this has the say in it.
    By(Listener),
    Not {
        why: String,
    },
}

/// Takes away, for good, all that a program inside has no business with. The order matters: each
/// step needs what a later one takes.
pub(super) fn confine(
    account: Account,
    nesting: Nesting,
    writes: Writes,
    limits: &ProcessLimits,
) -> Result<Seen, SyscallError> {
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
    let profile = Profile {
        nested: nesting == Nesting::Allowed,
        files_of_the_host: writes == Writes::ToHostDirectories,
    };
    match seccomp::install_with_listener(&profile) {
        Ok(listener) => Ok(Seen::By(listener)),
        // Somebody listens to all of us already, as some containers' managers do. The kernel allows one.
        Err(error) if error.errno() == Some(Errno::BUSY.raw_os_error()) => {
            seccomp::install(&profile)?;
            let why = format!("{error}: another program listens to this one's system calls");
            Ok(Seen::Not { why })
        }
        Err(error) => Err(error),
    }
}
