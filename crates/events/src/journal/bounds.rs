//! How much a journal takes.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::event::Event;

/// How large one file of a journal grows, and how much one run of a sandbox may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes; a file is sealed before it gets larger, unless a single append is.
    pub segment: u64,
    /// Bytes of records that one process writes.
    pub run: u64,
}

const SEGMENT: u64 = 64 << 20;
const RUN: u64 = 1 << 30;
/// What comes on top of [`Bounds::run`] for the records that end a sandbox.
const RESERVE: u64 = 1 << 20;

impl Default for Bounds {
    fn default() -> Self {
        Self::of_run(RUN)
    }
}

impl Bounds {
    /// For runs that may write `bytes` bytes.
    pub fn of_run(bytes: u64) -> Self {
        Self {
            segment: (bytes / 8).clamp(64 << 10, SEGMENT),
            run: bytes,
        }
    }

    /// Whether a run that comes to `bytes` with `events` may append them.
    pub(super) fn room(&self, bytes: u64, events: &[Event]) -> Room {
        let limit = match events.iter().all(ends_a_sandbox) {
            true => self.run.saturating_add(RESERVE),
            false => self.run,
        };
        match bytes <= limit {
            true => Room::Enough,
            false => Room::None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    None,
}

/// Records without which nobody could tell how it ended. There are few of each.
fn ends_a_sandbox(event: &Event) -> bool {
    matches!(
        event,
        Event::LimitReached(_)
            | Event::FurtherDenials(_)
            | Event::CommandExited(_)
            | Event::FilesChanged(_)
            | Event::JournalReopened(_)
            | Event::SandboxStopped(_)
    )
}

/// Whom to tell that the journal is full.
#[derive(Default)]
pub(super) struct WhenFull(Mutex<Option<Then>>);

type Then = Box<dyn FnOnce() + Send>;

impl WhenFull {
    pub(super) fn set(&self, then: Then) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(then);
    }

    pub(super) fn tell(&self) {
        let then = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(then) = then {
            then();
        }
    }
}

impl fmt::Debug for WhenFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WhenFull").finish_non_exhaustive()
    }
}
