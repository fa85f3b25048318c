use super::*;

fn build_error(text: &str, allow: &[&str], presets: &[&str]) -> String {
    build_from(text, allow, presets).unwrap_err().to_string()
}

#[test]
fn options_then_file_then_presets() {
    let policy = build_from(
        "[[egress]]\nhost = \"a.example.com\"\n",
        &["b.example.com", "c.example.com:8443"],
        &["claude"],
    )
    .unwrap();
    let ids: Vec<String> = policy
        .describe()
        .rules
        .into_iter()
        .map(|rule| rule.id)
        .collect();
    assert_eq!(
        ids,
        [
            "--allow#1",
            "--allow#2",
            "policy.toml#1",
            "claude#1",
            "claude#2"
        ]
    );
    let denied = "[[egress]]\nhost = \"b.example.com\"\naction = \"deny\"\n";
    let policy = build_from(denied, &["b.example.com:8443"], &[]).unwrap();
    assert!(connect(&policy, "b.example.com", 443).is_err());
    assert!(connect(&policy, "b.example.com", 8443).is_ok());
}

#[test]
fn allow_forms() {
    for (text, host, ports, mode) in [
        ("example.com", "example.com", "80,443", "inspect"),
        ("EXAMPLE.com.", "example.com", "80,443", "inspect"),
        ("example.com:8443", "example.com", "8443", "inspect"),
        ("*.example.com", "*.example.com", "80,443", "inspect"),
        ("*.example.com:8443", "*.example.com", "8443", "inspect"),
        ("192.0.2.7", "192.0.2.7", "80,443", "inspect"),
        ("192.0.2.7:22", "192.0.2.7", "22", "inspect"),
        ("[2001:db8::7]:22", "2001:db8::7", "22", "inspect"),
        ("2001:db8::7", "2001:db8::7", "80,443", "inspect"),
        ("10.0.0.0/8", "10.0.0.0/8", "80,443", "inspect"),
        ("2001:db8::/32", "2001:db8::/32", "80,443", "inspect"),
        ("*", "*", "80,443", "inspect"),
        ("https://example.com", "example.com", "443", "inspect"),
        ("HTTPS://example.com", "example.com", "443", "inspect"),
        ("http://example.com", "example.com", "80", "inspect"),
        (
            "https://*.example.com:8443/a/**",
            "*.example.com",
            "8443",
            "inspect",
        ),
        ("tcp://db.example.com:5432", "db.example.com", "5432", "tcp"),
        ("GET example.com", "example.com", "80,443", "inspect"),
        (
            "GET,HEAD https://example.com/a/*",
            "example.com",
            "443",
            "inspect",
        ),
        (
            "  GET   https://example.com  ",
            "example.com",
            "443",
            "inspect",
        ),
        (
            "https://example.com/@scope/x",
            "example.com",
            "443",
            "inspect",
        ),
    ] {
        let rule = allowing(&[text]).describe().rules.remove(0);
        assert_eq!(
            (rule.host.as_str(), rule.ports.as_str(), rule.mode),
            (host, ports, mode),
            "{text}"
        );
    }
    let rule = allowing(&["GET,HEAD https://example.com/a/*"])
        .describe()
        .rules
        .remove(0);
    assert_eq!(rule.methods.unwrap(), ["GET", "HEAD"]);
    assert_eq!(rule.paths.unwrap(), ["/a/*"]);
}

#[test]
fn allow_refuses_what_it_does_not_understand() {
    for text in [
        "",
        " ",
        "*.com",
        "*.co.uk",
        "a..com",
        "user@example.com",
        "https://user@example.com/",
        "https://u:p@example.com",
        "example.com:0",
        "example.com:65537",
        "example.com:",
        "example.com:443:443",
        "example.com/path",
        "example.com:443.allowed.com",
        "ftp://example.com",
        "https://",
        "https:///x",
        "https://example.com/a?b",
        "https://example.com/a#b",
        "https://example.com/../a",
        "https://example.com//a",
        "tcp://example.com",
        "tcp://example.com:1/x",
        "GET tcp://example.com:1",
        "get https://example.com",
        "GET POST https://example.com",
        "CONNECT example.com",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "0.0.0.0",
        "[::1%eth0]",
        "10.0.0.1/8",
        "https://example.com?x",
        "https://example.com#x",
        "a,b",
        "a b",
        "GET,",
        ",GET a.example.com",
    ] {
        let error = build_error("", &[text], &[]);
        assert!(error.starts_with("--allow"), "{text}: {error}");
    }
    assert_eq!(
        build_error("", &["example.com/x"], &[]),
        "--allow \"example.com/x\": a path needs its scheme: write \"https://example.com/x\""
    );
}

#[test]
fn unknown_presets_get_a_suggestion() {
    assert_eq!(
        build_error("", &[], &["cluade"]),
        "there is no preset `cluade`; did you mean `claude`?"
    );
    assert_eq!(
        build_error("presets = [\"claude\",\n \"gemeni\"]", &[], &[]),
        "policy.toml:2:2: there is no preset `gemeni`; did you mean `gemini`?"
    );
    assert_eq!(build_error("", &[], &["bash"]), "there is no preset `bash`");
}

#[test]
fn credentials_must_fit_their_rules() {
    let credential =
        "[credential.token]\nsource = { env = \"T\" }\nhosts = [\"api.example.com\"]\n";
    let rule = |host: &str, name: &str| {
        format!("[[egress]]\nhost = \"{host}\"\ncredential = \"{name}\"\n{credential}")
    };
    assert!(build_from(&rule("api.example.com", "token"), &[], &[]).is_ok());
    assert!(build_from(&rule("*.example.com", "token"), &[], &[]).is_ok());
    assert!(
        build_error(&rule("api.example.com", "tokn"), &[], &[]).contains("did you mean `token`?")
    );
    assert!(build_error(&rule("other.example.com", "token"), &[], &[]).contains("does not belong"));
    let idle = format!("[env]\nT = {{ credential = \"token\" }}\n{credential}");
    assert!(build_error(&idle, &["api.example.com"], &[]).contains("never be replaced"));
    let dangling = "[env]\nT = { credential = \"token\" }\n";
    assert!(build_error(dangling, &[], &[]).contains("no credential `token`"));
    let of_preset = "[env]\nKEY = { credential = \"anthropic-api-key\" }\n";
    assert!(build_from(of_preset, &[], &["claude"]).is_ok());
}

#[test]
fn a_manifest_replaces_a_presets_credential() {
    let text = "[credential.anthropic-api-key]\nsource = { file = \"/run/key\" }\nhosts = [\"api.anthropic.com\"]\n";
    let policy = build_from(text, &[], &["claude"]).unwrap();
    let name = crate::CredentialName::new("anthropic-api-key").unwrap();
    assert_eq!(policy.credential(&name).unwrap().source().kind(), "file");
    assert_eq!(policy.credentials().count(), 4);
}

#[test]
fn the_real_value_of_a_credential_does_not_get_in() {
    let leak = "[env]\nX = { from_env = \"ANTHROPIC_API_KEY\" }\n";
    assert!(build_error(leak, &[], &["claude"]).contains("stays outside"));
    assert!(build_from(leak, &[], &[]).is_ok());
    let inputs = PolicyInputs {
        presets: vec!["claude".to_owned()],
        env: vec!["ANTHROPIC_API_KEY".to_owned()],
        ..PolicyInputs::default()
    };
    assert!(matches!(
        Policy::build(&inputs),
        Err(PolicyError::SecretInEnvironment { .. })
    ));
}

#[test]
fn variables_of_the_command_line_win() {
    let inputs = |env: &[&str]| PolicyInputs {
        file: Some(
            PolicyFile::parse("p", "[env]\nA = \"manifest\"\nIS_SANDBOX = \"2\"\n").unwrap(),
        ),
        presets: vec!["claude".to_owned()],
        env: env.iter().map(|text| (*text).to_owned()).collect(),
        ..PolicyInputs::default()
    };
    let policy = Policy::build(&inputs(&["A=x=y", "B", "C="])).unwrap();
    let value = |name: &str| {
        let found = policy
            .environment()
            .iter()
            .find(|v| v.name().as_str() == name);
        found.unwrap().value().clone()
    };
    assert_eq!(value("A"), EnvValue::Literal("x=y".to_owned()));
    assert_eq!(value("C"), EnvValue::Literal(String::new()));
    assert!(matches!(value("B"), EnvValue::FromHost(name) if name.as_str() == "B"));
    assert_eq!(value("IS_SANDBOX"), EnvValue::Literal("2".to_owned()));
    assert_eq!(
        value("DISABLE_AUTOUPDATER"),
        EnvValue::Literal("1".to_owned())
    );
    for bad in ["", "=x", "A B=x", "1A=x", "A=\0", "A-B=x"] {
        let error = Policy::build(&inputs(&[bad])).unwrap_err().to_string();
        assert!(error.starts_with("--env"), "{bad:?}");
    }
}

#[test]
fn limits_of_the_command_line_win() {
    let manifest = "[limits]\nmemory = \"1G\"\nrequire = [\"memory\", \"pids\"]\n";
    let inputs = |limits: &[(LimitKind, &str)]| PolicyInputs {
        file: Some(PolicyFile::parse("p", manifest).unwrap()),
        limits: limits
            .iter()
            .map(|(kind, value)| (*kind, (*value).to_owned()))
            .collect(),
        ..PolicyInputs::default()
    };
    let error = Policy::build(&inputs(&[])).unwrap_err();
    assert_eq!(error, PolicyError::RequiredLimitUnset(LimitKind::Pids));
    let policy = Policy::build(&inputs(&[
        (LimitKind::Pids, "64"),
        (LimitKind::Memory, "2G"),
    ]))
    .unwrap();
    assert_eq!(policy.limits().memory().unwrap().get(), 2 << 30);
    let error = Policy::build(&inputs(&[(LimitKind::Time, "soon")]))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("--time: `soon` is no time"), "{error}");
}

#[test]
fn nothing_is_hidden_from_a_deny_rule() {
    let deny = "[[egress]]\nhost = \"*\"\naction = \"deny\"\nmethods = [\"DELETE\"]\n";
    let opaque = "[[egress]]\nhost = \"a.example.com\"\ninspect = false\n";
    assert!(build_error(&format!("{deny}{opaque}"), &[], &[]).contains("must see"));
    // An option is nearer than the file, and comes first.
    assert!(build_from(deny, &["tcp://a.example.com:22"], &[]).is_ok());
    assert!(build_from(&format!("{opaque}{deny}"), &[], &[]).is_ok());
    let elsewhere = "[[egress]]\nhost = \"b.example.com\"\naction = \"deny\"\npaths = [\"/x\"]\n";
    assert!(build_from(&format!("{elsewhere}{opaque}"), &[], &[]).is_ok());
}

#[test]
fn equal_policies_have_equal_texts() {
    let text = "[[egress]]\nhost = \"a.example.com\"\n[env]\nB = \"secret\"\nA = \"1\"\n";
    let again = "[env]\nA = \"1\"\nB = \"secret\"\n[[egress]]\nhost = \"A.example.com.\"\n";
    let one = build_from(text, &[], &["claude"]).unwrap().canonical_json();
    assert_eq!(
        one,
        build_from(again, &[], &["claude"])
            .unwrap()
            .canonical_json()
    );
    assert_ne!(one, build_from(text, &[], &[]).unwrap().canonical_json());
    assert!(one.starts_with("{\"version\":1,"));
    assert!(!one.contains("secret"));
    serde_json::from_str::<serde_json::Value>(&one).unwrap();
}
