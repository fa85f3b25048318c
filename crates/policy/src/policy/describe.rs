//! What a person is shown of a policy, and the text whose digest names it.

use serde::Serialize;

use super::{Nested, Policy};
use crate::credential::{CredentialSource, CredentialSpec, Injection, Presence};
use crate::environment::{EnvValue, EnvVar};
use crate::limits::Limits;
use crate::rule::{Action, Mode, Rule, Upstream};

/// A policy in words, for `--dry-run`. It holds no secret, no value of a variable and no argument of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PolicySummary {
    /// In the order of their rules.
    pub presets: Vec<String>,
    /// In the order in which they are tried.
    pub rules: Vec<RuleSummary>,
    /// Sorted by name.
    pub credentials: Vec<CredentialSummary>,
    /// Sorted by name.
    pub environment: Vec<EnvSummary>,
    /// Those that are set.
    pub limits: Vec<LimitSummary>,
    /// As written: `~/.cargo/bin`.
    pub visible: Vec<String>,
    /// Whether nested sandboxes are granted.
    pub nested: bool,
    /// What the program works on, if a document says so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workspaces: Vec<String>,
    /// Whose downloads are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<&'static str>,
    /// `metadata` or `full`.
    pub record: &'static str,
}

/// One rule in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuleSummary {
    /// `claude#2`.
    pub id: String,
    /// `command line`, `policy file`, `project sandbox gitea`, `preset claude`.
    pub origin: String,
    /// `allow` or `deny`.
    pub action: &'static str,
    /// `*.example.com`.
    pub host: String,
    /// `80,443`.
    pub ports: String,
    /// `inspect`, `passthrough` or `tcp`.
    pub mode: &'static str,
    /// Absent: every method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Absent: every path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// `127.0.0.1:8443`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<String>,
    /// `proxy.example.com:3128`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// The credential that the proxy is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_credential: Option<String>,
    /// A path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Usable under this rule.
    pub credentials: Vec<String>,
}

/// One credential in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CredentialSummary {
    /// Its name.
    pub name: String,
    /// `policy file`, `user manifest`, `preset claude`.
    pub origin: String,
    /// `env`, `file` or `command`.
    pub source: &'static str,
    /// The variables, the path, or the program.
    pub from: Vec<String>,
    /// Where it may go.
    pub hosts: Vec<String>,
    /// `placeholder`, `header authorization: Bearer {}`, `basic x-access-token`.
    pub inject: String,
    /// The shape of the placeholder.
    pub placeholder: String,
    /// Whether the sandbox starts without it.
    pub optional: bool,
}

/// One variable, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EnvSummary {
    /// Its name inside.
    pub name: String,
    /// `literal`, `from_env X`, `credential x`, `prompt`.
    pub value: String,
    /// `command line`, `policy file`, `project sandbox gitea`, `preset claude`.
    pub origin: String,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LimitSummary {
    /// `memory`.
    pub name: &'static str,
    /// `4G`.
    pub value: String,
    /// Whether the sandbox starts only where it can be enforced.
    pub required: bool,
}

impl Policy {
    /// The policy in words.
    pub fn describe(&self) -> PolicySummary {
        let Self {
            rules,
            index: _,
            credentials,
            environment,
            limits,
            visible,
            nested,
            workspaces,
            cache,
            recording,
            presets,
        } = self;
        PolicySummary {
            presets: presets.clone(),
            rules: rules.iter().map(describe_rule).collect(),
            credentials: credentials.iter().map(describe_credential).collect(),
            environment: environment.iter().map(describe_variable).collect(),
            limits: describe_limits(limits),
            visible: visible.iter().map(ToString::to_string).collect(),
            nested: *nested == Nested::Granted,
            workspaces: workspaces
                .iter()
                .flat_map(|named| &named.specs)
                .map(ToString::to_string)
                .collect(),
            cache: cache.iter().map(|kind| kind.name()).collect(),
            record: recording.name(),
        }
    }

    /// One deterministic JSON text, whose digest names the policy in the journal: equal policies give equal texts. It
    /// leaves out what [`PolicySummary`] leaves out, so that it may be stored.
    pub fn canonical_json(&self) -> String {
        #[derive(Serialize)]
        struct Canonical {
            version: u32,
            policy: PolicySummary,
        }
        serde_json::to_string(&Canonical {
            version: 1,
            policy: self.describe(),
        })
        .expect("a summary has string keys and no floating-point numbers")
    }
}

pub(crate) fn describe_rule(rule: &Rule) -> RuleSummary {
    let Rule {
        id,
        origin,
        action,
        host,
        ports,
        route,
        methods,
        paths,
        credentials,
    } = rule;
    let (connect, proxy, proxy_credential) = match &route.upstream {
        Upstream::Direct => (None, None, None),
        Upstream::Pinned(address) => (Some(address.to_string()), None, None),
        Upstream::HttpProxy {
            host,
            port,
            credential,
        } => (
            None,
            Some(format!("{}:{port}", host.to_url_host())),
            credential.as_ref().map(ToString::to_string),
        ),
    };
    RuleSummary {
        id: id.to_string(),
        origin: origin.to_string(),
        action: match action {
            Action::Allow => "allow",
            Action::Deny => "deny",
        },
        host: host.to_string(),
        ports: ports.to_string(),
        mode: match route.mode {
            Mode::Inspect => "inspect",
            Mode::Passthrough => "passthrough",
            Mode::Tcp => "tcp",
        },
        methods: methods
            .names()
            .map(|names| names.into_iter().map(str::to_owned).collect()),
        paths: paths
            .as_ref()
            .map(|paths| paths.iter().map(ToString::to_string).collect()),
        connect,
        proxy,
        proxy_credential,
        ca: route.extra_ca.as_deref().map(str::to_owned),
        credentials: credentials.iter().map(ToString::to_string).collect(),
    }
}

pub(crate) fn describe_credential(spec: &CredentialSpec) -> CredentialSummary {
    let CredentialSpec {
        name,
        source,
        hosts,
        injection,
        placeholder,
        presence,
        foreign: _,
        origin,
    } = spec;
    CredentialSummary {
        name: name.to_string(),
        origin: origin.to_string(),
        source: source.kind(),
        from: match source {
            CredentialSource::Env(names) => names.clone(),
            CredentialSource::File(path) => vec![path.clone()],
            CredentialSource::Command(words) => words.first().cloned().into_iter().collect(),
            CredentialSource::Login(preset) => vec![preset.clone()],
        },
        hosts: hosts.iter().map(ToString::to_string).collect(),
        inject: match injection {
            Injection::Placeholder => "placeholder".to_owned(),
            Injection::Header { name, format } => format!("header {name}: {format}"),
            Injection::Basic { username } => format!("basic {username}"),
        },
        placeholder: placeholder.as_str().to_owned(),
        optional: *presence == Presence::Optional,
    }
}

fn describe_variable(variable: &EnvVar) -> EnvSummary {
    let EnvVar {
        name,
        value,
        origin,
    } = variable;
    EnvSummary {
        name: name.to_string(),
        value: match value {
            EnvValue::Literal(_) => "literal".to_owned(),
            EnvValue::FromHost(outside) => format!("from_env {outside}"),
            EnvValue::Placeholder(credential) => format!("credential {credential}"),
            EnvValue::Prompt(_) => "prompt".to_owned(),
        },
        origin: origin.to_string(),
    }
}

fn describe_limits(limits: &Limits) -> Vec<LimitSummary> {
    let Limits {
        memory,
        cpus,
        pids,
        files,
        disk,
        time,
        require,
    } = limits;
    let values = [
        ("memory", memory.map(|value| value.to_string())),
        ("cpus", cpus.map(|value| value.to_string())),
        ("pids", pids.map(|value| value.to_string())),
        ("files", files.map(|value| value.to_string())),
        ("disk", disk.map(|value| value.to_string())),
        ("time", time.map(|value| value.to_string())),
    ];
    values
        .into_iter()
        .filter_map(|(name, value)| {
            Some(LimitSummary {
                name,
                value: value?,
                required: require.iter().any(|kind| kind.name() == name),
            })
        })
        .collect()
}
