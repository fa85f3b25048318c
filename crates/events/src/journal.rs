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
//! - A `sandbox_stopped` record also leaves its [`Anchor`] in `journal.anchor` beside the journal.
//! - One event is one line of JSON, whatever its texts contain: all that [`visible`](crate::visible()) would
//!   spell out is written as a JSON escape, so that looking at the raw file is safe too. The text itself is unchanged.
//!
//! The caller sees to it that one process at a time writes a journal (a sandbox's `lock`), and that a forked child that
//! is not to write it closes its descriptors.

mod anchored;
mod encode;
mod flusher;
mod reopen;
mod sink;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use encode::{MAX_POLICY_RECORD, MAX_RECORD};
pub use flusher::Flusher;
pub use reopen::{ReopenError, Reopened};
use rustix::fs::{Mode, OFlags};
pub use sink::{MemorySink, Sink};

use crate::chain::{Anchor, Digest, Seq};
use crate::clock::Clock;
use crate::event::Event;

/// A handle on one journal; clones write to the same one, from any thread.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sink: Box<dyn Sink>,
    /// None if it is no file.
    path: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    /// Written since the last sync began.
    dirty: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    anchor: Anchor,
    /// Length of the file in bytes, all of it whole lines.
    length: u64,
    buffer: Vec<u8>,
    /// Why nothing can be appended any more.
    poison: Option<String>,
}

/// Where a journal stands when a process begins to write it.
struct Start {
    anchor: Anchor,
    length: u64,
    path: Option<PathBuf>,
}

impl Start {
    fn new(sandbox: &str, path: Option<PathBuf>) -> Self {
        let head = Digest::genesis(sandbox);
        Self {
            anchor: Anchor { records: 0, head },
            length: 0,
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
        Ok(Self::start_at(start, Box::new(File::from(file)), clock))
    }

    /// A new journal that goes wherever `sink` puts it: memory in tests, or a sink that fails.
    pub fn with_sink(sink: Box<dyn Sink>, sandbox: &str, clock: impl Clock + 'static) -> Self {
        Self::start_at(Start::new(sandbox, None), sink, clock)
    }

    /// A journal in memory, for the tests of those who emit events.
    pub fn in_memory(sandbox: &str, clock: impl Clock + 'static) -> (Self, MemorySink) {
        let sink = MemorySink::default();
        (
            Self::with_sink(Box::new(sink.clone()), sandbox, clock),
            sink,
        )
    }

    fn start_at(start: Start, sink: Box<dyn Sink>, clock: impl Clock + 'static) -> Self {
        let Start {
            anchor,
            length,
            path,
        } = start;
        let state = State {
            anchor,
            length,
            buffer: Vec::new(),
            poison: None,
        };
        let shared = Shared {
            sink,
            path,
            clock: Arc::new(clock),
            dirty: AtomicBool::new(false),
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
        let shared = &*self.shared;
        let mut guard = shared.lock();
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
                shared.clock.now(),
                &anchor.head,
                event,
                &mut state.buffer,
            )
            .map_err(JournalError::Encode)?;
            anchor.head = Digest::of(&state.buffer[start..]);
            state.buffer.push(b'\n');
        }
        match shared.write(&state.buffer) {
            Ok(()) => {
                state.length += state.buffer.len() as u64;
                state.anchor = anchor;
                shared.dirty.store(true, Ordering::Release);
                if let (Some(path), Some(Event::SandboxStopped(_))) = (&shared.path, events.last())
                {
                    anchor.save_for(path).map_err(JournalError::Anchor)?;
                }
                Ok(Seq(anchor.records))
            }
            Err(error) => {
                // If even this fails, the partial line stays and readers report it as a torn tail.
                let rolled_back = shared.sink.truncate(state.length);
                state.poison = Some(describe(&error, rolled_back.err()));
                Err(error)
            }
        }
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

    fn write(&self, bytes: &[u8]) -> Result<(), JournalError> {
        loop {
            return match self.sink.write(bytes) {
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

    fn sync(&self) -> Result<(), JournalError> {
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.sink.sync().map_err(|source| {
            let error = JournalError::Sync(source);
            self.lock()
                .poison
                .get_or_insert_with(|| describe(&error, None));
            error
        })
    }
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
