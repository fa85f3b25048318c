//! A journal over many files reads, verifies and goes on as one; what is done to any of them shows.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::clock::SystemClock;
use crate::event::{CommandStarted, Event, LimitReached, SandboxStopped, StopCause};
use crate::verify::{BrokenReason, End, Expect, Verified, VerifyError, verify};
use crate::{Anchor, Bounds, Command, Journal, JournalError, follow, last, read};

const NAME: &str = "gitea";
const SMALL: Bounds = Bounds {
    segment: 4000,
    run: u64::MAX / 2,
};

fn started(pid: u32) -> Event {
    Event::CommandStarted(CommandStarted {
        command: Command(1),
        argv: vec!["true".into(), "x".repeat(60)],
        pid,
    })
}

fn stopped() -> Event {
    Event::SandboxStopped(SandboxStopped {
        cause: StopCause::Exited,
        exit: None,
        milliseconds: 1,
        allowed: 0,
        denied: 0,
        kept: Vec::new(),
    })
}

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("journal.jsonl")
    }

    fn create(&self, bounds: Bounds) -> Journal {
        Journal::create_bounded(&self.path(), NAME, SystemClock, bounds).unwrap()
    }

    /// A journal of `count` records in many files that are all packed, and its end.
    fn filled(count: u32) -> (Self, Anchor) {
        let place = Self::new();
        let journal = place.create(SMALL);
        for pid in 1..count {
            journal.append(&started(pid)).unwrap();
        }
        journal.append(&stopped()).unwrap();
        (place, journal.anchor())
    }

    fn verify(&self) -> Result<Verified, VerifyError> {
        let expect = Expect {
            sandbox: Some(NAME),
            anchors: &[],
        };
        verify(&self.path(), &expect)
    }

    /// The line, the file and the reason.
    fn broken(&self) -> (u64, Option<String>, &'static str) {
        match self.verify() {
            Err(VerifyError::Broken(broken)) => (
                broken.line,
                broken.file.map(String::from),
                broken.reason.name(),
            ),
            other => panic!("not found to be broken: {other:?}"),
        }
    }

    fn sealed(&self) -> Vec<Segment> {
        sealed(&self.path()).unwrap()
    }
}

#[test]
fn many_files_are_one_journal() {
    let (place, anchor) = Place::filled(100);
    let sealed = place.sealed();
    assert!(sealed.len() >= 5, "{sealed:?}");
    assert!(sealed.iter().all(|segment| segment.packed), "{sealed:?}");
    assert_eq!(sealed[0].name(), "journal.1.jsonl.zst");
    let verified = place.verify().unwrap();
    assert_eq!((verified.anchor, verified.end), (anchor, End::Stopped));
    let numbers: Vec<u64> = read(&place.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            assert_eq!(entry.line, entry.record.seq.0);
            entry.line
        })
        .collect();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    assert_eq!(last(&place.path()).unwrap().unwrap().record.seq.0, 100);
    // Nothing but the journal, its segments and its anchor.
    let all = place.directory.path().read_dir().unwrap().count();
    assert_eq!(all, sealed.len() + 2);
}

#[test]
fn it_is_gone_on_with_where_it_was_left() {
    let (place, _) = Place::filled(30);
    for _ in 0..3 {
        let reopened = Journal::reopen_bounded(&place.path(), NAME, SystemClock, SMALL).unwrap();
        for pid in 0..30 {
            reopened.journal.append(&started(pid)).unwrap();
        }
        reopened.journal.append(&stopped()).unwrap();
    }
    assert_eq!(place.verify().unwrap().anchor.records, 30 + 3 * 31);
}

#[test]
fn a_segment_that_is_missing_added_or_changed_is_named() {
    let (place, _) = Place::filled(60);
    let sealed = place.sealed();
    let (second, third) = (&sealed[1], &sealed[2]);
    let aside = place.directory.path().join("aside");

    fs::rename(&second.path, &aside).unwrap();
    assert_eq!(
        place.broken(),
        (second.first, Some(third.name()), "sequence")
    );
    fs::rename(&aside, &second.path).unwrap();

    let added = path_of(&place.path(), second.first + 1);
    fs::copy(place.path(), &added).unwrap();
    assert_eq!(place.broken().2, "sequence");
    fs::remove_file(&added).unwrap();

    // One bit anywhere: it no longer unpacks, or to something else.
    let whole = fs::read(&second.path).unwrap();
    for at in (0..whole.len()).step_by(37) {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        fs::write(&second.path, &changed).unwrap();
        let (line, _, reason) = place.broken();
        assert!(
            line >= second.first && line <= third.first,
            "byte {at}: {reason} at line {line}"
        );
    }
    for length in [0, 3, whole.len() / 2, whole.len() - 1] {
        fs::write(&second.path, &whole[..length]).unwrap();
        place.broken();
    }
    fs::write(&second.path, &whole).unwrap();
    place.verify().unwrap();
}

/// A writer can die between any two steps.
#[test]
fn no_death_between_two_files_loses_or_doubles_a_record() {
    let place = Place::new();
    let journal = place.create(Bounds::default());
    for pid in 1..=5 {
        journal.append(&started(pid)).unwrap();
    }
    drop(journal);
    let reads = || {
        read(&place.path())
            .unwrap()
            .map(|entry| entry.unwrap().line)
    };

    // The new file is there; then the old one has its second name too.
    fs::write(place.path().with_extension("jsonl.new"), "half a rec").unwrap();
    assert_eq!(reads().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    fs::hard_link(place.path(), path_of(&place.path(), 1)).unwrap();
    assert_eq!(reads().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(place.verify().unwrap().anchor.records, 5);
    let reopened = Journal::reopen_bounded(&place.path(), NAME, SystemClock, SMALL).unwrap();
    assert!(place.sealed().is_empty());
    for pid in 7..40 {
        reopened.journal.append(&started(pid)).unwrap();
    }
    reopened.journal.append(&stopped()).unwrap();

    // The packed form is there, and the plain one still is.
    let segment = &place.sealed()[0];
    let plain = path_of(&place.path(), segment.first);
    let mut bytes = Vec::new();
    let packed = fs::File::open(&segment.path).unwrap();
    io::Read::read_to_end(&mut pack::Unpacked::new(packed), &mut bytes).unwrap();
    fs::write(&plain, bytes).unwrap();
    fs::write(segment.path.with_extension("zst.new"), "half").unwrap();
    assert_eq!(place.verify().unwrap().anchor.records, 40);
    pack_sealed(&place.path()).unwrap();
    assert!(!plain.exists() && !segment.path.with_extension("zst.new").exists());
    assert_eq!(place.verify().unwrap().anchor.records, 40);
}

#[test]
fn following_goes_on_from_file_to_file() {
    const LONG: Duration = Duration::from_secs(20);
    let (place, _) = Place::filled(40);
    let reopened = Journal::reopen_bounded(&place.path(), NAME, SystemClock, SMALL).unwrap();
    let mut follow = follow(&place.path()).unwrap();
    for expected in 1..=40 {
        assert_eq!(follow.next(LONG).unwrap().unwrap().line, expected);
    }
    // Far ahead of the reader, and then step by step.
    for pid in 0..100 {
        reopened.journal.append(&started(pid)).unwrap();
    }
    for expected in 41..=140 {
        assert_eq!(follow.next(LONG).unwrap().unwrap().line, expected);
    }
    for expected in 141..=200 {
        assert_eq!(follow.next(Duration::ZERO).unwrap(), None);
        reopened.journal.append(&started(1)).unwrap();
        let entry = follow.next(LONG).unwrap().unwrap();
        assert_eq!((entry.line, entry.record.seq.0), (expected, expected));
    }
    let mut late = super::super::follow(&place.path()).unwrap();
    let all = std::iter::from_fn(|| late.next(Duration::ZERO).unwrap());
    assert_eq!(all.count(), 200);
}

#[test]
fn reading_while_files_are_sealed_finds_each_record_once() {
    let place = Place::new();
    let journal = place.create(SMALL);
    journal.append(&started(0)).unwrap();
    let writer = {
        let journal = journal.clone();
        std::thread::spawn(move || {
            for pid in 0..3000 {
                journal.append(&started(pid)).unwrap();
            }
        })
    };
    while !writer.is_finished() {
        let mut expected = 0;
        for entry in read(&place.path()).unwrap() {
            expected += 1;
            assert_eq!(entry.unwrap().record.seq.0, expected);
        }
        assert!(expected > 0);
        place.verify().unwrap();
    }
    writer.join().unwrap();
    assert_eq!(place.verify().unwrap().anchor, journal.anchor());
}

#[test]
fn a_full_journal_says_so_and_takes_only_the_end() {
    let place = Place::new();
    let bounds = Bounds::of_run(200_000);
    let journal = place.create(bounds);
    let (tell, told) = std::sync::mpsc::channel();
    journal.when_full(move || tell.send(()).unwrap());
    let failed = (0..10_000).find_map(|pid| journal.append(&started(pid)).err());
    assert!(matches!(failed, Some(JournalError::Full(bytes)) if bytes <= 200_000));
    told.try_recv().unwrap();
    assert!(matches!(
        journal.append(&started(1)),
        Err(JournalError::Full(_))
    ));
    assert!(told.try_recv().is_err());
    let reached = Event::LimitReached(LimitReached {
        limit: "journal".into(),
        value: "200000".into(),
        action: "the sandbox was ended".into(),
    });
    journal.append(&reached).unwrap();
    journal.append(&stopped()).unwrap();
    let verified = place.verify().unwrap();
    assert_eq!(verified.end, End::Stopped);
    assert!(place.sealed().len() >= 2);

    // The next run has room of its own.
    let again = Journal::reopen_bounded(&place.path(), NAME, SystemClock, bounds).unwrap();
    again.journal.append(&started(1)).unwrap();
}

#[test]
fn only_names_of_segments_are_segments() {
    for (name, expected) in [
        ("journal.1.jsonl", Some((1, false))),
        ("journal.48211.jsonl.zst", Some((48211, true))),
        ("journal.jsonl", None),
        ("journal.01.jsonl", None),
        ("journal.+1.jsonl", None),
        ("journal.0.jsonl", None),
        ("journal.1.jsonl.zst.new", None),
        ("journal.jsonl.torn-3", None),
        ("journal.anchor", None),
        ("other.1.jsonl", None),
    ] {
        assert_eq!(parse("journal", name), expected, "{name}");
    }
}

#[test]
fn what_breaks_is_told_with_its_file() {
    let (place, _) = Place::filled(60);
    let second = &place.sealed()[1];
    fs::write(&second.path, "nothing like it").unwrap();
    let Err(VerifyError::Broken(broken)) = place.verify() else {
        panic!()
    };
    assert!(matches!(broken.reason, BrokenReason::Packing(_)));
    let told = broken.to_string();
    assert!(
        told.starts_with(&format!("line {} (in {}): ", second.first, second.name())),
        "{told}"
    );
}
