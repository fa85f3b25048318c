use std::path::PathBuf;

use wardian_events::{
    Connection, ConnectionId, ConnectionMode, Dns, DnsTransport, HostAbsent, HostFact, Request,
    RequestId, Verdict,
};

use super::super::check::Finding;
use super::super::inside::{Namespaces, Status};
use super::*;

fn attempt(to: &str, ended: Ended) -> Attempt {
    Attempt {
        to: to.to_owned(),
        ended,
        milliseconds: 1,
    }
}

fn no(to: &str) -> Attempt {
    attempt(to, Ended::Refused("connection refused".to_owned()))
}

fn answer(to: &str, text: &str) -> Attempt {
    attempt(to, Ended::Answered(text.to_owned()))
}

fn look() -> Look {
    Look {
        forbidden_names: vec!["x.example.com".to_owned()],
        name_servers: Vec::new(),
        forbidden: vec!["198.51.100.7:443".parse().unwrap()],
        datagrams: Vec::new(),
        host_loopback: "127.0.0.1:1".parse().unwrap(),
        host_abstract: "x".to_owned(),
        allowed: "doctor.test".to_owned(),
        variable: "TOKEN".to_owned(),
        visits: Vec::new(),
        private: Vec::new(),
        home: "/home/ann".into(),
        given: ("/w/given".into(), String::new()),
        made: "/w/made".into(),
    }
}

/// Of a sandbox that keeps everything.
pub(in super::super) fn sound() -> Facts {
    let own = namespaces().ids.into_keys();
    Facts {
        interfaces: vec!["lo".to_owned()],
        ipv6: true,
        namespaces: Namespaces {
            ids: own
                .map(|kind| (kind.clone(), PathBuf::from(format!("{kind}:[1]"))))
                .collect(),
            at: 0,
        },
        names: vec![answer("x.example.com", "REFUSED")],
        connections: vec![
            no("198.51.100.7:443"),
            answer("203.0.113.7:80", "HTTP/1.1 403 "),
        ],
        datagrams: vec![no("203.0.113.7:4500")],
        raw_sockets: vec![no("raw socket")],
        host_loopback: no("127.0.0.1:1"),
        host_abstract_reached: false,
        allowed: answer("http://doctor.test/", "HTTP/1.1 200 OK"),
        visits: Vec::new(),
        status: Status::default(),
        privileges: Vec::new(),
        placeholder: Some("placeholder".to_owned()),
        processes: vec!["PATH=/bin".to_owned()],
        private: Vec::new(),
        home: Vec::new(),
        descriptors: Vec::new(),
        workspace: Ok(()),
    }
}

fn events() -> Vec<Event> {
    vec![
        Event::Dns(Dns {
            question: "x.example.com.".to_owned(),
            record_type: "A".to_owned(),
            transport: DnsTransport::Udp,
            answer: None,
            verdict: Verdict::denied("no_rule"),
        }),
        Event::Connection(Connection {
            id: ConnectionId(1),
            destination: "198.51.100.7:443".parse().unwrap(),
            host: HostFact::absent(HostAbsent::NotSynthetic),
            verdict: Verdict::denied("no_rule"),
            rule: None,
            mode: ConnectionMode::None,
            protocol: None,
        }),
        Event::Request(Request {
            id: RequestId(1),
            connection: ConnectionId(2),
            method: "GET".to_owned(),
            scheme: "http".to_owned(),
            host: "doctor.test".to_owned(),
            port: 80,
            path: "/".to_owned(),
            version: "http/1.1".to_owned(),
            upgrade: None,
            verdict: Verdict::Allowed,
            rule: None,
            status: None,
        }),
    ]
}

/// The names of the checks that fail.
fn failed(facts: &Facts, events: &[Event]) -> Vec<&'static str> {
    let checks = [sealed(facts, 0), default_deny(&look(), facts, events)];
    names(checks.concat())
}

fn names(checks: Vec<Check>) -> Vec<&'static str> {
    let failed = checks
        .into_iter()
        .filter(|check| check.outcome == Finding::Fails);
    failed.map(|check| check.name).collect()
}

#[test]
fn a_sound_sandbox_passes() {
    assert_eq!(failed(&sound(), &events()), Vec::<&str>::new());
}

type Damage = fn(&mut Facts);

#[test]
fn every_hole_is_found() {
    let cases: [(&str, Damage); 11] = [
        ("no interface but `lo`", |facts| {
            facts.interfaces.push("eth0".to_owned());
        }),
        ("namespaces of its own", |facts| {
            facts.namespaces = namespaces();
        }),
        ("namespaces of its own", |facts| {
            facts.namespaces.ids.remove("net");
        }),
        ("this machine is out of reach", |facts| {
            facts.host_loopback = answer("127.0.0.1:1", "hello");
        }),
        ("this machine is out of reach", |facts| {
            facts.host_abstract_reached = true;
        }),
        ("UDP and ICMP", |facts| {
            facts.datagrams = vec![attempt("203.0.113.7:4500", Ended::Silent)];
        }),
        ("raw and packet sockets", |facts| {
            facts.raw_sockets = vec![answer("raw socket", "opened")];
        }),
        ("names without a rule", |facts| {
            facts.names = vec![answer("x.example.com", "NOERROR")];
        }),
        ("addresses without a rule", |facts| {
            facts.connections = vec![answer("203.0.113.7:80", "HTTP/1.1 200 OK")];
        }),
        ("addresses without a rule", |facts| {
            facts.connections[0].milliseconds = AT_ONCE + 1;
        }),
        ("a host with a rule", |facts| {
            facts.allowed = no("doctor.test")
        }),
    ];
    for (name, damage) in cases {
        let mut facts = sound();
        damage(&mut facts);
        assert_eq!(failed(&facts, &events()), [name]);
    }
    assert_eq!(names(sealed(&sound(), 1)), ["this machine is out of reach"]);
}

#[test]
fn a_missing_event_is_found() {
    for missing in 0..events().len() {
        let mut events = events();
        events.remove(missing);
        assert_eq!(failed(&sound(), &events), ["every attempt is recorded"]);
    }
}
