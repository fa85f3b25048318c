//! Manifests: what people write, in TOML or in JSON of the same shape.
//!
//! ```toml
//! presets = ["claude"]
//!
//! [limits]
//! memory = "4G"
//! require = ["memory"]           # do not start where this cannot be enforced
//!
//! [[egress]]
//! host = "api.github.com"        # exact, "*.suffix", "*", an address or a network
//! methods = ["GET"]              # absent: every method; WebSocket must be named: "WEBSOCKET"
//! paths = ["/repos/acme/**"]     # absent: every path
//! credential = "github"
//!
//! [env]
//! LANG = "C.UTF-8"
//! REGION = { from_env = "AWS_REGION" }
//! API_TOKEN = { credential = "github" }     # a placeholder inside
//!
//! [credential.github]
//! source = { env = "GITHUB_TOKEN" }
//! hosts = ["api.github.com"]
//! ```
//!
//! Nothing is guessed: an unknown key, a key of the wrong type, `null`, an empty list where a list narrows a rule, and a
//! key that stands twice are errors. No rules at all means that nothing is allowed.

mod convert;
mod convert_credential;
mod convert_rule;
mod decode;
mod error;
mod json_text;
mod node;
#[cfg(test)]
mod tests;
mod toml_text;
mod wire;

use std::sync::Arc;

pub(crate) use convert::Fragment;
pub(crate) use error::Place;

pub use error::ManifestError;

use crate::preset::SettingsFile;
use crate::rule::Origin;
use crate::visible::VisiblePath;
use decode::Spanned;
use node::{Node, SyntaxError};

/// Longest manifest accepted, in bytes.
pub const MAX_MANIFEST: usize = 4 << 20;

/// A manifest that was parsed: every part of it is valid by itself. [`Policy::build`](crate::Policy::build) checks that
/// the parts fit together.
#[derive(Debug, Clone)]
pub struct Manifest {
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
    pub(crate) fragment: Fragment,
}

impl Manifest {
    /// Parses TOML, or JSON if the name ends in `.json` or the text begins with `{`. `source_name` stands in errors and,
    /// without its directories, in the names of rules.
    pub fn parse(source_name: &str, text: &str) -> Result<Self, ManifestError> {
        let source = Source::new(source_name, text);
        let document = source.decode()?;
        let fragment = convert::document(&source, document, &Origin::Manifest)?;
        Ok(Self { fragment })
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
            fragment: convert::document(&source, policy, &Origin::Preset(name.into()))?,
        })
    }
}

/// A text and its name.
struct Source<'a> {
    name: Arc<str>,
    text: &'a str,
}

impl<'a> Source<'a> {
    fn new(name: &str, text: &'a str) -> Self {
        Self {
            name: name.into(),
            text,
        }
    }

    fn place(&self, offset: usize) -> Place {
        Place::new(&self.name, self.text, offset)
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
            .map_err(|error| ManifestError::syntax(&self.name, self.text, &error))?;
        decode::decode(&tree).map_err(|error| ManifestError::decode(&self.name, self.text, &error))
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
