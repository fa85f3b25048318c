//! One rule of a policy, and the plain words that rules are made of.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::credential::CredentialName;
use crate::host::{Host, HostPattern, Port};
use crate::method::Methods;
use crate::path::PathPattern;
use crate::ports::Ports;
use crate::target::RequestTarget;

/// How a request travels inside the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS that the door ends.
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// A protocol that a request asks to switch to, by `Upgrade` or by extended CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upgrade {
    /// RFC 6455, RFC 8441.
    WebSocket,
}

/// Where a rule came from and its number there, counted from 1: `claude#2`, `policy.toml#1`, `wardian.toml:gitea#1`,
/// `--allow#3`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleId {
    source: Arc<str>,
    number: u32,
}

impl RuleId {
    pub(crate) fn new(source: &Arc<str>, number: u32) -> Self {
        Self {
            source: Arc::clone(source),
            number,
        }
    }

    /// The file's name, the sandbox, the preset's name, or `--allow`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Counted from 1 within the source.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.source, self.number)
    }
}

/// Whose `wardian.toml` it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The one of a repository or a directory.
    Project,
    /// The user's own.
    User,
}

/// Who wrote a rule, a credential or a variable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An option of the command line.
    CommandLine,
    /// The file given with `--policy`.
    PolicyFile,
    /// A sandbox of a `wardian.toml`.
    Sandbox(Level, Arc<str>),
    /// A `wardian.toml`, outside its sandboxes.
    Manifest(Level),
    /// A built-in preset, by name.
    Preset(Arc<str>),
}

impl Origin {
    /// Whether the user wrote it for every project.
    pub(crate) fn is_of_user(&self) -> bool {
        matches!(self, Self::Sandbox(Level::User, _))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Project => "project",
            Self::User => "user",
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::PolicyFile => f.write_str("policy file"),
            Self::Sandbox(level, name) => write!(f, "{level} sandbox {name}"),
            Self::Manifest(level) => write!(f, "{level} manifest"),
            Self::Preset(name) => write!(f, "preset {name}"),
        }
    }
}

/// What a matching rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Lets it pass.
    Allow,
    /// Refuses it, whatever later rules say.
    Deny,
}

/// What the door does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// HTTP, plain or over TLS that ends at the door: each request is judged.
    Inspect,
    /// TLS whose SNI is checked and which then passes untouched, for clients that pin certificates.
    Passthrough,
    /// Any bytes.
    Tcp,
}

/// Where the door connects to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// The host itself, resolved outside.
    Direct,
    /// This address, whatever the name resolves to.
    Pinned(SocketAddr),
    /// An HTTP proxy, asked to CONNECT to the host.
    HttpProxy {
        /// The proxy's host.
        host: Host,
        /// The proxy's port.
        port: Port,
        /// What the proxy asks for, sent as basic authentication to it and to nobody else.
        credential: Option<CredentialName>,
    },
}

/// How connections under a rule are made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    pub(crate) mode: Mode,
    pub(crate) upstream: Upstream,
    /// Path of a PEM file as the manifest wrote it.
    pub(crate) extra_ca: Option<Arc<str>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) id: RuleId,
    pub(crate) origin: Origin,
    pub(crate) action: Action,
    pub(crate) host: HostPattern,
    pub(crate) ports: Ports,
    pub(crate) route: Route,
    pub(crate) methods: Methods,
    /// `None`: every path.
    pub(crate) paths: Option<Vec<PathPattern>>,
    /// Named by the rule itself.
    pub(crate) credentials: Vec<CredentialName>,
}

impl Rule {
    pub(crate) fn allows(&self) -> bool {
        self.action == Action::Allow
    }

    /// Whether the rule speaks about some requests only, so that it decides nothing when a connection is opened.
    pub(crate) fn is_about_requests(&self) -> bool {
        self.paths.is_some() || !self.methods.is_any()
    }

    /// Deny rules read a path the way the laxest server would; allow rules read it literally.
    pub(crate) fn matches_path(&self, target: &RequestTarget) -> bool {
        let Some(paths) = &self.paths else {
            return true;
        };
        match self.action {
            Action::Allow => {
                !target.is_asterisk() && paths.iter().any(|path| path.matches(target.path()))
            }
            Action::Deny => {
                target.is_asterisk() || {
                    let lax = target.lax_path();
                    paths
                        .iter()
                        .any(|path| path.matches(target.path()) || path.matches_lax(&lax))
                }
            }
        }
    }
}
