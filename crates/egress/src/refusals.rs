//! Denials on the record, without letting a program that repeats itself fill the disk.
//!
//! The first denials of one kind at one place and for one reason are recorded one by one, at once. Within one window,
//! further ones are counted, and the counts are recorded when it is over; so are denials at more places than a window
//! tells apart. No count is lost when the door closes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use wardian_events::{Event, FurtherDenials, Journal, JournalError, Verdict};

#[cfg(test)]
mod tests;

const WINDOW: Duration = Duration::from_secs(60);
/// Denials of one kind, place and reason that one window records one by one.
const FULL: u64 = 32;
/// As many altogether; beyond it only the first at each place.
const MOST_FULL: u64 = 512;
/// Places that one window tells apart.
const MOST_PLACES: usize = 256;

/// Records what one door denies.
#[derive(Debug)]
pub struct Refusals {
    journal: Journal,
    window: Mutex<Window>,
    counted: Notify,
}

/// What makes two denials the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    of: &'static str,
    /// `None` stands for all places beyond [`MOST_PLACES`].
    place: Option<String>,
    port: Option<u16>,
    reason: String,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    recorded: u64,
    denials: HashMap<Key, Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    recorded: u64,
    further: u64,
}

impl Window {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            recorded: 0,
            denials: HashMap::new(),
        }
    }

    /// Counts one denial; true if it is to be recorded by itself.
    fn count(&mut self, mut key: Key) -> bool {
        if self.denials.len() >= MOST_PLACES && !self.denials.contains_key(&key) {
            // There are not many reasons, so these keys do not grow without end.
            key = Key {
                place: None,
                port: None,
                ..key
            };
        }
        let is_place = key.place.is_some();
        let counts = self.denials.entry(key).or_default();
        let full = match counts.recorded {
            0 => is_place,
            recorded => recorded < FULL && self.recorded < MOST_FULL,
        };
        if full {
            counts.recorded += 1;
            self.recorded += 1;
        } else {
            counts.further += 1;
        }
        full
    }

    fn into_sums(self) -> Vec<Event> {
        let further = self
            .denials
            .into_iter()
            .filter(|(_, counts)| counts.further > 0);
        further
            .map(|(key, counts)| {
                Event::FurtherDenials(FurtherDenials {
                    of: key.of.to_owned(),
                    place: key.place,
                    port: key.port,
                    count: counts.further,
                    verdict: Verdict::denied(key.reason),
                })
            })
            .collect()
    }
}

impl Refusals {
    pub fn new(journal: Journal) -> Self {
        Self {
            journal,
            window: Mutex::new(Window::new()),
            counted: Notify::new(),
        }
    }

    /// Records `event`, or counts it. An event that denies nothing is always recorded.
    pub fn record(&self, event: &Event) -> Result<(), JournalError> {
        if let Some(key) = key(event)
            && !self.current().count(key)
        {
            self.counted.notify_one();
            return Ok(());
        }
        self.journal.append(event).map(drop)
    }

    /// Ends each window in which something was counted, for ever.
    pub async fn run(&self) {
        loop {
            self.counted.notified().await;
            let ends = self.lock().began + WINDOW;
            tokio::time::sleep_until(ends.into()).await;
            drop(self.current());
        }
    }

    /// Writes what was counted, and begins a new window.
    pub fn flush(&self) {
        let ended = std::mem::replace(&mut *self.lock(), Window::new());
        self.write(ended);
    }

    fn current(&self) -> MutexGuard<'_, Window> {
        let mut window = self.lock();
        if window.began.elapsed() >= WINDOW {
            let ended = std::mem::replace(&mut *window, Window::new());
            drop(window);
            self.write(ended);
            window = self.lock();
        }
        window
    }

    /// Nothing waits for these records: all that they tell of was refused.
    fn write(&self, ended: Window) {
        let sums = ended.into_sums();
        if sums.is_empty() {
            return;
        }
        if let Err(error) = self.journal.append_all(&sums) {
            tracing::error!(%error, "counted denials cannot be recorded");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Refusals {
    fn drop(&mut self) {
        self.flush();
    }
}

/// `None` if the event denies nothing.
fn key(event: &Event) -> Option<Key> {
    let reason = event.denied()?.to_owned();
    let port = match event {
        Event::Connection(connection) => Some(connection.destination.port()),
        Event::Request(request) => Some(request.port),
        _ => None,
    };
    Some(Key {
        of: event.kind(),
        place: event.place(),
        port,
        reason,
    })
}
