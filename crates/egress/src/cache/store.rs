//! Entries on disk: a flat directory that only its user may enter, shared by all of the user's doors.
//!
//! A file is written under a name of its own and renamed when it is whole; nothing is ever changed in place. So whoever
//! has opened an entry has all of it, whatever others do meanwhile.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ring::digest::{Context, SHA256};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use super::entry::{self, FOOTER, Meta};
use super::key::Key;

/// Bytes of all entries. The least recently used go first.
pub const MOST: u64 = 10 << 30;
/// Bytes of one body.
pub const MOST_OF_ONE: u64 = 1 << 30;
/// Bodies up to here are read into memory.
const SMALL: u64 = 1 << 20;
/// What is written under this prefix, with nobody writing to it for this long, was left behind by a crash.
const UNFINISHED: &str = "new-";
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// The directory.
#[derive(Debug)]
pub struct Store {
    directory: OwnedFd,
}

/// What [`Store::trim`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    pub entries: usize,
    pub bytes: u64,
}

/// A whole entry.
#[derive(Debug)]
pub struct Found {
    pub meta: Meta,
    pub body: Body,
}

/// The first `meta.length` bytes of it. A file stands at its beginning.
#[derive(Debug)]
pub enum Body {
    Memory(Bytes),
    File(File),
}

impl Body {
    /// Files of clones share their position.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Memory(bytes) => Self::Memory(bytes.clone()),
            Self::File(file) => Self::File(file.try_clone()?),
        })
    }
}

impl Store {
    /// Makes the directory if it is missing, and refuses one that others than this user may enter.
    pub fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Self::existing(path)
    }

    /// As [`Store::open`], but for a directory that is there.
    pub fn existing(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let status = rustix::fs::fstat(&directory)?;
        let own = status.st_uid == rustix::process::geteuid().as_raw();
        if !own || status.st_mode & 0o077 != 0 {
            let path = path.display();
            return Err(io::Error::other(format!(
                "{path} can be entered by other users"
            )));
        }
        Ok(Self { directory })
    }

    /// The entry, if it is there and whole. A damaged one is removed.
    pub fn find(&self, key: Key) -> io::Result<Option<Found>> {
        let name = key.to_string();
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.directory, &name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            // A symlink, which is none of ours.
            Err(Errno::LOOP) => return self.damaged(key),
            Err(errno) => return Err(errno.into()),
        };
        match read(&name, file)? {
            Some(found) => Ok(Some(found)),
            None => self.damaged(key),
        }
    }

    fn damaged(&self, key: Key) -> io::Result<Option<Found>> {
        tracing::warn!("the entry {key} of the download cache was damaged, and is removed");
        self.remove(key)?;
        Ok(None)
    }

    pub fn remove(&self, key: Key) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, key.to_string(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Begins a file; nobody sees it until it is published.
    pub(super) fn draft(&self) -> io::Result<Draft> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("{UNFINISHED}{:016x}", u64::from_ne_bytes(random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.directory, &name, flags, mode)?;
        Ok(Draft {
            directory: rustix::io::fcntl_dupfd_cloexec(&self.directory, 0)?,
            file: File::from(file),
            name,
            hash: Context::new(&SHA256),
            length: 0,
        })
    }

    /// Removes the least recently used entries until all of them have at most `most` bytes, and what crashes left behind.
    pub fn trim(&self, most: u64) -> io::Result<Freed> {
        let now = SystemTime::now();
        let mut entries = Vec::new();
        let mut freed = Freed::default();
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            let abandoned = name.starts_with(UNFINISHED);
            let is_entry = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !abandoned && !is_entry {
                continue;
            }
            let status = match rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW)
            {
                Ok(status) => status,
                // Another door was faster.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let bytes = status.st_size as u64;
            if is_entry {
                entries.push((
                    status.st_atime,
                    status.st_atime_nsec,
                    name.to_owned(),
                    bytes,
                ));
                continue;
            }
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(status.st_mtime as u64);
            if now.duration_since(written).is_ok_and(|age| age > ABANDONED) {
                self.free(name, bytes, &mut freed)?;
            }
        }
        let mut total: u64 = entries.iter().map(|(.., bytes)| bytes).sum();
        entries.sort();
        for (.., name, bytes) in entries {
            if total <= most {
                break;
            }
            self.free(&name, bytes, &mut freed)?;
            total -= bytes;
        }
        Ok(freed)
    }

    fn free(&self, name: &str, bytes: u64, freed: &mut Freed) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) => {
                freed.entries += 1;
                freed.bytes += bytes;
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Reads and checks all of an entry. None if it is damaged.
fn read(name: &str, file: File) -> io::Result<Option<Found>> {
    let status = file.metadata()?;
    let own = status.uid() == rustix::process::geteuid().as_raw() && status.mode() & 0o022 == 0;
    let size = status.len();
    if !own || !status.is_file() || size > MOST_OF_ONE + (FOOTER + entry::MAX_META) as u64 {
        return Ok(None);
    }
    let mut footer = [0; FOOTER];
    let Some(at) = size.checked_sub(FOOTER as u64) else {
        return Ok(None);
    };
    file.read_exact_at(&mut footer, at)?;
    let length = entry::meta_length(&footer).map(|length| length as u64);
    let Some((length, at)) = length.and_then(|length| Some((length, at.checked_sub(length)?)))
    else {
        return Ok(None);
    };
    let mut bytes = vec![0; length as usize + FOOTER];
    file.read_exact_at(&mut bytes, at)?;
    let Some(meta) = entry::parse(name, size, &bytes) else {
        return Ok(None);
    };
    let mut hash = Context::new(&SHA256);
    let mut small = Vec::new();
    each_block(&file, meta.length, |block| {
        hash.update(block);
        if meta.length <= SMALL {
            small.extend_from_slice(block);
        }
        Ok(())
    })?;
    if hexadecimal(hash) != meta.sha256 {
        return Ok(None);
    }
    // The least recently used are the first to go. A file system that keeps no such times forgets in another order.
    let used = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
        last_modification: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
    };
    let _ = rustix::fs::futimens(&file, &used);
    let body = match meta.length <= SMALL {
        true => Body::Memory(small.into()),
        false => Body::File(file),
    };
    Ok(Some(Found { meta, body }))
}

/// Leaves the file's position where it was.
fn each_block(
    file: &File,
    length: u64,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    let mut at = 0;
    while at < length {
        let want = (length - at).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..want], at)?;
        take(&buffer[..want])?;
        at += want as u64;
    }
    Ok(())
}

fn hexadecimal(hash: Context) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in hash.finish().as_ref() {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A file that is not an entry yet. Dropping it removes it.
pub(super) struct Draft {
    directory: OwnedFd,
    file: File,
    /// Empty once it is published.
    name: String,
    hash: Context,
    pub(super) length: u64,
}

impl Draft {
    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)?;
        self.hash.update(data);
        self.length += data.len() as u64;
        Ok(())
    }

    /// Writes all of `body`, which has `length` bytes.
    pub(super) fn copy(&mut self, body: &Body, length: u64) -> io::Result<()> {
        match body {
            Body::Memory(bytes) => self.write(bytes),
            Body::File(file) => each_block(file, length, |block| self.write(block)),
        }
    }

    /// It becomes the entry of its key, in place of what was there.
    pub(super) fn publish(mut self, key: Key, mut meta: Meta) -> io::Result<()> {
        meta.length = self.length;
        meta.sha256 = hexadecimal(self.hash.clone());
        self.file.write_all(&meta.to_bytes()?)?;
        let (from, to) = (self.name.as_str(), key.to_string());
        rustix::fs::renameat(&self.directory, from, &self.directory, to)?;
        self.name.clear();
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // Else it is swept later.
            let _ = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests;
