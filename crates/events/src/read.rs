//! Reading a journal, whole or while it grows, one record at a time.
//!
//! Reading checks no chain, see [`mod@crate::verify`].

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::fs::{Mode, OFlags};

use crate::chain::Record;
use crate::lines::{Line, Lines, MAX_LINE};
use crate::segments::{Segments, first_record};

/// One record as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The number of its line, from 1; 0 where lines were not counted, see [`last`].
    pub line: u64,
    /// Its line as it stands in the journal, without the newline.
    pub raw: String,
    pub record: Record,
}

/// Why there is no record, or not this one.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("open({path:?}, O_RDONLY|O_NOFOLLOW|O_CLOEXEC)")]
    Open { path: PathBuf, source: io::Error },
    #[error("read")]
    Read(#[source] io::Error),
    /// The reader goes on behind it. A journal of a newer Wardian may have such lines.
    #[error("line {line} is not a record that this version knows")]
    Unknown {
        line: u64,
        source: serde_json::Error,
    },
    #[error("line {line} is too long to be a record")]
    TooLong { line: u64 },
    /// The journal ends in the middle of a line: it is being written this moment, or its writer died.
    #[error("the journal ends in the middle of line {line}")]
    Torn { line: u64, bytes: usize },
}

/// The records of the journal at `path`, up to its present end.
pub fn read(path: &Path) -> Result<Records<Segments>, ReadError> {
    Ok(Records::new(Segments::open(path)?))
}

/// The last whole record of the journal at `path`, without reading what is before it; `None` if there is none.
pub fn last(path: &Path) -> Result<Option<Entry>, ReadError> {
    match last_of(open(path)?)? {
        Some(entry) => Ok(Some(entry)),
        // No segment ends like this, but for the first that has nothing yet; so hardly anything is read here.
        None => Records::new(Segments::open(path)?)
            .filter(|entry| !matches!(entry, Err(ReadError::Torn { .. })))
            .last()
            .transpose(),
    }
}

fn last_of(mut file: File) -> Result<Option<Entry>, ReadError> {
    let end = file.seek(SeekFrom::End(0)).map_err(ReadError::Read)?;
    // A torn tail, the newline before it, the record, the newline before that.
    let most = 2 * (MAX_LINE as u64 + 1);
    let mut back = 4096;
    loop {
        let start = end.saturating_sub(back.min(most));
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))
            .and_then(|_| file.by_ref().take(end - start).read_to_end(&mut bytes))
            .map_err(ReadError::Read)?;
        let newline = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
        let Some(line_end) = newline(&bytes) else {
            match start {
                0 => return Ok(None),
                _ if back >= most => return Err(ReadError::TooLong { line: 0 }),
                _ => back *= 16,
            }
            continue;
        };
        let line_start = match newline(&bytes[..line_end]) {
            Some(before) => before + 1,
            None if start == 0 => 0,
            None if back >= most => return Err(ReadError::TooLong { line: 0 }),
            None => {
                back *= 16;
                continue;
            }
        };
        return entry(0, &bytes[line_start..line_end]).map(Some);
    }
}

pub(crate) fn open(path: &Path) -> Result<File, ReadError> {
    // O_NONBLOCK: not to wait for the other end, should this be a pipe.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let failed = |source| ReadError::Open {
        path: path.to_owned(),
        source,
    };
    let file = File::from(
        rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?,
    );
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(failed(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ))),
        Err(error) => Err(failed(error)),
    }
}

/// An iterator over the records of any reader. Goes on after [`ReadError::Unknown`], ends after any other error.
#[derive(Debug)]
pub struct Records<R> {
    lines: Lines<R>,
    done: bool,
}

impl<R: Read> Records<R> {
    pub fn new(input: R) -> Self {
        Self {
            lines: Lines::new(input),
            done: false,
        }
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = step(&mut self.lines).transpose();
        self.done = !matches!(item, Some(Ok(_) | Err(ReadError::Unknown { .. })));
        item
    }
}

/// `Ok(None)` at the end.
fn step<R: Read>(lines: &mut Lines<R>) -> Result<Option<Entry>, ReadError> {
    let line = lines.count() + 1;
    match lines.next().map_err(ReadError::Read)? {
        Line::Whole(bytes) => entry(line, bytes).map(Some),
        Line::Torn(bytes) => Err(ReadError::Torn {
            line,
            bytes: bytes.len(),
        }),
        Line::TooLong => Err(ReadError::TooLong { line }),
        Line::End => Ok(None),
    }
}

fn entry(line: u64, bytes: &[u8]) -> Result<Entry, ReadError> {
    let record =
        serde_json::from_slice(bytes).map_err(|source| ReadError::Unknown { line, source })?;
    // A record is valid UTF-8, or the line above would have failed.
    Ok(Entry {
        line,
        raw: String::from_utf8_lossy(bytes).into_owned(),
        record,
    })
}

/// Reads the journal at `path` from its beginning and then on as it grows.
pub fn follow(path: &Path) -> Result<Follow, ReadError> {
    Follow::after(path, 0)
}

/// A reader that waits at the end of the journal. It never ends by itself: who asks decides.
#[derive(Debug)]
pub struct Follow {
    path: PathBuf,
    /// Sealed segments that are not read yet.
    sealed: Option<Lines<Segments>>,
    /// What grew when we last looked; may be sealed by now.
    lines: Lines<File>,
    /// None where the host has no inotify to spare; then it looks every so often.
    watch: Option<OwnedFd>,
}

/// Looks at the file this often even if inotify reports nothing, as on network file systems.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Looks at the file this often without inotify.
const LOOK: Duration = Duration::from_millis(100);

impl Follow {
    /// The next record; waits for it up to `wait`. `Ok(None)`: there is none yet, or a signal came.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Entry>, ReadError> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(entry) = self.next_sealed()? {
                return Ok(Some(entry));
            }
            // Asked first, so that what was written before it was sealed is read.
            let is_sealed = !self.is_growing().map_err(ReadError::Read)?;
            match step(&mut self.lines) {
                Ok(Some(entry)) => return Ok(Some(entry)),
                Ok(None) if is_sealed => {
                    *self = Self::after(&self.path, self.lines.count())?;
                    continue;
                }
                Ok(None) => {}
                // Read anew from the line's start: a writer that died half-way has successors who cut it off.
                Err(ReadError::Torn { .. }) => {
                    self.lines.back_to_line_start().map_err(ReadError::Read)?;
                }
                Err(error) => return Err(error),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.wait(left).map_err(ReadError::Read)? {
                return Ok(None);
            }
        }
    }

    /// Follows what comes after `count` records.
    fn after(path: &Path, count: u64) -> Result<Self, ReadError> {
        let watch = watch(path).ok();
        let mut sealed = Segments::open_from(path, count + 1)?;
        let growing = match sealed.take_growing() {
            Some(growing) => growing,
            None => open(path)?,
        };
        let before = first_record(&growing)
            .map_err(ReadError::Read)?
            .map_or(count, |first| first - 1);
        Ok(Self {
            path: path.to_owned(),
            sealed: Some(Lines::after(count, sealed)),
            lines: Lines::after(before, growing),
            watch,
        })
    }

    fn next_sealed(&mut self) -> Result<Option<Entry>, ReadError> {
        let entry = match &mut self.sealed {
            Some(lines) => step(lines)?,
            None => None,
        };
        if entry.is_none() {
            self.sealed = None;
        }
        Ok(entry)
    }

    /// Whether what we have open is still what grows.
    fn is_growing(&self) -> io::Result<bool> {
        let identity = |status: rustix::fs::Stat| (status.st_dev, status.st_ino);
        let ours = identity(rustix::fs::fstat(self.lines.get_ref())?);
        match rustix::fs::lstat(&self.path) {
            Ok(there) => Ok(identity(there) == ours),
            // The sandbox was removed: nothing more will come.
            Err(rustix::io::Errno::NOENT) => Ok(true),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until it is worth looking again. False: a signal came.
    fn wait(&self, at_most: Duration) -> io::Result<bool> {
        let Some(watch) = &self.watch else {
            std::thread::sleep(at_most.min(LOOK));
            return Ok(true);
        };
        let timeout = Timespec::try_from(at_most.min(LOOK_AGAIN)).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => Ok(true),
            Ok(_) => {
                let mut buffer = [0; 4096];
                match rustix::io::read(watch, &mut buffer) {
                    Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(true),
                    Err(errno) => Err(errno.into()),
                }
            }
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn watch(path: &Path) -> io::Result<OwnedFd> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    // The count of its names is an attribute of a file: it changes when the file is sealed.
    let flags = inotify::WatchFlags::MODIFY
        | inotify::WatchFlags::ATTRIB
        | inotify::WatchFlags::DONT_FOLLOW;
    inotify::add_watch(&watch, path, flags)?;
    Ok(watch)
}

#[cfg(test)]
mod tests;
