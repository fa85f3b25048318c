//! The append-only record of one sandbox.
//!
//! # What an append promises
//!
//! - The whole line is in the file, by one `write(2)`, before [`Journal::append`] returns. It survives the death of the
//!   process by any signal at any moment after that. It survives the loss of power once the file was synced: every
//!   [`Journal::flush_every`] interval if something was written, and at [`Journal::sync`].
//! - If the write fails or comes out short (disk full, I/O error, file size limit), nothing is recorded: the partial
//!   line is cut off again if it can be, and the journal is *poisoned*. Every later append fails, so that whoever must
//!   record before acting does not act. Only [`Journal::reopen`] by a later process goes on from there.
//! - A record's line is bounded: [`MAX_RECORD`], or [`MAX_POLICY_RECORD`] for the policy. Texts that would make it
//!   longer are cut, and say so with their full length.
//! - A file that has grown to [`Bounds::segment`] is sealed and a new one begun, see [`mod@crate::segments`].
//! - One process writes at most [`Bounds::run`] bytes of records. Then the journal is full: it takes only what ends a
//!   sandbox, and says so once, see [`Journal::when_full`]. Nothing old is dropped to make room.
//! - A `sandbox_stopped` record also leaves its [`Anchor`] in `journal.anchor` beside the journal.
//! - One event is one line of JSON, whatever its texts contain: all that [`visible`](crate::visible()) would
//!   spell out is written as a JSON escape, so that looking at the raw file is safe too. The text itself is unchanged.
//!
//! The caller sees to it that one process at a time writes a journal (a sandbox's `lock`), and that a forked child that
//! is not to write it closes its descriptors.

mod anchored;
mod bounds;
mod encode;
mod flusher;
mod reopen;
mod sink;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use bounds::Bounds;
use bounds::{Room, WhenFull};
pub use encode::{MAX_POLICY_RECORD, MAX_RECORD};
pub use flusher::Flusher;
pub use reopen::{ReopenError, Reopened};
use rustix::fs::{Mode, OFlags};
pub use sink::{MemorySink, Sink};

use crate::chain::{Anchor, Digest, Seq};
use crate::clock::Clock;
use crate::event::Event;
use crate::segments;

/// A handle on one journal; clones write to the same one, from any thread.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// None if it is no file.
    path: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    bounds: Bounds,
    /// Written since the last sync began.
    dirty: AtomicBool,
    when_full: WhenFull,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    sink: Arc<dyn Sink>,
    anchor: Anchor,
    /// Length of the file that grows in bytes, all of it whole lines.
    length: u64,
    /// The number of its first record.
    first: u64,
    /// Bytes that this process has written.
    run: u64,
    buffer: Vec<u8>,
    /// Looks after what was sealed.
    packing: Option<JoinHandle<()>>,
    /// Why nothing can be appended any more.
    poison: Option<String>,
}

/// Where a journal stands when a process begins to write it.
struct Start {
    anchor: Anchor,
    length: u64,
    first: u64,
    path: Option<PathBuf>,
}

impl Start {
    fn new(sandbox: &str, path: Option<PathBuf>) -> Self {
        let head = Digest::genesis(sandbox);
        Self {
            anchor: Anchor { records: 0, head },
            length: 0,
            first: 1,
            path,
        }
    }
}

/// Why a record was not written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("open({path:?}, {flags})")]
    Open {
        path: PathBuf,
        flags: &'static str,
        source: io::Error,
    },
    #[error("the journal cannot be written")]
    Write(#[source] io::Error),
    #[error("the journal took only {written} of {length} bytes")]
    Short { written: usize, length: usize },
    #[error("the journal is full: this run of the sandbox has written {0} bytes of records")]
    Full(u64),
    #[error("the journal cannot be continued in a new file")]
    Seal(#[source] io::Error),
    #[error("the journal cannot be synced to disk")]
    Sync(#[source] io::Error),
    /// An earlier append failed; the text is that failure.
    #[error("the journal is closed after a failure: {0}")]
    Poisoned(String),
    /// The record itself is in the journal.
    #[error("the anchor of the journal cannot be kept beside it")]
    Anchor(#[source] io::Error),
    #[error("the event does not fit into one record")]
    Encode(#[source] serde_json::Error),
}

impl Journal {
    /// Creates the journal of the sandbox `sandbox` at `path`, which must not exist; mode 0600.
    pub fn create(
        path: &Path,
        sandbox: &str,
        clock: impl Clock + 'static,
    ) -> Result<Self, JournalError> {
        Self::create_bounded(path, sandbox, clock, Bounds::default())
    }

    pub fn create_bounded(
        path: &Path,
        sandbox: &str,
        clock: impl Clock + 'static,
        bounds: Bounds,
    ) -> Result<Self, JournalError> {
        const FLAGS: &str = "O_WRONLY|O_APPEND|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC";
        let flags = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| {
            JournalError::Open {
                path: path.to_owned(),
                flags: FLAGS,
                source: errno.into(),
            }
        })?;
        let start = Start::new(sandbox, Some(path.to_owned()));
        let file = Arc::new(File::from(file));
        Ok(Self::start_at(start, file, clock, bounds))
    }

    /// A new journal that goes wherever `sink` puts it: memory in tests, or a sink that fails.
    pub fn with_sink(sink: Box<dyn Sink>, sandbox: &str, clock: impl Clock + 'static) -> Self {
        let start = Start::new(sandbox, None);
        Self::start_at(start, sink.into(), clock, Bounds::default())
    }

    /// A journal in memory, for the tests of those who emit events.
    pub fn in_memory(sandbox: &str, clock: impl Clock + 'static) -> (Self, MemorySink) {
        let sink = MemorySink::default();
        (
            Self::with_sink(Box::new(sink.clone()), sandbox, clock),
            sink,
        )
    }

    fn start_at(
        start: Start,
        sink: Arc<dyn Sink>,
        clock: impl Clock + 'static,
        bounds: Bounds,
    ) -> Self {
        let Start {
            anchor,
            length,
            first,
            path,
        } = start;
        let state = State {
            sink,
            anchor,
            length,
            first,
            run: 0,
            buffer: Vec::new(),
            packing: None,
            poison: None,
        };
        let shared = Shared {
            path,
            clock: Arc::new(clock),
            bounds,
            dirty: AtomicBool::new(false),
            when_full: WhenFull::default(),
            state: Mutex::new(state),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Writes `event`; when this returns `Ok`, the record is in the file. On `Err`, do not do what was to be recorded.
    pub fn append(&self, event: &Event) -> Result<Seq, JournalError> {
        self.append_all(std::slice::from_ref(event))
    }

    /// Writes all of `events` or none, with one `write(2)`. Returns the number of the last record.
    pub fn append_all(&self, events: &[Event]) -> Result<Seq, JournalError> {
        let appended = self.shared.append(events);
        match &appended {
            Err(JournalError::Full(_)) => self.shared.when_full.tell(),
            Ok(_) if matches!(events.last(), Some(Event::SandboxStopped(_))) => {
                self.shared.finish_packing();
            }
            _ => {}
        }
        appended
    }

    /// Calls `then` once, from whichever thread it is that finds the journal full. In place of an earlier one.
    pub fn when_full(&self, then: impl FnOnce() + Send + 'static) {
        self.shared.when_full.set(Box::new(then));
    }

    /// Where the journal stands now: what to keep elsewhere to be able to show later that nothing was cut off.
    pub fn anchor(&self) -> Anchor {
        self.shared.lock().anchor
    }

    /// `fdatasync(2)`: when this returns `Ok`, what was appended before survives the loss of power. A failure poisons
    /// the journal, because the kernel may have dropped what it could not write.
    pub fn sync(&self) -> Result<(), JournalError> {
        self.shared.sync()
    }

    /// Syncs every `interval` in a thread of its own, if something was appended, for as long as the result lives.
    /// Dropping it does not sync once more.
    ///
    /// A process that still has to `fork` calls this afterwards.
    pub fn flush_every(&self, interval: Duration) -> io::Result<Flusher> {
        Flusher::start(self.shared.clone(), interval)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in the critical section panics half-way through an update of the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(self: &Arc<Self>, events: &[Event]) -> Result<Seq, JournalError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(why) = &state.poison {
            return Err(JournalError::Poisoned(why.clone()));
        }
        state.buffer.clear();
        let mut anchor = state.anchor;
        for event in events {
            let start = state.buffer.len();
            anchor.records += 1;
            encode::line(
                anchor.records,
                self.clock.now(),
                &anchor.head,
                event,
                &mut state.buffer,
            )
            .map_err(JournalError::Encode)?;
            anchor.head = Digest::of(&state.buffer[start..]);
            state.buffer.push(b'\n');
        }
        let bytes = state.buffer.len() as u64;
        if self.bounds.room(state.run + bytes, events) == Room::None {
            return Err(JournalError::Full(state.run));
        }
        let is_due = state.length > 0 && state.length + bytes > self.bounds.segment;
        let written = match &self.path {
            Some(path) if is_due => self.begin_next(path, state),
            _ => write(&*state.sink, &state.buffer).inspect(|()| state.length += bytes),
        };
        if let Err(error) = written {
            // If even this fails, the partial line stays and readers report it as a torn tail.
            let rolled_back = state.sink.truncate(state.length);
            state.poison = Some(describe(&error, rolled_back.err()));
            return Err(error);
        }
        state.run += bytes;
        state.anchor = anchor;
        self.dirty.store(true, Ordering::Release);
        if let (Some(path), Some(Event::SandboxStopped(_))) = (&self.path, events.last()) {
            anchor.save_for(path).map_err(JournalError::Anchor)?;
        }
        Ok(Seq(anchor.records))
    }

    /// Seals the file that grows, and begins the next with what is in the buffer.
    fn begin_next(self: &Arc<Self>, path: &Path, state: &mut State) -> Result<(), JournalError> {
        let next =
            segments::begin_next(path, state.first, &state.buffer).map_err(JournalError::Seal)?;
        let sealed = std::mem::replace(&mut state.sink, Arc::new(next));
        state.length = state.buffer.len() as u64;
        state.first = state.anchor.records + 1;
        let (shared, path) = (self.clone(), path.to_owned());
        let before = state.packing.take();
        let look_after = move || {
            let _ = before.map(JoinHandle::join);
            if let Err(error) = sealed.sync().and_then(|()| sync_directory(&path)) {
                shared.poison(&JournalError::Sync(error));
            }
            // What cannot be packed is read as it is.
            let _ = segments::pack_sealed(&path);
        };
        let thread = std::thread::Builder::new().name("journal-pack".into());
        state.packing = Some(thread.spawn(look_after).map_err(JournalError::Seal)?);
        Ok(())
    }

    fn finish_packing(&self) {
        // Not under the lock, which that thread may want.
        let packing = self.lock().packing.take();
        let _ = packing.map(JoinHandle::join);
    }

    fn sync(&self) -> Result<(), JournalError> {
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let sink = self.lock().sink.clone();
        sink.sync().map_err(|source| {
            let error = JournalError::Sync(source);
            self.poison(&error);
            error
        })
    }

    fn poison(&self, error: &JournalError) {
        self.lock()
            .poison
            .get_or_insert_with(|| describe(error, None));
    }
}

fn write(sink: &dyn Sink, bytes: &[u8]) -> Result<(), JournalError> {
    loop {
        return match sink.write(bytes) {
            Ok(written) if written == bytes.len() => Ok(()),
            Ok(written) => Err(JournalError::Short {
                written,
                length: bytes.len(),
            }),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(JournalError::Write(error)),
        };
    }
}

/// So that the names in the journal's directory outlast the loss of power.
fn sync_directory(journal: &Path) -> io::Result<()> {
    let directory = journal.parent().unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn describe(error: &JournalError, not_rolled_back: Option<io::Error>) -> String {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        text = format!("{text}: {source}");
    }
    match not_rolled_back {
        Some(why) => format!("{text}, and its partial line cannot be cut off: {why}"),
        None => text,
    }
}

#[cfg(test)]
mod tests;
