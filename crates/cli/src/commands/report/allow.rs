//! From a denial to the flag that would have allowed it.

use wardian_events::{Connection, Event, HostFact, Request, visible};

use wardian_policy::{Policy, PolicyInputs};

use crate::units;

/// `--allow ...`, quoted for a shell. None where no flag of this kind would do, or where the name holds what nobody
/// should copy.
pub(super) fn how_to_allow(event: &Event) -> Option<String> {
    let place = match (event.denied()?, event) {
        ("no_rule", Event::Request(request)) => of_host(&request.host, request.port)?,
        ("no_rule_for_request", Event::Request(request)) => of_request(request)?,
        ("websocket_not_allowed", Event::Request(_)) => return None,
        ("no_rule", Event::Dns(dns)) => plain(dns.question.trim_end_matches('.'))?.to_owned(),
        (
            "no_rule",
            Event::Connection(Connection {
                host: HostFact::Known { host },
                destination,
                ..
            }),
        ) => of_host(host, destination.port())?,
        ("no_rule", Event::FurtherDenials(further)) => {
            let place = plain(further.place.as_deref()?)?;
            of_host(place, further.port.unwrap_or(443))?
        }
        _ => return None,
    };
    is_accepted(&place).then(|| units::command(&["--allow".to_owned(), place]))
}

fn is_accepted(place: &str) -> bool {
    let inputs = PolicyInputs {
        allow: vec![place.to_owned()],
        ..PolicyInputs::default()
    };
    Policy::build(&inputs).is_ok()
}

fn of_host(host: &str, port: u16) -> Option<String> {
    let host = plain(host)?;
    Some(match port {
        443 | 80 => host.to_owned(),
        _ => format!("{host}:{port}"),
    })
}

fn of_request(request: &Request) -> Option<String> {
    let path = request.path.split('?').next()?;
    let port = match (request.scheme.as_str(), request.port) {
        ("https", 443) | ("http", 80) => String::new(),
        (_, port) => format!(":{port}"),
    };
    let Request {
        method,
        scheme,
        host,
        ..
    } = request;
    let place = format!("{method} {scheme}://{host}{port}{path}");
    // A path that holds what a rule takes for a pattern would allow more than it shows.
    (visible(&place) == place && !path.contains('*')).then_some(place)
}

fn plain(host: &str) -> Option<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (!host.is_empty() && host.chars().all(is_name)).then_some(host)
}

#[cfg(test)]
mod tests {
    use wardian_events::{ConnectionId, Dns, DnsTransport, RequestId, Verdict};

    use super::*;

    fn request(host: &str, port: u16, path: &str, reason: &str) -> Event {
        Event::Request(Request {
            id: RequestId(1),
            connection: ConnectionId(1),
            method: "POST".into(),
            scheme: "https".into(),
            host: host.into(),
            port,
            path: path.into(),
            version: "h2".into(),
            upgrade: None,
            verdict: Verdict::denied(reason),
            rule: None,
            status: Some(403),
        })
    }

    #[test]
    fn what_can_be_allowed_is_said_so_that_a_shell_takes_it() {
        let allow = |event: Event| how_to_allow(&event);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            allow(request("a.example", 443, "/", "no_rule")),
            some("--allow a.example")
        );
        assert_eq!(
            allow(request("a.example", 8443, "/", "no_rule")),
            some("--allow a.example:8443")
        );
        assert_eq!(
            allow(request(
                "a.example",
                443,
                "/x/y?key=1",
                "no_rule_for_request"
            )),
            some("--allow 'POST https://a.example/x/y'")
        );
        assert_eq!(
            allow(request("a.example", 443, "/it's", "no_rule_for_request")),
            some(r"--allow 'POST https://a.example/it'\''s'")
        );
        let dns = Dns {
            question: "b.example.".into(),
            record_type: "A".into(),
            transport: DnsTransport::Udp,
            answer: None,
            verdict: Verdict::denied("no_rule"),
        };
        assert_eq!(allow(Event::Dns(dns)), some("--allow b.example"));
    }

    #[test]
    fn nothing_is_offered_that_would_not_do_or_should_not_be_copied() {
        for event in [
            request("a.example", 443, "/", "private_address"),
            request("a.example", 443, "/\u{202e}", "no_rule_for_request"),
            request("a.example", 443, "/**", "no_rule_for_request"),
            request("a.example; rm -rf ~", 443, "/", "no_rule"),
            request("*.example", 443, "/", "no_rule"),
            request("a.example", 443, "/with space", "no_rule_for_request"),
        ] {
            assert_eq!(how_to_allow(&event), None, "{event:?}");
        }
    }
}
