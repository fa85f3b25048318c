//! Refs that are files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice;
use gix::hash::Kind;
use gix::refs::FullName;
use rustix::fs::{Dir, FileType, OFlags};
use wardian_linux::SyscallError;

use super::{MAX_NAME, MAX_REF_FILE, MAX_REFS, Oddities, RefsError, Target, full_name, too_many};
use crate::confined::{SessionError, SessionRepository};

/// Reads all refs below `refs/` into `targets`; they count for more than packed ones.
pub(super) fn walk(
    session: &SessionRepository,
    format: Kind,
    targets: &mut BTreeMap<FullName, Target>,
    oddities: &mut Oddities,
) -> Result<(), RefsError> {
    let mut directories = vec![PathBuf::from("refs")];
    let mut seen = 0;
    while let Some(directory) = directories.pop() {
        for (name, kind) in entries(session, &directory)? {
            seen += 1;
            if seen > MAX_REFS {
                return Err(too_many(session, Path::new("refs")));
            }
            let path = directory.join(OsStr::from_bytes(&name));
            // Whoever made it may have been interrupted.
            if name.ends_with(b".lock") {
                continue;
            }
            let place = || path.to_string_lossy().into_owned();
            match kind {
                FileType::Directory if path.as_os_str().len() < MAX_NAME => directories.push(path),
                FileType::Directory => oddities.add(place, "name too long"),
                FileType::RegularFile => match target(session, &path, format)? {
                    Ok((name, target)) => {
                        targets.insert(name, target);
                    }
                    Err(why) => oddities.add(place, why),
                },
                _ => oddities.add(place, "not a file"),
            }
        }
    }
    Ok(())
}

/// `None`: gone since the directory was read.
fn target(
    session: &SessionRepository,
    path: &Path,
    format: Kind,
) -> Result<Result<(FullName, Target), &'static str>, RefsError> {
    let name = match full_name(path.as_os_str().as_bytes().as_bstr()) {
        Ok(name) => name,
        Err(why) => return Ok(Err(why)),
    };
    match read(session, path, MAX_REF_FILE) {
        Ok(Some(text)) => Ok(Target::parse(&text, format).map(|target| (name, target))),
        Ok(None) => Ok(Err("gone while it was read")),
        Err(RefsError::TooLarge { .. }) => Ok(Err("too large for a ref")),
        Err(RefsError::Session(_)) => Ok(Err("cannot be read")),
        Err(error) => Err(error),
    }
}

fn entries(
    session: &SessionRepository,
    directory: &Path,
) -> Result<Vec<(Vec<u8>, FileType)>, RefsError> {
    let failed = |errno| SessionError::Syscall {
        path: session.shown(directory),
        source: SyscallError::new(format!("getdents64({directory:?})"), errno),
    };
    let Some(fd) = session.open_at(directory, OFlags::RDONLY | OFlags::DIRECTORY)? else {
        return Ok(Vec::new());
    };
    let mut entries = Vec::new();
    for entry in Dir::new(fd).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        entries.push((name.to_owned(), entry.file_type()));
        if entries.len() > MAX_REFS {
            return Err(too_many(session, directory));
        }
    }
    Ok(entries)
}

/// A regular file of at most `limit` bytes; `None` if there is nothing of that name.
pub(super) fn read(
    session: &SessionRepository,
    path: &Path,
    limit: usize,
) -> Result<Option<Vec<u8>>, RefsError> {
    let Some(file) = open_file(session, path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let read = file.take(limit as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|source| RefsError::Io {
        path: session.shown(path),
        source,
    })?;
    if bytes.len() > limit {
        let path = session.shown(path);
        return Err(RefsError::TooLarge { path, limit });
    }
    Ok(Some(bytes))
}

/// A regular file, for nothing else can be read without surprises.
pub(super) fn open_file(
    session: &SessionRepository,
    path: &Path,
) -> Result<Option<File>, RefsError> {
    let Some(fd) = session.open_at(path, OFlags::RDONLY)? else {
        return Ok(None);
    };
    let file = File::from(fd);
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    match is_file {
        true => Ok(Some(file)),
        false => Err(SessionError::OddEntry {
            path: session.shown(path),
            kind: "not a file",
        }
        .into()),
    }
}
