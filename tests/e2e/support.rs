//! Helpers that several areas share.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use wardian_tests::events::Events;
use wardian_tests::host::Host;
use wardian_tests::process::{Finished, Input, Running};
use wardian_tests::run::{Outcome, Run};

/// The most a refusal may take, a sandbox's start and stop included.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(3);

pub(crate) const ATTACKS: &str = include_str!("support/attacks.py");
const TERMINAL: &str = include_str!("support/terminal.py");
const RESOLVER: &str = include_str!("support/resolver.py");

/// The moments at which somebody is killed: from 0 to the time that a whole run takes, and a little more. Evenly
/// spread but in no order.
#[derive(Clone, Copy)]
pub(crate) struct Moments {
    pub(crate) count: u32,
    /// Shares no divisor with `count`.
    pub(crate) step: u32,
}

impl Moments {
    pub(crate) fn at(self, number: u32, whole: Duration) -> Duration {
        let place = (number * self.step) % self.count;
        (whole + whole / 5) * place / self.count
    }
}

/// What came of each attack: `ok` if it worked, else an errno or the signal that ended it.
pub(crate) type Attempts = BTreeMap<String, String>;

pub(crate) fn attempts(finished: &Finished) -> Attempts {
    serde_json::from_str(&finished.text()).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

/// Tries attacks inside.
pub(crate) fn attack<'a>(
    host: &'a Host,
    names: &[&str],
    adjust: impl FnOnce(Run<'a>) -> Run<'a>,
) -> Attempts {
    let words = ["/usr/bin/python3", "-c", ATTACKS]
        .iter()
        .chain(names)
        .copied();
    attempts(&adjust(host.run(words)).finish().success().finished)
}

/// Tries attacks outside, in namespaces of their own so that the host does not change.
pub(crate) fn attack_outside(host: &Host, names: &[&str]) -> Attempts {
    let mut words = vec![
        "/usr/bin/unshare",
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--mount-proc",
        "--uts",
        "--ipc",
    ];
    if host.mode() == wardian_tests::mode::Mode::Rootless {
        words.extend(["--user", "--map-root-user"]);
    }
    words.extend(["/usr/bin/python3", "-c", ATTACKS]);
    words.extend(names);
    attempts(&host.outside(words).success())
}

#[track_caller]
pub(crate) fn assert_each(attempts: &Attempts, wanted: &[&str]) {
    let other: Vec<_> = attempts
        .iter()
        .filter(|(_, outcome)| !wanted.contains(&outcome.as_str()))
        .collect();
    assert!(other.is_empty(), "wanted {wanted:?}: {other:?}");
}

/// What a person at a terminal saw; see `support/terminal.py` for the steps.
#[derive(Debug)]
pub(crate) struct Screen {
    pub(crate) shown: String,
    pub(crate) exit: Option<i64>,
    /// The terminal has the settings that it had before.
    pub(crate) restored: bool,
}

/// Runs `wardian` on a terminal and plays the steps, all of which must come to pass.
#[track_caller]
pub(crate) fn at_terminal(run: Run<'_>, steps: &Value) -> Screen {
    let steps = steps.to_string();
    let finished = run
        .by_way_of(&["/usr/bin/python3", "-c", TERMINAL, &steps, "--"])
        .finish()
        .success();
    let told: Value = serde_json::from_str(&finished.text()).unwrap();
    let shown = told["shown"].as_str().unwrap().to_owned();
    assert!(
        told["failed"].is_null(),
        "never shown: {}\n--- shown:\n{shown}",
        told["failed"]
    );
    Screen {
        shown,
        exit: told["exit"].as_i64(),
        restored: told["restored"] == true,
    }
}

/// A network of its own around `wardian`, with a DNS server that records each question and answers as told.
///
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    host: &'a Host,
    answers: Value,
    before: String,
}

impl<'a> Resolver<'a> {
    /// `answers`: for each name a list of addresses, given in turn.
    pub(crate) fn new(host: &'a Host, answers: Value) -> Self {
        Self {
            host,
            answers,
            before: String::new(),
        }
    }

    /// Also a web server on 127.0.0.1:80, beside `wardian`, where its supervisor would dial. Prints the status that it
    /// gives to a program that asks for `name` from outside the sandbox: the control.
    pub(crate) fn with_server(self, name: &str) -> Self {
        let before = format!(
            "ip route add unreachable 198.51.100.0/24
             /usr/bin/python3 -m http.server --bind 127.0.0.1 80 >/dev/null 2>&1 & server=$!; sleep 0.6
             curl -s -4 -o /dev/null -w 'control %{{http_code}}\\n' http://{name}/;"
        );
        Self { before, ..self }
    }

    fn log(&self) -> std::path::PathBuf {
        self.host.base().join("questions.jsonl")
    }

    pub(crate) fn around<'r>(&self, run: Run<'r>) -> Run<'r> {
        self.host.write(&self.log(), "");
        // A whole /etc of its own: a file mounted into it would be a mount that the sandbox's layers must not cover.
        let etc = self.host.base().join("etc");
        let script = format!(
            "set -e; ip link set lo up; test -d {etc} || cp -a /etc {etc}; rm -f {etc}/resolv.conf
             echo 'nameserver 127.0.0.1\noptions timeout:1 attempts:1' >{etc}/resolv.conf; mount --bind {etc} /etc
             /usr/bin/python3 -c \"$1\" \"$2\" {log} & dns=$!; shift 2; sleep 0.3; set +e
             {before} \"$@\"; code=$?; kill $dns $server; exit $code",
            before = self.before,
            etc = etc.display(),
            log = self.log().display()
        );
        let answers = self.answers.to_string();
        let mut words = vec!["/usr/bin/unshare", "--net", "--mount"];
        if !rustix::process::geteuid().is_root() {
            words.extend(["--user", "--map-root-user"]);
        }
        words.extend(["sh", "-c", &script, "sh", RESOLVER, &answers]);
        run.around(&words)
    }

    /// Names that were asked for, from outside the sandbox's seal.
    pub(crate) fn questions(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        text.lines()
            .map(|line| {
                serde_json::from_str::<Value>(line).unwrap()["name"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }
}

/// In a network without a way out, for programs that would dial real addresses if a refusal failed.
pub(crate) fn isolated<'r>(host: &Host, run: Run<'r>) -> Run<'r> {
    Resolver::new(host, serde_json::json!({})).around(run)
}

/// Everything refused on the record was refused for one of `reasons`, and something was.
#[track_caller]
pub(crate) fn refused_for(events: &Events, reasons: &[&str]) {
    let denied = events.denied();
    assert!(
        !denied.is_empty(),
        "nothing was refused: {:#?}",
        events.all()
    );
    for event in denied {
        let reason = event["reason"].as_str().unwrap_or_default();
        assert!(
            reasons.contains(&reason),
            "refused for another reason than {reasons:?}: {event}"
        );
    }
}

/// A program run outside as the same account, for a control.
pub(crate) fn outside_python(host: &Host, program: &str, arguments: &[&str]) -> Finished {
    let head = ["/usr/bin/python3", "-c", program];
    let words = head.iter().chain(arguments).copied();
    Running::start(host.command(words), Input::Nothing).wait(Duration::from_secs(20))
}

/// Waits for what must come to pass soon.
#[track_caller]
pub(crate) fn wait_until(mut done: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it does not come to pass"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The process that is pid 1 inside: an ancestor of every other. Ids wrap around, so it need not be the lowest.
#[track_caller]
pub(crate) fn init_of(started: &wardian_tests::run::Started<'_>) -> u32 {
    let mut pid = *started
        .pids_inside()
        .first()
        .expect("something runs inside");
    loop {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name)).unwrap()
        };
        if field("NSpid:").ends_with("\t1") {
            return pid;
        }
        pid = field("PPid:").trim().parse().unwrap();
    }
}

/// The lines of an outcome's standard output, trimmed.
pub(crate) fn lines(outcome: &Outcome<'_>) -> Vec<String> {
    outcome
        .text()
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}

pub(crate) const RAW: &str = include_str!("support/raw.py");

/// Sends bytes (with Python escapes) to a host inside, `plain` to port 80 or `tls` to port 443. The status of each
/// answer, and then `closed`, `reset` or `open`.
pub(crate) fn raw(
    host: &Host,
    policy: &wardian_tests::policy::Policy,
    to: &str,
    kind: &str,
    bytes: &str,
) -> Vec<String> {
    let port = if kind == "tls" { "443" } else { "80" };
    let words = ["/usr/bin/python3", "-c", RAW, to, port, kind, bytes];
    lines(&host.run(words).policy(policy).finish().success())
}

/// The same over TLS, asking for the certificate of another name.
pub(crate) fn raw_as(
    host: &Host,
    policy: &wardian_tests::policy::Policy,
    to: &str,
    server_name: &str,
    bytes: &str,
) -> Vec<String> {
    let words = [
        "/usr/bin/python3",
        "-c",
        RAW,
        to,
        "443",
        "tls",
        bytes,
        server_name,
    ];
    lines(&host.run(words).policy(policy).finish().success())
}

/// Needs the tests' own Python.
pub(crate) const H2: &str = include_str!("support/h2.py");
