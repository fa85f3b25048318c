use proptest::prelude::*;

use super::*;
use crate::policy::{Destination, Nested, Policy, PolicyInputs};
use crate::{Host, Port};

fn parse(text: &str) -> Result<PolicyFile, ManifestError> {
    PolicyFile::parse("dir/policy.toml", text)
}

fn error(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

/// The error of an egress rule with one more line.
fn rule_error(line: &str) -> String {
    error(&format!("[[egress]]\nhost = \"a.example.com\"\n{line}\n"))
}

const WHOLE: &str = r#"
presets = ["github"]
nested = true
visible = ["~/.local/share/tool"]

[limits]
memory = "4G"
cpus = 2.0
pids = 512
files = 4096
disk = "10G"
time = "2h"
require = ["pids", "memory"]

[[egress]]
host = "*.Example.com"
ports = [443, "8000-8100"]
methods = ["GET", "WEBSOCKET"]
paths = ["/repos/acme/**"]
connect = "127.0.0.1:8443"
ca = "/etc/ca.pem"
credential = ["token", "signin"]

[[egress]]
host = "*"
action = "deny"

[[egress]]
host = "db.example.net"
protocol = "tcp"
ports = [5432]

[[egress]]
host = "pinned.example.net"
inspect = false
proxy = "http://proxy.corp:3128"

[env]
LANG = "C.UTF-8"
REGION = { from_env = "AWS_REGION" }
API_TOKEN = { credential = "token" }

[credential.token]
source = { command = ["gh", "auth", "token"] }
hosts = ["api.example.com", "*.example.com"]
inject = { header = "Authorization", format = "Bearer {}" }
placeholder = "tok_wardian-placeholder-{}"

[credential.signin]
source = { env = "SIGNIN" }
hosts = ["api.example.com"]
inject = { basic = "x-access-token" }
optional = true

[credential.plain]
source = { file = "~/.token" }
hosts = ["api.example.com"]
inject = "placeholder"
"#;

#[test]
fn a_whole_manifest_is_understood() {
    let manifest = parse(WHOLE).unwrap();
    let policy = Policy::build(&PolicyInputs {
        file: Some(manifest),
        ..PolicyInputs::default()
    })
    .unwrap();
    let summary = policy.describe();
    let first = &summary.rules[0];
    assert_eq!(first.id, "policy.toml#1");
    assert_eq!(first.host, "*.example.com");
    assert_eq!(first.ports, "443,8000-8100");
    assert_eq!(first.methods.as_deref().unwrap(), ["GET", "WEBSOCKET"]);
    assert_eq!(first.connect.as_deref(), Some("127.0.0.1:8443"));
    assert_eq!(first.ca.as_deref(), Some("/etc/ca.pem"));
    assert_eq!(first.credentials, ["token", "signin"]);
    assert_eq!(summary.rules[1].ports, "1-65535");
    assert_eq!(summary.rules[2].mode, "tcp");
    assert_eq!(summary.rules[3].mode, "passthrough");
    assert_eq!(summary.rules[3].ports, "443");
    assert_eq!(summary.rules[3].proxy.as_deref(), Some("proxy.corp:3128"));
    assert_eq!(summary.rules[4].id, "github#1");
    assert_eq!(policy.nested(), Nested::Granted);
    assert_eq!(policy.limits().memory().unwrap().get(), 4 << 30);
    assert_eq!(policy.limits().required().len(), 2);
    assert_eq!(policy.visible_paths()[0].to_string(), "~/.local/share/tool");
    let names: Vec<&str> = policy
        .environment()
        .iter()
        .map(|v| v.name().as_str())
        .collect();
    assert_eq!(
        names,
        ["API_TOKEN", "GH_TOKEN", "GITHUB_TOKEN", "LANG", "REGION"]
    );
    let shown = policy.canonical_json();
    assert!(shown.contains("\"gh\"") && !shown.contains("C.UTF-8"));
}

#[test]
fn json_of_the_same_shape_means_the_same() {
    fn to_json(value: toml::Value) -> serde_json::Value {
        serde_json::to_value(value).unwrap()
    }
    let json = to_json(toml::from_str(WHOLE).unwrap()).to_string();
    let build = |name: &str, text: &str| {
        let manifest = PolicyFile::parse(name, text).unwrap();
        let inputs = PolicyInputs {
            file: Some(manifest),
            ..PolicyInputs::default()
        };
        Policy::build(&inputs).unwrap().canonical_json()
    };
    assert_eq!(build("policy", WHOLE), build("policy", &json));
    assert_eq!(
        build("p.json", &json),
        build("p.json", &format!("\n {json}"))
    );
}

// Security case 2.
#[test]
fn nothing_said_is_nothing_allowed() {
    let denied = |name: &str, text: &str| {
        let policy = Policy::build(&PolicyInputs {
            file: Some(PolicyFile::parse(name, text).unwrap()),
            ..PolicyInputs::default()
        })
        .unwrap();
        let to = Destination {
            host: Host::parse("example.com").unwrap(),
            port: Port::HTTPS,
        };
        assert!(policy.check_connection(&to).is_err());
        let Host::Name(name) = to.host else {
            unreachable!()
        };
        assert!(policy.check_name(&name).is_err());
    };
    for text in [
        "",
        "\n",
        "# nothing",
        "egress = []",
        "presets = []",
        "[limits]",
        "[env]",
        "[credential]",
    ] {
        denied("p.toml", text);
    }
    for text in ["{}", "{\"egress\":[]}", " { \"env\": {} } "] {
        denied("p.json", text);
    }
}

// Security case 2: what is not understood is never left out.
#[test]
fn what_is_not_understood_is_refused() {
    for text in [
        "allow = []",
        "egress = {}",
        "egress = true",
        "egress = \"*\"",
        "egress = [\"example.com\"]",
        "egress = [[]]",
        "[egress]\nhost = \"a.com\"",
        "[[egres]]\nhost = \"a.com\"",
        "[[egress]]",
        "[[egress]]\nhost = []",
        "[[egress]]\nhost = 1",
        "[[egress]]\nhost = \"\"",
        "[[Egress]]\nhost = \"a.com\"",
        "presets = \"claude\"",
        "presets = [1]",
        "limits = 3",
        "[limits]\nmemory = true",
        "[limits]\nmemory = \"lots\"",
        "[limits]\nmemory = -1",
        "[limits]\npids = 0",
        "[limits]\npids = 1.5",
        "[limits]\ncpus = nan",
        "[limits]\ncpus = inf",
        "[limits]\nmemory = []",
        "[limits]\nrequire = [\"mem\"]",
        "[limits]\nrequire = \"memory\"",
        "[limits]\nmemory = 2026-11-21",
        "nested = \"true\"",
        "nested = 1",
        "visible = [\"~/.ssh\"]",
        "[env]\nA = 1",
        "[env]\nA = true",
        "[env]\nA = []",
        "[env]\nA = {}",
        "[env]\nA = { from_env = \"X\", credential = \"y\" }",
        "[env]\nA = { value = \"x\" }",
        "[env]\n\"A B\" = \"x\"",
        "[env]\n\"A=B\" = \"x\"",
        "[env]\n1A = \"x\"",
        "[env]\nA = \"x\\u0000\"",
        "[credential.x]",
        "[credential.X]\nsource = { env = \"X\" }\nhosts = [\"a.example.com\"]",
        "[credential.x]\nsource = {}\nhosts = [\"a.example.com\"]",
        "[credential.x]\nsource = { env = \"X\", file = \"/x\" }\nhosts = [\"a.example.com\"]",
        "[credential.x]\nsource = { env = \"\" }\nhosts = [\"a.example.com\"]",
        "[credential.x]\nsource = { env = [] }\nhosts = [\"a.example.com\"]",
        "[credential.x]\nsource = { command = [] }\nhosts = [\"a.example.com\"]",
        "[credential.x]\nsource = { command = \"gh auth token\" }\nhosts = [\"a.example.com\"]",
        "[credential.x]\nsource = { file = \"relative\" }\nhosts = [\"a.example.com\"]",
        "[credential.x]\nsource = { value = \"secret\" }\nhosts = [\"a.example.com\"]",
        "[credential.x]\nsource = \"secret\"\nhosts = [\"a.example.com\"]",
        "[credential.x]\nsource = { env = \"X\" }",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = []",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"*\"]",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"*.com\"]",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"*.github.io\"]",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"10.0.0.0/8\"]",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"a.example.com\"]\ninject = \"header\"",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"a.example.com\"]\ninject = { header = \"host\", format = \"{}\" }",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"a.example.com\"]\ninject = { header = \"a b\", format = \"{}\" }",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"a.example.com\"]\ninject = { header = \"a\", format = \"\" }",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"a.example.com\"]\ninject = { header = \"a\", format = \"{}{}\" }",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"a.example.com\"]\ninject = { header = \"a\", format = \"{}\\r\\nb: c\" }",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"a.example.com\"]\ninject = { basic = \"a:b\" }",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"a.example.com\"]\ninject = {}",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"a.example.com\"]\nplaceholder = \"short\"",
        "[credential.x]\nsource = { env = \"X\" }\nhosts = [\"a.example.com\"]\nplaceholder = \"has blanks in it, no good\"",
        "a = 1\na = 2",
        "= 1",
        "\u{0}",
        "[[egress]]\nhost = \"a.com\"\nhost = \"b.com\"",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
    for text in [
        "{\"egress\": null}",
        "{\"egress\": [null]}",
        "{\"egress\": [{\"host\": null}]}",
        "{\"egress\": [{\"host\": \"a.com\", \"paths\": null}]}",
        "{\"egress\": [{\"host\": \"a.com\", \"methods\": null}]}",
        "{\"presets\": null}",
        "{\"limits\": null}",
        "{\"env\": {\"A\": null}}",
        "{\"egress\": [], \"egress\": [{\"host\": \"*\"}]}",
        "{\"egress\": [{\"host\": \"a.com\", \"host\": \"b.com\"}]}",
        "{\"egress\": [],}",
        "{} {}",
        "{",
        "{\"a\"",
        "{\"\\ud800\": 1}",
        "null",
        "[]",
        "\"text\"",
        "{'egress': []}",
        "{\"limits\": {\"pids\": 01}}",
        "{\"limits\": {\"pids\": 1e400}}",
        "// comment\n{}",
        &"[".repeat(100_000),
        &"{\"a\":".repeat(100_000),
    ] {
        assert!(
            PolicyFile::parse("p.json", text).is_err(),
            "{}",
            &text[..text.len().min(80)]
        );
    }
}

#[test]
fn rules_that_cannot_mean_anything_are_refused() {
    for line in [
        "ports = []",
        "ports = [0]",
        "ports = [65536]",
        "ports = [-1]",
        "ports = [\"443x\"]",
        "ports = [\"2-1\"]",
        "ports = [\"0-9\"]",
        "ports = [4.5]",
        "ports = 443",
        "methods = []",
        "methods = [\"get\"]",
        "methods = [\"CONNECT\"]",
        "methods = [\"\"]",
        "methods = [\"*\"]",
        "methods = \"GET\"",
        "paths = []",
        "paths = [\"repos\"]",
        "paths = [\"/a/../b\"]",
        "paths = [\"/a?b\"]",
        "action = \"permit\"",
        "action = \"Allow\"",
        "protocol = \"udp\"",
        "protocol = \"tcp\"",
        "protocol = \"tcp\"\nports = [1]\ninspect = true",
        "protocol = \"tcp\"\nports = [1]\npaths = [\"/\"]",
        "protocol = \"tcp\"\nports = [1]\nmethods = [\"GET\"]",
        "protocol = \"tcp\"\nports = [1]\ncredential = \"x\"",
        "protocol = \"tcp\"\nports = [1]\nca = \"/x\"",
        "inspect = false\npaths = [\"/\"]",
        "inspect = false\nmethods = [\"GET\"]",
        "inspect = false\ncredential = \"x\"",
        "inspect = \"no\"",
        "action = \"deny\"\nconnect = \"127.0.0.1:1\"",
        "action = \"deny\"\nca = \"/x\"",
        "action = \"deny\"\nproxy = \"http://p:1\"",
        "action = \"deny\"\ncredential = \"x\"",
        "action = \"deny\"\ninspect = false",
        "action = \"deny\"\nprotocol = \"tcp\"\nports = [1]",
        "connect = \"localhost:1\"",
        "connect = \"127.0.0.1\"",
        "connect = \"127.0.0.1:0\"",
        "connect = \"127.1:80\"",
        "connect = \"0.0.0.0:80\"",
        "connect = \"[::]:80\"",
        "connect = \"224.0.0.1:80\"",
        "connect = \"198.18.0.1:80\"",
        "connect = \"[::ffff:0.0.0.0]:80\"",
        "connect = \"[fe80::1%2]:80\"",
        "connect = \"127.0.0.1:1\"\nproxy = \"http://p:1\"",
        "proxy = \"proxy:3128\"",
        "proxy = \"https://proxy:3128\"",
        "proxy = \"http://user:pw@proxy:3128\"",
        "proxy = \"http://proxy\"",
        "proxy = \"http://proxy:3128/path\"",
        "proxy_credential = \"x\"",
        "connect = \"127.0.0.1:1\"\nproxy_credential = \"x\"",
        "proxy = \"http://p:1\"\nproxy_credential = \"Bad Name\"",
        "action = \"deny\"\nproxy_credential = \"x\"",
        "ca = \"\"",
        "credential = []",
        "credential = \"Bad Name\"",
        "pathes = [\"/\"]",
    ] {
        rule_error(line);
    }
}

#[test]
fn errors_name_place_key_and_remedy() {
    assert_eq!(
        error("presets = []\n\n[[egress]]\nhost = \"a.example.com\"\n  pathes = [\"/x\"]\n"),
        "dir/policy.toml:5:3: unknown key `pathes` in `egress[1]`; did you mean `paths`? \
         (for example: paths = [\"/repos/acme/**\"])"
    );
    assert_eq!(
        error("[[egress]]\nports = [443]\n"),
        "dir/policy.toml:1:1: the key `host` is missing in `egress[1]` (for example: host = \"api.example.com\")"
    );
    assert_eq!(
        error("[[egress]]\nhost = \"ä.com\"\nports = [\"ä\", true]\n"),
        "dir/policy.toml:3:15: a port such as 443, or a range such as \"8000-8100\" should stand here, not a boolean in \
         `egress[1].ports[2]` (for example: ports = [443])"
    );
    assert_eq!(
        error("[[egress]]\nhost = \"a.com\"\naction = \"dney\"\n"),
        "dir/policy.toml:3:10: `dney` in `egress[1].action` is none of `allow`, `deny`; did you mean `deny`?"
    );
    assert!(error("allow = []\n").contains("did you mean `egress`?"));
    assert!(error("xyzzy = 1\n").contains("known are `presets`, `limits`"));
    assert_eq!(
        error("[[egress]]\nhost = \"*.com\"\n"),
        "dir/policy.toml:2:8: `*.com` would cover names that anybody can register, because `com` is a public suffix"
    );
    let json =
        PolicyFile::parse("p.json", "{\n  \"egress\": [{\"hsot\": \"a.com\"}]\n}").unwrap_err();
    assert_eq!((json.line(), json.column()), (2, 15));
    assert_eq!(json.nearest(), Some("host"));
    assert_eq!(json.source_name(), "p.json");
    let null = PolicyFile::parse("p.json", "{\"egress\": null}").unwrap_err();
    assert_eq!((null.line(), null.column()), (1, 12));
    assert!(null.message().starts_with("null says nothing"));
    let typo = parse("a = 1\nb = = 2\n").unwrap_err();
    assert_eq!(typo.line(), 2);
    assert!(
        parse("a\u{1b}[31m = 1")
            .unwrap_err()
            .to_string()
            .chars()
            .all(|c| !c.is_control() || c == '\n')
    );
    let escaped = error("\"a\\u001b[31m\" = 1");
    assert!(!escaped.contains('\u{1b}'), "{escaped}");
}

#[test]
fn one_host_is_reached_in_one_way() {
    let two = |first: &str, second: &str| {
        parse(&format!(
            "[[egress]]\nhost = \"a.example.com\"\n{first}\n[[egress]]\nhost = \"a.example.com\"\n{second}\n"
        ))
    };
    assert!(two("paths = [\"/a\"]", "paths = [\"/b\"]").is_ok());
    assert!(two("ports = [443]", "ports = [8443]\nconnect = \"127.0.0.1:1\"").is_ok());
    assert!(
        two(
            "action = \"deny\"\npaths = [\"/a\"]",
            "connect = \"127.0.0.1:1\""
        )
        .is_ok()
    );
    for (first, second) in [
        ("", "connect = \"127.0.0.1:1\""),
        ("connect = \"127.0.0.1:1\"", "connect = \"127.0.0.1:2\""),
        ("", "inspect = false"),
        ("", "protocol = \"tcp\"\nports = [443]"),
        ("ca = \"/a\"", "ca = \"/b\""),
        ("", "proxy = \"http://p:1\""),
        (
            "proxy = \"http://p:1\"",
            "proxy = \"http://p:1\"\nproxy_credential = \"x\"",
        ),
    ] {
        let error = two(first, second).unwrap_err().to_string();
        assert!(error.contains("in another way"), "{error}");
        assert!(error.contains("line 2"), "{error}");
    }
}

fn arbitrary_manifest() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("egress".to_owned()),
        Just("host".to_owned()),
        Just("[[egress]]".to_owned()),
        Just("env".to_owned()),
        Just("credential".to_owned()),
        Just("source".to_owned()),
        Just("hosts".to_owned()),
        Just("limits".to_owned()),
        Just("\"*.example.com\"".to_owned()),
        Just("null".to_owned()),
        "[\\[\\]{}=:,.\"\n -]{1,3}",
        "[a-z0-9]{1,5}",
        "\\PC{1,3}",
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in arbitrary_manifest()) {
        for text in [String::from_utf8_lossy(&bytes).into_owned(), text] {
            for name in ["p.toml", "p.json"] {
                let _ = PolicyFile::parse(name, &text).map_err(|error| error.to_string());
                let _ = PolicyFile::parse(name, &format!("{{{text}}}")).map_err(|error| error.to_string());
            }
        }
    }

    #[test]
    fn a_damaged_manifest_never_panics_and_never_gains_rules(cut in 0..WHOLE.len(), byte: u8) {
        let mut damaged = WHOLE.as_bytes().to_vec();
        damaged[cut] = byte;
        let text = String::from_utf8_lossy(&damaged);
        if let Ok(manifest) = parse(&text) {
            prop_assert!(manifest.fragment.rules.len() <= 4);
        }
    }

    #[test]
    fn json_agrees_with_the_usual_reader(text in "[\\[\\]{}:,\"a\\\\u0-9.eE+ -]{0,24}") {
        let usual = serde_json::from_str::<serde_json::Value>(&text);
        if json_text::parse(&text).is_ok() {
            prop_assert!(usual.is_ok(), "{}", text);
        }
    }
}
