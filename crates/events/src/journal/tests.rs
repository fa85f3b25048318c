//! What an append promises.

use std::fs::OpenOptions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command as Process;

use super::*;
use crate::clock::{ManualClock, SystemClock, Timestamp};
use crate::event::{
    CommandStarted, Kept, PolicyInForce, Request, SandboxStopped, StopCause, Verdict,
};
use crate::lines::MAX_LINE;
use crate::read::{Records, read};
use crate::verify::{BrokenReason, End, Expect, VerifyError, verify};
use crate::{Command, ConnectionId, RequestId};

const NAME: &str = "gitea";

fn clock() -> ManualClock {
    ManualClock::at(Timestamp::from_unix_ms(1_795_235_027_123))
}

fn request(path: &str) -> Event {
    Event::Request(Request {
        id: RequestId(1),
        connection: ConnectionId(1),
        method: "GET".into(),
        scheme: "https".into(),
        host: "api.github.com".into(),
        port: 443,
        path: path.into(),
        version: "h2".into(),
        upgrade: None,
        verdict: Verdict::denied("no_rule"),
        rule: None,
        status: Some(403),
    })
}

fn expect() -> Expect<'static> {
    Expect {
        sandbox: Some(NAME),
        anchors: &[],
    }
}

#[test]
fn a_record_looks_like_this() {
    let (journal, sink) = Journal::in_memory(NAME, clock());
    assert_eq!(journal.append(&request("/a?b=c")).unwrap(), Seq(1));
    let line = String::from_utf8(sink.bytes()).unwrap();
    let genesis = Digest::genesis(NAME);
    assert_eq!(
        line,
        format!(
            r#"{{"seq":1,"time":"2026-11-21T04:23:47.123Z","prev":"{genesis}","event":{{"kind":"request","id":1,"#
        ) + r#""connection":1,"method":"GET","scheme":"https","host":"api.github.com","port":443,"path":"/a?b=c","#
            + r#""version":"h2","verdict":"denied","reason":"no_rule","status":403}}"#
            + "\n"
    );
    assert_eq!(
        journal.anchor(),
        Anchor {
            records: 1,
            head: Digest::of(line.trim_end().as_bytes())
        }
    );
}

#[test]
fn any_text_is_one_line_that_is_safe_to_look_at() {
    let hostile = "/\r\n{\"seq\":2}\n\0\x1b[2J\u{9b}\u{7f}\u{202e}\u{2028}\u{e0041}ü";
    let (journal, sink) = Journal::in_memory(NAME, clock());
    journal.append(&request(hostile)).unwrap();
    let text = String::from_utf8(sink.bytes()).unwrap();
    let line = text.strip_suffix('\n').unwrap();
    assert_eq!(crate::visible(line), line);
    assert!(line.contains('ü'));
    let entries: Vec<_> = Records::new(text.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].record.event, request(hostile));
}

#[test]
fn texts_that_are_too_long_are_cut_and_say_so() {
    for filler in ["x", "\0", "ü", "\u{e0041}"] {
        let path = filler.repeat(200_000);
        let (journal, sink) = Journal::in_memory(NAME, clock());
        journal.append(&request(&path)).unwrap();
        let argv = vec![path.clone(); 5];
        journal
            .append(&Event::CommandStarted(CommandStarted {
                command: Command(1),
                argv,
                pid: 7,
            }))
            .unwrap();
        let bytes = sink.bytes();
        assert!(
            bytes
                .split(|byte| *byte == b'\n')
                .all(|line| line.len() <= MAX_RECORD)
        );
        let entries: Vec<_> = Records::new(&bytes[..]).collect::<Result<_, _>>().unwrap();
        let Event::Request(read) = &entries[0].record.event else {
            panic!("{entries:?}")
        };
        assert!(read.path.starts_with(filler) && read.path.len() > 100);
        assert!(
            read.path
                .ends_with(&format!("[... of {} bytes]", path.len())),
            "{}",
            read.path
        );
        assert_eq!(read.host, "api.github.com");
    }
}

#[test]
fn lists_that_are_too_long_are_cut_and_say_so() {
    let argv = vec!["word".to_owned(); 200_000];
    let kept = vec![
        Kept {
            what: "workspace changes".into(),
            path: "/x".into()
        };
        10_000
    ];
    let stopped = SandboxStopped {
        cause: StopCause::Exited,
        exit: None,
        milliseconds: 1,
        allowed: 2,
        denied: 3,
        kept,
    };
    let (journal, sink) = Journal::in_memory(NAME, clock());
    journal
        .append(&Event::CommandStarted(CommandStarted {
            command: Command(1),
            argv,
            pid: 7,
        }))
        .unwrap();
    journal.append(&Event::SandboxStopped(stopped)).unwrap();
    let entries: Vec<_> = Records::new(&sink.bytes()[..])
        .collect::<Result<_, _>>()
        .unwrap();
    let Event::CommandStarted(started) = &entries[0].record.event else {
        panic!("{entries:?}")
    };
    assert_eq!(started.argv.last().unwrap(), "[... of 200000 items]");
    assert!(
        matches!(&entries[1].record.event, Event::SandboxStopped(stopped) if stopped.kept.len() > 3)
    );
}

#[test]
fn a_policy_is_recorded_whole() {
    let canonical = "x".repeat(900_000);
    let event = Event::PolicyInForce(PolicyInForce::new(canonical, 9));
    let (journal, sink) = Journal::in_memory(NAME, clock());
    journal.append(&event).unwrap();
    journal
        .append(&Event::PolicyInForce(PolicyInForce::new(
            "\0".repeat(MAX_LINE),
            9,
        )))
        .unwrap();
    let entries: Vec<_> = Records::new(&sink.bytes()[..])
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(entries[0].record.event, event);
}

#[test]
fn after_a_short_write_nothing_is_recorded_ever_again() {
    let (probe, sink) = Journal::in_memory(NAME, clock());
    probe.append(&request("/1")).unwrap();
    let one = sink.bytes();

    let sink = MemorySink::with_capacity(one.len() + 100);
    let journal = Journal::with_sink(Box::new(sink.clone()), NAME, clock());
    journal.append(&request("/1")).unwrap();
    let anchor = journal.anchor();
    assert!(matches!(
        journal.append(&request("/2")),
        Err(JournalError::Short { written: 100, .. })
    ));
    // There is room again; it stays closed all the same, and its partial line is gone.
    assert!(matches!(
        journal.append(&request("/3")),
        Err(JournalError::Poisoned(_))
    ));
    assert!(matches!(
        journal.clone().append_all(&[]),
        Err(JournalError::Poisoned(_))
    ));
    assert_eq!(sink.bytes(), one);
    assert_eq!(journal.anchor(), anchor);
}

#[test]
fn a_batch_is_recorded_whole_or_not_at_all() {
    let (journal, sink) = Journal::in_memory(NAME, clock());
    assert_eq!(
        journal.append_all(&[request("/1"), request("/2")]).unwrap(),
        Seq(2)
    );
    let room = sink.bytes().len();
    assert_eq!(Records::new(&sink.bytes()[..]).count(), 2);

    let sink = MemorySink::with_capacity(room - 1);
    let journal = Journal::with_sink(Box::new(sink.clone()), NAME, clock());
    assert!(journal.append_all(&[request("/1"), request("/2")]).is_err());
    assert_eq!(sink.bytes(), b"");
}

#[test]
fn a_full_disk_closes_the_journal() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let journal = Journal::with_sink(Box::new(full), NAME, clock());
    match journal.append(&request("/1")) {
        Err(JournalError::Write(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
        other => panic!("{other:?}"),
    }
    let again = journal.append(&request("/1")).unwrap_err().to_string();
    assert!(again.starts_with(
        "the journal is closed after a failure: the journal cannot be written: No space"
    ));
    assert!(
        again.contains("its partial line cannot be cut off"),
        "{again}"
    );
}

#[derive(Debug)]
struct FailsToSync(MemorySink);

impl Sink for FailsToSync {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::Error::other("worn out"))
    }
}

#[test]
fn a_failed_sync_closes_the_journal() {
    let journal = Journal::with_sink(Box::new(FailsToSync(MemorySink::default())), NAME, clock());
    journal.sync().unwrap();
    journal.append(&request("/1")).unwrap();
    let flusher = journal.flush_every(Duration::from_millis(1)).unwrap();
    for _ in 0..1000 {
        if journal.append(&request("/2")).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(flusher);
    match journal.append(&request("/3")) {
        Err(JournalError::Poisoned(why)) => assert!(why.contains("worn out"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// Set for a process that is to run the other half of the test that started it.
const OTHER_HALF: &str = "WARDIAN_TEST_JOURNAL";

/// A real file at a real limit. `RLIMIT_FSIZE` is per process, so that a process of its own runs the other half.
#[test]
fn a_file_size_limit_closes_the_journal() {
    if let Some(path) = std::env::var_os(OTHER_HALF) {
        return fill_a_limited_file(Path::new(&path));
    }
    let directory = tempfile::tempdir().unwrap();
    // With SIGXFSZ ignored, which is inherited, the write past the limit comes out short instead of killing.
    let script = r#"trap "" XFSZ; ulimit -f 4; exec "$0" --exact journal::tests::a_file_size_limit_closes_the_journal"#;
    let status = Process::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(OTHER_HALF, directory.path().join("journal.jsonl"))
        .status()
        .unwrap();
    assert!(status.success());
    let verified = verify(&directory.path().join("journal.jsonl"), &expect()).unwrap();
    assert_eq!(verified.torn_tail, None);
    assert!(verified.anchor.records >= 2, "{verified:?}");
}

fn fill_a_limited_file(path: &Path) {
    let journal = Journal::create(path, NAME, clock()).unwrap();
    let failed = (0..1000).find_map(|_| journal.append(&request("/")).err());
    assert!(
        matches!(
            failed,
            Some(JournalError::Short { .. } | JournalError::Write(_))
        ),
        "{failed:?}"
    );
    assert!(matches!(
        journal.append(&request("/")),
        Err(JournalError::Poisoned(_))
    ));
}

#[test]
fn creating_takes_nothing_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    Journal::create(&path, NAME, SystemClock).unwrap();
    assert_eq!(
        path.metadata().unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let error = Journal::create(&path, NAME, SystemClock).unwrap_err();
    assert!(error.to_string().contains("O_EXCL"), "{error}");

    let link = directory.path().join("link.jsonl");
    symlink(directory.path().join("elsewhere"), &link).unwrap();
    assert!(Journal::create(&link, NAME, SystemClock).is_err());
    assert!(!directory.path().join("elsewhere").exists());
    assert!(read(&link).is_err() && Journal::reopen(&link, NAME, SystemClock).is_err());
}

#[test]
fn threads_share_one_chain() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    let journal = Journal::create(&path, NAME, SystemClock).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..250).for_each(|_| assert!(journal.append(&request("/")).is_ok())));
        }
    });
    journal.sync().unwrap();
    assert_eq!(verify(&path, &expect()).unwrap().anchor, journal.anchor());
    assert_eq!(journal.anchor().records, 1000);
}

#[test]
fn reopening_sets_a_torn_tail_aside_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    Journal::create(&path, NAME, clock())
        .unwrap()
        .append(&request("/1"))
        .unwrap();
    let torn = br#"{"seq":2,"time":"2026"#;
    io::Write::write_all(
        &mut OpenOptions::new().append(true).open(&path).unwrap(),
        torn,
    )
    .unwrap();
    std::fs::write(
        directory.path().join("journal.jsonl.torn-2"),
        "an earlier attempt",
    )
    .unwrap();

    let reopened = Journal::reopen(&path, NAME, clock()).unwrap();
    assert!(!reopened.was_stopped());
    assert_eq!(reopened.found.torn_tail, Some(torn.len() as u64));
    let tail = reopened.torn.unwrap();
    assert_eq!(
        (tail.bytes, tail.sha256),
        (torn.len() as u64, Digest::of(torn))
    );
    assert_eq!(tail.kept_as, "journal.jsonl.torn-2-2");
    assert_eq!(
        std::fs::read(directory.path().join(&tail.kept_as)).unwrap(),
        torn
    );

    reopened.journal.append(&request("/2")).unwrap();
    let verified = verify(&path, &expect()).unwrap();
    assert_eq!(
        (
            verified.anchor.records,
            verified.torn_tail,
            verified.reopened
        ),
        (3, None, 1)
    );
    assert_eq!(verified.end, End::Open);
    let second = read(&path).unwrap().nth(1).unwrap().unwrap();
    assert!(
        matches!(second.record.event, Event::JournalReopened(event) if event.torn == Some(tail)),
        "{}",
        second.raw
    );
}

#[test]
fn a_broken_journal_is_not_continued() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    let journal = Journal::create(&path, NAME, clock()).unwrap();
    journal.append_all(&[request("/1"), request("/2")]).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("/1", "/x", 1)).unwrap();
    match Journal::reopen(&path, NAME, clock()) {
        Err(ReopenError::Verify(VerifyError::Broken(broken))) => {
            assert!(matches!(broken.reason, BrokenReason::Prev { .. }));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stopped_journal_leaves_its_anchor_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    let journal = Journal::create(&path, NAME, clock()).unwrap();
    journal.append(&request("/1")).unwrap();
    assert_eq!(Anchor::load_for(&path).unwrap(), None);
    let stopped = || {
        Event::SandboxStopped(SandboxStopped {
            cause: StopCause::Exited,
            exit: None,
            milliseconds: 1,
            allowed: 0,
            denied: 1,
            kept: vec![],
        })
    };
    journal.append(&stopped()).unwrap();
    let anchor = journal.anchor();
    assert_eq!(Anchor::load_for(&path).unwrap(), Some(anchor));
    assert_eq!(directory.path().read_dir().unwrap().count(), 2);

    let again = Journal::reopen(&path, NAME, clock()).unwrap();
    assert!(again.was_stopped());
    let expect = Expect {
        sandbox: Some(NAME),
        anchors: &[anchor],
    };
    // Nobody died, so nothing is said of it.
    let verified = verify(&path, &expect).unwrap();
    assert_eq!((verified.end, verified.reopened), (End::Stopped, 0));
    again.journal.append(&stopped()).unwrap();
    assert_eq!(Anchor::load_for(&path).unwrap().unwrap().records, 3);

    // The chain alone would not see this.
    let text = std::fs::read_to_string(&path).unwrap();
    let end = text.rfind("\"denied\":1").unwrap();
    std::fs::write(
        &path,
        format!("{}\"denied\":0{}", &text[..end], &text[end + 10..]),
    )
    .unwrap();
    assert!(matches!(
        Journal::reopen(&path, NAME, clock()),
        Err(ReopenError::Verify(VerifyError::Broken(broken))) if broken.reason.name() == "anchor"
    ));
    std::fs::write(Anchor::path_for(&path), "nonsense").unwrap();
    assert!(Anchor::load_for(&path).is_err());
}

/// What `append` has returned for is in the file, whenever the process is killed.
#[test]
fn a_killed_writer_leaves_all_that_it_was_told_is_recorded() {
    if let Some(path) = std::env::var_os(OTHER_HALF) {
        return append_until_killed(Path::new(&path));
    }
    for round in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.jsonl");
        let mut writer = Process::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "journal::tests::a_killed_writer_leaves_all_that_it_was_told_is_recorded",
            ])
            .env(OTHER_HALF, &path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let told = io::BufReader::new(writer.stdout.take().unwrap());
        let mut recorded = 0;
        for line in io::BufRead::lines(told) {
            if let Some(seq) = line.unwrap().strip_prefix("recorded ") {
                recorded = seq.parse().unwrap();
            }
            if recorded == 20 * (round + 1) {
                writer.kill().unwrap();
            }
        }
        writer.wait().unwrap();
        let reopened = Journal::reopen(&path, NAME, clock()).unwrap();
        assert!(reopened.found.anchor.records >= recorded && recorded >= 20 * (round + 1));
        assert!(verify(&path, &expect()).unwrap().anchor.records > recorded);
    }
}

fn append_until_killed(path: &Path) {
    let journal = Journal::create(path, NAME, clock()).unwrap();
    for _ in 0..1_000_000 {
        let seq = journal.append(&request("/")).unwrap();
        println!("recorded {seq}");
    }
}
