//! Where the bytes of a journal go.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

/// A file, or a stand-in for one. Methods take `&self`: writes come under the journal's lock, syncs do not.
pub trait Sink: fmt::Debug + Send + Sync {
    /// One attempt to put `bytes` at the end; returns how many it took.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts off what is past `length`.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Returns when what was written would survive the loss of power.
    fn sync(&self) -> io::Result<()>;
}

impl Sink for File {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&mut &*self).write(bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A journal in memory, for tests. Clones are the same journal. Can be given an end, to play a full disk.
#[derive(Debug, Clone)]
pub struct MemorySink {
    bytes: Arc<Mutex<Vec<u8>>>,
    capacity: usize,
}

impl Default for MemorySink {
    fn default() -> Self {
        Self::with_capacity(usize::MAX)
    }
}

impl MemorySink {
    /// Takes `capacity` bytes; the write that goes past comes out short, further ones fail with `ENOSPC`.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Arc::default(),
            capacity,
        }
    }

    /// All that was written so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Sink for MemorySink {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut held = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.capacity - held.len();
        if room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = room.min(bytes.len());
        held.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .truncate(length);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
