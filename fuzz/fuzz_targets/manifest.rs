#![no_main]

use wardian_policy::{Level, Manifest, Manifests, Policy, PolicyFile, PolicyInputs, Project, Trust};

libfuzzer_sys::fuzz_target!(|text: &str| {
    for name in ["policy.toml", "policy.json"] {
        if let Err(error) = PolicyFile::parse(name, text) {
            assert!(!error.to_string().is_empty());
        }
        for level in [Level::User, Level::Project] {
            match Manifest::parse(level, name, text) {
                Ok(manifest) => put_together(level, manifest),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
});

/// Whatever a project that is not trusted says, it allows nothing.
fn put_together(level: Level, manifest: Manifest) {
    let mut manifests = Manifests::default();
    match level {
        Level::User => manifests.user = Some(manifest),
        Level::Project => {
            manifests.project = Some(Project {
                manifest,
                trust: Trust::NotGiven,
            });
        }
    }
    let inputs = PolicyInputs {
        manifests,
        ..PolicyInputs::default()
    };
    let Ok(policy) = Policy::build(&inputs) else {
        return;
    };
    let policy = policy.describe();
    if level == Level::Project {
        assert!(policy.rules.iter().all(|rule| rule.action == "deny"));
        assert!(policy.credentials.is_empty() && policy.environment.is_empty());
        assert!(policy.visible.is_empty() && policy.workspaces.is_empty() && !policy.nested);
    }
}
