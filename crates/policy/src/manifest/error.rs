//! Errors that show where, what, and what was probably meant.

use std::fmt;
use std::sync::Arc;

use super::decode::{DecodeError, DecodeErrorKind};
use crate::nearest::nearest;

/// Where and why a manifest was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    place: Place,
    message: String,
    nearest: Option<String>,
    example: Option<&'static str>,
}

/// A place in a text, for errors that are only found when documents are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    source_name: Arc<str>,
    line: usize,
    column: usize,
}

impl ManifestError {
    /// The name that was given to `parse`.
    pub fn source_name(&self) -> &str {
        &self.place.source_name
    }

    /// Counted from 1.
    pub fn line(&self) -> usize {
        self.place.line
    }

    /// Counted from 1, in characters.
    pub fn column(&self) -> usize {
        self.place.column
    }

    /// What is wrong, without the place and without advice.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The key, word or name that was probably meant.
    pub fn nearest(&self) -> Option<&str> {
        self.nearest.as_deref()
    }

    /// How it is written, in TOML.
    pub fn example(&self) -> Option<&str> {
        self.example
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place {
            source_name,
            line,
            column,
        } = &self.place;
        write!(
            f,
            "{}:{line}:{column}: {}",
            visible(source_name),
            self.message
        )?;
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean `{nearest}`?")?;
        }
        if let Some(example) = self.example {
            write!(f, " (for example: {example})")?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestError {}

impl Place {
    pub(super) fn new(source_name: &Arc<str>, line: usize, column: usize) -> Self {
        Self {
            source_name: Arc::clone(source_name),
            line,
            column,
        }
    }

    pub(crate) fn error(&self, message: impl fmt::Display) -> ManifestError {
        ManifestError {
            place: self.clone(),
            message: visible(&message.to_string()),
            nearest: None,
            example: None,
        }
    }

    /// An option of the command line.
    pub(crate) fn option(name: &str) -> Self {
        Self {
            source_name: name.into(),
            line: 0,
            column: 0,
        }
    }

    pub(crate) fn line(&self) -> usize {
        self.line
    }
}

/// `wardian.toml:12`, or an option.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible(&self.source_name))?;
        match self.line {
            0 => Ok(()),
            line => write!(f, ":{line}"),
        }
    }
}

impl ManifestError {
    pub(crate) fn or_nearest(mut self, nearest: Option<&str>) -> Self {
        self.nearest = nearest.map(str::to_owned);
        self
    }

    pub(crate) fn with_example(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }

    pub(super) fn decode(place: &Place, error: &DecodeError) -> Self {
        let within = within(&error.path);
        match &error.kind {
            DecodeErrorKind::UnknownKey { key, known } => {
                let nearest = nearest(key, known);
                let known_keys = match nearest {
                    Some(_) => String::new(),
                    None => format!("; known are {}", list(known)),
                };
                let refused = place
                    .error(format_args!(
                        "unknown key `{}`{within}{known_keys}",
                        key.escape_debug()
                    ))
                    .or_nearest(nearest);
                match nearest.and_then(example) {
                    Some(example) => refused.with_example(example),
                    None => refused,
                }
            }
            DecodeErrorKind::UnknownWord { word, known } => place
                .error(format_args!(
                    "`{}`{within} is none of {}",
                    word.escape_debug(),
                    list(known)
                ))
                .or_nearest(nearest(word, known)),
            DecodeErrorKind::MissingKey(key) => {
                let refused = place.error(format_args!("the key `{key}` is missing{within}"));
                match example(key) {
                    Some(example) => refused.with_example(example),
                    None => refused,
                }
            }
            DecodeErrorKind::Other(message) => {
                let refused = place.error(format_args!("{message}{within}"));
                let key = error.path.iter().find(|key| !key.starts_with('['));
                match key.and_then(|key| example(key)) {
                    Some(example) => refused.with_example(example),
                    None => refused,
                }
            }
        }
    }
}

/// Manifests may come from strangers, and their words end up on terminals.
fn visible(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for character in message.chars() {
        match character {
            _ if character.is_control() => text.extend(character.escape_debug()),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => {
                text.extend(character.escape_unicode());
            }
            _ => text.push(character),
        }
    }
    text
}

fn within(path: &[String]) -> String {
    let mut text = String::new();
    for key in path.iter().rev() {
        if !key.starts_with('[') && !text.is_empty() {
            text.push('.');
        }
        text.extend(key.escape_debug());
    }
    match text.as_str() {
        "" => text,
        _ => format!(" in `{text}`"),
    }
}

fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

fn example(key: &str) -> Option<&'static str> {
    Some(match key {
        "presets" => r#"presets = ["claude"]"#,
        "limits" => r#"limits = { memory = "4G", pids = 512 }"#,
        "default" => r#"default = "work""#,
        "base" => r#"base = "common""#,
        "sandbox" => r#"[sandbox.work] presets = ["claude"]"#,
        "agent" => r#"[agent.helper] command = ["claude"]"#,
        "extends" => r#"extends = "common""#,
        "workspace" => r#"workspace = { clone = "." }"#,
        "cache" => r#"cache = ["cargo", "npm"]"#,
        "record" => r#"record = "full""#,
        "command" => r#"command = ["claude"]"#,
        "skills" => r#"skills = ["skills/review"]"#,
        "prompt" => r#"prompt = "one-time code""#,
        "egress" => r#"[[egress]] host = "api.example.com""#,
        "env" => r#"env = { LANG = "C.UTF-8" }"#,
        "credential" => r#"credential = "github""#,
        "memory" => r#"memory = "4G""#,
        "cpus" => "cpus = 2.5",
        "pids" => "pids = 512",
        "files" => "files = 4096",
        "disk" => r#"disk = "10G""#,
        "time" => r#"time = "2h""#,
        "require" => r#"require = ["memory"]"#,
        "nested" => "nested = true",
        "visible" => r#"visible = ["~/.cargo/bin"]"#,
        "host" => r#"host = "api.example.com""#,
        "ports" => "ports = [443]",
        "methods" => r#"methods = ["GET", "POST"]"#,
        "paths" => r#"paths = ["/repos/acme/**"]"#,
        "action" => r#"action = "deny""#,
        "protocol" => r#"protocol = "tcp""#,
        "inspect" => "inspect = false",
        "connect" => r#"connect = "127.0.0.1:8443""#,
        "ca" => r#"ca = "/etc/ssl/corporate.pem""#,
        "proxy" => r#"proxy = "http://proxy.example.com:3128""#,
        "proxy_credential" => r#"proxy_credential = "corporate-proxy""#,
        "source" => r#"source = { env = "GITHUB_TOKEN" }"#,
        "hosts" => r#"hosts = ["api.example.com"]"#,
        "inject" => r#"inject = { header = "authorization", format = "Bearer {}" }"#,
        "placeholder" => r#"placeholder = "key-wardian-placeholder-{}""#,
        "optional" => "optional = true",
        "from_env" => r#"REGION = { from_env = "AWS_REGION" }"#,
        _ => return None,
    })
}
