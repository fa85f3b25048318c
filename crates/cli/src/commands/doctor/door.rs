//! The network from inside: sealed, and closed by default.

use std::collections::BTreeMap;

use wardian_events::Event;

use super::check::{Check, Promise};
use super::inside::{Attempt, Ended, Facts, Look, namespaces};

/// Whoever is refused must hear of it within this time.
const AT_ONCE: u64 = 3000;

fn refusal(attempt: &Attempt) -> Option<String> {
    let Attempt {
        to,
        ended,
        milliseconds,
    } = attempt;
    match ended {
        Ended::Refused(_) if *milliseconds <= AT_ONCE => None,
        Ended::Refused(_) => Some(format!("{to} was refused only after {milliseconds} ms")),
        Ended::Answered(answer) => {
            let start: String = answer.chars().take(40).collect();
            Some(format!("{to} answered {start:?}"))
        }
        Ended::Silent => Some(format!("{to} was dropped, not refused")),
    }
}

fn refused(attempts: &[Attempt]) -> Vec<String> {
    attempts.iter().filter_map(refusal).collect()
}

/// The slowest of some attempts, for people.
fn slowest<'a>(attempts: impl IntoIterator<Item = &'a Attempt>) -> u64 {
    let times = attempts.into_iter().map(|attempt| attempt.milliseconds);
    times.max().unwrap_or(0)
}

/// `visitors` came to sockets of the host that no sandbox may reach.
pub(super) fn sealed(facts: &Facts, visitors: usize) -> Vec<Check> {
    let check = |name, against, good: String| Check::unless(Promise::Sealed, name, against, good);
    let mut reached = refused(std::slice::from_ref(&facts.host_loopback));
    if facts.host_abstract_reached || visitors > 0 {
        reached.push("a socket of this machine was reached".to_owned());
    }
    vec![
        check(
            "no interface but `lo`",
            match facts.interfaces.as_slice() {
                [only] if only == "lo" => Vec::new(),
                found => vec![format!("found {}", found.join(", "))],
            },
            "its network namespace has `lo` alone".to_owned(),
        ),
        check(
            "namespaces of its own",
            shared(&facts.namespaces.ids),
            facts
                .namespaces
                .ids
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .join(", "),
        ),
        check(
            "this machine is out of reach",
            reached,
            "listeners on 127.0.0.1 and abstract sockets cannot be reached".to_owned(),
        ),
        check(
            "UDP and ICMP",
            refused(&facts.datagrams),
            format!(
                "{} refused, the slowest after {} ms",
                facts.datagrams.len(),
                slowest(&facts.datagrams)
            ),
        ),
        check(
            "raw and packet sockets",
            refused(&facts.raw_sockets),
            "cannot be made".to_owned(),
        ),
    ]
}

fn shared(inside: &BTreeMap<String, std::path::PathBuf>) -> Vec<String> {
    let outside = namespaces().ids;
    let missing = outside.keys().filter(|kind| !inside.contains_key(*kind));
    let same = inside
        .iter()
        .filter(|(kind, id)| outside.get(*kind) == Some(id));
    missing
        .map(|kind| format!("the {kind} namespace cannot be told"))
        .chain(same.map(|(kind, _)| format!("the {kind} namespace is this machine's")))
        .collect()
}

pub(super) fn default_deny(look: &Look, facts: &Facts, events: &[Event]) -> Vec<Check> {
    let check =
        |name, against, good: String| Check::unless(Promise::DefaultDeny, name, against, good);
    let names = facts
        .names
        .iter()
        .filter_map(|attempt| match &attempt.ended {
            Ended::Answered(code) if code == "REFUSED" || code == "NXDOMAIN" => None,
            Ended::Refused(why) => Some(format!("{} could not be asked: {why}", attempt.to)),
            _ => refusal(attempt),
        });
    let connections = facts.connections.iter().filter_map(|attempt| {
        // An answer by the door is the clearest refusal that HTTP has.
        match &attempt.ended {
            Ended::Answered(answer) if answer.starts_with("HTTP/1.1 403 ") => None,
            _ => refusal(attempt),
        }
    });
    let allowed = match &facts.allowed.ended {
        Ended::Answered(answer) if answer.starts_with("HTTP/1.1 200 ") => Vec::new(),
        ended => vec![format!("{} ended in {ended:?}", facts.allowed.to)],
    };
    vec![
        check(
            "names without a rule",
            names.collect(),
            format!("{} questions refused", facts.names.len()),
        ),
        check(
            "addresses without a rule",
            connections.collect(),
            format!(
                "{} refused, the slowest after {} ms",
                facts.connections.len(),
                slowest(&facts.connections)
            ),
        ),
        check(
            "a host with a rule",
            allowed,
            format!("{} answered through the door", look.allowed),
        ),
        recorded(look, facts, events),
    ]
}

/// Each attempt must be on the record, refused or not.
fn recorded(look: &Look, facts: &Facts, events: &[Event]) -> Check {
    let name_denied = |name: &str| {
        events.iter().any(|event| {
            matches!(event, Event::Dns(dns)
                if dns.question.trim_end_matches('.') == name && !dns.verdict.is_allowed())
        })
    };
    let address_denied = |address: &std::net::SocketAddr| {
        events.iter().any(|event| {
            matches!(event, Event::Connection(connection)
                if connection.destination == *address && !connection.verdict.is_allowed())
        })
    };
    let request_allowed = events.iter().any(|event| {
        matches!(event, Event::Request(request)
            if request.host == look.allowed && request.verdict.is_allowed())
    });
    let mut missing: Vec<String> = look
        .forbidden_names
        .iter()
        .filter(|name| !name_denied(name))
        .cloned()
        .collect();
    missing.extend(
        look.forbidden
            .iter()
            // Without IPv6 inside, nothing reaches the door that it could record.
            .filter(|address| facts.ipv6 || address.is_ipv4())
            .filter(|address| !address_denied(address))
            .map(ToString::to_string),
    );
    if !request_allowed {
        missing.push(format!("the request to {}", look.allowed));
    }
    let missing = missing
        .into_iter()
        .map(|what| format!("{what} is not on the record"));
    Check::unless(
        Promise::OnTheRecord,
        "every attempt is recorded",
        missing.collect(),
        format!("{} events", events.len()),
    )
}

#[cfg(test)]
pub(super) mod tests;
