//! Several documents together: who wins, and what a stranger's may do.

use super::*;
use crate::manifest::{Manifests, Project, Trust};
use crate::rule::Level;
use crate::settings::{CacheKind, Recording};

fn manifests(user: &str, project: &str, trust: Trust) -> Manifests {
    Manifests {
        user: Some(Manifest::parse(Level::User, "~/wardian.toml", user).unwrap()),
        project: Some(Project {
            manifest: Manifest::parse(Level::Project, "wardian.toml", project).unwrap(),
            trust,
        }),
    }
}

fn together(user: &str, project: &str, trust: Trust) -> PolicyInputs {
    PolicyInputs {
        manifests: manifests(user, project, trust),
        ..PolicyInputs::default()
    }
}

fn rules(policy: &Policy) -> Vec<String> {
    let rules = policy.describe().rules;
    rules.into_iter().map(|rule| rule.id).collect()
}

const USER: &str = r#"
base = "common"

[sandbox.common]
limits = { memory = "4G", pids = 100 }
visible = ["~/tools"]
env = { WHO = "user", ONLY = "user" }

[[sandbox.common.egress]]
host = "docs.example.com"

[[sandbox.common.egress]]
host = "evil.example.com"
action = "deny"

[sandbox.spare]
egress = [{ host = "spare.example.com" }]

[credential.token]
source = { env = "USER_TOKEN" }
hosts = ["api.example.com"]
"#;

const PROJECT: &str = r#"
default = "work"

[sandbox.work]
extends = ["left", "right"]
record = "full"
cache = ["npm"]
env = { WHO = "work" }
limits = { memory = "1G" }

[[sandbox.work.egress]]
host = "*.example.com"
credential = "token"

[sandbox.left]
extends = "ground"
limits = { memory = "2G", files = 64 }
egress = [{ host = "left.example.net" }]

[sandbox.right]
extends = "ground"
cache = ["npm", "cargo"]
egress = [{ host = "right.example.net" }]

[sandbox.ground]
limits = { files = 32, time = "1h" }
egress = [{ host = "ground.example.net" }]
"#;

#[test]
fn nearest_first_and_what_two_extend_behind_both() {
    let mut inputs = together(USER, PROJECT, Trust::Given);
    inputs.file = Some(PolicyFile::parse("p.toml", "egress = [{ host = \"file.test\" }]").unwrap());
    inputs.allow = vec!["flag.test".to_owned()];
    inputs.presets = vec!["github".to_owned()];
    let policy = Policy::build(&inputs).unwrap();
    assert_eq!(
        rules(&policy)[..8],
        [
            // Denied by the user: before everything.
            "user:common#2",
            "--allow#1",
            "p.toml#1",
            "wardian.toml:work#1",
            "wardian.toml:left#1",
            "wardian.toml:right#1",
            "wardian.toml:ground#1",
            "user:common#1",
        ]
    );
    let limits = policy.limits();
    assert_eq!(limits.memory().unwrap().get(), 1 << 30);
    assert_eq!(limits.files().unwrap().get(), 64);
    assert_eq!(limits.pids().unwrap().get(), 100);
    assert!(limits.time().is_some());
    assert_eq!(policy.cache(), [CacheKind::Cargo, CacheKind::Npm]);
    assert_eq!(policy.recording(), Recording::Full);
    let who = policy
        .environment()
        .iter()
        .find(|variable| variable.name().as_str() == "WHO");
    assert_eq!(*who.unwrap().value(), EnvValue::Literal("work".to_owned()));
    assert_eq!(policy.visible_paths().len(), 1);
}

#[test]
fn a_deny_of_the_user_cannot_be_undone() {
    let mut inputs = together(USER, PROJECT, Trust::Given);
    inputs.allow = vec!["evil.example.com".to_owned()];
    let policy = Policy::build(&inputs).unwrap();
    let denied = connect(&policy, "evil.example.com", 443).unwrap_err();
    assert!(
        matches!(denied, Denial::DeniedByRule { rule, .. } if rule.to_string() == "user:common#2")
    );
    assert!(connect(&policy, "other.example.com", 443).is_ok());
    // Nor by a connection that is not looked into.
    let mut hidden = together(
        "base = \"b\"\n[[sandbox.b.egress]]\nhost = \"*\"\naction = \"deny\"\nmethods = [\"DELETE\"]\n",
        "",
        Trust::Given,
    );
    hidden.allow = vec!["tcp://a.example.com:22".to_owned()];
    let error = Policy::build(&hidden).unwrap_err().to_string();
    assert!(error.contains("must see"), "{error}");
    // The control: without the user's manifest, the project's rule lets it pass.
    inputs.manifests.user =
        Some(Manifest::parse(Level::User, "u", &USER.replace("deny", "allow")).unwrap());
    let policy = Policy::build(&inputs).unwrap();
    assert!(connect(&policy, "evil.example.com", 443).is_ok());
}

#[test]
fn a_project_that_is_not_trusted_only_narrows() {
    let project = r#"
default = "work"

[sandbox.work]
extends = "spare"
presets = ["claude"]
nested = true
visible = ["/opt/tool"]
cache = ["npm"]
record = "full"
workspace = { bind = "/" }
env = { WHO = "project", NEW = "x" }
limits = { memory = "64G", pids = 5, files = 9, require = ["pids"] }

[[sandbox.work.egress]]
host = "*.example.com"

[[sandbox.work.egress]]
host = "docs.example.com"
paths = ["/private/**"]
action = "deny"

[agent.claude]
command = ["sh", "-c", "anything"]

[credential.token]
source = { command = ["anything"] }
hosts = ["api.example.com"]
"#;
    let strangers = Policy::build(&together(USER, project, Trust::NotGiven)).unwrap();
    let alone = Policy::build(&PolicyInputs {
        manifests: Manifests {
            project: None,
            ..manifests(USER, project, Trust::NotGiven)
        },
        ..PolicyInputs::default()
    })
    .unwrap();
    assert_eq!(
        rules(&strangers),
        ["user:common#2", "wardian.toml:work#2", "user:common#1"]
    );
    assert_eq!(strangers.limits().memory(), alone.limits().memory());
    assert_eq!(strangers.limits().pids().unwrap().get(), 5);
    assert_eq!(strangers.limits().files().unwrap().get(), 9);
    assert_eq!(strangers.limits().required(), [LimitKind::Pids]);
    assert_eq!(strangers.environment(), alone.environment());
    assert_eq!(strangers.visible_paths(), alone.visible_paths());
    assert_eq!(strangers.nested(), Nested::Refused);
    assert_eq!(strangers.presets(), alone.presets());
    assert!(strangers.workspaces().is_none() && strangers.cache().is_empty());
    assert_eq!(strangers.recording(), Recording::Metadata);
    let strangers = manifests(USER, project, Trust::NotGiven);
    assert!(strangers.agent("claude").is_none());
    let trusted = manifests(USER, project, Trust::Given);
    assert_eq!(trusted.agent("claude").unwrap().command()[0], "sh");
    let mut inputs = together(USER, project, Trust::NotGiven);
    inputs.sandbox = Some("work".to_owned());
    let error = Policy::build(&inputs).unwrap_err();
    assert_eq!(error, PolicyError::UntrustedSandbox("work".to_owned()));
    inputs.sandbox = Some("spare".to_owned());
    let policy = Policy::build(&inputs).unwrap();
    assert!(connect(&policy, "spare.example.com", 443).is_ok());
}

#[test]
fn names_that_lead_nowhere_and_rounds() {
    let error = |user: &str, project: &str, chosen: Option<&str>| {
        let mut inputs = together(user, project, Trust::Given);
        inputs.sandbox = chosen.map(str::to_owned);
        Policy::build(&inputs).unwrap_err().to_string()
    };
    assert_eq!(
        error(
            "",
            "[sandbox.gitea]\nextends = \"bsae\"\n[sandbox.base]\n",
            None
        ),
        "wardian.toml:2:11: there is no sandbox `bsae`; did you mean `base`?"
    );
    assert_eq!(
        error(
            "",
            "[sandbox.a]\nextends = \"b\"\n[sandbox.b]\nextends = [\"a\"]\n",
            None
        ),
        "wardian.toml:4:12: `a` extends itself: a -> b -> a"
    );
    assert!(error("", "default = \"x\"\n", None).contains("1:11: there is no sandbox `x`"));
    assert!(error("default = \"p\"\n", "[sandbox.p]\n", None).contains("no sandbox `p`"));
    let agent = "[agent.a]\nsandbox = \"wrok\"\ncommand = [\"x\"]\n[sandbox.work]\n";
    assert!(error("", agent, None).contains("did you mean `work`?"));
    assert_eq!(
        error("[sandbox.one]\n", "[sandbox.two]\n", Some("tow")),
        "there is no sandbox `tow`; did you mean `two`?"
    );
    assert_eq!(
        error("", "", Some("x")),
        "there is no sandbox `x`; no manifest has any"
    );
    let deep: String = (0..100)
        .map(|n| format!("[sandbox.s{n:03}]\nextends = \"s{:03}\"\n", n + 1))
        .chain(["[sandbox.s100]\n".to_owned()])
        .collect();
    assert!(error("", &deep, None).contains("more than 64 sandboxes"));
}

#[test]
fn a_credential_that_nothing_names_is_left_alone() {
    let policy = Policy::build(&together(USER, "", Trust::Given)).unwrap();
    assert_eq!(policy.credentials().count(), 0);
    let policy = Policy::build(&together(USER, PROJECT, Trust::Given)).unwrap();
    assert_eq!(policy.credentials().count(), 1);
}
