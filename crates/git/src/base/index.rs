//! `base.index`: the commit's files as the session finds them.
//!
//! Where it can be, it is the user's index itself, by a hard link: that takes no time and no space, and git
//! never writes into an index, but puts another in its place. For all that do not work as git does, size and
//! time of the file are kept in `base.shared`. If it is not that file any more, it is made anew, from the
//! tree: nothing is lost but what was known of the files on disk.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Base;
use crate::session::derive;

pub(crate) const NAME: &str = "base.index";
/// Only there if somebody else has the file as well.
pub(crate) const SHARED: &str = "base.shared";

/// What a file that nobody wrote to has kept: size and time of modification.
pub(crate) fn stamp(file: &File) -> io::Result<String> {
    let status = file.metadata()?;
    let (size, seconds, nanoseconds) = (status.size(), status.mtime(), status.mtime_nsec());
    Ok(format!("{size} {seconds}.{nanoseconds:09}\n"))
}

/// Opens the index in a workspace's state, the commit's as it was at the start.
pub(crate) fn open(state: &Path, base: &Base) -> Result<(File, PathBuf), String> {
    let path = state.join(NAME);
    let shown = |error: io::Error| format!("{path:?}: {error}");
    let noted = match fs::read_to_string(state.join(SHARED)) {
        Ok(noted) => noted,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok((File::open(&path).map_err(shown)?, path));
        }
        Err(error) => return Err(shown(error)),
    };
    if let Ok(file) = File::open(&path)
        && stamp(&file).is_ok_and(|stamp| stamp == noted)
    {
        return Ok((file, path));
    }
    replace(state, &of_tree(base)?).map_err(shown)?;
    Ok((File::open(&path).map_err(shown)?, path))
}

fn of_tree(base: &Base) -> Result<Vec<u8>, String> {
    let kind = base.hash().map_err(|error| error.to_string())?;
    let (Some(tree), Some(objects)) = (&base.tree, base.objects.first()) else {
        return Err("the session has no base".to_owned());
    };
    let tree = gix::ObjectId::from_hex(tree.as_bytes()).map_err(|error| error.to_string())?;
    let objects = gix::odb::at(objects.clone(), kind).map_err(|error| error.to_string())?;
    derive(objects, tree, &gix::index::State::new(kind)).map_err(|error| error.to_string())
}

/// Several may do so at once: they write the same.
fn replace(state: &Path, index: &[u8]) -> io::Result<()> {
    let unfinished = state.join(format!(".{NAME}.{}", std::process::id()));
    fs::write(&unfinished, index)?;
    fs::rename(&unfinished, state.join(NAME))?;
    fs::remove_file(state.join(SHARED)).or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}
