//! Reading while somebody writes.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::mpsc::channel;

use super::*;
use crate::clock::SystemClock;
use crate::event::{CommandStarted, Event};
use crate::journal::Journal;

const NONE: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(20);

fn started(pid: u32) -> Event {
    Event::CommandStarted(CommandStarted {
        command: crate::Command(1),
        argv: vec!["true".into()],
        pid,
    })
}

#[test]
fn what_is_unknown_is_named_and_passed_over() {
    let (journal, sink) = Journal::in_memory("gitea", SystemClock);
    journal
        .append_all(&[started(1), started(2), started(3)])
        .unwrap();
    let text = String::from_utf8(sink.bytes())
        .unwrap()
        .replacen("command_started", "git_push", 2)
        .replacen("git_push", "command_started", 1);
    let mut records = Records::new(text.as_bytes());
    assert_eq!(records.next().unwrap().unwrap().line, 1);
    assert!(matches!(
        records.next(),
        Some(Err(ReadError::Unknown { line: 2, .. }))
    ));
    let third = records.next().unwrap().unwrap();
    assert_eq!((third.line, third.record.event), (3, started(3)));
    assert_eq!(third.raw, text.lines().nth(2).unwrap());
    assert!(records.next().is_none());

    let mut torn = Records::new(&text.as_bytes()[..text.len() - 1]).skip(2);
    assert!(matches!(
        torn.next(),
        Some(Err(ReadError::Torn { line: 3, .. }))
    ));
    assert!(torn.next().is_none());
}

#[test]
fn following_sees_each_record_as_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    let journal = Journal::create(&path, "gitea", SystemClock).unwrap();
    journal.append(&started(1)).unwrap();
    let mut follow = follow(&path).unwrap();
    assert_eq!(follow.next(NONE).unwrap().unwrap().record.event, started(1));
    assert_eq!(follow.next(NONE).unwrap(), None);

    let (seen, wait_seen) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..100 {
                seen.send(follow.next(LONG).unwrap().unwrap()).unwrap();
            }
        });
        for pid in 2..102 {
            journal.append(&started(pid)).unwrap();
            let entry = wait_seen.recv_timeout(LONG).unwrap();
            assert_eq!(
                (entry.line, entry.record.event),
                (u64::from(pid), started(pid))
            );
        }
    });
}

#[test]
fn following_waits_for_the_rest_of_a_line_and_forgets_one_that_was_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    let journal = Journal::create(&path, "gitea", SystemClock).unwrap();
    let mut follow = follow(&path).unwrap();
    OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(br#"{"seq":1,"to be cut off"#)
        .unwrap();
    assert_eq!(follow.next(NONE).unwrap(), None);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    assert_eq!(follow.next(NONE).unwrap(), None);
    journal.append(&started(7)).unwrap();
    assert_eq!(follow.next(NONE).unwrap().unwrap().record.event, started(7));
}

#[test]
fn without_inotify_it_looks_every_so_often() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    let journal = Journal::create(&path, "gitea", SystemClock).unwrap();
    let mut follow = follow(&path).unwrap();
    follow.watch = None;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| follow.next(LONG).unwrap().unwrap());
        journal.append(&started(7)).unwrap();
        assert_eq!(reader.join().unwrap().record.event, started(7));
    });
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let error = read(directory.path()).unwrap_err();
    assert!(matches!(error, ReadError::Open { .. }), "{error:?}");
}

#[test]
fn the_last_record_is_found_from_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    let journal = Journal::create(&path, "gitea", SystemClock).unwrap();
    assert_eq!(last(&path).unwrap(), None);
    for pid in 1..200 {
        journal.append(&started(pid)).unwrap();
        assert_eq!(last(&path).unwrap().unwrap().record.event, started(pid));
    }
    let policy = Event::PolicyInForce(crate::PolicyInForce::new("x".repeat(1_000_000), 1));
    journal.append(&policy).unwrap();
    assert_eq!(last(&path).unwrap().unwrap().record.event, policy);
    OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(&[b'x'; 10_000])
        .unwrap();
    assert_eq!(last(&path).unwrap().unwrap().record.event, policy);
    std::fs::write(&path, vec![b'x'; 3 * MAX_LINE]).unwrap();
    assert!(matches!(last(&path), Err(ReadError::TooLong { .. })));
}
