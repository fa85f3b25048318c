//! Counting changes, and listing as many as one record holds.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use wardian_events::{
    ChangeKind, Digest, FileChange, FileType, FilesChanged, FilesOf, visible_bytes,
};

/// About how long the list may get in a record, of which it is nearly all.
const ROOM: usize = 12 * 1024;
/// What an entry takes besides its path.
const ENTRY: usize = 190;
/// Longer paths are not listed, but counted.
const LONGEST: usize = 2048;
/// Bytes of one file, and of all of them, that are read for their digests.
const LARGEST: u64 = 16 << 20;
const MOST: u64 = 64 << 20;

pub(super) struct Noted {
    pub(super) path: Vec<u8>,
    pub(super) change: ChangeKind,
    pub(super) file: FileType,
    pub(super) before: Option<u64>,
    pub(super) after: Option<u64>,
}

pub(super) struct Listing {
    root: PathBuf,
    counts: [u64; 4],
    pub(super) ignored: u64,
    pub(super) unreadable: u64,
    listed: Vec<Noted>,
    room: usize,
    further: u64,
    unknown: Option<String>,
}

impl Listing {
    /// `root` is where the files are now.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            counts: [0; 4],
            ignored: 0,
            unreadable: 0,
            listed: Vec::new(),
            room: ROOM,
            further: 0,
            unknown: None,
        }
    }

    pub(super) fn add(&mut self, noted: Noted) {
        self.counts[noted.change as usize] += 1;
        let takes = visible_bytes(&noted.path).len() + ENTRY;
        if takes > LONGEST || takes > self.room {
            self.further += 1;
        } else {
            self.room -= takes;
            self.listed.push(noted);
        }
    }

    pub(super) fn unknown(&mut self, why: String) {
        self.unknown.get_or_insert(why);
    }

    pub(super) fn finish(self, place: &str, of: FilesOf) -> FilesChanged {
        let count = |kind: ChangeKind| self.counts[kind as usize];
        let root = open_root(&self.root).ok();
        let mut left = MOST;
        let files = self.listed.iter().map(|noted| {
            let size = noted.after.filter(|_| is_plain(noted.file));
            let readable = size.filter(|size| *size <= LARGEST && *size <= left);
            let sha256 = readable.zip(root.as_ref()).and_then(|(size, root)| {
                left -= size;
                digest(root, &noted.path, size).ok()
            });
            FileChange {
                path: visible_bytes(&noted.path).into_owned(),
                change: noted.change,
                file: noted.file,
                before: noted.before,
                after: noted.after,
                sha256,
            }
        });
        FilesChanged {
            place: place.to_owned(),
            of,
            added: count(ChangeKind::Added),
            changed: count(ChangeKind::Changed),
            removed: count(ChangeKind::Removed),
            left_out: count(ChangeKind::LeftOut),
            ignored: self.ignored,
            unreadable: self.unreadable,
            files: files.collect(),
            further: self.further,
            unknown: self.unknown,
        }
    }
}

fn is_plain(file: FileType) -> bool {
    matches!(file, FileType::File | FileType::Program)
}

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, root, flags, Mode::empty())?)
}

/// Of a file that the sandbox wrote: below `root` and nowhere else, and not waited for, should it be a pipe by now.
fn digest(root: &OwnedFd, path: &[u8], size: u64) -> io::Result<Digest> {
    let file = rustix::fs::openat2(
        root,
        path,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )?;
    let file = File::from(file);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut content = Vec::new();
    file.take(size + 1).read_to_end(&mut content)?;
    if content.len() as u64 == size {
        Ok(Digest::of(&content))
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
