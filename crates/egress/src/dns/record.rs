//! One event a question, without letting a flood of questions flood the journal.
//!
//! Within one second, an identical allowed question is recorded once. An allowed question is always in the record before
//! it is answered. Denied ones are recorded as all denials are, see [`crate::refusals`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wardian_events::{Dns, Event, Journal, JournalError, ProtocolError, Verdict};

use crate::refusals::Refusals;

const WINDOW: Duration = Duration::from_secs(1);
/// Different allowed questions remembered within one window; beyond it each is recorded.
const MOST_ALLOWED: usize = 4096;

/// Writes DNS events for one sandbox.
#[derive(Debug)]
pub struct Recorder {
    journal: Journal,
    refusals: Arc<Refusals>,
    allowed: Mutex<Allowed>,
}

/// Questions, by name and type, that were recorded since.
#[derive(Debug)]
struct Allowed {
    since: Instant,
    questions: HashSet<(String, String)>,
}

impl Recorder {
    pub fn new(journal: Journal, refusals: Arc<Refusals>) -> Self {
        let allowed = Allowed {
            since: Instant::now(),
            questions: HashSet::new(),
        };
        Self {
            journal,
            refusals,
            allowed: Mutex::new(allowed),
        }
    }

    /// On `Err`, the question must not be answered.
    pub fn record(&self, event: Dns) -> Result<(), JournalError> {
        if event.verdict != Verdict::Allowed {
            return self.refusals.record(&Event::Dns(event));
        }
        let question = (
            event.question.to_ascii_lowercase(),
            event.record_type.clone(),
        );
        if self.current().questions.contains(&question) {
            return Ok(());
        }
        self.journal.append(&Event::Dns(event))?;
        let mut allowed = self.current();
        if allowed.questions.len() < MOST_ALLOWED {
            allowed.questions.insert(question);
        }
        Ok(())
    }

    /// A message that is no question.
    pub fn malformed(&self, reason: &'static str) {
        let event = ProtocolError {
            connection: None,
            protocol: "dns".into(),
            reason: reason.into(),
            detail: "a DNS message is not a question that can be answered".into(),
            status: None,
        };
        // Nothing waits for this record: the message was refused.
        if let Err(error) = self.refusals.record(&Event::ProtocolError(event)) {
            tracing::error!(%error, "refused DNS messages cannot be recorded");
        }
    }

    fn current(&self) -> MutexGuard<'_, Allowed> {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        if allowed.since.elapsed() >= WINDOW {
            allowed.since = Instant::now();
            allowed.questions = HashSet::new();
        }
        allowed
    }
}
