//! Credentials: where a secret comes from, where it may go, and what stands in for it inside.
//!
//! The secret itself never appears in this crate.

use std::fmt;
use std::sync::Arc;

use crate::host::{Host, HostPattern, PatternError};
use crate::method::is_token;
use crate::rule::Origin;

/// The name of a credential: lower-case letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialName(Arc<str>);

impl CredentialName {
    /// `None` unless the text is 1 to 64 of the allowed characters.
    pub fn new(text: &str) -> Option<Self> {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a credential is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A host pattern is unusable.
    #[error(transparent)]
    Host(#[from] PatternError),
    /// `*` or a network.
    #[error("a credential belongs to named hosts, not to `{0}`")]
    TooWide(String),
    /// A header format without exactly one `{{}}`.
    #[error("the format needs exactly one `{{}}`, where the secret goes")]
    Format,
    /// A header that frames or routes the message, or no header name at all.
    #[error("`{0}` is no header that can carry a credential")]
    Header(String),
    /// A user name with a colon or control characters.
    #[error("the user name of basic authentication holds no `:` and no control characters")]
    Username,
    /// A placeholder shape that is too short or has characters that do not survive in headers and URLs.
    #[error(
        "a placeholder has 16 to 200 letters, digits, `-`, `_` and `.`, and at most one `{{}}` for random characters"
    )]
    Placeholder,
}

/// Where the secret is read, outside the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// The first of these environment variables that is set and not empty.
    Env(Vec<String>),
    /// The contents of a file without trailing line breaks; `~/` stands for the user's home.
    File(String),
    /// The output of a command without trailing line breaks. Executed as written, by no shell.
    Command(Vec<String>),
    /// The login that the preset of this name describes: its access token, which is renewed when it expires.
    Login(String),
}

impl CredentialSource {
    /// `env`, `file`, `command` or `login`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Env(_) => "env",
            Self::File(_) => "file",
            Self::Command(_) => "command",
            Self::Login(_) => "login",
        }
    }
}

/// How the secret gets into a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Injection {
    /// Wherever the placeholder stands in the values of header fields (inside the base64 of basic authentication too)
    /// and in the query. Not in the path: the path that was judged is the path that is sent, and servers like to repeat
    /// a path in their answers, where the program would read the secret.
    Placeholder,
    /// A header set by the door, whatever the program sent there.
    Header {
        /// In lower case.
        name: String,
        /// What the value looks like.
        format: HeaderFormat,
    },
    /// `Authorization: Basic`, set by the door, with the secret as password.
    Basic {
        /// The user name.
        username: String,
    },
}

impl Injection {
    /// Parses a header injection.
    pub fn header(name: &str, format: &str) -> Result<Self, CredentialError> {
        let name = name.to_ascii_lowercase();
        let framing = matches!(
            name.as_str(),
            "host"
                | "content-length"
                | "transfer-encoding"
                | "connection"
                | "te"
                | "trailer"
                | "upgrade"
                | "keep-alive"
                | "expect"
                | "content-type"
                | "content-encoding"
        );
        let routing = name.starts_with("proxy-") || name.starts_with("sec-websocket");
        if !is_token(&name) || framing || routing {
            return Err(CredentialError::Header(name));
        }
        Ok(Self::Header {
            name,
            format: HeaderFormat::parse(format)?,
        })
    }

    /// Parses a basic-authentication injection.
    pub fn basic(username: &str) -> Result<Self, CredentialError> {
        if username.contains(':') || username.chars().any(char::is_control) {
            return Err(CredentialError::Username);
        }
        Ok(Self::Basic {
            username: username.to_owned(),
        })
    }
}

/// The text around a secret in a header value: `Bearer {}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderFormat {
    prefix: String,
    suffix: String,
}

impl HeaderFormat {
    /// Visible ASCII and blanks with exactly one `{}`.
    pub fn parse(text: &str) -> Result<Self, CredentialError> {
        let visible = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        match text.split_once("{}") {
            Some((prefix, suffix)) if visible && !suffix.contains("{}") => Ok(Self {
                prefix: prefix.to_owned(),
                suffix: suffix.to_owned(),
            }),
            _ => Err(CredentialError::Format),
        }
    }

    /// What goes before the secret.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What goes behind the secret.
    pub fn suffix(&self) -> &str {
        &self.suffix
    }
}

impl fmt::Display for HeaderFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{{}}{}", self.prefix, self.suffix)
    }
}

/// What stands in for the secret inside: a text in which `{}` becomes random letters and digits, so that the programs'
/// own format checks pass and each sandbox has its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceholderShape(String);

impl PlaceholderShape {
    /// Random characters put in for `{}`.
    pub const RANDOM: usize = 32;

    /// Parses a shape.
    pub fn parse(text: &str) -> Result<Self, CredentialError> {
        let literal = text.replacen("{}", "", 1);
        let random = if literal.len() == text.len() {
            0
        } else {
            Self::RANDOM
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if literal.bytes().all(allowed) && (16..=200).contains(&(literal.len() + random)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(CredentialError::Placeholder)
        }
    }

    pub(crate) fn for_name(name: &CredentialName) -> Self {
        Self(format!("wardian-placeholder-{name}-{{}}"))
    }

    /// The placeholder of one sandbox, from the caller's random bytes.
    pub fn render(&self, random: &[u8; Self::RANDOM]) -> String {
        self.0.replacen("{}", &Self::letters(random), 1)
    }

    /// Letters and digits from random bytes.
    pub fn letters(random: &[u8; Self::RANDOM]) -> String {
        const LETTERS: &[u8; 62] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        random
            .iter()
            .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
            .collect()
    }

    /// As written, with `{}`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is to be done when the source has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The sandbox does not start.
    Required,
    /// The credential is absent, and so are the variables that would hold its placeholder.
    Optional,
}

/// Whether a program may come to a credential's host as somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignLogins {
    /// A request that carries another credential is refused.
    Refused,
    /// It goes out as it is.
    Allowed,
}

/// A credential as the policy knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialSpec {
    pub(crate) name: CredentialName,
    pub(crate) source: CredentialSource,
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) injection: Injection,
    pub(crate) placeholder: PlaceholderShape,
    pub(crate) presence: Presence,
    pub(crate) foreign: ForeignLogins,
    pub(crate) origin: Origin,
}

impl CredentialSpec {
    /// Its name, unique in the policy.
    pub fn name(&self) -> &CredentialName {
        &self.name
    }

    /// Where the supervisor reads it.
    pub fn source(&self) -> &CredentialSource {
        &self.source
    }

    /// The hosts it may be sent to.
    pub fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }

    /// How it gets into a request.
    pub fn injection(&self) -> &Injection {
        &self.injection
    }

    /// What stands in for it inside.
    pub fn placeholder(&self) -> &PlaceholderShape {
        &self.placeholder
    }

    /// What to do when the source has no value.
    pub fn presence(&self) -> Presence {
        self.presence
    }

    /// Whether its hosts may be reached as somebody else.
    pub fn foreign(&self) -> ForeignLogins {
        self.foreign
    }

    /// Who declared it.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether it belongs to `host`.
    pub fn belongs_to(&self, host: &Host) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// Whether two presets mean the same credential.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        let Self {
            name,
            source,
            hosts,
            injection,
            placeholder,
            presence,
            foreign,
            origin: _,
        } = self;
        *name == other.name
            && *source == other.source
            && *hosts == other.hosts
            && *injection == other.injection
            && *placeholder == other.placeholder
            && *presence == other.presence
            && *foreign == other.foreign
    }
}

/// Parses a host of a credential: a name, an address, or names below one that nobody else can register.
pub(crate) fn parse_host(text: &str) -> Result<HostPattern, CredentialError> {
    match HostPattern::parse(text)? {
        HostPattern::Any | HostPattern::Net(_) => Err(CredentialError::TooWide(text.to_owned())),
        pattern => Ok(pattern),
    }
}
