use std::collections::HashMap;

use super::*;
use crate::policy::{Policy, PolicyInputs};
use crate::rule::{Action, Mode, Upstream};

#[test]
fn every_preset_stands_alone_and_with_all_others() {
    let mut names = Preset::names();
    for name in &names {
        let inputs = PolicyInputs {
            presets: vec![(*name).to_owned()],
            ..PolicyInputs::default()
        };
        Policy::build(&inputs).unwrap();
        assert!(!Preset::find(name).unwrap().description().is_empty());
    }
    let sorted = names.clone();
    names.sort_unstable();
    assert_eq!(names, sorted);
    let inputs = PolicyInputs {
        presets: names.iter().map(|name| (*name).to_owned()).collect(),
        ..PolicyInputs::default()
    };
    Policy::build(&inputs).unwrap();
}

#[test]
fn presets_are_narrow() {
    for preset in Preset::all() {
        let fragment = preset.fragment();
        assert!(!fragment.rules.is_empty());
        for rule in fragment.rules.iter().map(|draft| &draft.value) {
            assert_eq!(rule.action, Action::Allow, "{}", rule.id);
            assert_eq!(rule.route.mode, Mode::Inspect, "{}", rule.id);
            assert_eq!(rule.route.upstream, Upstream::Direct, "{}", rule.id);
            assert_eq!(rule.ports.to_string(), "443", "{}", rule.id);
            assert!(
                matches!(rule.host, crate::HostPattern::Exact(_)),
                "{} is no exact host",
                rule.id
            );
            assert_eq!(rule.id.source(), preset.name());
        }
        for spec in fragment.credentials.iter().map(|located| &located.value) {
            assert_eq!(spec.presence(), crate::Presence::Optional);
            assert!(
                spec.hosts()
                    .iter()
                    .all(|host| matches!(host, crate::HostPattern::Exact(_)))
            );
            let placeholder = spec.placeholder().as_str().replace('_', "-");
            assert!(placeholder.contains("wardian-placeholder"), "{placeholder}");
            assert!(placeholder.ends_with("{}"));
        }
        assert!(fragment.limits.is_empty() && fragment.require.is_empty());
        assert!(fragment.nested.is_none() && fragment.workspaces.is_none());
        assert!(fragment.record.is_none() && fragment.cache.is_empty());
    }
}

#[test]
fn no_placeholder_is_part_of_another() {
    let mut shapes: HashMap<String, String> = HashMap::new();
    for preset in Preset::all() {
        for spec in &preset.fragment().credentials {
            let spec = &spec.value;
            shapes.insert(spec.name().to_string(), spec.placeholder().render(&[7; 32]));
        }
    }
    for (name, shape) in &shapes {
        for (other, longer) in &shapes {
            assert!(
                name == other || !longer.contains(shape.as_str()),
                "{name} in {other}"
            );
        }
    }
}

#[test]
fn programs_pick_their_preset() {
    for (program, expected) in [
        ("claude", Some("claude")),
        ("/usr/local/bin/claude", Some("claude")),
        ("codex", Some("codex")),
        ("gemini", Some("gemini")),
        ("opencode", Some("opencode")),
        ("bash", None),
        ("claude-evil", None),
        ("", None),
    ] {
        assert_eq!(
            Preset::for_program(program).map(Preset::name),
            expected,
            "{program}"
        );
    }
    let claude = Preset::find("claude").unwrap();
    assert_eq!(claude.autonomy_args(), ["--dangerously-skip-permissions"]);
    assert_eq!(claude.command(), ["claude"]);
    assert!(claude.visible_paths().next().is_some());
}

#[test]
fn agents_are_briefed_and_get_what_is_of_the_users_own() {
    for preset in Preset::all() {
        let is_agent = !preset.programs().is_empty();
        assert_eq!(preset.briefing().is_some(), is_agent, "{}", preset.name());
        assert_eq!(!preset.copies().is_empty(), is_agent, "{}", preset.name());
        let settings = preset.settings().iter().map(|file| &file.path);
        for path in preset.copies().iter().chain(settings) {
            let VisiblePath::Home(below) = path else {
                panic!("{path} is not the user's own");
            };
            // A whole directory of settings is where programs keep logins, too.
            assert!(below.contains('/'), "{path}");
        }
        for SettingsFile { path, keys } in preset.settings() {
            let text = path.to_string();
            let known = [".json", ".jsonc", ".toml"];
            assert!(known.iter().any(|end| text.ends_with(end)), "{text}");
            assert!(!keys.is_empty() && keys.is_sorted(), "{text}");
            for key in keys {
                let key = key.to_ascii_lowercase();
                // What is known to hold keys of vendors, or to name programs.
                let unsafe_parts = [
                    "env", "helper", "hook", "mcp", "provider", "command", "token", "header",
                    "notify",
                ];
                assert!(unsafe_parts.iter().all(|part| !key.contains(part)), "{key}");
            }
        }
    }
    let place = |name| Preset::find(name).unwrap().briefing().unwrap().to_string();
    assert_eq!(place("claude"), "/etc/claude-code/CLAUDE.md");
    assert_eq!(place("codex"), "~/.codex/AGENTS.md");
}
