//! Reading and writing the files of a cgroup.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::Access;

use crate::error::{SyscallError, SyscallResult};

/// Writes in one call, as the kernel wants it.
pub(super) fn write(directory: &Path, file: &str, value: &str) -> SyscallResult<()> {
    let path = directory.join(file);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|source| SyscallError::new(format!("write({path:?}, {value:?})"), source))
}

pub(super) fn read(directory: &Path, file: &str) -> SyscallResult<String> {
    let path = directory.join(file);
    std::fs::read_to_string(&path)
        .map_err(|source| SyscallError::new(format!("read({path:?})"), source))
}

/// Whether a list of words such as `cgroup.controllers` has this one. What cannot be read has none.
pub(super) fn lists(directory: &Path, file: &str, word: &str) -> bool {
    read(directory, file).is_ok_and(|list| list.split_whitespace().any(|item| item == word))
}

/// The ids of the processes that are directly in this cgroup. Those that this process's pid namespace
/// does not show are 0.
pub(super) fn members(directory: &Path) -> SyscallResult<Vec<i32>> {
    let list = read(directory, "cgroup.procs")?;
    Ok(list.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Whether this process may make cgroups in `directory`, and bring processes into them from
/// elsewhere below it.
pub(super) fn is_ours_to_divide(directory: &Path) -> bool {
    let may = |path: &Path, access| rustix::fs::access(path, access).is_ok();
    may(directory, Access::WRITE_OK | Access::EXEC_OK)
        && may(&directory.join("cgroup.procs"), Access::WRITE_OK)
}

pub(super) fn is_read_only(directory: &Path) -> bool {
    rustix::fs::access(directory, Access::WRITE_OK) == Err(rustix::io::Errno::ROFS)
}

pub(super) fn exists(error: &SyscallError) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}

/// A cgroup, or a process, that is gone.
pub(super) fn is_gone(error: &SyscallError) -> bool {
    matches!(
        error.errno(),
        Some(libc::ENOENT | libc::ESRCH | libc::ENODEV)
    )
}

/// An existing directory is an error too.
pub(super) fn make_directory(path: &Path) -> SyscallResult<()> {
    std::fs::create_dir(path)
        .map_err(|source| SyscallError::new(format!("mkdir({path:?})"), source))
}
