//! What a door has put on the record.

use std::time::Duration;

use serde_json::Value;
use wardian_events::{Journal, MemorySink, SystemClock};

/// A journal in memory, as its readers see it. Verdicts are there before the program hears anything, other events soon
/// after.
#[derive(Debug)]
pub(crate) struct Written(MemorySink);

impl Written {
    /// It and the journal that it is of, which takes `capacity` bytes.
    pub(crate) fn journal(capacity: usize) -> (Journal, Self) {
        let sink = MemorySink::with_capacity(capacity);
        let journal = Journal::with_sink(Box::new(sink.clone()), "test", SystemClock);
        (journal, Self(sink))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.bytes()).unwrap()
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].take())
            .collect()
    }

    pub(crate) fn kind(&self, kind: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["kind"] == kind);
        events
    }

    /// Reasons of all refusals, in order.
    pub(crate) fn denials(&self) -> Vec<String> {
        self.events()
            .iter()
            .filter(|event| event["kind"] == "protocol_error" || event["verdict"] == "denied")
            .map(|event| event["reason"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until there are `count` events of `kind`.
    pub(crate) async fn wait_for(&self, kind: &str, count: usize) -> Vec<Value> {
        for _ in 0..500 {
            let events = self.kind(kind);
            if events.len() >= count {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {count} events of kind {kind} in\n{}", self.text());
    }
}
