//! Large files that commits only point to. See the specification of Git LFS, docs/spec.md.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::destination::Destination;
use super::lock::make_parents;
use super::{TransferError, io_error};
use crate::confined::{Git, SessionRepository, View};
use crate::pointer::{LARGEST_POINTER, Pointer};

/// What became of the files that new commits point to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lfs {
    /// SHA-256 of those that arrived.
    pub copied: Vec<String>,
    /// Those that the session does not have, or whose content is another. `git lfs fetch` may know them.
    pub missing: Vec<String>,
}

const STORE: &str = "lfs/objects";

/// Copies files to the user's store, before a ref leads to the pointers.
pub(super) fn bring(
    git: &Git,
    user: &View,
    session: &SessionRepository,
    destination: &Destination,
    desk: &Desk,
) -> Result<Lfs, TransferError> {
    let mut lfs = Lfs::default();
    if session
        .open_at(Path::new(STORE), OFlags::PATH | OFlags::DIRECTORY)?
        .is_none()
    {
        return Ok(lfs);
    }
    // Nothing but what has just arrived.
    let arrived = user.alone_in(&desk.quarantine);
    for pointer in pointers(git, &arrived)?.into_values() {
        if destination
            .common_dir
            .join(STORE)
            .join(pointer.place())
            .exists()
        {
            continue;
        }
        match copy(session, destination, desk, &pointer)? {
            true => lfs.copied.push(pointer.id),
            false => lfs.missing.push(pointer.id),
        }
    }
    Ok(lfs)
}

fn pointers(git: &Git, arrived: &View) -> Result<BTreeMap<String, Pointer>, TransferError> {
    let git = git.on(arrived);
    let small = git.blobs_below(LARGEST_POINTER)?;
    let mut pointers = BTreeMap::new();
    for ids in small.chunks(10_000) {
        for content in git.contents(ids, LARGEST_POINTER)? {
            if let Some(pointer) = Pointer::parse(&content) {
                pointers.insert(pointer.id.clone(), pointer);
            }
        }
    }
    Ok(pointers)
}

/// False if the session has no such file, or not with that content.
fn copy(
    session: &SessionRepository,
    destination: &Destination,
    desk: &Desk,
    pointer: &Pointer,
) -> Result<bool, TransferError> {
    let source = Path::new(STORE).join(pointer.place());
    let Some(fd) = session.open_at(&source, OFlags::RDONLY)? else {
        return Ok(false);
    };
    let file = File::from(fd);
    let metadata = file.metadata().map_err(io_error(session.shown(&source)))?;
    if !metadata.is_file() || metadata.len() != pointer.size {
        return Ok(false);
    }
    // Judged bytes are the bytes that are kept.
    let staged = desk.directory.join("lfs");
    let mut kept = File::create(&staged).map_err(io_error(&staged))?;
    if !pointer.names(file, &mut kept).map_err(io_error(&staged))? {
        return Ok(false);
    }
    kept.sync_all().map_err(io_error(&staged))?;
    let target = destination.common_dir.join(STORE).join(pointer.place());
    make_parents(destination, &target)?;
    destination.share(&staged)?;
    fs::rename(&staged, &target).map_err(io_error(&target))?;
    Ok(true)
}
