//! Reading single files, of which each may have been put there by a stranger.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix::bstr::{BStr, ByteSlice};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use wardian_linux::{SyscallError, SyscallResult};

use super::RepositoryError;

/// Small files that git writes: `HEAD`, `config`, loose refs. In bytes.
pub(crate) const SMALL: u64 = 4 << 20;
/// `packed-refs`, `index`. In bytes.
pub(crate) const LARGE: u64 = 2 << 30;

/// Content of a regular file, or `None` if there is nothing. Symlinks are followed; a FIFO does not block.
pub(crate) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, RepositoryError> {
    match open(path, most)? {
        Some((file, size)) => content(file, size, path, most).map(Some),
        None => Ok(None),
    }
}

/// Like [`read`], but for the reading. The size is in bytes, as it is now.
pub(crate) fn open(path: &Path, most: u64) -> Result<Option<(File, u64)>, RepositoryError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => regular(file, path, most),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(SyscallError::new(format!("open({path:?})"), errno).into()),
    }
}

/// Content of a regular file below `directory` to which no symlink leads, or `None` if there is none.
///
/// For what is handed on as it is: a repository from elsewhere could have `info/exclude` lead to a secret.
pub(crate) fn read_beneath(
    directory: &Path,
    path: &str,
    most: u64,
) -> Result<Option<Vec<u8>>, RepositoryError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(directory, flags, Mode::empty())
        .map_err(|errno| SyscallError::new(format!("open({directory:?}, O_PATH)"), errno))?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
        Ok(file) => {
            let path = directory.join(path);
            match regular(file, &path, most)? {
                Some((file, size)) => content(file, size, &path, most).map(Some),
                None => Ok(None),
            }
        }
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => {
            let call = format!("openat2({directory:?}, {path:?}, RESOLVE_NO_SYMLINKS)");
            Err(SyscallError::new(call, errno).into())
        }
    }
}

fn regular(file: OwnedFd, path: &Path, most: u64) -> Result<Option<(File, u64)>, RepositoryError> {
    let status = rustix::fs::fstat(&file)
        .map_err(|errno| SyscallError::new(format!("fstat({path:?})"), errno))?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Ok(None),
        _ => return Err(RepositoryError::malformed(path, "not a regular file")),
    }
    match status.st_size.cast_unsigned() {
        size if size > most => Err(RepositoryError::malformed(path, format!("{size} bytes"))),
        size => Ok(Some((File::from(file), size))),
    }
}

fn content(file: File, size: u64, path: &Path, most: u64) -> Result<Vec<u8>, RepositoryError> {
    let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    file.take(most)
        .read_to_end(&mut content)
        .map_err(|error| SyscallError::new(format!("read({path:?})"), error))?;
    Ok(content)
}

/// The first line of a small file, without its end.
pub(crate) fn first_line(path: &Path) -> Result<Option<Vec<u8>>, RepositoryError> {
    let Some(mut content) = read(path, SMALL)? else {
        return Ok(None);
    };
    if let Some(end) = content.iter().position(|byte| *byte == b'\n') {
        content.truncate(end);
    }
    while content.last().is_some_and(|byte| b" \t\r".contains(byte)) {
        content.pop();
    }
    Ok(Some(content))
}

/// Without any symlink, or `None` if nothing is there.
pub(crate) fn canonical(path: &Path) -> SyscallResult<Option<PathBuf>> {
    match std::fs::canonicalize(path) {
        Ok(path) => Ok(Some(path)),
        Err(error)
            if matches!(error.raw_os_error(), Some(code)
            if code == Errno::NOENT.raw_os_error() || code == Errno::NOTDIR.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(SyscallError::new(format!("realpath({path:?})"), error)),
    }
}

/// A descriptor to resolve untrusted paths under.
pub(crate) fn directory(path: &Path) -> SyscallResult<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|errno| SyscallError::new(format!("open({path:?}, O_DIRECTORY)"), errno))
}

pub(crate) fn as_path(name: &BStr) -> &Path {
    Path::new(OsStr::from_bytes(name))
}

pub(crate) fn as_bytes(path: &Path) -> &BStr {
    path.as_os_str().as_bytes().as_bstr()
}
