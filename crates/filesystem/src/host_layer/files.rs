//! Files that are open. One descriptor serves all that have the same file open: a library that a
//! thousand processes map costs one.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::Statx;

use super::error::{Answer, Refusal};

/// Tells one state of a file from any other: replacing or changing it changes its stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    device: (u32, u32),
    inode: u64,
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl From<&Statx> for Stamp {
    fn from(status: &Statx) -> Self {
        Self {
            device: (status.stx_dev_major, status.stx_dev_minor),
            inode: status.stx_ino,
            size: status.stx_size,
            modified: (status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec),
            changed: (status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec),
        }
    }
}

#[derive(Debug)]
struct Shared {
    file: Arc<OwnedFd>,
    handles: usize,
}

#[derive(Debug)]
pub(super) struct OpenFiles {
    next: u64,
    stamps: HashMap<u64, Stamp>,
    files: HashMap<Stamp, Shared>,
    limit: usize,
}

impl OpenFiles {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            next: 1,
            stamps: HashMap::new(),
            files: HashMap::new(),
            limit,
        }
    }

    /// Takes in a file that was just opened. Returns its handle.
    pub(super) fn insert(&mut self, file: OwnedFd, stamp: Stamp) -> Answer<u64> {
        if self.files.len() >= self.limit && !self.files.contains_key(&stamp) {
            return Err(Refusal::TooMany);
        }
        let shared = self.files.entry(stamp).or_insert_with(|| Shared {
            file: Arc::new(file),
            handles: 0,
        });
        shared.handles += 1;
        let handle = self.next;
        self.next += 1;
        self.stamps.insert(handle, stamp);
        Ok(handle)
    }

    pub(super) fn get(&self, handle: u64) -> Answer<Arc<OwnedFd>> {
        let shared = self
            .stamps
            .get(&handle)
            .and_then(|stamp| self.files.get(stamp))
            .ok_or(Refusal::UnknownHandle)?;
        Ok(shared.file.clone())
    }

    pub(super) fn remove(&mut self, handle: u64) {
        let Some(stamp) = self.stamps.remove(&handle) else {
            return;
        };
        if let Some(shared) = self.files.get_mut(&stamp) {
            shared.handles -= 1;
            if shared.handles == 0 {
                self.files.remove(&stamp);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn descriptors(&self) -> usize {
        self.files.len()
    }
}
