//! The user's index as bytes: what it says of itself, without a copy of each of its entries.
//!
//! ```text
//! header, entries (of 62 bytes and a path, or so), extensions (name, size, content), hash
//! ```
//!
//! See gitformat-index(5). A repository of 100,000 files has an index of 10 MB; to walk it takes two
//! milliseconds and no memory, to decode it twenty.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use wardian_linux::SyscallError;

use super::{RepositoryError, files};

/// What an extension is called, see [`Walked::extensions`].
pub(crate) type Signature = [u8; 4];
/// The trees of which the entries are.
const TREE: Signature = *b"TREE";
/// Some entries stand for whole directories.
pub(crate) const SPARSE: Signature = *b"sdir";
/// A part of the entries is in another file.
pub(crate) const SPLIT: Signature = *b"link";
/// Where entries end; only there to be faster.
const END: Signature = *b"EOIE";
/// Where entries are; only there to be faster, and counts only with [`END`].
const OFFSETS: Signature = *b"IEOT";
/// Conflicts that were resolved.
const RESOLVED: Signature = *b"REUC";

/// Of the header.
const HEADER: usize = 12;
/// Times, device, inode, mode, owner and size of an entry; the object id follows.
const STAT: usize = 40;
const MODE: usize = 24;
const MODE_SUBMODULE: u32 = 0o160000;

/// How much of an index is read at a time, in bytes. No entry needs more.
const PIECE: usize = 256 << 10;

/// The index file that was there when it was opened. Git never writes into it, but puts another in its place.
#[derive(Debug)]
pub(crate) struct UserIndex {
    file: File,
    path: PathBuf,
    pub(crate) walked: Walked,
}

impl UserIndex {
    /// `None` if there is none.
    pub(super) fn open(
        path: PathBuf,
        kind: gix::hash::Kind,
    ) -> Result<Option<Self>, RepositoryError> {
        let Some((file, _)) = files::open(&path, files::LARGE)? else {
            return Ok(None);
        };
        match Walked::walk(&file, kind) {
            Ok(Some(walked)) => Ok(Some(Self { file, path, walked })),
            Ok(None) => Err(RepositoryError::malformed(path, "no index")),
            Err(error) => Err(failed("read", &path, error)),
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>, RepositoryError> {
        let read = || {
            let size = usize::try_from(self.file.metadata()?.len()).map_err(io::Error::other)?;
            let mut bytes = vec![0; size];
            self.file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        read().map_err(|error| failed("pread", &self.path, error))
    }
}

fn failed(call: &str, path: &Path, error: io::Error) -> RepositoryError {
    SyscallError::new(format!("{call}({path:?})"), error).into()
}

/// Facts about an index.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) has_conflicts: bool,
    /// Files that were added by name only, see "--intent-to-add" in git-add(1).
    pub(crate) has_intents: bool,
    /// Paths of submodules.
    pub(crate) submodules: Vec<BString>,
    /// Where their content is in the file.
    extensions: Vec<(Signature, Range<usize>)>,
    /// Tree that all entries together are, if git knew it when it wrote the index.
    pub(crate) tree: Option<ObjectId>,
}

impl Walked {
    /// `None` if this is no index that git would write.
    pub(crate) fn walk(source: impl Read, kind: gix::hash::Kind) -> io::Result<Option<Self>> {
        let mut window = Window::new(source);
        while window.rest().len() < HEADER && window.more()? {}
        let header = window.rest().get(..HEADER).unwrap_or_default();
        let (version, entries) = match (number(header, 4), number(header, 8)) {
            (Some(version @ 2..=4), Some(entries)) if header.starts_with(b"DIRC") => {
                (version, entries)
            }
            _ => return Ok(None),
        };
        window.at = HEADER;
        let mut walked = Self::default();
        let mut reader = Reader {
            id: kind.len_in_bytes(),
            compressed: version == 4,
            path: Vec::new(),
        };
        for _ in 0..entries {
            let entry = loop {
                match reader.entry(window.rest()) {
                    Some(entry) => break entry,
                    None if window.rest().len() < PIECE && window.more()? => {}
                    None => return Ok(None),
                }
            };
            walked.has_conflicts |= entry.stage != 0;
            walked.has_intents |= entry.intent;
            if entry.mode == MODE_SUBMODULE {
                let path = match entry.path {
                    Some(path) => &window.rest()[path],
                    None => &reader.path,
                };
                walked.submodules.push(path.into());
            }
            window.at += entry.size;
        }
        while window.more()? {}
        let (start, rest) = (window.start, window.rest());
        let end = rest.len().checked_sub(kind.len_in_bytes());
        let read = end.and_then(|end| walked.read_extensions(&rest[..end], start, kind));
        Ok(read.map(|()| walked))
    }

    /// From what lies between the entries and the hash, of which the first byte is at `start` in the file.
    fn read_extensions(&mut self, data: &[u8], start: usize, kind: gix::hash::Kind) -> Option<()> {
        let mut at = 0;
        while at < data.len() {
            let signature = data.get(at..at + 4)?.try_into().ok()?;
            let size = usize::try_from(number(data, at + 4)?).ok()?;
            let content = data.get(at + 8..(at + 8).checked_add(size)?)?;
            if signature == TREE {
                self.tree = root(content, kind);
            }
            let place = start + at + 8..start + at + 8 + size;
            self.extensions.push((signature, place));
            at += 8 + size;
        }
        Some(())
    }

    pub(crate) fn has(&self, signature: Signature) -> bool {
        self.extensions.iter().any(|(name, _)| *name == signature)
    }

    /// Whether the index is about files and trees only, so that it may be copied as it is. Others tell
    /// of untracked files (`UNTR`) or of what a monitor saw (`FSMN`), outside.
    pub(crate) fn is_plain(&self) -> bool {
        let plain = [TREE, SPARSE, END, OFFSETS, RESOLVED];
        self.extensions.iter().all(|(name, _)| plain.contains(name))
    }

    /// The index with only those extensions that a session needs, and with a hash of its own.
    pub(crate) fn reduced(&self, data: &[u8], kind: gix::hash::Kind) -> Vec<u8> {
        let kept = [TREE, SPARSE, RESOLVED];
        let entries = match self.extensions.first() {
            Some((_, content)) => content.start - 8,
            None => data.len() - kind.len_in_bytes(),
        };
        let mut reduced = Vec::with_capacity(data.len());
        reduced.extend_from_slice(&data[..entries]);
        for (name, content) in &self.extensions {
            if kept.contains(name) {
                reduced.extend_from_slice(&data[content.start - 8..content.end]);
            }
        }
        seal(&mut reduced, kind);
        reduced
    }
}

/// Appends the hash that ends an index.
pub(crate) fn seal(data: &mut Vec<u8>, kind: gix::hash::Kind) {
    use sha1::Digest;
    match kind {
        gix::hash::Kind::Sha256 => {
            let hash = sha2::Sha256::digest(&data);
            data.extend_from_slice(&hash);
        }
        // Nobody gains by a collision here: the index is the user's and only its own mistakes are found.
        _ => {
            let hash = sha1::Sha1::digest(&data);
            data.extend_from_slice(&hash);
        }
    }
}

/// What of the index is in memory: a piece that moves forward.
struct Window<R> {
    source: R,
    bytes: Vec<u8>,
    /// Where `bytes` begin in the file, once all up to `at` is dropped.
    start: usize,
    /// What comes before in `bytes` is done with.
    at: usize,
}

impl<R: Read> Window<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            bytes: Vec::with_capacity(2 * PIECE),
            start: 0,
            at: 0,
        }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Reads a piece more, unless the file ends.
    fn more(&mut self) -> io::Result<bool> {
        let done = self.at.min(self.bytes.len());
        self.bytes.drain(..done);
        self.start += done;
        self.at -= done;
        let before = self.bytes.len();
        self.bytes.resize(before + PIECE, 0);
        let read = loop {
            match self.source.read(&mut self.bytes[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.bytes.truncate(before + read);
        Ok(read > 0)
    }
}

struct Reader {
    /// Bytes of an object id.
    id: usize,
    compressed: bool,
    /// Path of the last entry, where the next builds upon it.
    path: Vec<u8>,
}

struct Entry {
    mode: u32,
    stage: u16,
    intent: bool,
    /// Where it is in the data, unless it is the reader's.
    path: Option<Range<usize>>,
    /// Of the whole entry, in bytes.
    size: usize,
}

impl Reader {
    /// The entry at the start of `data`, or `None` if it is not all there.
    fn entry(&mut self, data: &[u8]) -> Option<Entry> {
        let mode = number(data, MODE)?;
        let mut at = STAT + self.id;
        let flags = short(data, at)?;
        at += 2;
        let mut intent = false;
        if flags & 0x4000 != 0 {
            intent = short(data, at)? & 0x2000 != 0;
            at += 2;
        }
        let (path, size) = if self.compressed {
            (None, self.decompress(data, at)?)
        } else {
            let length = match usize::from(flags & 0xfff) {
                0xfff => data.get(at..)?.find_byte(0)?,
                length => length,
            };
            // At least one NUL, up to the next multiple of eight.
            (Some(at..at + length), (at + length + 8) & !7)
        };
        (size <= data.len()).then_some(Entry {
            mode,
            stage: flags >> 12 & 3,
            intent,
            path,
            size,
        })
    }

    /// Version 4: how many bytes of the last path to drop, then the rest of this one. Returns where it ends.
    fn decompress(&mut self, data: &[u8], mut at: usize) -> Option<usize> {
        let mut byte = *data.get(at)?;
        at += 1;
        let mut drop = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = *data.get(at)?;
            at += 1;
            drop = drop
                .checked_add(1)?
                .checked_mul(128)?
                .checked_add(usize::from(byte & 0x7f))?;
        }
        let rest = data.get(at..)?;
        let length = rest.find_byte(0)?;
        self.path.truncate(self.path.len().checked_sub(drop)?);
        self.path.extend_from_slice(&rest[..length]);
        Some(at + length + 1)
    }
}

/// Id of the first tree of the `TREE` extension: `NUL <entries> SP <subtrees> LF <id>`.
fn root(content: &[u8], kind: gix::hash::Kind) -> Option<ObjectId> {
    let content = content.strip_prefix(b"\0")?;
    let (line, rest) = content.split_once_str("\n")?;
    // Minus one: something has changed since.
    if line.starts_with(b"-") {
        return None;
    }
    ObjectId::try_from(rest.get(..kind.len_in_bytes())?).ok()
}

fn number(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn short(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    /// Version 2, or 4 with the same paths.
    fn index(version: u32, paths: &[String]) -> Vec<u8> {
        let mut data = b"DIRC".to_vec();
        data.extend(version.to_be_bytes());
        data.extend(u32::try_from(paths.len()).unwrap().to_be_bytes());
        for path in paths {
            let start = data.len();
            data.extend([0; MODE]);
            data.extend(MODE_SUBMODULE.to_be_bytes());
            data.extend([0; STAT - MODE - 4 + 20]);
            data.extend(u16::try_from(path.len().min(0xfff)).unwrap().to_be_bytes());
            if version == 4 {
                // What is dropped of the last path: nothing of the first, at most 127 bytes of others.
                data.push(if start == HEADER { 0 } else { 1 });
            }
            data.extend(path.as_bytes());
            data.push(0);
            while version == 2 && !(data.len() - start).is_multiple_of(8) {
                data.push(0);
            }
        }
        data.extend(b"TREE\0\0\0\x19\x002 0\n");
        data.extend([7; 20]);
        data.extend(b"UNTR\0\0\0\0");
        seal(&mut data, gix::hash::Kind::Sha1);
        data
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            version in prop_oneof![Just(2_u32), Just(4)],
            paths in proptest::collection::vec("[a-z/]{1,40}|a{5000}", 1..20),
            most in 1_usize..100,
        ) {
            let kind = gix::hash::Kind::Sha1;
            let data = index(version, &paths);
            let whole = Walked::walk(&data[..], kind).unwrap().unwrap();
            let trickled = Walked::walk(Trickle(&data, most), kind).unwrap().unwrap();
            prop_assert_eq!(format!("{whole:?}"), format!("{trickled:?}"));
            prop_assert_eq!(whole.submodules.len(), paths.len());
            prop_assert_eq!(whole.tree, Some(ObjectId::from_bytes_or_panic(&[7; 20])));
            prop_assert!(!whole.is_plain());
            let reduced = whole.reduced(&data, kind);
            let reduced = Walked::walk(&reduced[..], kind).unwrap().unwrap();
            prop_assert!(reduced.is_plain());
            prop_assert_eq!((reduced.tree, reduced.submodules), (whole.tree, whole.submodules));
        }

        /// A repository may come from anywhere.
        #[test]
        fn no_bytes_make_it_panic(
            version in 0_u32..6,
            entries in 0_u32..4,
            rest in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut data = b"DIRC".to_vec();
            data.extend_from_slice(&version.to_be_bytes());
            data.extend_from_slice(&entries.to_be_bytes());
            data.extend_from_slice(&rest);
            let kind = gix::hash::Kind::Sha1;
            if let Some(walked) = Walked::walk(&data[..], kind).unwrap() {
                walked.reduced(&data, kind);
            }
        }
    }
}
