//! Properties of layers upon layers, shown by what the policies that come out of them decide.

use proptest::prelude::*;

use super::*;
use crate::manifest::{Fragment, Manifests, Project, Trust};
use crate::rule::Level;

const HOSTS: [&str; 4] = [
    "a.example.com",
    "b.example.com",
    "deep.a.example.com",
    "c.example.net",
];
const PORTS: [u16; 3] = [80, 443, 8443];
const REQUESTS: [(&str, &str); 4] = [
    ("GET", "/"),
    ("GET", "/repos/acme/x"),
    ("POST", "/repos/acme/x"),
    ("DELETE", "/private/x"),
];

fn arbitrary_rule() -> impl Strategy<Value = String> {
    let host = prop::sample::select(vec![
        "a.example.com",
        "*.example.com",
        "b.example.com",
        "*",
        "c.example.net",
    ]);
    let ports = prop::sample::select(vec!["", "ports = [443]", "ports = [80, 8443]"]);
    let methods = prop::sample::select(vec![
        "",
        "",
        "methods = [\"GET\"]",
        "methods = [\"DELETE\"]",
    ]);
    let paths = prop::sample::select(vec![
        "",
        "",
        "paths = [\"/repos/**\"]",
        "paths = [\"/private/**\"]",
    ]);
    (host, ports, methods, paths, any::<bool>()).prop_map(|(host, ports, methods, paths, allow)| {
        let action = if allow { "" } else { "action = \"deny\"" };
        format!("[[sandbox.s.egress]]\nhost = \"{host}\"\n{ports}\n{methods}\n{paths}\n{action}\n")
    })
}

/// The body of one sandbox.
fn arbitrary_sandbox() -> impl Strategy<Value = String> {
    let rules = prop::collection::vec(arbitrary_rule(), 0..5);
    let limit = || prop::option::of(1_u32..9);
    let nested = prop::option::of(any::<bool>());
    let who = prop::option::of(0..3);
    (rules, limit(), limit(), nested, who, any::<bool>()).prop_map(
        |(rules, memory, pids, nested, who, full)| {
            let mut text = "default = \"s\"\n[sandbox.s]\n".to_owned();
            text.extend(nested.map(|nested| format!("nested = {nested}\n")));
            if full {
                text.push_str("record = \"full\"\ncache = [\"npm\"]\nvisible = [\"/opt/x\"]\n");
            }
            text.push_str("[sandbox.s.limits]\n");
            text.extend(memory.map(|size| format!("memory = \"{size}G\"\n")));
            text.extend(pids.map(|count| format!("pids = {count}\n")));
            text.push_str("[sandbox.s.env]\n");
            text.extend(who.map(|who| format!("WHO = \"{who}\"\n")));
            text + &rules.concat()
        },
    )
}

fn fragment(text: &str) -> Fragment {
    let manifests = Manifests {
        user: Some(Manifest::parse(Level::User, "u", text).unwrap()),
        project: None,
    };
    manifests.layers(None).unwrap()[0].fragment.clone()
}

fn build_of(user: &str, project: Option<(&str, Trust)>, allow: &[&str]) -> Policy {
    let project = project.map(|(text, trust)| Project {
        manifest: Manifest::parse(Level::Project, "p", text).unwrap(),
        trust,
    });
    Policy::build(&PolicyInputs {
        manifests: Manifests {
            user: Some(Manifest::parse(Level::User, "u", user).unwrap()),
            project,
        },
        allow: allow.iter().map(|text| (*text).to_owned()).collect(),
        ..PolicyInputs::default()
    })
    .unwrap()
}

/// Everything that could be asked, and whether it passes.
fn decisions(policy: &Policy) -> Vec<bool> {
    let mut all = Vec::new();
    for host in HOSTS {
        all.push(lookup(policy, host).is_ok());
        for port in PORTS {
            let on = connect(policy, host, port);
            all.push(on.is_ok());
            for (method, path) in REQUESTS {
                let authority = format!("{host}:{port}");
                let passes = on.as_ref().is_ok_and(|on| {
                    request_on(policy, on, Scheme::Https, method, &authority, path, None).is_ok()
                });
                all.push(passes);
            }
        }
    }
    all
}

fn denies(policy: &Policy, number: usize) -> bool {
    !decisions(policy)[number]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn it_does_not_matter_from_which_end_layers_are_put_together(
        a in arbitrary_sandbox(), b in arbitrary_sandbox(), c in arbitrary_sandbox(),
    ) {
        let [a, b, c] = [a, b, c].map(|text| fragment(&text));
        let left = a.clone().over(b.clone()).over(c.clone());
        let right = a.over(b.over(c));
        prop_assert_eq!(format!("{left:?}"), format!("{right:?}"));
    }

    #[test]
    fn nothing_below_or_above_changes_nothing(a in arbitrary_sandbox()) {
        let mut a = fragment(&a);
        a.extends.clear();
        let text = format!("{a:?}");
        prop_assert_eq!(format!("{:?}", a.clone().over(Fragment::default())), text.clone());
        prop_assert_eq!(format!("{:?}", Fragment::default().over(a)), text);
    }

    #[test]
    fn a_stranger_never_widens(user in arbitrary_sandbox(), stranger in arbitrary_sandbox()) {
        let alone = build_of(&user, None, &[]);
        let together = build_of(&user, Some((&stranger, Trust::NotGiven)), &[]);
        for (with, without) in decisions(&together).into_iter().zip(decisions(&alone)) {
            prop_assert!(without || !with, "{}\n---\n{}", user, stranger);
        }
        prop_assert_eq!(together.environment(), alone.environment());
        prop_assert_eq!(together.visible_paths(), alone.visible_paths());
        prop_assert_eq!(together.cache(), alone.cache());
        prop_assert_eq!(together.recording(), alone.recording());
        prop_assert!(alone.nested() == Nested::Granted || together.nested() == Nested::Refused);
        let (now, then) = (together.limits(), alone.limits());
        prop_assert!(then.memory().is_none_or(|then| now.memory().is_some_and(|now| now <= then)));
        prop_assert!(then.pids().is_none_or(|then| now.pids().is_some_and(|now| now <= then)));
    }

    #[test]
    fn what_the_user_denies_is_denied_whatever_else_is_said(
        denied in arbitrary_rule(), user in arbitrary_sandbox(), project in arbitrary_sandbox(),
    ) {
        prop_assume!(denied.contains("deny"));
        // What the rule alone denies of a policy that allows everything.
        let only = format!("default = \"s\"\nbase = \"s\"\n[sandbox.s]\n{denied}");
        let everything = ["*", "*:8443"];
        let alone = build_of(&only, None, &everything);
        let with_more = format!("base = \"s\"\n{user}{denied}");
        let together = build_of(&with_more, Some((&project, Trust::Given)), &everything);
        for (number, passes) in decisions(&alone).into_iter().enumerate() {
            prop_assert!(passes || denies(&together, number), "{}\n---\n{}", with_more, project);
        }
    }
}
