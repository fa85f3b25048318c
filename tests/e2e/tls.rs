//! TLS and credentials: security cases 89 to 94.

use wardian_tests::certificates::Leaf;
use wardian_tests::host::{Host, TOOLS};
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;

use crate::support::{AT_ONCE, lines, raw_as, refused_for};

wardian_tests::both_modes!(
    case_89_server_name_and_host_must_agree,
    case_89_server_name_and_authority_must_agree,
    case_90_the_name_decides_where_it_goes,
    case_92_a_bad_upstream_never_gets_the_credential,
    case_93_clear_text_on_443,
    case_93_no_server_name,
    case_94_the_authoritys_key_is_not_inside,
    certificates_are_where_programs_look,
    passthrough_checks_the_name_and_leaves_the_rest,
    credentials_are_injected_for_their_hosts_only,
    credentials_from_file_and_command,
);

fn case_89_server_name_and_host_must_agree(mode: Mode) {
    let host = Host::new(mode);
    let (origin, other) = (Origin::https(), Origin::https());
    let policy = Policy::new()
        .pin("origin.test", origin.address())
        .pin("other.test", other.address());
    let request =
        |host: &str| format!("GET / HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n");
    // Control: agreeing, both are allowed.
    assert_eq!(
        raw_as(
            &host,
            &policy,
            "origin.test",
            "origin.test",
            &request("origin.test")
        )[0],
        "200"
    );
    let before = (origin.requests().len(), other.requests().len());
    let told = raw_as(
        &host,
        &policy,
        "origin.test",
        "origin.test",
        &request("other.test"),
    );
    assert!(
        ["400", "403", "421"].contains(&told[0].as_str()),
        "{told:?}"
    );
    let told = raw_as(
        &host,
        &policy,
        "origin.test",
        "origin.test",
        &request("denied.test"),
    );
    assert!(
        ["400", "403", "421"].contains(&told[0].as_str()),
        "{told:?}"
    );
    for name in ["other.test", "denied.test", "ORIGIN.test.evil.test"] {
        let told = raw_as(&host, &policy, "origin.test", name, &request("origin.test"));
        assert_ne!(told[0], "200", "{name}: {told:?}");
    }
    assert_eq!((origin.requests().len(), other.requests().len()), before);
}

fn case_89_server_name_and_authority_must_agree(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new()
        .pin("origin.test", origin.address())
        .pin("other.test", origin.address());
    let program = "import httpx
with httpx.Client(http2=True) as c:
    print(c.get('https://origin.test/').status_code)
    print(c.get('https://origin.test/', headers={'host': 'other.test'}).status_code)
    print(c.get('https://origin.test/', headers={'host': 'denied.test'}).status_code)
    print(c.get('https://origin.test/').status_code)";
    let outcome = host
        .run([format!("{TOOLS}/python/bin/python").as_str(), "-c", program])
        .policy(&policy)
        .finish()
        .success();
    let told = lines(&outcome);
    assert_eq!(
        (told[0].as_str(), told[3].as_str()),
        ("200", "200"),
        "one refused stream must not end the others: {outcome:?}"
    );
    assert!(
        told[1..3]
            .iter()
            .all(|status| ["400", "403", "421"].contains(&status.as_str())),
        "{outcome:?}"
    );
    assert_eq!(origin.requests().len(), 2);
    assert_eq!(outcome.events().reasons("request").len(), 2);
}

fn case_90_the_name_decides_where_it_goes(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    // An allowed name, sent to an address of the attacker's choice: it reaches the name's own server or none.
    let outcome = host
        .run([
            "curl",
            "-sS",
            "-m",
            "5",
            "--resolve",
            "origin.test:443:198.51.100.66",
            "https://origin.test/",
        ])
        .policy(&policy)
        .finish()
        .within(AT_ONCE);
    assert!(
        outcome.text() == "hello from the origin\n" || outcome.text().is_empty(),
        "{outcome:?}"
    );
    let dialled = outcome
        .events()
        .all()
        .iter()
        .filter(|event| {
            event["kind"] == "connection"
                && event["verdict"] == "allowed"
                && event["host"] == "198.51.100.66"
        })
        .count();
    assert_eq!(dialled, 0);
    if outcome.text().is_empty() {
        outcome
            .events()
            .one_refusal(&["no_rule", "address_mismatch"]);
    }
}

fn credential_policy(origin: &Origin) -> Policy {
    Policy::new()
        .pin_with("origin.test", origin.address(), "credential = \"key\"")
        .table("[env]\nKEY = { credential = \"key\" }")
        .table("[credential.key]\nsource = { env = \"REAL_KEY\" }\nhosts = [\"origin.test\"]\ninject = { header = \"authorization\", format = \"Bearer {}\" }")
}

fn case_92_a_bad_upstream_never_gets_the_credential(mode: Mode) {
    let host = Host::new(mode);
    let curl = "curl -sS -m 10 -o /dev/null -w '%{http_code}' -H \"authorization: Bearer $KEY\" https://origin.test/";
    let good = Origin::https();
    assert_eq!(
        host.shell(curl)
            .policy(&credential_policy(&good))
            .host_env("REAL_KEY", "real-one")
            .text(),
        "200"
    );
    assert_eq!(
        good.only_request().header("authorization"),
        Some("Bearer real-one")
    );
    for leaf in [
        Leaf::Expired,
        Leaf::NotYetValid,
        Leaf::SelfSigned,
        Leaf::WrongHost,
    ] {
        let bad = Origin::with_leaf(leaf);
        let outcome = host
            .shell(curl)
            .policy(&credential_policy(&bad))
            .host_env("REAL_KEY", "real-one")
            .finish();
        assert_eq!(outcome.text(), "502", "{leaf:?}: {outcome:?}");
        assert_eq!(bad.requests().len(), 0, "{leaf:?}: a request arrived");
        let failed: Vec<_> = outcome
            .events()
            .all()
            .iter()
            .filter(|event| event["outcome"] == "upstream_failed")
            .cloned()
            .collect();
        assert_eq!(failed.len(), 1, "{leaf:?}: {:#?}", outcome.events());
    }
    // Without the extra CA the good one is not trusted either.
    let stranger = Origin::https();
    let policy = Policy::new().rule(&format!(
        "host = \"origin.test\"\nconnect = \"{}\"",
        stranger.address()
    ));
    assert_eq!(
        host.shell("curl -sS -m 10 -o /dev/null -w '%{http_code}' https://origin.test/")
            .policy(&policy)
            .finish()
            .text(),
        "502"
    );
    assert_eq!(stranger.requests().len(), 0);
}

fn case_93_clear_text_on_443(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    for bytes in [
        "GET / HTTP/1.1\\r\\nHost: origin.test\\r\\n\\r\\n",
        "SSH-2.0-x\\r\\n",
        "\\x00\\x01\\x02\\x03\\x04\\x05",
        "\\x16\\x03\\x01\\xff\\xff",
        "\\x80\\x2e\\x01\\x00\\x02",
    ] {
        let words = [
            "/usr/bin/python3",
            "-c",
            crate::support::RAW,
            "origin.test",
            "443",
            "plain",
            bytes,
        ];
        let outcome = host.run(words).policy(&policy).finish().success();
        assert!(!outcome.text().contains("200"), "{bytes}: {outcome:?}");
        assert_eq!(
            outcome.events().denied().len(),
            1,
            "{bytes}: {:#?}",
            outcome.events().denied()
        );
    }
    origin.assert_untouched();
}

fn case_93_no_server_name(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let request = "GET / HTTP/1.1\\r\\nHost: origin.test\\r\\nConnection: close\\r\\n\\r\\n";
    let told = raw_as(&host, &policy, "origin.test", "", request);
    assert_ne!(told[0], "200", "{told:?}");
    origin.assert_untouched();
}

fn case_94_the_authoritys_key_is_not_inside(mode: Mode) {
    let host = Host::new(mode);
    let script = "grep -rlsE 'BEGIN ([A-Z]+ )?PRIVATE KEY' /etc /usr/local /usr/share/ca-certificates /run /tmp /var /home \"$HOME\" | grep -v -E 'python|node_modules|/doc/|snakeoil|test'
        ls -d \"$HOME/.local/share/wardian\" ~root/.local/share/wardian 2>/dev/null
        find /run/wardian -type s -o -type f ! -name README 2>/dev/null; echo end";
    for run in [host.shell(script), host.shell(script).as_inner_root()] {
        assert_eq!(lines(&run.finish().success()), ["end"]);
    }
    // A certificate that the sandbox would mint for itself is not trusted outside, and each sandbox has its own authority.
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let script = "openssl s_client -connect origin.test:443 -servername origin.test -verify_return_error </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256 -issuer";
    let (one, two) = (
        host.shell(script).policy(&policy).text(),
        host.shell(script).policy(&policy).text(),
    );
    assert!(one.contains("ingerprint") && one != two, "{one} {two}");
}

fn certificates_are_where_programs_look(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    // Each by itself: without any variable the system's store must do, and each variable must be right.
    let script = "set -e; env -i PATH=$PATH curl -sS https://origin.test/
        for v in SSL_CERT_FILE NODE_EXTRA_CA_CERTS REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GIT_SSL_CAINFO PIP_CERT CARGO_HTTP_CAINFO AWS_CA_BUNDLE DENO_CERT; do \
            f=$(printenv $v) && curl -sS -o /dev/null --cacert $f https://origin.test/ || echo $v is wrong; done
        for f in /etc/ssl/certs/ca-certificates.crt; do curl -sS -o /dev/null --cacert $f https://origin.test/; done
        openssl s_client -connect origin.test:443 -servername origin.test -CApath /etc/ssl/certs -no-CAfile -verify_return_error </dev/null >/dev/null 2>&1 || echo hashed directory lacks it";
    let outcome = host.shell(script).policy(&policy).finish().success();
    assert_eq!(lines(&outcome), ["hello from the origin"], "{outcome:?}");
    // The other roots are still there.
    let count: usize = host
        .shell("grep -c BEGIN.CERT /etc/ssl/certs/ca-certificates.crt")
        .text()
        .trim()
        .parse()
        .unwrap();
    assert!(count > 50, "{count}");
}

fn passthrough_checks_the_name_and_leaves_the_rest(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let address = origin.address();
    let policy = Policy::new().rule(&format!(
        "host = \"origin.test\"\ninspect = false\nconnect = \"{address}\""
    ));
    // A client that pins: it trusts nothing but the origin's own authority.
    host.write(
        &host.project().join("pinned.pem"),
        wardian_tests::certificates::authority_pem(),
    );
    let outcome = host
        .run([
            "curl",
            "-sS",
            "--cacert",
            "pinned.pem",
            "--capath",
            "/nowhere",
            "https://origin.test/",
        ])
        .policy(&policy)
        .finish()
        .success();
    assert_eq!(outcome.text(), "hello from the origin\n");
    assert!(
        outcome
            .events()
            .all()
            .iter()
            .any(|event| event["mode"] == "passthrough")
    );
    // Control: with inspection, that client sees a certificate that it does not trust.
    host.run([
        "curl",
        "-sS",
        "--cacert",
        "pinned.pem",
        "--capath",
        "/nowhere",
        "https://origin.test/",
    ])
    .policy(&Policy::new().pin("origin.test", address))
    .finish()
    .failed();
    let before = origin.server().connections();
    let program = "import socket, ssl
c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE
for name in ('denied.test', None):
    try: print(c.wrap_socket(socket.create_connection(('origin.test', 443), 5), server_hostname=name).version())
    except OSError: print('refused')";
    let outcome = host.python(program).policy(&policy).finish().success();
    assert_eq!(lines(&outcome), ["refused", "refused"]);
    assert_eq!(origin.server().connections(), before);
    refused_for(
        &outcome.events(),
        &[
            "sni_mismatch",
            "no_sni",
            "server_name_mismatch",
            "no_server_name",
            "no_rule",
            "authority_mismatch",
        ],
    );
}

fn credentials_are_injected_for_their_hosts_only(mode: Mode) {
    let host = Host::new(mode);
    let (origin, other) = (Origin::https(), Origin::https());
    let policy = Policy::new()
        .pin_with("origin.test", origin.address(), "credential = \"key\"")
        .pin("other.test", other.address())
        .table("[env]\nKEY = { credential = \"key\" }")
        .table("[credential.key]\nsource = { env = \"REAL_KEY\" }\nhosts = [\"origin.test\"]");
    let script = "for h in origin other; do curl -sS -o /dev/null -H \"x-key: $KEY\" -H \"authorization: Basic $(printf 'user:%s' \"$KEY\" | base64 -w0)\" \"https://$h.test/?k=$KEY\" -d \"body $KEY\"; done; echo \"$KEY\"";
    let outcome = host
        .shell(script)
        .policy(&policy)
        .host_env("REAL_KEY", "real-one-5150")
        .finish()
        .success();
    assert!(!outcome.text().contains("real-one-5150"));
    let seen = origin.only_request();
    assert_eq!(seen.header("x-key"), Some("real-one-5150"));
    assert_eq!(seen.path, "/?k=real-one-5150");
    for request in other.requests() {
        assert!(
            !format!("{request:?}").contains("real-one-5150"),
            "{request:?}"
        );
    }
    assert!(
        !outcome
            .events()
            .all()
            .iter()
            .any(|event| event.to_string().contains("real-one-5150"))
    );
    // Not over a connection in the clear, even to its own host.
    let plain = Origin::http();
    let policy = Policy::new()
        .rule(&format!(
            "host = \"origin.test\"\nports = [80]\nconnect = \"{}\"",
            plain.address()
        ))
        .table("[env]\nKEY = { credential = \"key\" }")
        .table("[credential.key]\nsource = { env = \"REAL_KEY\" }\nhosts = [\"origin.test\"]");
    host.shell("curl -s -m 5 -H \"x-key: $KEY\" http://origin.test/; exit 0")
        .policy(&policy)
        .host_env("REAL_KEY", "real-one-5150")
        .finish();
    assert!(!format!("{:?}", plain.requests()).contains("real-one-5150"));
}

fn credentials_from_file_and_command(mode: Mode) {
    let host = Host::new(mode);
    let file = host.home().join(".token");
    host.write(&file, "from-a-file\n");
    for (source, real) in [
        (
            format!("{{ file = \"{}\" }}", file.display()),
            "from-a-file",
        ),
        (
            "{ command = [\"printf\", \"%s\\\\n\", \"from a command\"] }".to_owned(),
            "from a command",
        ),
    ] {
        let origin = Origin::https();
        let policy = Policy::new()
            .pin_with("origin.test", origin.address(), "credential = \"key\"")
            .table(&format!("[credential.key]\nsource = {source}\nhosts = [\"origin.test\"]\ninject = {{ header = \"x-token\", format = \"t {{}}\" }}"));
        let outcome = host
            .run(["curl", "-sS", "https://origin.test/"])
            .policy(&policy)
            .finish()
            .success();
        assert_eq!(
            origin.only_request().header("x-token"),
            Some(format!("t {real}").as_str()),
            "{outcome:?}"
        );
    }
    let origin = Origin::https();
    let policy = Policy::new()
        .pin_with("origin.test", origin.address(), "credential = \"key\"")
        .table("[credential.key]\nsource = { env = \"REAL_KEY\" }\nhosts = [\"origin.test\"]\ninject = { basic = \"x-access-token\" }");
    host.run(["curl", "-sS", "https://origin.test/"])
        .policy(&policy)
        .host_env("REAL_KEY", "real-one")
        .finish()
        .success();
    // base64 of `x-access-token:real-one`
    assert_eq!(
        origin.only_request().header("authorization"),
        Some("Basic eC1hY2Nlc3MtdG9rZW46cmVhbC1vbmU=")
    );
}
