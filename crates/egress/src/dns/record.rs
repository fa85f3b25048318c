//! One event a question, without letting a flood of questions flood the journal.
//!
//! Within one second, an identical question is recorded once. Denied repeats are counted and recorded as a sum when the
//! second is over; so are denied questions beyond a number of different ones. An allowed question is always in the
//! record before it is answered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use wardian_events::{Dns, Event, Journal, JournalError, ProtocolError, Verdict, visible};

const WINDOW: Duration = Duration::from_secs(1);
/// Different denied questions recorded in full within one window.
const MOST_DENIED: usize = 64;
/// Different allowed questions remembered within one window; beyond it each is recorded.
const MOST_ALLOWED: usize = 4096;
/// Sums of single questions written at the end of one window; the others are summed up together.
const MOST_SUMS: usize = 16;

/// Writes DNS events for one sandbox.
#[derive(Debug)]
pub struct Recorder {
    journal: Journal,
    window: Mutex<Window>,
    counted: Notify,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    allowed: HashMap<(String, String), ()>,
    denied: HashMap<(String, String), u64>,
    /// Denied questions that found no place in `denied`.
    further: u64,
    malformed: HashMap<&'static str, u64>,
}

impl Window {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            allowed: HashMap::new(),
            denied: HashMap::new(),
            further: 0,
            malformed: HashMap::new(),
        }
    }

    fn has_sums(&self) -> bool {
        self.further > 0
            || self.denied.values().any(|repeats| *repeats > 0)
            || self.malformed.values().any(|repeats| *repeats > 0)
    }
}

impl Recorder {
    pub fn new(journal: Journal) -> Self {
        Self {
            journal,
            window: Mutex::new(Window::new()),
            counted: Notify::new(),
        }
    }

    /// On `Err`, the question must not be answered.
    pub fn record(&self, event: Dns) -> Result<(), JournalError> {
        let key = (
            event.question.to_ascii_lowercase(),
            event.record_type.clone(),
        );
        let is_allowed = matches!(event.verdict, Verdict::Allowed);
        {
            let mut window = self.current();
            if is_allowed {
                if window.allowed.contains_key(&key) {
                    return Ok(());
                }
            } else if let Some(repeats) = window.denied.get_mut(&key) {
                *repeats += 1;
                self.counted.notify_one();
                return Ok(());
            } else if window.denied.len() >= MOST_DENIED {
                window.further += 1;
                self.counted.notify_one();
                return Ok(());
            }
        }
        self.journal.append(&Event::Dns(event))?;
        let mut window = self.lock();
        if !is_allowed {
            window.denied.insert(key, 0);
        } else if window.allowed.len() < MOST_ALLOWED {
            window.allowed.insert(key, ());
        }
        Ok(())
    }

    /// A message that is no question. Each kind is recorded once a window, with the others counted.
    pub fn malformed(&self, reason: &'static str) {
        {
            let mut window = self.current();
            if let Some(repeats) = window.malformed.get_mut(reason) {
                *repeats += 1;
                self.counted.notify_one();
                return;
            }
            window.malformed.insert(reason, 0);
        }
        self.sum(
            reason,
            "a DNS message is not a question that can be answered".into(),
        );
    }

    /// Ends each window in which something was counted, for ever.
    pub async fn run(&self) {
        loop {
            self.counted.notified().await;
            tokio::time::sleep(WINDOW).await;
            self.flush();
        }
    }

    /// Writes what was counted, and begins a new window.
    pub fn flush(&self) {
        let ended = std::mem::replace(&mut *self.lock(), Window::new());
        self.write_sums(ended);
    }

    fn current(&self) -> MutexGuard<'_, Window> {
        let mut window = self.lock();
        if window.began.elapsed() >= WINDOW {
            let ended = std::mem::replace(&mut *window, Window::new());
            if ended.has_sums() {
                drop(window);
                self.write_sums(ended);
                window = self.lock();
            }
        }
        window
    }

    fn write_sums(&self, ended: Window) {
        let mut further = ended.further;
        let repeated = ended.denied.into_iter().filter(|(_, repeats)| *repeats > 0);
        for (at, ((question, record_type), repeats)) in repeated.enumerate() {
            if at < MOST_SUMS {
                let question = visible(&question).into_owned();
                self.sum(
                    "repeated_question",
                    format!("{question} {record_type}: asked {repeats} more times"),
                );
            } else {
                further += repeats;
            }
        }
        if further > 0 {
            self.sum(
                "too_many_questions",
                format!("{further} further questions were denied"),
            );
        }
        for (reason, repeats) in ended
            .malformed
            .into_iter()
            .filter(|(_, repeats)| *repeats > 0)
        {
            self.sum(reason, format!("{repeats} more such messages"));
        }
    }

    /// Nothing waits for this record: all that it tells of was refused.
    fn sum(&self, reason: &str, detail: String) {
        let event = ProtocolError {
            connection: None,
            protocol: "dns".into(),
            reason: reason.into(),
            detail,
            status: None,
        };
        if let Err(error) = self.journal.append(&Event::ProtocolError(event)) {
            tracing::error!(%error, "refused DNS questions cannot be recorded");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}
