//! What a snapshot is read from.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use rustix::io::Errno;

use super::error::{Answer, Refusal};

/// Stands for one file, directory or symlink of a source, as long as the source lives. It is the number that
/// programs see as inode number, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub u64);

impl Node {
    /// The top directory.
    pub const ROOT: Self = Self(1);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Directory,
    Plain,
    Executable,
    Symlink,
}

/// What stat(2) says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    /// In bytes. May be wrong for a file that was never read, if to know better costs too much; it is put
    /// right when the file is read first.
    pub size: u64,
    pub modified: SystemTime,
    pub changed: SystemTime,
}

/// An entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child<'a> {
    pub name: &'a OsStr,
    pub node: Node,
    /// Where to go on after this entry. Greater than 0.
    pub next: u64,
}

/// What a caller of [`Source::list`] did with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Yes,
    /// Its buffer is full: the entry was not taken, and no other follows.
    Full,
}

/// A tree that does not change. Asked from several threads at once.
///
/// No name is empty, `.` or `..`, or holds a slash or a zero byte.
pub trait Source: Send + Sync + 'static {
    /// Never fails for a node that was given out, whether or not its content can be had.
    fn facts(&self, node: Node) -> Answer<Facts>;

    fn look_up(&self, directory: Node, name: &OsStr) -> Answer<Node>;

    /// Hands the entries of a directory to `take` until it is full, in an order that stays the same, from
    /// `from` on: 0, or the `next` of an entry.
    fn list(
        &self,
        directory: Node,
        from: u64,
        take: &mut dyn FnMut(Child<'_>) -> Taken,
    ) -> Answer<()>;

    /// The whole of a file, or the target of a symlink. Nothing of it is kept by the source.
    fn content(&self, node: Node) -> Answer<Content>;
}

/// What is in a file.
#[derive(Debug)]
pub enum Content {
    Memory(Vec<u8>),
    /// For what is too large to be held in memory: a file open for reading, from its start on.
    File {
        file: OwnedFd,
        size: u64,
    },
}

impl Content {
    pub fn size(&self) -> u64 {
        match self {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File { size, .. } => *size,
        }
    }

    /// Reads into `buffer` until it is full or the content ends. Returns the number of bytes.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Answer<usize> {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        match self {
            Content::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let piece = bytes.get(start..).and_then(|rest| rest.get(..wanted));
                let piece = piece.unwrap_or_default();
                buffer[..piece.len()].copy_from_slice(piece);
                Ok(piece.len())
            }
            Content::File { file, .. } => {
                let mut filled = 0;
                while filled < wanted {
                    let at = offset.saturating_add(filled as u64);
                    match rustix::io::pread(file, &mut buffer[filled..wanted], at) {
                        // Cut off behind our back: what follows cannot be had.
                        Ok(0) => return Err(Refusal::Unavailable),
                        Ok(count) => filled += count,
                        Err(Errno::INTR) => {}
                        Err(_) => return Err(Refusal::Unavailable),
                    }
                }
                Ok(filled)
            }
        }
    }
}
