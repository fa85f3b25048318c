use wardian_events::{
    Connection, ConnectionId, ConnectionMode, HostFact, MemorySink, ProtocolError, SystemClock,
    Tally,
};

use super::*;

fn recorder() -> (Refusals, MemorySink) {
    let (journal, sink) = Journal::in_memory("test", SystemClock);
    (Refusals::new(journal), sink)
}

fn denied(host: &str, reason: &str) -> Event {
    Event::Connection(Connection {
        id: ConnectionId(1),
        destination: ([198, 18, 0, 1], 443).into(),
        host: HostFact::known(host),
        verdict: Verdict::denied(reason),
        rule: None,
        mode: ConnectionMode::None,
        protocol: None,
    })
}

fn events(sink: &MemorySink) -> Vec<Event> {
    let text = String::from_utf8(sink.bytes()).unwrap();
    text.lines()
        .map(|line| {
            let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
            serde_json::from_value(record["event"].take()).unwrap()
        })
        .collect()
}

fn tally(events: &[Event]) -> Tally {
    let mut tally = Tally::default();
    events.iter().for_each(|event| tally.add(event));
    tally
}

#[test]
fn the_first_are_written_at_once_and_the_rest_is_counted() {
    let (refusals, sink) = recorder();
    for _ in 0..1000 {
        refusals.record(&denied("evil.test", "no_rule")).unwrap();
    }
    refusals
        .record(&denied("evil.test", "denied_by_rule"))
        .unwrap();
    refusals.record(&denied("other.test", "no_rule")).unwrap();
    assert_eq!(events(&sink).len() as u64, FULL + 2);
    refusals.flush();
    let written = events(&sink);
    assert_eq!(written.len() as u64, FULL + 3);
    let Some(Event::FurtherDenials(sum)) = written.last() else {
        panic!("{written:?}")
    };
    assert_eq!(
        (sum.of.as_str(), sum.place.as_deref(), sum.port, sum.count),
        ("connection", Some("evil.test"), Some(443), 1000 - FULL)
    );
    let tally = tally(&written);
    assert_eq!(tally.denied, 1002);
    assert_eq!(tally.denied_by_place()[0].1, 1000);
    // Nothing is said twice.
    refusals.flush();
    drop(refusals);
    assert_eq!(events(&sink).len(), written.len());
}

#[test]
fn what_is_counted_at_the_end_is_not_lost() {
    let (refusals, sink) = recorder();
    for _ in 0..100 {
        refusals.record(&denied("evil.test", "no_rule")).unwrap();
    }
    drop(refusals);
    assert_eq!(tally(&events(&sink)).denied, 100);
}

#[test]
fn any_number_of_places_leaves_a_bounded_record() {
    let (refusals, sink) = recorder();
    for turn in 0..20_000 {
        let host = format!("h{}.test", turn % 5000);
        refusals.record(&denied(&host, "no_rule")).unwrap();
    }
    refusals.flush();
    let written = events(&sink);
    assert!(
        written.len() as u64 <= MOST_FULL + 2 * MOST_PLACES as u64 + 1,
        "{}",
        written.len()
    );
    let tally = tally(&written);
    assert_eq!(tally.denied, 20_000);
    assert!(tally.elsewhere > 15_000);
}

#[test]
fn what_is_allowed_and_what_cannot_be_written_is_not_counted() {
    let (refusals, sink) = recorder();
    let mut allowed = denied("fine.test", "");
    if let Event::Connection(connection) = &mut allowed {
        connection.verdict = Verdict::Allowed;
    }
    for _ in 0..50 {
        refusals.record(&allowed).unwrap();
    }
    assert_eq!(events(&sink).len(), 50);

    let full = Journal::with_sink(Box::new(MemorySink::with_capacity(10)), "test", SystemClock);
    let event = Event::ProtocolError(ProtocolError {
        connection: None,
        protocol: "dns".into(),
        reason: "x".into(),
        detail: String::new(),
        status: None,
    });
    assert!(Refusals::new(full).record(&event).is_err());
}
