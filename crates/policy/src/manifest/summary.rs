//! A manifest in words, for somebody who is to decide whether to trust it.

use serde::Serialize;

use super::convert::{Fragment, Located};
use super::{Agent, Manifest};
use crate::credential::CredentialSource;
use crate::environment::EnvValue;
use crate::policy::describe::{describe_credential, describe_rule};
use crate::policy::{CredentialSummary, Nested, RuleSummary};

/// Everything that a manifest says, sandbox by sandbox. Unlike a policy's summary it holds what was written in full:
/// the arguments of commands, and the values of variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ManifestSummary {
    /// The sandbox that is used where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// In the order in which they stand.
    pub sandboxes: Vec<SandboxSummary>,
    /// In the order in which they stand.
    pub agents: Vec<AgentSummary>,
    /// In the order in which they stand. `from` has whole commands.
    pub credentials: Vec<CredentialSummary>,
}

/// One sandbox in words, without what it extends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SandboxSummary {
    /// Its name.
    pub name: String,
    /// On which it builds, the nearest first.
    pub extends: Vec<String>,
    /// By name.
    pub presets: Vec<String>,
    /// In the order in which they are tried.
    pub rules: Vec<RuleSummary>,
    /// What it works on.
    pub workspaces: Vec<String>,
    /// Paths of the host.
    pub visible: Vec<String>,
    /// `NAME = "text"`, `NAME from OUTSIDE`, `NAME for the credential x`, `NAME, asked for: question`.
    pub environment: Vec<String>,
    /// `memory 4G`, `require memory`.
    pub limits: Vec<String>,
    /// Whether it says something of nested namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nested: Option<bool>,
    /// Whose downloads are kept.
    pub cache: Vec<&'static str>,
    /// `metadata` or `full`, if it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<&'static str>,
}

/// One agent in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AgentSummary {
    /// Its name.
    pub name: String,
    /// The sandbox in which it works, if not the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Directories.
    pub skills: Vec<String>,
    /// What it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

impl Manifest {
    /// All of it in words.
    pub fn describe(&self) -> ManifestSummary {
        let Self {
            level: _,
            name: _,
            default,
            base: _,
            sandboxes,
            agents,
            credentials,
        } = self;
        let credentials = credentials.iter().map(|located| {
            let mut summary = describe_credential(&located.value);
            if let CredentialSource::Command(words) = located.value.source() {
                summary.from.clone_from(words);
            }
            summary
        });
        ManifestSummary {
            default: default.as_ref().map(|name| name.value.clone()),
            sandboxes: sandboxes
                .iter()
                .map(|(name, fragment)| describe_sandbox(&name.value, fragment))
                .collect(),
            agents: agents.iter().map(describe_agent).collect(),
            credentials: credentials.collect(),
        }
    }
}

fn describe_sandbox(name: &str, fragment: &Fragment) -> SandboxSummary {
    let Fragment {
        extends,
        presets,
        workspaces,
        limits,
        require,
        nested,
        visible,
        cache,
        record,
        rules,
        environment,
        credentials: _,
    } = fragment;
    let environment = environment.iter().map(|variable| {
        let name = variable.value.name();
        match variable.value.value() {
            EnvValue::Literal(text) => format!("{name} = {text:?}"),
            EnvValue::FromHost(outside) => format!("{name} from {outside}"),
            EnvValue::Placeholder(credential) => format!("{name} for the credential {credential}"),
            EnvValue::Prompt(question) => format!("{name}, asked for: {question:?}"),
        }
    });
    let limits = limits
        .iter()
        .map(|(kind, limit)| format!("{kind} {}", limit.value));
    let required = require.iter().map(|kind| format!("require {}", kind.value));
    SandboxSummary {
        name: name.to_owned(),
        extends: texts(extends),
        presets: texts(presets),
        rules: rules
            .iter()
            .map(|rule| describe_rule(&rule.value))
            .collect(),
        workspaces: workspaces
            .iter()
            .flat_map(|located| &located.value.specs)
            .map(ToString::to_string)
            .collect(),
        visible: visible.iter().map(|path| path.value.to_string()).collect(),
        environment: environment.collect(),
        limits: limits.chain(required).collect(),
        nested: nested
            .as_ref()
            .map(|nested| nested.value == Nested::Granted),
        cache: cache.iter().map(|kind| kind.value.name()).collect(),
        record: record.as_ref().map(|record| record.value.name()),
    }
}

fn describe_agent(agent: &Agent) -> AgentSummary {
    AgentSummary {
        name: agent.name().to_owned(),
        sandbox: agent.sandbox().map(str::to_owned),
        command: agent.command().to_vec(),
        skills: agent.skills().to_vec(),
        prompt: agent.prompt().map(str::to_owned),
    }
}

fn texts(located: &[Located<String>]) -> Vec<String> {
    located.iter().map(|text| text.value.clone()).collect()
}
