//! Removing trees that an agent wrote: never following a symlink, whatever the modes.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use wardian_linux::{SyscallError, procfs};

/// Removes `path` and all below it; what is not there is no error. Directories that their owner
/// locked (overlayfs' own `work` is one) are opened up first. Mounts are not crossed: there are none
/// outside of the sandbox's own mount namespace.
pub fn remove_tree(path: &Path) -> Result<(), SyscallError> {
    let shown = |call: &str, errno| SyscallError::new(format!("{call}({path:?})"), errno);
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(shown("unlink", errno)),
    }
    // Iterative: an agent can nest directories deeper than a stack.
    let mut open = vec![directory(CWD, path).map_err(|errno| shown("open", errno))?];
    let mut names: Vec<std::ffi::CString> = Vec::new();
    while let Some(current) = open.last() {
        match first_subdirectory(current.as_fd()).map_err(|errno| shown("unlinkat", errno))? {
            Some(name) => {
                let child = directory(current.as_fd(), name.as_c_str())
                    .map_err(|errno| shown("openat", errno))?;
                open.push(child);
                names.push(name);
            }
            None => {
                open.pop();
                if let (Some(parent), Some(name)) = (open.last(), names.pop()) {
                    rustix::fs::unlinkat(parent, name.as_c_str(), AtFlags::REMOVEDIR)
                        .map_err(|errno| shown("rmdir", errno))?;
                }
            }
        }
        if open.len() > 200 {
            // Descriptors are finite: flatten what is deep instead of holding a chain of them.
            flatten(&mut open, &mut names, path).map_err(|errno| shown("renameat", errno))?;
        }
    }
    rustix::fs::rmdir(path).map_err(|errno| shown("rmdir", errno))
}

/// Moves the deepest open directory up to the tree's root under a name of ours, and starts over.
fn flatten(
    open: &mut Vec<OwnedFd>,
    names: &mut Vec<std::ffi::CString>,
    _root: &Path,
) -> rustix::io::Result<()> {
    let name = names.pop().ok_or(Errno::INVAL)?;
    open.pop();
    let parent = open.last().ok_or(Errno::INVAL)?;
    for attempt in 0..u32::MAX {
        let target = format!(".wardian-removing-{attempt}");
        match rustix::fs::renameat_with(
            parent,
            name.as_c_str(),
            &open[0],
            target.as_str(),
            rustix::fs::RenameFlags::NOREPLACE,
        ) {
            Err(Errno::EXIST) => {}
            other => {
                other?;
                break;
            }
        }
    }
    open.truncate(1);
    names.clear();
    Ok(())
}

/// Unlinks everything in `current` that is not a directory, and names one directory if there is any.
fn first_subdirectory(current: BorrowedFd<'_>) -> rustix::io::Result<Option<std::ffi::CString>> {
    let mut found = None;
    for entry in Dir::read_from(current)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if is_directory(current, name, entry.file_type())? {
            found.get_or_insert_with(|| name.to_owned());
        } else {
            rustix::fs::unlinkat(current, name, AtFlags::empty())?;
        }
    }
    Ok(found)
}

fn is_directory(parent: BorrowedFd<'_>, name: &CStr, kind: FileType) -> rustix::io::Result<bool> {
    if kind != FileType::Unknown {
        return Ok(kind == FileType::Directory);
    }
    let status = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(status.st_mode) == FileType::Directory)
}

/// Opens a directory that this process owns, giving itself the permission to if need be.
fn directory<P: rustix::path::Arg + Copy>(
    parent: BorrowedFd<'_>,
    name: P,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let path = rustix::fs::openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
            chmod_path(&path)?;
            rustix::fs::openat(parent, name, flags, Mode::empty())?
        }
        other => other?,
    };
    let mode = rustix::fs::fstat(&fd)?.st_mode;
    if mode & 0o700 != 0o700 {
        rustix::fs::fchmod(&fd, Mode::RWXU)?;
    }
    Ok(fd)
}

/// fchmod for an `O_PATH` descriptor, through its own entry in /proc.
fn chmod_path(fd: &OwnedFd) -> rustix::io::Result<()> {
    let path = procfs::path_of(fd).map_err(|_| Errno::ACCESS)?;
    rustix::fs::chmod(path, Mode::RWXU)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn removes_locked_and_deep_trees_but_nothing_behind_links() {
        let base = tempfile::tempdir().unwrap();
        let outside = base.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("canary"), "alive").unwrap();

        let tree = base.path().join("tree");
        fs::create_dir_all(tree.join("work/work")).unwrap();
        fs::write(tree.join("work/file"), "x").unwrap();
        symlink(&outside, tree.join("work/link")).unwrap();
        fs::set_permissions(tree.join("work/work"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(tree.join("work"), fs::Permissions::from_mode(0o500)).unwrap();
        let mut deep = tree.join("deep");
        fs::create_dir(&deep).unwrap();
        for level in 0..600 {
            deep = deep.join(format!("d{}", level % 7));
            fs::create_dir(&deep).unwrap();
        }

        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read_to_string(outside.join("canary")).unwrap(), "alive");
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn a_link_in_place_of_the_tree_is_unlinked() {
        let base = tempfile::tempdir().unwrap();
        let outside = base.path().join("outside");
        fs::create_dir(&outside).unwrap();
        symlink(&outside, base.path().join("tree")).unwrap();
        remove_tree(&base.path().join("tree")).unwrap();
        assert!(outside.exists());
        assert!(!base.path().join("tree").exists());
    }
}
