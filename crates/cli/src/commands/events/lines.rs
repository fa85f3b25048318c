//! From records to lines: one for each exchange.
//!
//! A request's line is due when its response is recorded, for it tells both; the credentials put in for it join it. The
//! same holds for a connection whose bytes are passed through and its end.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use wardian_events::{
    CacheUse, Connection, ConnectionClosed, ConnectionId, ConnectionMode, CredentialPurpose, Event,
    Exit, FilesChanged, FurtherDenials, HostFact, ModelCall, Record, Request, RequestId, Response,
    ResponseOutcome, SandboxStarted, SandboxStopped, Timestamp, Verdict,
};

use super::processes;
use crate::units::{self, bytes, milliseconds};

/// One line to show. `text` is as it came from inside: to be made visible.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::commands) struct Line {
    pub(in crate::commands) time: Timestamp,
    /// A word for what kind of line it is: `allowed`, `denied`, `started`, ...
    pub(in crate::commands) tag: &'static str,
    /// Of the event that it is about, or with which that began.
    pub(in crate::commands) kind: &'static str,
    pub(in crate::commands) host: Option<String>,
    pub(in crate::commands) text: String,
}

impl Line {
    pub(in crate::commands) fn tone(&self) -> crate::output::Tone {
        use crate::output::Tone;
        match self.tag {
            "allowed" => Tone::Good,
            "denied" => Tone::Bad,
            "limit" | "journal" => Tone::Warning,
            _ => Tone::Heading,
        }
    }
}

/// Exchanges that have begun and whose line is not due yet.
#[derive(Debug, Default)]
pub(in crate::commands) struct Exchanges {
    requests: BTreeMap<RequestId, Open<Request>>,
    connections: BTreeMap<ConnectionId, Open<Connection>>,
}

#[derive(Debug)]
struct Open<T> {
    time: Timestamp,
    /// When we learned of it, and whether a line has said that it is open.
    seen: Instant,
    shown: bool,
    what: T,
    credentials: Vec<String>,
}

/// Beyond this many, the oldest are shown as open instead of waiting for their end.
const MAX_OPEN: usize = 10_000;

impl Exchanges {
    /// The lines that are due with this record.
    pub(in crate::commands) fn take(&mut self, record: &Record) -> Vec<Line> {
        let Record { time, event, .. } = record;
        let line = |tag, text| Line {
            time: *time,
            tag,
            kind: event.kind(),
            host: event.place(),
            text,
        };
        let mut lines = Vec::new();
        match event {
            Event::Request(request) => match &request.verdict {
                Verdict::Allowed => lines.extend(open(
                    &mut self.requests,
                    request.id,
                    *time,
                    request.clone(),
                    request_line,
                )),
                Verdict::Denied { reason } => {
                    let status = request.status.map(|status| status.to_string());
                    let rest = [status, Some(reason.clone()), request.rule.clone()];
                    lines.push(line("denied", joined(url(request), rest)));
                }
            },
            Event::CredentialUsed(used) => match used.purpose {
                CredentialPurpose::Request { request } => {
                    if let Some(open) = self.requests.get_mut(&request) {
                        open.credentials.push(used.credential.clone());
                    }
                }
                CredentialPurpose::Proxy { .. } => {
                    let text = format!("login at the proxy {}", used.host);
                    let rest = [Some(used.credential.clone()), used.rule.clone()];
                    lines.push(line("allowed", joined(text, rest)));
                }
            },
            Event::Response(response) => match self.requests.remove(&response.request) {
                Some(open) => lines.push(request_line(&open, Some(response))),
                None => lines.push(line(
                    "allowed",
                    format!("end of request {}", response.request),
                )),
            },
            Event::Connection(connection) => match (&connection.verdict, connection.mode) {
                (Verdict::Allowed, ConnectionMode::Inspect) => {}
                (Verdict::Allowed, _) => {
                    lines.extend(open(
                        &mut self.connections,
                        connection.id,
                        *time,
                        connection.clone(),
                        connection_line,
                    ));
                }
                (Verdict::Denied { reason }, _) => {
                    let rest = [Some(reason.clone()), connection.rule.clone()];
                    lines.push(line("denied", joined(place(connection), rest)));
                }
            },
            Event::ConnectionClosed(closed) => {
                lines.extend(
                    self.connections
                        .remove(&closed.id)
                        .map(|open| connection_line(&open, Some(closed))),
                );
            }
            Event::Dns(dns) => {
                if let Verdict::Denied { reason } = &dns.verdict {
                    lines.push(line(
                        "denied",
                        joined(
                            format!(
                                "dns {} {}",
                                dns.record_type,
                                dns.question.trim_end_matches('.')
                            ),
                            [Some(reason.clone())],
                        ),
                    ));
                }
            }
            Event::ProtocolError(error) => {
                let status = error.status.map(|status| status.to_string());
                let reason = Some(format!("{}: {}", error.reason, error.detail));
                lines.push(line(
                    "denied",
                    joined(format!("malformed {}", error.protocol), [status, reason]),
                ));
            }
            Event::FurtherDenials(denials) => lines.push(line("denied", further(denials))),
            Event::SandboxStopped(event) => {
                lines.extend(std::mem::take(self).finish());
                lines.push(line("stopped", stopped(event)));
            }
            other => {
                let told = lifecycle(other).or_else(|| processes::line(other));
                lines.extend(told.map(|(tag, text)| line(tag, text)));
            }
        }
        lines
    }

    /// Exchanges that have been open for `least`, once each.
    pub(in crate::commands) fn open_for(&mut self, least: Duration) -> Vec<Line> {
        let mut lines = still_open(&mut self.requests, least, request_line);
        lines.extend(still_open(&mut self.connections, least, connection_line));
        lines.sort_by_key(|line| line.time);
        lines
    }

    /// What never ended, as far as the record goes.
    pub(in crate::commands) fn finish(mut self) -> Vec<Line> {
        self.open_for(Duration::ZERO)
    }
}

fn open<I: Ord + Copy, T, E>(
    all: &mut BTreeMap<I, Open<T>>,
    id: I,
    time: Timestamp,
    what: T,
    line: fn(&Open<T>, Option<&E>) -> Line,
) -> Option<Line> {
    all.insert(
        id,
        Open {
            time,
            seen: Instant::now(),
            shown: false,
            what,
            credentials: Vec::new(),
        },
    );
    if all.len() <= MAX_OPEN {
        return None;
    }
    all.pop_first()
        .filter(|(_, oldest)| !oldest.shown)
        .map(|(_, oldest)| line(&oldest, None))
}

fn still_open<I, T, E>(
    all: &mut BTreeMap<I, Open<T>>,
    least: Duration,
    line: fn(&Open<T>, Option<&E>) -> Line,
) -> Vec<Line> {
    let due = all
        .values_mut()
        .filter(|open| !open.shown && open.seen.elapsed() >= least);
    due.map(|open| {
        open.shown = true;
        line(open, None)
    })
    .collect()
}

/// `first` and those of `rest` that there are, two spaces apart.
pub(in crate::commands) fn joined<const N: usize>(
    first: String,
    rest: [Option<String>; N],
) -> String {
    rest.into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .fold(first, |line, part| line + "  " + &part)
}

fn request_line(open: &Open<Request>, response: Option<&Response>) -> Line {
    let Open {
        time,
        what,
        credentials,
        ..
    } = open;
    let credentials = match &credentials[..] {
        [] => None,
        names => Some(format!("credential {}", names.join(", "))),
    };
    let text = match response {
        None => joined(
            url(what),
            [Some("open".into()), what.rule.clone(), credentials],
        ),
        Some(response) => {
            let outcome = match &response.outcome {
                ResponseOutcome::Complete => None,
                ResponseOutcome::UpstreamFailed { reason } => {
                    Some(format!("upstream failed: {reason}"))
                }
                ResponseOutcome::ClientGone => Some("client gone".into()),
                ResponseOutcome::Cut { reason } => Some(format!("cut: {reason}")),
            };
            let status = response
                .status
                .map_or("no status".into(), |status| status.to_string());
            let traffic = traffic(response.bytes_up, response.bytes_down);
            let time = milliseconds(response.milliseconds);
            joined(
                url(what),
                [
                    Some(status),
                    outcome,
                    response.cache.map(in_words),
                    what.rule.clone(),
                    credentials,
                    Some(traffic),
                    Some(time),
                ],
            )
        }
    };
    Line {
        time: *time,
        tag: "allowed",
        kind: "request",
        host: Some(what.host.clone()),
        text,
    }
}

fn in_words(cache: CacheUse) -> String {
    match cache {
        CacheUse::Hit => "from the cache",
        CacheUse::Revalidated => "from the cache, confirmed",
        CacheUse::Stored => "cached",
    }
    .to_owned()
}

fn connection_line(open: &Open<Connection>, closed: Option<&ConnectionClosed>) -> Line {
    let Open { time, what, .. } = open;
    let text = match closed {
        None => joined(place(what), [Some("open".into()), what.rule.clone()]),
        Some(closed) => {
            let cut = closed.cut.as_ref().map(|reason| format!("cut: {reason}"));
            let traffic = traffic(closed.bytes_up, closed.bytes_down);
            joined(
                place(what),
                [
                    cut,
                    what.rule.clone(),
                    Some(traffic),
                    Some(milliseconds(closed.milliseconds)),
                ],
            )
        }
    };
    Line {
        time: *time,
        tag: "allowed",
        kind: "connection",
        host: match &what.host {
            HostFact::Known { host } => Some(host.clone()),
            HostFact::Absent { .. } => Some(what.destination.to_string()),
        },
        text,
    }
}

fn traffic(up: u64, down: u64) -> String {
    format!("up {}, down {}", bytes(up), bytes(down))
}

/// `GET https://api.github.com/repos`, with the port where it is not the scheme's own.
fn url(request: &Request) -> String {
    let Request {
        method,
        scheme,
        host,
        port,
        path,
        upgrade,
        ..
    } = request;
    let host = bracketed(host);
    let port = match (scheme.as_str(), *port) {
        ("https", 443) | ("http", 80) => String::new(),
        (_, port) => format!(":{port}"),
    };
    let upgrade = upgrade
        .as_ref()
        .map(|upgrade| format!(" ({upgrade})"))
        .unwrap_or_default();
    format!("{method} {scheme}://{host}{port}{path}{upgrade}")
}

/// `connection evil.example:443  120 more times  no_rule`.
fn further(denials: &FurtherDenials) -> String {
    let FurtherDenials {
        of,
        place,
        port,
        count,
        verdict,
    } = denials;
    let place = match (place, port) {
        // A host without a name is an address with its port.
        (Some(place), Some(port)) if !place.ends_with(&format!(":{port}")) => {
            format!("{}:{port}", bracketed(place))
        }
        (Some(place), _) => place.clone(),
        (None, _) => "at various places".into(),
    };
    let reason = match verdict {
        Verdict::Allowed => None,
        Verdict::Denied { reason } => Some(reason.clone()),
    };
    joined(
        format!("{of} {place}"),
        [Some(format!("{count} more times")), reason],
    )
}

/// `connect db.example.org:5432`, or the address and why there is no name.
fn place(connection: &Connection) -> String {
    let protocol = match (connection.mode, &connection.protocol) {
        (ConnectionMode::Tcp, _) => "tcp",
        (_, Some(protocol)) => protocol,
        (_, None) => "connect",
    };
    match &connection.host {
        HostFact::Known { host } => format!(
            "{protocol} {}:{}",
            bracketed(host),
            connection.destination.port()
        ),
        HostFact::Absent { host_absent } => {
            let why = serde_json::to_value(host_absent).unwrap_or_default();
            format!(
                "{protocol} {} ({})",
                connection.destination,
                why.as_str().unwrap_or("no name")
            )
        }
    }
}

fn bracketed(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}

/// The tag and text of what concerns the sandbox as a whole.
fn lifecycle(event: &Event) -> Option<(&'static str, String)> {
    Some(match event {
        Event::SandboxStarted(event) => ("started", started(event)),
        Event::PolicyInForce(event) => {
            let digest = event.sha256.to_string();
            (
                "policy",
                format!(
                    "{}, sha256 {}",
                    units::count(event.rules, "rule"),
                    &digest[..16]
                ),
            )
        }
        Event::SelfProbe(event) if event.failed.is_empty() => (
            "probe",
            format!("{} held", units::count(event.passed.len() as u64, "check")),
        ),
        Event::SelfProbe(event) => ("probe", format!("failed: {}", event.failed.join(", "))),
        Event::LimitNotEnforced(event) => (
            "limit",
            format!(
                "{} {} cannot be enforced: {}",
                event.limit, event.requested, event.why
            ),
        ),
        Event::LimitReached(event) => (
            "limit",
            format!("{} {} reached: {}", event.limit, event.value, event.action),
        ),
        Event::CommandStarted(event) => {
            let argv = units::command(&event.argv);
            (
                "command",
                format!("{} started as pid {}: {argv}", event.command.0, event.pid),
            )
        }
        Event::CommandExited(event) => {
            let time = milliseconds(event.milliseconds);
            (
                "command",
                format!(
                    "{} ended with {} after {time}",
                    event.command.0,
                    exit(event.exit)
                ),
            )
        }
        Event::FilesChanged(event) => ("files", files(event)),
        Event::ModelCall(event) => ("model", model_call(event)),
        Event::JournalReopened(event) => {
            let torn = event.torn.as_ref().map(|torn| {
                format!(
                    "; {} of a record that was cut short are in {}",
                    units::count(torn.bytes, "byte"),
                    torn.kept_as
                )
            });
            (
                "journal",
                format!(
                    "continued after its writer died{}",
                    torn.unwrap_or_default()
                ),
            )
        }
        _ => return None,
    })
}

/// `/home/ann/api  2 added, 1 removed  src/a.rs, src/b.rs, old.txt`.
fn files(event: &FilesChanged) -> String {
    let counts = [
        (event.added, "added"),
        (event.changed, "changed"),
        (event.removed, "removed"),
        (event.left_out, "left out"),
        (event.ignored, "ignored"),
        (event.unreadable, "unreadable"),
    ];
    let counts: Vec<_> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let mut names: Vec<_> = event
        .files
        .iter()
        .take(SHOWN)
        .map(|file| file.path.as_str())
        .collect();
    if event.files.len() > SHOWN || event.further > 0 {
        names.push("...");
    }
    let unknown = event.unknown.as_ref();
    joined(
        event.place.clone(),
        [
            Some(counts.join(", ")),
            Some(names.join(", ")),
            unknown.map(|why| format!("not told in full: {why}")),
        ],
    )
}

/// So many changed files are named in a line.
const SHOWN: usize = 5;

/// `claude-opus-4-6  18204 tokens in, 211 out  $0.0964  calls Bash  tool_use  4.1 s`.
fn model_call(call: &ModelCall) -> String {
    let model = call.answered_by.as_ref().or(call.model.as_ref());
    let tokens = match (call.tokens.input, call.tokens.output) {
        (Some(input), Some(output)) => Some(format!("{input} tokens in, {output} out")),
        _ => None,
    };
    let tools: Vec<_> = call.tool_calls.iter().map(|tool| &*tool.name).collect();
    let undecoded = call
        .undecoded
        .as_ref()
        .map(|why| format!("not read: {why}"));
    let rest = [
        tokens,
        call.cost_micro_usd.map(units::dollars),
        (!tools.is_empty()).then(|| format!("calls {}", tools.join(", "))),
        call.error.clone().or(undecoded).or(call.stop.clone()),
        Some(milliseconds(call.milliseconds)),
    ];
    joined(model.cloned().unwrap_or_else(|| call.api.clone()), rest)
}

fn started(event: &SandboxStarted) -> String {
    let mode = match event.mode {
        wardian_events::PrivilegeMode::Root => "root",
        wardian_events::PrivilegeMode::Rootless => "rootless",
    };
    let command = units::command(&event.command);
    format!(
        "{command}  in {}  uid {}, {mode}, wardian {}",
        event.workspace, event.uid, event.wardian
    )
}

fn stopped(event: &SandboxStopped) -> String {
    let cause = serde_json::to_value(event.cause).unwrap_or_default();
    let cause = cause.as_str().unwrap_or("stopped").replace('_', " ");
    let exit = event
        .exit
        .map(|status| format!(" with {}", exit(status)))
        .unwrap_or_default();
    let kept: Vec<_> = event
        .kept
        .iter()
        .map(|kept| format!("kept {} in {}", kept.what, kept.path))
        .collect();
    let counts = format!("{} allowed, {} denied", event.allowed, event.denied);
    let time = milliseconds(event.milliseconds);
    joined(
        format!("{cause}{exit} after {time}"),
        [Some(counts), Some(kept.join(", "))],
    )
}

pub(in crate::commands) fn exit(exit: Exit) -> String {
    match exit {
        Exit::Status(status) => format!("status {status}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}
