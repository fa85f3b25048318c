//! Resource limits of one process and its children. See getrlimit(2).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::{SyscallError, SyscallResult};

/// A limit that any process may lower for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Open descriptors of one process.
    OpenFiles,
    /// Processes and threads of one user within their user namespace.
    Processes,
    /// Bytes of one file.
    FileSize,
    /// Bytes of a core dump.
    CoreDump,
}

/// Lowers the soft and the hard limit to `value`. A lower hard limit that is in force already stays:
/// raising it would take CAP_SYS_RESOURCE.
pub fn lower(limit: Limit, value: u64) -> SyscallResult<()> {
    let (resource, name) = match limit {
        Limit::OpenFiles => (Resource::Nofile, "RLIMIT_NOFILE"),
        Limit::Processes => (Resource::Nproc, "RLIMIT_NPROC"),
        Limit::FileSize => (Resource::Fsize, "RLIMIT_FSIZE"),
        Limit::CoreDump => (Resource::Core, "RLIMIT_CORE"),
    };
    let value = getrlimit(resource)
        .maximum
        .map_or(value, |maximum| maximum.min(value));
    let both = Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    setrlimit(resource, both)
        .map_err(|errno| SyscallError::new(format!("setrlimit({name}, {value})"), errno))
}

/// Raises the soft limit on open descriptors to the hard one, which any process may do.
pub fn raise_open_files() -> SyscallResult<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let both = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, both)
        .map_err(|errno| SyscallError::new(format!("setrlimit(RLIMIT_NOFILE, {maximum:?})"), errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{become_ordinary, in_child};

    #[test]
    fn limits_only_go_down() {
        in_child(|| {
            become_ordinary();
            lower(Limit::OpenFiles, 20).unwrap();
            lower(Limit::OpenFiles, 1000).unwrap();
            let open: Vec<_> = (0..30)
                .map_while(|_| std::fs::File::open("/").ok())
                .collect();
            assert!(open.len() < 20, "{}", open.len());
        });
    }

    #[test]
    fn the_soft_limit_goes_up_to_the_hard_one() {
        in_child(|| {
            raise_open_files().unwrap();
            let limit = getrlimit(Resource::Nofile);
            assert_eq!(limit.current, limit.maximum);
        });
    }
}
