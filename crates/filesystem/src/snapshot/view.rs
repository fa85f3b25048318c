//! What the mount shows: answers to the kernel's questions, without the kernel.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use fuser::{FileAttr, FileType, INodeNo};

use super::contents::Contents;
use super::error::{Answer, Refusal};
use super::source::{Child, Content, Facts, Kind, Node, Source, Taken};
use super::{MAX_READ, Owner, Snapshot};

#[derive(Debug)]
pub(super) struct View<S> {
    source: S,
    owner: Owner,
    contents: Contents,
    /// True sizes of the files that the source was wrong about.
    corrected: Mutex<HashMap<Node, u64>>,
}

/// What came of a read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) bytes: Piece,
    pub(super) size: Size,
}

/// Whether the file is as long as its attributes said. If not, they say it right from now on; those that
/// the kernel has do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    AsTold,
    Shorter,
    Longer,
}

#[derive(Debug)]
pub(super) enum Piece {
    Shared(Arc<Content>, Range<usize>),
    Own(Vec<u8>),
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Piece::Own(bytes) => bytes,
            Piece::Shared(content, range) => match &**content {
                Content::Memory(bytes) => bytes.get(range.clone()).unwrap_or_default(),
                Content::File { .. } => &[],
            },
        }
    }
}

impl<S: Source> View<S> {
    pub(super) fn new(snapshot: Snapshot<S>) -> Self {
        let Snapshot { source, owner } = snapshot;
        Self {
            source,
            owner,
            contents: Contents::default(),
            corrected: Mutex::default(),
        }
    }

    pub(super) fn look_up(&self, directory: Node, name: &OsStr) -> Answer<FileAttr> {
        self.attributes(self.source.look_up(directory, name)?)
    }

    pub(super) fn attributes(&self, node: Node) -> Answer<FileAttr> {
        let facts = self.facts(node)?;
        Ok(FileAttr {
            ino: INodeNo(node.0),
            size: facts.size,
            blocks: facts.size.div_ceil(512),
            atime: facts.modified,
            mtime: facts.modified,
            ctime: facts.changed,
            crtime: UNIX_EPOCH,
            kind: match facts.kind {
                Kind::Directory => FileType::Directory,
                Kind::Plain | Kind::Executable => FileType::RegularFile,
                Kind::Symlink => FileType::Symlink,
            },
            perm: match facts.kind {
                Kind::Directory | Kind::Executable => 0o755,
                Kind::Plain => 0o644,
                Kind::Symlink => 0o777,
            },
            // 1 for a directory, too: programs take 2 for "has no directory in it".
            nlink: 1,
            uid: self.owner.uid,
            gid: self.owner.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    pub(super) fn read_link(&self, node: Node) -> Answer<Vec<u8>> {
        if self.source.facts(node)?.kind != Kind::Symlink {
            return Err(Refusal::WrongKind);
        }
        match self.source.content(node)? {
            Content::Memory(target) => Ok(target),
            Content::File { .. } => Err(Refusal::Unavailable),
        }
    }

    /// At most `size` bytes from `offset` on; fewer only at the end of the file.
    pub(super) fn read(&self, node: Node, offset: u64, size: u32) -> Answer<Read> {
        let facts = self.facts(node)?;
        if !matches!(facts.kind, Kind::Plain | Kind::Executable) {
            return Err(Refusal::WrongKind);
        }
        let make = || self.source.content(node);
        // What is read whole is not asked for again: the kernel has it then.
        let content = if offset == 0 && u64::from(size) >= facts.size {
            make().map(Arc::new)?
        } else {
            self.contents.get(node, make)?
        };
        let correct = self.correct(node, facts.size, content.size());
        Ok(Read {
            bytes: piece(content, offset, size.min(MAX_READ))?,
            size: correct,
        })
    }

    /// Hands entries of a directory to `take` until it is full, from `offset` on: 0, or an entry's `next`.
    pub(super) fn list(
        &self,
        directory: Node,
        offset: u64,
        mut take: impl FnMut(Child<'_>) -> Taken,
    ) -> Answer<()> {
        self.source.list(directory, offset, &mut take)
    }

    pub(super) fn kind(&self, node: Node) -> Answer<FileType> {
        Ok(match self.source.facts(node)?.kind {
            Kind::Directory => FileType::Directory,
            Kind::Plain | Kind::Executable => FileType::RegularFile,
            Kind::Symlink => FileType::Symlink,
        })
    }

    fn facts(&self, node: Node) -> Answer<Facts> {
        let mut facts = self.source.facts(node)?;
        if let Some(size) = lock(&self.corrected).get(&node) {
            facts.size = *size;
        }
        Ok(facts)
    }

    fn correct(&self, node: Node, told: u64, real: u64) -> Size {
        let size = match real.cmp(&told) {
            Ordering::Equal => return Size::AsTold,
            Ordering::Less => Size::Shorter,
            Ordering::Greater => Size::Longer,
        };
        lock(&self.corrected).insert(node, real);
        size
    }
}

fn piece(content: Arc<Content>, offset: u64, size: u32) -> Answer<Piece> {
    match &*content {
        Content::Memory(bytes) => {
            let start = usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            let end = start.saturating_add(size as usize).min(bytes.len());
            Ok(Piece::Shared(content, start..end))
        }
        Content::File { .. } => {
            let mut bytes = vec![0; size as usize];
            let filled = content.read_at(offset, &mut bytes)?;
            bytes.truncate(filled);
            Ok(Piece::Own(bytes))
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No critical section leaves its value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
