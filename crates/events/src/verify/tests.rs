//! Journals of arbitrary events verify; journals that were tampered with do not, and the place is named.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::event::strategy::events;
use crate::event::{CommandStarted, Event};
use crate::journal::Journal;
use crate::read::Records;

const NAME: &str = "gitea";

fn started(pid: u32) -> Event {
    Event::CommandStarted(CommandStarted {
        command: crate::Command(1),
        argv: vec!["true".into()],
        pid,
    })
}

fn journal_of(events: &[Event]) -> (Vec<u8>, Anchor) {
    let (journal, sink) = Journal::in_memory(NAME, ManualClock::at(Timestamp::from_unix_ms(0)));
    for event in events {
        journal.append(event).unwrap();
    }
    (sink.bytes(), journal.anchor())
}

fn check(bytes: &[u8], anchor: Option<Anchor>) -> Result<Verified, VerifyError> {
    verify_reader(
        bytes,
        &Expect {
            sandbox: Some(NAME),
            anchors: anchor.as_slice(),
        },
    )
}

fn broken(bytes: &[u8], anchor: Option<Anchor>) -> Broken {
    match check(bytes, anchor) {
        Err(VerifyError::Broken(broken)) => broken,
        other => panic!("not found to be broken: {other:?}"),
    }
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

fn five() -> (Vec<Vec<u8>>, Anchor) {
    let (bytes, anchor) = journal_of(&[started(1), started(2), started(3), started(4), started(5)]);
    (lines(&bytes), anchor)
}

#[test]
fn removing_a_record_is_named() {
    let (mut lines, _) = five();
    lines.remove(2);
    let broken = broken(&lines.concat(), None);
    assert_eq!((broken.line, broken.seq), (3, Some(Seq(4))));
    assert_eq!(
        broken.reason,
        BrokenReason::Sequence {
            expected: 3,
            found: 4
        }
    );
    assert_eq!(broken.offset, (lines[0].len() + lines[1].len()) as u64);
}

#[test]
fn swapping_and_duplicating_are_named() {
    let (mut lines, _) = five();
    lines.swap(1, 3);
    assert_eq!(
        broken(&lines.concat(), None).reason,
        BrokenReason::Sequence {
            expected: 2,
            found: 4
        }
    );
    let (mut lines, _) = five();
    lines.insert(4, lines[3].clone());
    assert_eq!(
        broken(&lines.concat(), None).reason,
        BrokenReason::Sequence {
            expected: 5,
            found: 4
        }
    );
}

#[test]
fn a_changed_record_shows_in_the_next() {
    let (mut lines, anchor) = five();
    lines[1] = String::from_utf8(lines[1].clone())
        .unwrap()
        .replace("true", "evil")
        .into_bytes();
    let found = broken(&lines.concat(), None);
    assert_eq!((found.line, found.reason.name()), (3, "prev"));

    // The last record has no next: an anchor stands in for it.
    let (mut lines, _) = five();
    lines[4] = String::from_utf8(lines[4].clone())
        .unwrap()
        .replace("true", "evil")
        .into_bytes();
    assert!(check(&lines.concat(), None).is_ok());
    let found = broken(&lines.concat(), Some(anchor));
    assert_eq!((found.line, found.reason.name()), (5, "anchor"));
}

#[test]
fn an_anchor_shows_that_the_end_was_cut_off() {
    let (lines, anchor) = five();
    let shorter = lines[..4].concat();
    assert!(check(&shorter, None).is_ok());
    let found = broken(&shorter, Some(anchor));
    assert_eq!(
        (found.line, found.reason),
        (
            5,
            BrokenReason::CutOff {
                records: 4,
                anchored: 5
            }
        )
    );
}

#[test]
fn an_anchor_still_fits_a_journal_that_grew() {
    let (early, anchor) = journal_of(&[started(1)]);
    let (grown, _) = journal_of(&[started(1), started(2)]);
    assert!(grown.starts_with(&early));
    assert!(check(&grown, Some(anchor)).is_ok());
    let (rewritten, _) = journal_of(&[started(7), started(2)]);
    assert_eq!(broken(&rewritten, Some(anchor)).reason.name(), "anchor");
}

#[test]
fn the_journal_of_another_sandbox_is_refused() {
    let (bytes, _) = journal_of(&[started(1)]);
    let expect = Expect {
        sandbox: Some("other"),
        anchors: &[],
    };
    match verify_reader(&bytes[..], &expect) {
        Err(VerifyError::Broken(Broken {
            line: 1,
            reason: BrokenReason::Genesis { .. },
            ..
        })) => {}
        other => panic!("{other:?}"),
    }
    assert!(verify_reader(&bytes[..], &Expect::default()).is_ok());
}

#[test]
fn a_torn_tail_is_reported() {
    let (mut bytes, anchor) = journal_of(&[started(1)]);
    let length = bytes.len() as u64;
    bytes.extend_from_slice(br#"{"seq":2,"ti"#);
    let verified = check(&bytes, Some(anchor)).unwrap();
    assert_eq!(
        (verified.torn_tail, verified.length, verified.anchor),
        (Some(12), length, anchor)
    );
    assert_eq!(verified.end, End::Open);
}

#[test]
fn a_clock_that_goes_back_is_a_warning() {
    let clock = std::sync::Arc::new(ManualClock::at(Timestamp::from_unix_ms(5000)));
    let (journal, sink) = Journal::in_memory(NAME, clock.clone());
    journal.append(&started(1)).unwrap();
    clock.set(Timestamp::from_unix_ms(2000));
    journal.append(&started(2)).unwrap();
    clock.advance(Duration::from_secs(1));
    journal.append(&started(3)).unwrap();
    let verified = check(&sink.bytes(), None).unwrap();
    assert_eq!(verified.clock_back, Some((Seq(2), 1)));
    assert_eq!(verified.last, Some(Timestamp::from_unix_ms(3000)));
}

#[test]
fn kinds_of_a_newer_version_verify() {
    let prev = Digest::genesis(NAME);
    let line = format!(
        r#"{{"seq":1,"time":"1970-01-01T00:00:00.000Z","prev":"{prev}","event":{{"kind":"git_push","ref":"main"}}}}"#
    );
    assert!(check(format!("{line}\n").as_bytes(), None).is_ok());
}

#[test]
fn an_empty_journal_is_whole_and_open() {
    let verified = check(b"", None).unwrap();
    assert_eq!(
        verified.anchor,
        Anchor {
            records: 0,
            head: Digest::genesis(NAME)
        }
    );
    assert_eq!(verified.end, End::Open);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happened_is_read_back_and_verifies(events in events(8)) {
        let (bytes, anchor) = journal_of(&events);
        let verified = check(&bytes, Some(anchor)).unwrap();
        prop_assert_eq!(verified.anchor, anchor);
        prop_assert_eq!(verified.torn_tail, None);
        let read: Vec<Event> = Records::new(&bytes[..]).map(|entry| entry.unwrap().record.event).collect();
        prop_assert_eq!(read, events);
    }

    #[test]
    fn any_changed_byte_is_found(events in events(4), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let (mut bytes, anchor) = journal_of(&events);
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        let changed = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        bytes[at] ^= flip;
        let found = broken(&bytes, Some(anchor));
        prop_assert!(found.line == changed || found.line == changed + 1, "{found:?}, changed {changed}");
        // Without an anchor, all but the last record are covered.
        if changed < anchor.records {
            prop_assert_eq!(broken(&bytes, None), found);
        }
    }

    #[test]
    fn any_removed_moved_or_repeated_line_is_found(
        events in events(6), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(),
    ) {
        let (bytes, anchor) = journal_of(&events);
        let lines = lines(&bytes);
        prop_assume!(lines.len() > 1);
        let (from, to) = (from.index(lines.len()), to.index(lines.len()));

        let mut removed = lines.clone();
        removed.remove(from);
        prop_assert_eq!(broken(&removed.concat(), Some(anchor)).line, from as u64 + 1);

        let mut repeated = lines.clone();
        repeated.insert(to, lines[from].clone());
        if to != from {
            prop_assert_eq!(broken(&repeated.concat(), None).line, to.min(lines.len()) as u64 + 1);
            let mut swapped = lines.clone();
            swapped.swap(from, to);
            prop_assert_eq!(broken(&swapped.concat(), None).line, from.min(to) as u64 + 1);
        } else {
            prop_assert_eq!(broken(&repeated.concat(), None).line, from as u64 + 2);
        }
    }

    #[test]
    fn any_cut_off_end_is_found(events in events(4), length in any::<prop::sample::Index>()) {
        let (bytes, anchor) = journal_of(&events);
        prop_assume!(!bytes.is_empty());
        let cut = &bytes[..length.index(bytes.len())];
        prop_assert_eq!(broken(cut, Some(anchor)).reason.name(), "cut_off");
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
        let _ = check(&bytes, None);
        Records::new(&bytes[..]).for_each(drop);
    }

    #[test]
    fn no_tampering_makes_it_panic(
        events in events(3), at in any::<prop::sample::Index>(), junk in any::<Vec<u8>>(), drop_bytes in 0..20usize,
    ) {
        let (mut bytes, _) = journal_of(&events);
        let at = at.index(bytes.len() + 1);
        let end = (at + drop_bytes).min(bytes.len());
        bytes.splice(at..end, junk);
        let _ = check(&bytes, None);
        Records::new(&bytes[..]).for_each(drop);
    }
}
