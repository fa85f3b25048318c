use wardian_events::{ConnectionId, Request, RequestId, Verdict};

use super::super::check::Finding;
use super::super::door::tests::sound;
use super::super::inside::Visit;
use super::*;

const ERRANDS: [(Errand, &str, &str, &str); 4] = [
    (Errand::Allowed, "doctor.test", "/", "HTTP/1.1 200 OK"),
    (
        Errand::OtherHost,
        "other.doctor.test",
        "/",
        "HTTP/1.1 200 OK",
    ),
    (
        Errand::Denied,
        "doctor.test",
        "/denied",
        "HTTP/1.1 403 Forbidden\r\n\r\nwardian_denied",
    ),
    (
        Errand::Impostor,
        "impostor.doctor.test",
        "/",
        "HTTP/1.1 502 Bad Gateway",
    ),
];

/// All that a trial of a sound sandbox gives.
#[derive(Clone)]
struct Given {
    facts: Facts,
    files: Vec<String>,
    heard: Vec<Heard>,
    events: Vec<Event>,
}

impl Given {
    fn sound() -> Self {
        let visited = |(errand, host, path, text): (Errand, &str, &str, &str)| Visited {
            visit: Visit {
                errand,
                host: host.to_owned(),
                path: path.to_owned(),
            },
            answer: Ok(Answer {
                text: text.to_owned(),
                certificate: b"by box-1".to_vec(),
            }),
        };
        let heard = |over, host: &str, value: &str| Heard {
            over,
            head: format!("GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {value}\r\n"),
        };
        let mut events: Vec<Event> = ERRANDS.into_iter().map(request).collect();
        let used = serde_json::json!({
            "kind": "credential_used", "credential": "doctor", "request": 1, "host": "doctor.test",
        });
        events.push(serde_json::from_value(used).unwrap());
        Self {
            facts: Facts {
                visits: ERRANDS.map(visited).into(),
                ..sound()
            },
            files: Vec::new(),
            heard: vec![
                heard(Over::Plain, "doctor.test", "placeholder"),
                heard(Over::Tls, "doctor.test", "secret-1"),
                heard(Over::Tls, "other.doctor.test", "placeholder"),
            ],
            events,
        }
    }

    /// The names of the checks that fail.
    fn failed(&self) -> Vec<&'static str> {
        let planted = Planted {
            secret: "secret-1".to_owned(),
            canary: "canary-1".to_owned(),
        };
        let checks = checks(Evidence {
            planted: &planted,
            facts: &self.facts,
            files: &self.files,
            heard: &self.heard,
            certificate: b"by nobody for box-1",
            sandbox: "box-1",
            events: &self.events,
        });
        let failed = checks
            .into_iter()
            .filter(|check| check.outcome == Finding::Fails);
        failed.map(|check| check.name).collect()
    }

    fn answer(&mut self, errand: usize) -> &mut Answer {
        self.facts.visits[errand].answer.as_mut().unwrap()
    }
}

fn request((errand, host, path, _): (Errand, &str, &str, &str)) -> Event {
    Event::Request(Request {
        id: RequestId(1),
        connection: ConnectionId(2),
        method: "GET".to_owned(),
        scheme: "https".to_owned(),
        host: host.to_owned(),
        port: 443,
        path: path.to_owned(),
        version: "http/1.1".to_owned(),
        upgrade: None,
        verdict: match errand {
            Errand::Denied => Verdict::denied("no_rule_for_request"),
            _ => Verdict::Allowed,
        },
        rule: None,
        status: None,
    })
}

#[test]
fn a_sound_sandbox_passes() {
    assert_eq!(Given::sound().failed(), Vec::<&str>::new());
}

type Damage = fn(&mut Given);

#[test]
fn every_leak_is_found() {
    let cases: [(&str, Damage); 17] = [
        ("a placeholder stands in", |given| {
            given.facts.placeholder = Some("secret-1".to_owned());
        }),
        ("a placeholder stands in", |given| {
            given.facts.placeholder = None
        }),
        ("no process holds the value", |given| {
            given.facts.processes.push("A=canary-1".to_owned());
        }),
        ("no process holds the value", |given| {
            given.facts.processes.clear()
        }),
        ("no file holds the value", |given| {
            given.files.push("/state/journal.jsonl".to_owned());
        }),
        ("TLS is inspected", |given| {
            given.answer(1).certificate = b"by nobody for box-1".to_vec();
        }),
        ("TLS is inspected", |given| {
            given.answer(1).certificate = b"by box-2".to_vec()
        }),
        ("the value goes in at the door", |given| {
            given.heard[1].head = given.heard[1].head.replace("secret-1", "placeholder");
        }),
        ("the value goes in at the door", |given| {
            given.answer(1).text.push_str("you sent secret-1");
        }),
        ("no other host gets it", |given| {
            given.heard[2].head = given.heard[2].head.replace("placeholder", "secret-1");
        }),
        ("no other host gets it", |given| drop(given.heard.pop())),
        ("no impostor gets it", |given| {
            let head = given.heard[2].head.replace("other", "impostor");
            given.heard.push(Heard {
                over: Over::Tls,
                head,
            });
        }),
        ("no impostor gets it", |given| {
            given.answer(3).text = "HTTP/1.1 200 OK".to_owned()
        }),
        ("not without TLS", |given| {
            given.heard[0].head = given.heard[0].head.replace("placeholder", "secret-1");
        }),
        ("a request without a rule", |given| {
            let head = given.heard[1].head.replace("GET /", "GET /denied");
            given.heard.push(Heard {
                over: Over::Tls,
                head,
            });
        }),
        ("a request without a rule", |given| {
            given.answer(2).text = "HTTP/1.1 200 OK".to_owned()
        }),
        ("requests over TLS are recorded", |given| {
            let used = given.events.last().unwrap().clone();
            given.events.push(used);
        }),
    ];
    for (number, (name, damage)) in cases.into_iter().enumerate() {
        let mut given = Given::sound();
        damage(&mut given);
        assert_eq!(given.failed(), [name], "case {number}");
    }
}

#[test]
fn a_missing_event_is_found() {
    for missing in 0..Given::sound().events.len() {
        let mut given = Given::sound();
        given.events.remove(missing);
        assert_eq!(given.failed(), ["requests over TLS are recorded"]);
    }
}

#[test]
fn a_visit_that_failed_proves_nothing() {
    let mut given = Given::sound();
    given.facts.visits[0].answer = Err("invalid peer certificate".to_owned());
    assert_eq!(
        given.failed(),
        ["TLS is inspected", "the value goes in at the door"]
    );
    given.facts.visits.clear();
    assert!(given.failed().len() > 4);
}
