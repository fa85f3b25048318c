//! Manifests: what people write, in TOML or in JSON of the same shape.
//!
//! ```toml
//! default = "gitea"
//!
//! [sandbox.gitea]
//! presets = ["claude"]
//! extends = "common"
//! workspace = { clone = "." }
//!
//! [sandbox.gitea.limits]
//! memory = "4G"
//! require = ["memory"]           # do not start where this cannot be enforced
//!
//! [[sandbox.gitea.egress]]
//! host = "api.github.com"        # exact, "*.suffix", "*", an address or a network
//! methods = ["GET"]              # absent: every method; WebSocket must be named: "WEBSOCKET"
//! paths = ["/repos/acme/**"]     # absent: every path
//! credential = "github"
//!
//! [sandbox.gitea.env]
//! LANG = "C.UTF-8"
//! API_TOKEN = { credential = "github" }     # a placeholder inside
//!
//! [sandbox.common]
//! nested = true
//!
//! [credential.github]
//! source = { env = "GITHUB_TOKEN" }
//! hosts = ["api.github.com"]
//! ```
//!
//! That is a [`Manifest`], a `wardian.toml`. The file of `--policy`, a [`PolicyFile`], is the body of one such sandbox,
//! with `[credential]` beside it. [`Manifests`] says which sandboxes of which files apply to a run, and in which order.
//!
//! Nothing is guessed: an unknown key, a key of the wrong type, `null`, an empty list where a list narrows a rule, and a
//! key that stands twice are errors. No rules at all means that nothing is allowed.

mod convert;
mod convert_credential;
mod convert_manifest;
mod convert_rule;
mod convert_workspace;
mod decode;
mod error;
mod json_text;
mod layers;
mod merge;
mod node;
mod schema;
mod summary;
#[cfg(test)]
mod tests;
mod toml_text;
pub mod wire;

use std::sync::Arc;

pub(crate) use convert::{Fragment, Located, RuleDraft, Workspaces};
pub(crate) use error::Place;

pub use error::ManifestError;
pub use layers::{Manifests, Project, Trust};
pub use schema::{manifest_schema, policy_file_schema};
pub use summary::{AgentSummary, ManifestSummary, SandboxSummary};

use crate::credential::CredentialSpec;
use crate::login::Login;
use crate::preset::SettingsFile;
use crate::rule::{Level, Origin};
use crate::visible::VisiblePath;
use decode::Spanned;
use node::{Node, SyntaxError};

/// Longest manifest accepted, in bytes.
pub const MAX_MANIFEST: usize = 4 << 20;

/// A `wardian.toml` that was parsed: every part of it is valid by itself. [`Policy::build`](crate::Policy::build) checks
/// that the parts fit together.
#[derive(Debug, Clone)]
pub struct Manifest {
    level: Level,
    name: Arc<str>,
    default: Option<Located<String>>,
    base: Option<Located<String>>,
    sandboxes: Vec<(Located<String>, Fragment)>,
    agents: Vec<Agent>,
    credentials: Vec<Located<CredentialSpec>>,
}

/// An agent of a manifest.
#[derive(Debug, Clone)]
pub struct Agent {
    name: String,
    level: Level,
    sandbox: Option<Located<String>>,
    command: Vec<String>,
    skills: Vec<String>,
    prompt: Option<String>,
}

/// The file of `--policy` that was parsed.
#[derive(Debug, Clone)]
pub struct PolicyFile {
    name: Arc<str>,
    pub(crate) fragment: Fragment,
}

/// The parts of a preset file that are not policy.
#[derive(Debug, Clone)]
pub(crate) struct PresetFile {
    pub(crate) description: String,
    pub(crate) programs: Vec<String>,
    pub(crate) command: Vec<String>,
    pub(crate) autonomy_args: Vec<String>,
    pub(crate) briefing: Option<VisiblePath>,
    pub(crate) copies: Vec<VisiblePath>,
    pub(crate) settings: Vec<SettingsFile>,
    pub(crate) login: Option<Login>,
    pub(crate) fragment: Fragment,
}

impl Manifest {
    /// Parses TOML, or JSON if the name ends in `.json` or the text begins with `{`. `source_name` stands in errors.
    pub fn parse(level: Level, source_name: &str, text: &str) -> Result<Self, ManifestError> {
        let source = Source::new(source_name, text);
        let document = source.decode()?;
        convert_manifest::manifest(&source, level, document)
    }

    /// Whose it is.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The name that it was given: its path.
    pub fn source_name(&self) -> &str {
        &self.name
    }

    /// The names of its sandboxes, in the order in which they stand.
    pub fn sandboxes(&self) -> impl Iterator<Item = &str> {
        self.sandboxes.iter().map(|(name, _)| name.value.as_str())
    }

    /// The sandbox that is used where none is named.
    pub fn default_sandbox(&self) -> Option<&str> {
        self.default.as_ref().map(|name| name.value.as_str())
    }

    /// Its agents, in the order in which they stand.
    pub fn agents(&self) -> &[Agent] {
        &self.agents
    }

    fn find(&self, name: &str) -> Option<&Fragment> {
        let mut sandboxes = self.sandboxes.iter();
        sandboxes
            .find(|(known, _)| known.value == name)
            .map(|(_, fragment)| fragment)
    }
}

impl Agent {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose manifest has it.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The sandbox in which it works; `None`: the default one.
    pub fn sandbox(&self) -> Option<&str> {
        self.sandbox.as_ref().map(|name| name.value.as_str())
    }

    /// The program and its arguments; never empty.
    pub fn command(&self) -> &[String] {
        &self.command
    }

    /// Directories with a `SKILL.md`, relative to the manifest.
    pub fn skills(&self) -> &[String] {
        &self.skills
    }

    /// What it is told before anything else.
    pub fn prompt(&self) -> Option<&str> {
        self.prompt.as_deref()
    }
}

impl PolicyFile {
    /// Parses TOML, or JSON if the name ends in `.json` or the text begins with `{`. `source_name` stands in errors and,
    /// without its directories, in the names of rules.
    pub fn parse(source_name: &str, text: &str) -> Result<Self, ManifestError> {
        let source = Source::new(source_name, text);
        let document = source.decode()?;
        let fragment = convert::policy_document(&source, document, &Origin::PolicyFile)?;
        Ok(Self {
            name: source.name,
            fragment,
        })
    }

    /// The name that it was given: its path.
    pub fn source_name(&self) -> &str {
        &self.name
    }
}

impl PresetFile {
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, ManifestError> {
        let source = Source::new(name, text);
        let wire::PresetDocument {
            description,
            programs,
            command,
            autonomy_args,
            briefing,
            copies,
            settings,
            login,
            policy,
        } = source.decode()?;
        let path =
            |text: &Spanned<String>| convert::at(&source, text, VisiblePath::parse(&text.value));
        Ok(Self {
            description,
            programs,
            command,
            autonomy_args,
            briefing: briefing.as_ref().map(path).transpose()?,
            copies: copies.iter().map(path).collect::<Result<_, _>>()?,
            settings: settings
                .into_iter()
                .map(|wire::SettingsTable { path: text, keys }| {
                    Ok(SettingsFile {
                        path: path(&text)?,
                        keys,
                    })
                })
                .collect::<Result<_, ManifestError>>()?,
            login: login
                .map(|Spanned { span, value }| {
                    let place = source.place(span.start);
                    Login::try_from(value).map_err(|error| place.error(error))
                })
                .transpose()?,
            fragment: convert::policy_document(&source, policy, &Origin::Preset(name.into()))?,
        })
    }
}

/// A text and its name.
struct Source<'a> {
    name: Arc<str>,
    text: &'a str,
    /// Where each line begins: a manifest has many places, and may be long.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    fn new(name: &str, text: &'a str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            name: name.into(),
            text,
            lines: std::iter::once(0)
                .chain(newlines.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).map_or(0, |index| self.lines[index]);
        // Offsets come from parsers of this very text; a slip must still not panic.
        let before = self.text.get(start..offset).unwrap_or_default();
        Place::new(&self.name, line, before.chars().count() + 1)
    }

    fn locate<V, T>(&self, spanned: &Spanned<V>, value: T) -> Located<T> {
        Located {
            value,
            place: self.place(spanned.span.start),
        }
    }

    /// What rules are called after: the file without its directories.
    fn rule_label(&self) -> Arc<str> {
        let base = self.name.rsplit('/').find(|part| !part.is_empty());
        // It stands in every event and answer about the rule.
        base.unwrap_or(&self.name).escape_debug().to_string().into()
    }

    fn decode<T: for<'de> serde::Deserialize<'de>>(&self) -> Result<T, ManifestError> {
        let tree = self
            .tree()
            .map_err(|error| self.place(error.offset).error(&error.message))?;
        decode::decode(&tree).map_err(|error| {
            let offset = error.span.as_ref().map_or(0, |span| span.start);
            ManifestError::decode(&self.place(offset), &error)
        })
    }

    fn tree(&self) -> Result<Node, SyntaxError> {
        if self.text.len() > MAX_MANIFEST {
            return Err(SyntaxError {
                offset: 0,
                message: "the manifest is longer than 4 MiB".to_owned(),
            });
        }
        let is_json = self.name.ends_with(".json") || self.text.trim_start().starts_with('{');
        match is_json {
            true => json_text::parse(self.text),
            false => toml_text::parse(self.text),
        }
    }
}
