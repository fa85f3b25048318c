//! Which hosts a rule means: security cases 74 to 78.

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;

use crate::support::{AT_ONCE, isolated, lines, raw};

wardian_tests::both_modes!(
    case_74_addresses_in_odd_spellings_lead_nowhere,
    case_74_odd_spellings_in_the_host_header,
    case_74_private_addresses_even_where_everything_is_allowed,
    case_76_names_that_look_like_an_allowed_one,
    case_76_wildcards_mean_subdomains,
    case_78_malformed_authorities,
    ports_are_part_of_a_rule,
    the_first_rule_that_matches_wins,
    methods_and_paths,
    a_refusal_says_what_to_do,
);

const ODD: [&str; 10] = [
    "127.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "0.0.0.0",
    "0",
    "127.0.0.1.",
    "[::ffff:7f00:1]",
    "[::1]",
];

fn case_74_addresses_in_odd_spellings_lead_nowhere(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let port = origin.address().port();
    // Control: outside, this one spelling reaches the server.
    assert!(
        host.outside(["curl", "-sS", &format!("http://127.1:{port}/")])
            .success()
            .text()
            .contains("hello")
    );
    let before = origin.server().connections();
    let policy = Policy::new().rule("host = \"*\"\nports = [80]");
    for spelling in ODD.iter().chain(&["[::1%25lo]", "[::]"]) {
        let outcome = host
            .run([
                "curl",
                "-sS",
                "-m",
                "5",
                &format!("http://{spelling}:{port}/"),
            ])
            .policy(&policy)
            .finish()
            .within(AT_ONCE);
        assert!(!outcome.text().contains("hello"), "{spelling}: {outcome:?}");
    }
    assert_eq!(origin.server().connections(), before);
}

fn case_74_odd_spellings_in_the_host_header(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let policy = Policy::new()
        .pin_plain("origin.test", origin.address())
        .rule("host = \"*\"\nports = [80]");
    for spelling in ODD
        .iter()
        .chain(&["[::1%eth0]", "169.254.169.254", "[fe80::1%25eth0]"])
    {
        let told = raw(
            &host,
            &policy,
            "origin.test",
            "plain",
            &format!("GET / HTTP/1.1\\r\\nHost: {spelling}\\r\\n\\r\\n"),
        );
        assert!(
            ["400", "403", "421"].contains(&told[0].as_str()),
            "{spelling}: {told:?}"
        );
    }
    origin.assert_untouched();
}

fn case_74_private_addresses_even_where_everything_is_allowed(mode: Mode) {
    let host = Host::new(mode);
    let policy = Policy::new().rule("host = \"*\"\nports = [80]");
    for address in [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "[::ffff:10.1.2.3]",
        "[64:ff9b::a01:203]",
        "198.18.255.254",
    ] {
        let run = host
            .run([
                "curl",
                "-sS",
                "-m",
                "5",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}\n",
                &format!("http://{address}/"),
            ])
            .policy(&policy);
        let outcome = isolated(&host, run).finish().within(AT_ONCE);
        assert!(!outcome.text().contains("200"), "{address}: {outcome:?}");
        // Without an interface to go with it, the kernel itself refuses a link-local address.
        if address != "[fe80::1]" {
            outcome.events().one_refusal(&[
                "private_address",
                "no_rule",
                "unknown_synthetic_address",
            ]);
        }
    }
}

#[track_caller]
fn status(host: &Host, policy: &Policy, url: &str) -> String {
    let words = [
        "curl",
        "-sS",
        "-m",
        "5",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        url,
    ];
    host.run(words)
        .policy(policy)
        .finish()
        .within(AT_ONCE)
        .text()
}

fn case_76_names_that_look_like_an_allowed_one(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let policy = Policy::new().pin_plain("example.test", origin.address());
    assert_eq!(status(&host, &policy, "http://example.test/"), "200");
    assert_eq!(status(&host, &policy, "http://EXAMPLE.test/"), "200");
    let before = origin.server().connections();
    for name in [
        "evilexample.test",
        "example.test.evil.test",
        "www.example.test",
        "example.tes",
        "example-test",
        "example.test.com",
        "xn--exmple-cua.test",
    ] {
        assert_eq!(
            status(&host, &policy, &format!("http://{name}/")),
            "000",
            "{name}"
        );
    }
    assert_eq!(origin.server().connections(), before);
}

fn case_76_wildcards_mean_subdomains(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let policy = Policy::new().pin_plain("*.wild.test", origin.address());
    for name in ["a.wild.test", "a.b.wild.test"] {
        assert_eq!(
            status(&host, &policy, &format!("http://{name}/")),
            "200",
            "{name}"
        );
    }
    for name in ["wild.test", "evilwild.test", "a.wild.test.evil.test"] {
        assert_eq!(
            status(&host, &policy, &format!("http://{name}/")),
            "000",
            "{name}"
        );
    }
    // An address is no name.
    assert_ne!(status(&host, &policy, "http://198.51.100.7/"), "200");
}

fn case_78_malformed_authorities(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let policy = Policy::new().pin_plain("origin.test", origin.address());
    for authority in [
        "user@origin.test",
        "user:password@origin.test",
        "origin.test:0",
        "origin.test:65537",
        "origin.test:443.allowed.com",
        "origin.test:",
        "origin.test:80:80",
        "origin.test:+80",
        "origin.test:080x",
        "origin.test/path",
        "origin.test#x",
        "origin.test?x",
        "origin.test\\x20",
        "ori gin.test",
        "origin.test,denied.test",
        "",
        "origin..test",
        ".origin.test",
        "origin.test\\x00.denied.test",
        "origin.test\\x80",
    ] {
        let told = raw(
            &host,
            &policy,
            "origin.test",
            "plain",
            &format!("GET / HTTP/1.1\\r\\nHost: {authority}\\r\\n\\r\\n"),
        );
        // A space at the end is none of the value's; a trailing dot or colon may be taken for what it says.
        if authority == "origin.test\\x20" || authority == "origin.test:" {
            continue;
        }
        assert!(
            ["400", "403", "421"].contains(&told[0].as_str()),
            "{authority:?}: {told:?}"
        );
    }
    let before = origin.requests().len();
    for head in [
        "GET / HTTP/1.1\\r\\n\\r\\n",
        "GET / HTTP/1.1\\r\\nHost: origin.test\\r\\nHost: denied.test\\r\\n\\r\\n",
        "GET http://denied.test/ HTTP/1.1\\r\\nHost: origin.test\\r\\n\\r\\n",
        "GET http://user@origin.test/ HTTP/1.1\\r\\nHost: origin.test\\r\\n\\r\\n",
        "CONNECT denied.test:443 HTTP/1.1\\r\\nHost: denied.test:443\\r\\n\\r\\n",
        "CONNECT origin.test:80 HTTP/1.1\\r\\nHost: origin.test:80\\r\\n\\r\\n",
    ] {
        let told = raw(&host, &policy, "origin.test", "plain", head);
        assert!(
            ["400", "403", "405", "421"].contains(&told[0].as_str()),
            "{head}: {told:?}"
        );
    }
    assert_eq!(origin.requests().len(), before);
    // Control: a good one passes.
    assert_eq!(
        raw(
            &host,
            &policy,
            "origin.test",
            "plain",
            "GET / HTTP/1.1\\r\\nHost: origin.test:80\\r\\nConnection: close\\r\\n\\r\\n"
        )[0],
        "200"
    );
}

fn ports_are_part_of_a_rule(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let address = origin.address();
    let policy = Policy::new().rule(&format!(
        "host = \"origin.test\"\nports = [8080, 8081]\nconnect = \"{address}\""
    ));
    for (port, wanted) in [
        (8080, "200"),
        (8081, "200"),
        (80, "000"),
        (8082, "000"),
        (443, "000"),
        (22, "000"),
    ] {
        let told = status(&host, &policy, &format!("http://origin.test:{port}/"));
        assert!(
            told == wanted || (wanted == "000" && told == "403"),
            "{port}: {told}"
        );
    }
}

fn the_first_rule_that_matches_wins(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let pin = format!("connect = \"{}\"\nports = [80]", origin.address());
    let policy = Policy::new()
        .rule("host = \"secret.wild.test\"\nports = [80]\naction = \"deny\"")
        .rule(&format!(
            "host = \"admin.wild.test\"\npaths = [\"/public/**\"]\n{pin}"
        ))
        .rule("host = \"admin.wild.test\"\naction = \"deny\"\nports = [80]")
        .rule(&format!("host = \"*.wild.test\"\n{pin}"));
    for (url, wanted) in [
        ("http://a.wild.test/", "200"),
        ("http://admin.wild.test/public/x", "200"),
        ("http://admin.wild.test/private", "403"),
        ("http://admin.wild.test/public/../private", "200"),
    ] {
        // curl itself resolves the dots of the last one before it asks for /private.
        let wanted = if url.contains("..") { "403" } else { wanted };
        assert_eq!(status(&host, &policy, url), wanted, "{url}");
    }
    assert_ne!(status(&host, &policy, "http://secret.wild.test/"), "200");
}

fn methods_and_paths(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let keys = format!(
        "host = \"origin.test\"\nports = [80]\nconnect = \"{}\"",
        origin.address()
    );
    let policy = Policy::new()
        .rule(&format!("{keys}\nmethods = [\"GET\", \"HEAD\"]\npaths = [\"/repos/*/issues\", \"/files/**\", \"/exact\"]"))
        .rule(&format!("{keys}\nmethods = [\"POST\"]\npaths = [\"/graphql\"]"));
    let script = "status() { curl -s -m 5 -o /dev/null -w '%{http_code} ' \"$@\"; }
        u=http://origin.test; status $u/repos/acme/issues; status $u/files/a/b/c; status $u/exact; status -I $u/exact; status -d x $u/graphql; echo
        status $u/repos/acme/x/issues; status $u/repos//issues; status $u/exact/; status $u/exactly; status -d x $u/exact; status $u/graphql; status -X DELETE $u/exact; status -X Get $u/exact; status $u/; echo";
    let outcome = host.shell(script).policy(&policy).finish().success();
    let told = lines(&outcome);
    assert_eq!(told[0], "200 200 200 200 200", "{outcome:?}");
    assert!(
        told[1]
            .split(' ')
            .all(|status| ["400", "403", "000"].contains(&status)),
        "{outcome:?}"
    );
    assert_eq!(origin.requests().len(), 5);
    assert_eq!(outcome.events().denied().len(), 9);
}

fn a_refusal_says_what_to_do(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin_with("origin.test", origin.address(), "methods = [\"GET\"]");
    let outcome = host
        .run([
            "curl",
            "-sS",
            "-i",
            "-d",
            "x",
            "https://origin.test/v1/thing",
        ])
        .policy(&policy)
        .finish()
        .success();
    let text = outcome.text();
    let body: serde_json::Value = serde_json::from_str(text.split("\r\n\r\n").last().unwrap())
        .unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(text.contains(" 403"), "{text}");
    assert!(
        body["reason"].is_string() && body["host"] == "origin.test",
        "{body}"
    );
    assert!(
        body.to_string().contains("allow"),
        "nothing about how to allow it: {body}"
    );
    assert_eq!(body["reason"], outcome.events().only_refusal());
    // The summary at the end names the host as well.
    assert!(outcome.errors().contains("origin.test"), "{outcome:?}");
}
