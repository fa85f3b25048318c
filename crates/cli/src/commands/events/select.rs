//! Which events to show.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use clap::Args;
use clap::builder::PossibleValuesParser;
use wardian_events::{ConnectionId, CredentialPurpose, Event, Record, RequestId, Timestamp};
use wardian_policy::limits::WallTime;

use super::lines::Line;
use super::processes;

// No doc comment here: it would become the help of the verb.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Select {
    /// Only events of these kinds
    #[arg(
        long,
        value_name = "KIND",
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(Event::KINDS)
    )]
    kind: Vec<String>,

    /// Only what was refused
    #[arg(long, conflicts_with = "allowed")]
    pub(super) denied: bool,

    /// Only what was allowed
    #[arg(long)]
    allowed: bool,

    /// Only what concerns this host; `*` stands for any text
    #[arg(long, value_name = "PATTERN")]
    host: Option<String>,

    /// Only from this time on: 2026-11-21T06:12 (UTC), or so long ago: 90s, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,

    /// Only before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
}

impl Select {
    /// For records as they stand. `places` has seen all records so far, this one included.
    pub(super) fn wants(&self, record: &Record, places: &mut Places) -> bool {
        let host = places.see(&record.event);
        let event = &record.event;
        self.wants_kind(event.kind())
            && self.wants_time(record.time)
            && (!self.denied || event.denied().is_some())
            && (!self.allowed || event.is_allowed())
            && self.wants_host(host.as_deref())
    }

    /// For lines, which each tell of several records.
    pub(super) fn wants_line(&self, line: &Line) -> bool {
        let is_left_out = self.kind.is_empty() && processes::KINDS.contains(&line.kind);
        !is_left_out
            && self.wants_kind(line.kind)
            && self.wants_time(line.time)
            && (!self.denied || line.tag == "denied")
            && (!self.allowed || line.tag == "allowed")
            && self.wants_host(line.host.as_deref())
    }

    fn wants_kind(&self, kind: &str) -> bool {
        self.kind.is_empty() || self.kind.iter().any(|wanted| wanted == kind)
    }

    fn wants_time(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }

    fn wants_host(&self, host: Option<&str>) -> bool {
        let Some(pattern) = &self.host else {
            return true;
        };
        host.is_some_and(|host| {
            let address = host.parse::<SocketAddr>().map(|it| it.ip().to_string());
            matches(pattern, host) || address.is_ok_and(|address| matches(pattern, &address))
        })
    }
}

/// Which host an event is about, where only an earlier one says so.
#[derive(Debug, Default)]
pub(super) struct Places {
    requests: BTreeMap<RequestId, String>,
    connections: BTreeMap<ConnectionId, String>,
}

/// So many exchanges are remembered; a program inside can have any number.
const MOST: usize = 100_000;

impl Places {
    fn see(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::Request(request) => remember(&mut self.requests, request.id, event.place()),
            Event::Connection(connection) => {
                remember(&mut self.connections, connection.id, event.place())
            }
            Event::Response(response) => self.requests.get(&response.request).cloned(),
            Event::ModelCall(call) => self.requests.get(&call.request).cloned(),
            Event::ConnectionClosed(closed) => self.connections.get(&closed.id).cloned(),
            Event::ProtocolError(error) => self.connections.get(&error.connection?).cloned(),
            Event::CredentialUsed(used) => match used.purpose {
                CredentialPurpose::Request { .. } => Some(used.host.clone()),
                CredentialPurpose::Proxy { connection } => {
                    self.connections.get(&connection).cloned()
                }
            },
            event => event.place(),
        }
    }
}

fn remember<I: Ord>(all: &mut BTreeMap<I, String>, id: I, place: Option<String>) -> Option<String> {
    if let Some(place) = &place {
        all.insert(id, place.clone());
    }
    if all.len() > MOST {
        all.pop_first();
    }
    place
}

/// Whether `text` fits `pattern`, in which `*` stands for any text. Case does not count.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// `2026-11-21`, `2026-11-21T06:12`, ..., `2026-11-21T06:12:41.041Z`, or a duration before now.
fn time(text: &str) -> Result<Timestamp, String> {
    time_from(text, SystemTime::now().into())
}

fn time_from(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(ago) = WallTime::parse(text) {
        let ago = i64::try_from(ago.get().as_millis()).unwrap_or(i64::MAX);
        return Ok(Timestamp::from_unix_ms(now.as_unix_ms() - ago));
    }
    const REST: &str = "0000-01-01T00:00:00.000Z";
    let given = text.strip_suffix('Z').unwrap_or(text).replacen(' ', "T", 1);
    let whole = match given.len() {
        10 | 13 | 16 | 19 | 23 if given.is_ascii() => given.clone() + &REST[given.len()..],
        _ => String::new(),
    };
    whole.parse().map_err(|_| {
        "write for example 2026-11-21T06:12 (in UTC), or 90s, 30m, 2h, 1d for so long ago"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("api.github.com", "api.github.com", true),
            ("API.github.com", "api.GitHub.com", true),
            ("api.github.com", "xapi.github.com", false),
            ("api.github.com", "api.github.com.evil", false),
            ("*.github.com", "api.github.com", true),
            ("*.github.com", "github.com", false),
            ("*git*com", "api.github.com", true),
            ("*git*org", "api.github.com", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn times() {
        let now = "2026-11-21T06:12:41.041Z".parse().unwrap();
        let time = |text| time_from(text, now).map(|time| time.to_string());
        for (text, expected) in [
            ("2026-11-20", "2026-11-20T00:00:00.000Z"),
            ("2026-11-20T07", "2026-11-20T07:00:00.000Z"),
            ("2026-11-20 07:30", "2026-11-20T07:30:00.000Z"),
            ("2026-11-20T07:30:15Z", "2026-11-20T07:30:15.000Z"),
            ("2026-11-20T07:30:15.250Z", "2026-11-20T07:30:15.250Z"),
            ("1h", "2026-11-21T05:12:41.041Z"),
            ("1d12h", "2026-11-19T18:12:41.041Z"),
        ] {
            assert_eq!(time(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-11-2",
            "07:30",
            "2026-11-20T7:30",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
