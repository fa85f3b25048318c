//! Where a repository keeps the content of its files of Git LFS: `lfs/objects`.

use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use wardian_filesystem::snapshot::Content;

use crate::pointer::Pointer;

#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    directory: OnceLock<Option<OwnedFd>>,
}

impl Store {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            directory: OnceLock::new(),
        }
    }

    /// `None` unless it is there in full length.
    pub(super) fn open(&self, pointer: &Pointer) -> Option<Content> {
        let directory = self.directory.get_or_init(|| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, &self.path, flags, Mode::empty()).ok()
        });
        let file = rustix::fs::openat2(
            directory.as_ref()?,
            pointer.place(),
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )
        .ok()?;
        let status = rustix::fs::fstat(&file).ok()?;
        let is_whole = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile
            && u64::try_from(status.st_size) == Ok(pointer.size);
        is_whole.then_some(Content::File {
            file,
            size: pointer.size,
        })
    }
}
