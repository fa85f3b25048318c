//! Large files that commits only point to. See the specification of Git LFS, docs/spec.md.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::desk::Desk;
use super::destination::Destination;
use super::lock::make_parents;
use super::{TransferError, io_error};
use crate::confined::{Git, SessionRepository, View};

/// What became of the files that new commits point to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lfs {
    /// SHA-256 of those that arrived.
    pub copied: Vec<String>,
    /// Those that the session does not have, or whose content is another. `git lfs fetch` may know them.
    pub missing: Vec<String>,
}

/// A pointer is smaller than that.
const MAX_POINTER: u64 = 1024;
const STORE: &str = "lfs/objects";

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pointer {
    sha256: String,
    size: u64,
}

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
            .join(place(&pointer))
            .exists()
        {
            continue;
        }
        match copy(session, destination, desk, &pointer)? {
            true => lfs.copied.push(pointer.sha256),
            false => lfs.missing.push(pointer.sha256),
        }
    }
    Ok(lfs)
}

fn pointers(git: &Git, arrived: &View) -> Result<BTreeMap<String, Pointer>, TransferError> {
    let git = git.on(arrived);
    let small = git.blobs_below(MAX_POINTER)?;
    let mut pointers = BTreeMap::new();
    for ids in small.chunks(10_000) {
        for content in git.contents(ids, MAX_POINTER)? {
            if let Some(pointer) = Pointer::parse(&content) {
                pointers.insert(pointer.sha256.clone(), pointer);
            }
        }
    }
    Ok(pointers)
}

impl Pointer {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text.lines();
        lines
            .next()?
            .strip_prefix(b"version https://git-lfs.github.com/spec/v1")
            .filter(|rest| rest.is_empty())?;
        let mut value = |key: &[u8]| {
            let line = lines.by_ref().find(|line| line.starts_with(key))?;
            line.get(key.len()..)?.to_str().ok().map(str::to_owned)
        };
        let sha256 = value(b"oid sha256:")?;
        let size = value(b"size ")?.parse().ok()?;
        let is_hash = sha256.len() == 64
            && sha256
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then_some(Self { sha256, size })
    }
}

fn place(pointer: &Pointer) -> PathBuf {
    let hash = &pointer.sha256;
    [&hash[..2], &hash[2..4], hash.as_str()].iter().collect()
}

/// False if the session has no such file, or not with that content.
fn copy(
    session: &SessionRepository,
    destination: &Destination,
    desk: &Desk,
    pointer: &Pointer,
) -> Result<bool, TransferError> {
    let source = Path::new(STORE).join(place(pointer));
    let Some(fd) = session.open_at(&source, OFlags::RDONLY)? else {
        return Ok(false);
    };
    let file = File::from(fd);
    let metadata = file.metadata().map_err(io_error(session.shown(&source)))?;
    if !metadata.is_file() || metadata.len() != pointer.size {
        return Ok(false);
    }
    let staged = desk.directory.join("lfs");
    if hash_into(file, pointer.size, &staged)? != pointer.sha256 {
        return Ok(false);
    }
    let target = destination.common_dir.join(STORE).join(place(pointer));
    make_parents(destination, &target)?;
    destination.share(&staged)?;
    fs::rename(&staged, &target).map_err(io_error(&target))?;
    Ok(true)
}

/// Judged bytes are the bytes that are kept.
fn hash_into(source: File, size: u64, path: &Path) -> Result<String, TransferError> {
    let mut staged = File::create(path).map_err(io_error(path))?;
    let mut source = source.take(size);
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let read = source.read(&mut chunk).map_err(io_error(path))?;
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        staged.write_all(&chunk[..read]).map_err(io_error(path))?;
    }
    staged.sync_all().map_err(io_error(path))?;
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pointers_and_nothing_else() {
        let hash = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let text = |oid: &str| {
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12\n")
        };
        let pointer = Pointer::parse(text(hash).as_bytes()).unwrap();
        assert_eq!((pointer.sha256.as_str(), pointer.size), (hash, 12));
        assert!(place(&pointer).starts_with("4d/7a"));
        for bad in ["../../x", &hash.to_uppercase(), &hash[1..], ""] {
            assert_eq!(Pointer::parse(text(bad).as_bytes()), None, "{bad}");
        }
        assert_eq!(Pointer::parse(b"\xff\x00"), None);
    }
}
