//! What is on the record of programs that try again and again, and of connections that come to nothing.

use std::time::Duration;

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;

use crate::support::lines;

wardian_tests::both_modes!(
    a_program_in_a_loop_does_not_fill_the_record,
    connections_opened_in_advance_are_no_denials,
);

const LOOP: &str = "import http.client, socket
for n in range(400):
    s = socket.socket(); s.settimeout(5)
    try: s.connect(('198.51.100.7', 443)); s.sendall(b'x'); s.recv(1)
    except OSError: pass
    s.close()
c = http.client.HTTPConnection('origin.test', 80)
statuses = set()
for n in range(300):
    c.request('GET', '/denied/%d' % n)
    r = c.getresponse(); r.read(); statuses.add(r.status)
for n in range(200):
    try: socket.getaddrinfo('denied.test', 443, socket.AF_INET)
    except socket.gaierror: pass
print(statuses)";

fn a_program_in_a_loop_does_not_fill_the_record(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let policy = Policy::new().rule(&format!(
        "host = \"origin.test\"\nports = [80]\nconnect = \"{}\"\npaths = [\"/allowed\"]",
        origin.address()
    ));
    let outcome = host
        .python(LOOP)
        .policy(&policy)
        .limit(Duration::from_secs(60))
        .finish()
        .success();
    assert_eq!(outcome.text(), "{403}\n");
    let events = outcome.events();
    let denied = events.denied();
    assert!(denied.len() < 150, "{} records", denied.len());
    // The first of each kind are there by themselves, and no denial is lost.
    for (kind, reason, expected) in [
        ("connection", "no_rule", 400),
        ("request", "no_rule_for_request", 300),
        ("dns", "no_rule", 200),
    ] {
        let single = denied
            .iter()
            .filter(|event| event["kind"] == kind && event["reason"] == reason)
            .count() as u64;
        let counted: u64 = denied
            .iter()
            .filter(|event| event["of"] == kind && event["reason"] == reason)
            .filter_map(|event| event["count"].as_u64())
            .sum();
        assert!(single >= 8, "{kind}: {single}");
        assert_eq!(single + counted, expected, "{kind}");
    }
    let stopped = events.of_kind("sandbox_stopped");
    assert_eq!(stopped[0]["denied"], 900);
    assert!(outcome.errors().contains("denied 900"), "{outcome:?}");
    assert!(
        outcome
            .errors()
            .contains("origin.test 300x (no_rule_for_request)"),
        "{outcome:?}"
    );
    let told = host
        .wardian(&["events", &outcome.name, "--denied"])
        .success();
    let told = told.text();
    assert!(
        told.lines().count() < 150 && told.contains("more times"),
        "{told}"
    );
    host.wardian(&["verify", &outcome.name]).success();
    origin.assert_untouched();
}

const IN_ADVANCE: &str = "import socket, ssl, time
def opened(protocols):
    context = ssl.create_default_context(); context.set_alpn_protocols(protocols)
    return context.wrap_socket(socket.create_connection(('origin.test', 443), 5), server_hostname='origin.test')
for protocols in (['h2'], ['http/1.1']):
    opened(protocols).close()
    s = opened(protocols)
    try: s.unwrap()
    except ssl.SSLError: pass  # What the door said meanwhile.
    s.close()
socket.create_connection(('origin.test', 443), 5).close()
s = socket.create_connection(('origin.test', 443), 5); s.sendall(b'\\x16\\x03\\x01'); s.close()
s = opened(['http/1.1']); s.sendall(b'GET / HT'); s.close()
time.sleep(0.3)
print('done')";

fn connections_opened_in_advance_are_no_denials(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let outcome = host.python(IN_ADVANCE).policy(&policy).finish().success();
    assert_eq!(lines(&outcome), ["done"]);
    let events = outcome.events();
    assert!(events.denied().is_empty(), "{:#?}", events.denied());
    let ours = |event: &&&serde_json::Value| event["host"] == "origin.test";
    assert_eq!(events.of_kind("connection").iter().filter(ours).count(), 7);
    assert!(events.of_kind("request").is_empty());
    origin.assert_untouched();
}
