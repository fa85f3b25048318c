//! Where objects are, and the few that are read to begin a session.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::objs::FindExt;
use wardian_linux::SyscallError;

use super::{RepositoryError, files};

/// Alternates of alternates that git follows.
const DEEPEST: usize = 5;

/// The repository's own object directory, then all alternates, without symlinks and each once. As git, it
/// passes over alternates that are not there.
///
/// A sandbox gets to see these directories, so each must look like one.
pub(super) fn directories(common_dir: &Path) -> Result<Vec<PathBuf>, RepositoryError> {
    let own = common_dir.join("objects");
    let own = files::canonical(&own)?
        .ok_or_else(|| RepositoryError::malformed(&own, "there is no such directory"))?;
    let mut found = Vec::new();
    follow(own, 0, &mut found)?;
    Ok(found)
}

fn follow(
    directory: PathBuf,
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), RepositoryError> {
    if found.contains(&directory) {
        return Ok(());
    }
    check(&directory)?;
    let alternates = directory.join("info/alternates");
    found.push(directory.clone());
    if depth == DEEPEST {
        return Ok(());
    }
    let Some(text) = files::read(&alternates, files::SMALL)? else {
        return Ok(());
    };
    let paths = gix::odb::alternate::parse(&text)
        .map_err(|_| RepositoryError::malformed(&alternates, "no list of paths"))?;
    for path in paths {
        if let Some(path) = files::canonical(&directory.join(path))?
            && path.is_dir()
        {
            follow(path, depth + 1, found)?;
        }
    }
    Ok(())
}

/// `objects` and `info/alternates` can name any directory of the user.
fn check(directory: &Path) -> Result<(), RepositoryError> {
    let failed = |error| SyscallError::new(format!("readdir({directory:?})"), error);
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !is_of_objects(&name) {
            return Err(RepositoryError::NotObjects {
                path: directory.to_owned(),
                entry: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

fn is_of_objects(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let is_fan = name.len() == 2 && name.iter().all(u8::is_ascii_hexdigit);
    // What git leaves when it is killed, in objects/ or on a network file system.
    let leftover: [&[u8]; 5] = [b"tmp_", b"incoming-", b"bulk-fsync", b".nfs", b".tmp-"];
    is_fan
        || [
            b"info".as_slice(),
            b"pack",
            b"maintenance.lock",
            b"schedule.lock",
        ]
        .contains(&name)
        || leftover.iter().any(|prefix| name.starts_with(prefix))
}

/// The user's objects, for reading.
pub(crate) fn open(
    directory: &Path,
    kind: gix::hash::Kind,
    replacements: Vec<(ObjectId, ObjectId)>,
) -> Result<gix::odb::Handle, RepositoryError> {
    gix::odb::at_opts(directory, kind, replacements, Default::default())
        .map_err(|error| SyscallError::new(format!("opening {directory:?}"), error).into())
}

/// Tree of a commit.
pub(super) fn tree_of(
    objects: &gix::odb::Handle,
    directory: &Path,
    commit: ObjectId,
) -> Result<ObjectId, RepositoryError> {
    let failed = |problem: String| RepositoryError::Object {
        objects: directory.to_owned(),
        id: commit.to_string(),
        problem,
    };
    let mut buffer = Vec::new();
    let found = objects
        .find_commit_iter(&commit, &mut buffer)
        .map_err(|error| failed(error.to_string()));
    found?.tree_id().map_err(|error| failed(error.to_string()))
}

/// Whether there is a directory at `path` in a tree.
pub(super) fn has_directory(objects: &gix::odb::Handle, tree: ObjectId, path: &Path) -> bool {
    let mut buffer = Vec::new();
    let below = |tree: ObjectId, name: &OsStr| {
        let entries = objects.find_tree_iter(&tree, &mut buffer).ok()?;
        let mut directories = entries.flatten().filter(|entry| entry.mode.is_tree());
        let found = directories.find(|entry| entry.filename == name.as_bytes());
        found.map(|entry| entry.oid.to_owned())
    };
    path.iter().try_fold(tree, below).is_some()
}
