use proptest::prelude::*;

use super::*;

#[test]
fn the_default_is_to_deny() {
    let nothing = Policy::build(&PolicyInputs::default()).unwrap();
    let denial = connect(&nothing, "example.com", 443).unwrap_err();
    assert_eq!(denial.reason(), "no_rule");
    assert_eq!(denial.to_string(), "no rule allows example.com on port 443");
    assert_eq!(
        lookup(&nothing, "example.com").unwrap_err().reason(),
        "no_rule"
    );
    assert!(connect(&nothing, "8.8.8.8", 443).is_err());
}

#[test]
fn a_permit_says_who_spelled_the_name() {
    let policy = policy(
        "[[egress]]\nhost = \"no.x.test\"\naction = \"deny\"\n[[egress]]\nhost = \"*.x.test\"\n\
         [[egress]]\nhost = \"api.x.test\"\n[[egress]]\nhost = \"no.x.test\"\n",
    );
    let spelled = |name| {
        let permit = policy.check_name(&HostName::parse(name).unwrap());
        permit.map(|permit| (permit.rule().to_string(), permit.spelled()))
    };
    let (first, who) = spelled("api.x.test").unwrap();
    assert_eq!(who, Spelled::ByRule);
    assert_eq!(spelled("b.x.test").unwrap(), (first, Spelled::ByProgram));
    assert_eq!(spelled("no.x.test").unwrap_err().reason(), "denied_by_rule");
}

#[test]
fn the_first_match_decides() {
    let policy = policy(
        r#"
        [[egress]]
        host = "secret.example.com"
        action = "deny"
        [[egress]]
        host = "*.example.com"
        ports = [443]
        [[egress]]
        host = "late.example.com"
        action = "deny"
        [[egress]]
        host = "*"
        ports = [8443]
        "#,
    );
    let rule = |host, port| connect(&policy, host, port).map(|permit| permit.rule().to_string());
    assert_eq!(rule("a.example.com", 443).unwrap(), "policy.toml#2");
    assert_eq!(rule("late.example.com", 443).unwrap(), "policy.toml#2");
    assert_eq!(rule("a.example.com", 8443).unwrap(), "policy.toml#4");
    assert_eq!(rule("other.example", 8443).unwrap(), "policy.toml#4");
    assert_eq!(
        rule("secret.example.com", 443).unwrap_err().reason(),
        "denied_by_rule"
    );
    assert_eq!(
        rule("secret.example.com", 8443).unwrap_err().reason(),
        "denied_by_rule"
    );
    assert_eq!(
        rule("late.example.com", 8443).unwrap_err().reason(),
        "denied_by_rule"
    );
    assert_eq!(rule("example.com", 443).unwrap_err().reason(), "no_rule");
    assert_eq!(rule("192.0.2.1", 8443).unwrap_err().reason(), "no_rule");
    assert_eq!(
        lookup(&policy, "secret.example.com").unwrap_err().reason(),
        "denied_by_rule"
    );
    assert_eq!(lookup(&policy, "a.example.com").unwrap(), "policy.toml#2");
    assert_eq!(lookup(&policy, "other.example").unwrap(), "policy.toml#4");
}

#[test]
fn names_are_answered_only_if_some_port_is_open() {
    let policy = policy(
        r#"
        [[egress]]
        host = "a.example.com"
        action = "deny"
        ports = [80]
        [[egress]]
        host = "a.example.com"
        action = "deny"
        ports = [443]
        [[egress]]
        host = "b.example.com"
        action = "deny"
        ports = [80]
        [[egress]]
        host = "c.example.com"
        action = "deny"
        paths = ["/x"]
        [[egress]]
        host = "*.example.com"
        "#,
    );
    assert_eq!(
        lookup(&policy, "a.example.com").unwrap_err().reason(),
        "denied_by_rule"
    );
    assert!(lookup(&policy, "b.example.com").is_ok());
    assert!(lookup(&policy, "c.example.com").is_ok());
}

#[test]
fn a_proxy_gets_its_own_credential_only() {
    let text = |credential: &str| {
        format!(
            "[[egress]]\nhost = \"a.example.com\"\nproxy = \"http://proxy.corp:3128\"\nproxy_credential = \"corp\"\n\
             [credential.corp]\nsource = {{ env = \"PROXY_PASSWORD\" }}\n{credential}\n"
        )
    };
    let fits = text("hosts = [\"proxy.corp\"]\ninject = { basic = \"alice\" }");
    let policy = policy(&fits);
    let permit = connect(&policy, "a.example.com", 443).unwrap();
    let Upstream::HttpProxy { credential, .. } = permit.upstream() else {
        panic!("{permit:?}")
    };
    assert_eq!(credential.as_ref().unwrap().as_str(), "corp");
    // It is the proxy's, not the host's.
    let request = request(&policy, "GET", "a.example.com", "/").unwrap();
    assert!(request.credentials().is_empty());
    let rule = &policy.describe().rules[0];
    assert_eq!(rule.proxy_credential.as_deref(), Some("corp"));
    assert!(rule.credentials.is_empty());
    for (credential, why) in [
        (
            "hosts = [\"a.example.com\"]\ninject = { basic = \"alice\" }",
            "does not belong to the proxy",
        ),
        ("hosts = [\"proxy.corp\"]", "has no user name"),
        (
            "hosts = [\"proxy.corp\"]\ninject = { header = \"x-key\" }",
            "has no user name",
        ),
    ] {
        let error = super::build(&text(credential)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let dangling = fits.replace("[credential.corp]", "[credential.corq]");
    let error = super::build(&dangling).unwrap_err().to_string();
    assert!(error.contains("no credential `corp`"), "{error}");
}

#[test]
fn permits_say_how_to_connect() {
    let policy = policy(
        r#"
        [[egress]]
        host = "pinned.corp"
        connect = "127.0.0.1:8443"
        ca = "/etc/corp.pem"
        [[egress]]
        host = "proxied.example.com"
        proxy = "http://proxy.corp:3128"
        [[egress]]
        host = "opaque.example.com"
        inspect = false
        [[egress]]
        host = "db.example.com"
        protocol = "tcp"
        ports = [5432]
        "#,
    );
    let pinned = connect(&policy, "pinned.corp", 443).unwrap();
    assert_eq!(pinned.mode(), Mode::Inspect);
    assert_eq!(
        pinned.upstream(),
        &Upstream::Pinned("127.0.0.1:8443".parse().unwrap())
    );
    assert_eq!(pinned.extra_ca(), Some("/etc/corp.pem"));
    assert!(pinned.allow_private());
    let address = policy.check_address(&pinned, ip("127.0.0.1")).unwrap();
    assert_eq!(address.socket_addr().to_string(), "127.0.0.1:8443");
    assert_eq!(
        policy
            .check_address(&pinned, ip("8.8.8.8"))
            .unwrap_err()
            .reason(),
        "address_mismatch"
    );
    let opaque = connect(&policy, "opaque.example.com", 443).unwrap();
    assert_eq!(opaque.mode(), Mode::Passthrough);
    assert!(!opaque.allow_private());
    assert!(connect(&policy, "opaque.example.com", 80).is_err());
    assert_eq!(
        connect(&policy, "db.example.com", 5432).unwrap().mode(),
        Mode::Tcp
    );
    let proxied = connect(&policy, "proxied.example.com", 443).unwrap();
    let address = policy.check_address(&proxied, ip("10.0.0.9")).unwrap();
    assert_eq!(address.socket_addr().to_string(), "10.0.0.9:3128");
    for address in ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0"] {
        assert!(
            policy.check_address(&proxied, ip(address)).is_err(),
            "{address}"
        );
    }
}

// Security cases 71 and 74.
#[test]
fn names_lead_to_public_addresses_only() {
    let policy = allowing(&["a.example.com", "*"]);
    let on = connect(&policy, "a.example.com", 443).unwrap();
    assert_eq!(
        policy
            .check_address(&on, ip("8.8.8.8"))
            .unwrap()
            .socket_addr()
            .to_string(),
        "8.8.8.8:443"
    );
    assert!(policy.check_address(&on, ip("::ffff:8.8.8.8")).is_ok());
    for address in [
        "127.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "198.18.0.5",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::",
        "::1",
        "fe80::1",
        "fd00::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
        "2001:0:808:808:0:0:80ff:fffe",
        "ff02::1",
        "fd77:6172:6469::5",
    ] {
        let denial = policy.check_address(&on, ip(address)).unwrap_err();
        assert_eq!(denial.reason(), "private_address", "{address}");
    }
}

#[test]
fn addresses_are_reached_by_rules_that_name_them() {
    let policy = allowing(&[
        "10.1.0.0/16",
        "127.0.0.1:8080",
        "[::1]:9",
        "0.0.0.0/0",
        "169.254.0.0/16",
    ]);
    let dial = |address: &str, port| {
        let on = connect(&policy, address, port)?;
        policy.check_address(&on, ip(address))
    };
    assert!(dial("10.1.2.3", 443).is_ok());
    assert!(dial("127.0.0.1", 8080).is_ok());
    assert!(dial("::1", 9).is_ok());
    assert!(dial("8.8.8.8", 443).is_ok());
    assert!(
        dial("169.254.1.1", 443).is_err(),
        "the wider rule comes first"
    );
    for address in ["10.2.0.1", "127.0.0.1", "169.254.169.254", "192.168.0.1"] {
        assert_eq!(
            dial(address, 443).unwrap_err().reason(),
            "private_address",
            "{address}"
        );
    }
    assert_eq!(dial("::1", 443).unwrap_err().reason(), "no_rule");
    // A connection by number is bound to that number.
    let on = connect(&policy, "10.1.2.3", 443).unwrap();
    assert_eq!(
        policy
            .check_address(&on, ip("10.1.2.4"))
            .unwrap_err()
            .reason(),
        "address_mismatch"
    );
}

#[test]
fn denied_networks_are_denied_behind_names_too() {
    let text = r#"
        [[egress]]
        host = "first.example.com"
        [[egress]]
        host = "192.0.2.0/24"
        action = "deny"
        [[egress]]
        host = "*.example.com"
    "#;
    let policy = policy(text);
    let later = connect(&policy, "later.example.com", 443).unwrap();
    assert_eq!(
        policy
            .check_address(&later, ip("192.0.2.7"))
            .unwrap_err()
            .reason(),
        "denied_by_rule"
    );
    assert!(policy.check_address(&later, ip("198.51.100.7")).is_ok());
    let first = connect(&policy, "first.example.com", 443).unwrap();
    assert!(policy.check_address(&first, ip("192.0.2.7")).is_ok());
}

#[test]
fn wildcards_do_not_reach_across_public_suffixes() {
    let policy = allowing(&["*.amazonaws.com"]);
    assert!(connect(&policy, "sts.amazonaws.com", 443).is_ok());
    let denial = connect(&policy, "bucket.s3.amazonaws.com", 443).unwrap_err();
    assert_eq!(denial.reason(), "wildcard_across_public_suffix");
    assert_eq!(
        lookup(&policy, "bucket.s3.amazonaws.com")
            .unwrap_err()
            .reason(),
        "wildcard_across_public_suffix"
    );
    let narrower = allowing(&["*.amazonaws.com", "bucket.s3.amazonaws.com"]);
    assert!(connect(&narrower, "bucket.s3.amazonaws.com", 443).is_ok());
}

/// The rules as a plain list, without the index.
fn naive<'a>(rules: &'a [(String, bool)], host: &str) -> Option<&'a (String, bool)> {
    rules
        .iter()
        .find(|(pattern, _)| match pattern.strip_prefix("*.") {
            Some(suffix) => host.ends_with(&format!(".{suffix}")),
            None => pattern == "*" || pattern == host,
        })
}

proptest! {
    #[test]
    fn the_index_changes_nothing(
        rules in proptest::collection::vec(("(\\*\\.)?([ab]\\.){0,3}x\\.test|\\*", any::<bool>()), 0..12),
        host in "([ab]\\.){0,4}x\\.test",
    ) {
        let text: String = rules
            .iter()
            .map(|(host, allow)| {
                let action = if *allow { "allow" } else { "deny" };
                format!("[[egress]]\nhost = \"{host}\"\naction = \"{action}\"\n")
            })
            .collect();
        let policy = policy(&text);
        let found = connect(&policy, &host, 443);
        match naive(&rules, &host) {
            Some((_, true)) => prop_assert!(found.is_ok()),
            Some((_, false)) => prop_assert_eq!(found.unwrap_err().reason(), "denied_by_rule"),
            None => prop_assert_eq!(found.unwrap_err().reason(), "no_rule"),
        }
        prop_assert_eq!(lookup(&policy, &host).is_ok(), connect(&policy, &host, 443).is_ok());
    }
}
