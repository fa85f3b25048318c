//! A home with sandboxes in it, and the binary to run there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use wardian_events::{
    ChangeKind, CommandExited, CommandStarted, Connection, ConnectionClosed, ConnectionId,
    ConnectionMode, CredentialPurpose, CredentialUsed, Dns, DnsTransport, Event, Exit, FileChange,
    FileType, FilesChanged, FilesOf, HostAbsent, HostFact, Journal, Kept, LimitNotEnforced,
    LimitReached, ManualClock, PolicyInForce, PrivilegeMode, ProtocolError, Request, RequestId,
    Response, ResponseOutcome, SandboxStarted, SandboxStopped, SelfProbe, StopCause, Verdict,
};

pub(crate) struct Home {
    directory: TempDir,
    clock: Arc<ManualClock>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let start = "2026-11-21T04:23:47.000Z".parse().unwrap();
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(start)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn sandbox(&self, name: &str) -> PathBuf {
        self.path()
            .join(".local/share/wardian/sandboxes")
            .join(name)
    }

    /// Makes a sandbox's directory and journal.
    pub(crate) fn journal(&self, name: &str) -> Journal {
        fs::create_dir_all(self.sandbox(name)).unwrap();
        Journal::create(
            &self.sandbox(name).join("journal.jsonl"),
            name,
            self.clock.clone(),
        )
        .unwrap()
    }

    /// A journal with these events, a quarter of a second apart.
    pub(crate) fn recorded(&self, name: &str, events: &[Event]) -> Journal {
        let journal = self.journal(name);
        for event in events {
            journal.append(event).unwrap();
            self.clock.advance(Duration::from_millis(250));
        }
        journal
    }

    /// Writes down what a sandbox is.
    pub(crate) fn record(&self, name: &str, text: &str) {
        fs::write(self.sandbox(name).join("record.json"), text).unwrap();
    }

    /// The sandbox counts as running until the result is dropped.
    pub(crate) fn keep_alive(&self, name: &str) -> File {
        let lock = File::create(self.sandbox(name).join("lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        lock
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardian"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.path())
            .current_dir(self.path());
        command
    }

    /// Runs the binary; gives what it wrote and its status in one text to compare.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.told(&self.command(arguments).output().unwrap())
    }

    fn told(&self, output: &Output) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = output;
        let (stdout, stderr) = (
            String::from_utf8(stdout.clone()).unwrap(),
            String::from_utf8(stderr.clone()).unwrap(),
        );
        let mut told = stdout;
        if !stderr.is_empty() {
            told += &format!("--- stderr ---\n{stderr}");
        }
        if !status.success() {
            told += &format!("--- {status} ---\n");
        }
        told.replace(self.path().to_str().unwrap(), "[HOME]")
    }
}

pub(crate) fn started(name: &str) -> Event {
    Event::SandboxStarted(SandboxStarted {
        name: name.into(),
        command: ["claude", "--prompt", "make it so"]
            .map(str::to_owned)
            .into(),
        workspace: "/home/ann/acme (overlay)".into(),
        uid: 1000,
        mode: PrivilegeMode::Rootless,
        wardian: "0.1.0".into(),
        enforced: vec!["seccomp".into(), "landlock".into()],
    })
}

pub(crate) fn stopped() -> Event {
    Event::SandboxStopped(SandboxStopped {
        cause: StopCause::Exited,
        exit: Some(Exit::Status(0)),
        milliseconds: 184_000,
        allowed: 3,
        denied: 5,
        kept: vec![Kept {
            what: "workspace changes".into(),
            path: "/home/ann/.local/share/x/upper".into(),
        }],
    })
}

pub(crate) fn request(id: u64, verdict: Verdict, path: &str) -> Event {
    let allowed = verdict.is_allowed();
    Event::Request(Request {
        id: RequestId(id),
        connection: ConnectionId(1),
        method: "GET".into(),
        scheme: "https".into(),
        host: "api.github.com".into(),
        port: 443,
        path: path.into(),
        version: "h2".into(),
        upgrade: None,
        verdict,
        rule: allowed.then(|| "github#3".into()),
        status: if allowed { None } else { Some(403) },
    })
}

pub(crate) fn response(id: u64, outcome: ResponseOutcome) -> Event {
    Event::Response(Response {
        request: RequestId(id),
        status: Some(if outcome == ResponseOutcome::Complete {
            200
        } else {
            502
        }),
        bytes_up: 0,
        bytes_down: 12_345,
        milliseconds: 84,
        cache: None,
        outcome,
    })
}

pub(crate) fn files_changed(path: &str) -> Event {
    let file = |change, path: &str, before, after: Option<u64>| FileChange {
        path: path.to_owned(),
        change,
        file: FileType::File,
        before,
        after,
        sha256: after.map(|_| wardian_events::Digest::of(b"x")),
    };
    Event::FilesChanged(FilesChanged {
        place: "/home/ann/acme".into(),
        of: FilesOf::Overlay,
        added: 9,
        changed: 1,
        removed: 1,
        left_out: 0,
        ignored: 0,
        unreadable: 0,
        files: vec![
            file(ChangeKind::Added, path, None, Some(1)),
            file(ChangeKind::Changed, "src/main.rs", Some(1000), Some(1234)),
            file(ChangeKind::Removed, "old", Some(7), None),
        ],
        further: 8,
        unknown: None,
    })
}

fn connection(
    id: u64,
    mode: ConnectionMode,
    host: HostFact,
    verdict: Verdict,
    protocol: Option<&str>,
) -> Event {
    Event::Connection(Connection {
        id: ConnectionId(id),
        destination: "198.18.0.7:5432".parse().unwrap(),
        host,
        rule: verdict.is_allowed().then(|| "policy.toml#2".into()),
        verdict,
        mode,
        protocol: protocol.map(str::to_owned),
    })
}

fn dns(question: &str, verdict: Verdict) -> Event {
    Event::Dns(Dns {
        question: question.into(),
        record_type: "TXT".into(),
        transport: DnsTransport::Udp,
        answer: None,
        verdict,
    })
}

/// One of everything.
pub(crate) fn everything(name: &str) -> Vec<Event> {
    let known = |host: &str| HostFact::known(host);
    let text = str::to_owned;
    vec![
        started(name),
        Event::PolicyInForce(PolicyInForce::new("{}", 12)),
        Event::LimitNotEnforced(LimitNotEnforced {
            limit: text("disk"),
            requested: text("10G"),
            why: text("the file system has no quotas"),
        }),
        Event::SelfProbe(SelfProbe {
            passed: vec![text("no route"), text("no device")],
            failed: vec![],
        }),
        Event::CommandStarted(CommandStarted {
            command: wardian_events::Command(1),
            argv: vec![text("git"), text("status\x1b[2J")],
            pid: 7,
        }),
        dns("api.github.com.", Verdict::Allowed),
        connection(
            1,
            ConnectionMode::Inspect,
            known("api.github.com"),
            Verdict::Allowed,
            Some("tls"),
        ),
        request(1, Verdict::Allowed, "/repos/acme/widgets?state=open"),
        Event::CredentialUsed(CredentialUsed {
            credential: text("github"),
            purpose: CredentialPurpose::Request {
                request: RequestId(1),
            },
            host: text("api.github.com"),
            rule: None,
        }),
        request(
            2,
            Verdict::denied("no_rule"),
            "/gists\r\n2026 allowed\u{202e}\u{9b}31m",
        ),
        response(1, ResponseOutcome::Complete),
        dns("c2VjcmV0.evil.example.", Verdict::denied("no_rule")),
        connection(
            2,
            ConnectionMode::None,
            HostFact::absent(HostAbsent::NotSynthetic),
            Verdict::denied("private_address"),
            None,
        ),
        connection(
            3,
            ConnectionMode::Tcp,
            known("db.example.org"),
            Verdict::Allowed,
            None,
        ),
        Event::ProtocolError(ProtocolError {
            connection: Some(ConnectionId(1)),
            protocol: text("http/1.1"),
            reason: text("conflicting_lengths"),
            detail: text("Content-Length beside Transfer-Encoding"),
            status: Some(400),
        }),
        request(3, Verdict::Allowed, "/slow"),
        response(
            3,
            ResponseOutcome::UpstreamFailed {
                reason: text("certificate_expired"),
            },
        ),
        request(4, Verdict::Allowed, "/endless"),
        Event::ConnectionClosed(ConnectionClosed {
            id: ConnectionId(3),
            bytes_up: 999,
            bytes_down: 64 * 1024 * 1024,
            milliseconds: 61_000,
            cut: None,
        }),
        Event::LimitReached(LimitReached {
            limit: text("memory"),
            value: text("4G"),
            action: text("killed the sandbox"),
        }),
        Event::CommandExited(CommandExited {
            command: wardian_events::Command(1),
            exit: Exit::Signal(9),
            milliseconds: 12,
        }),
        stopped(),
    ]
}
