//! The request target: one canonical path, and what is judged is what is sent.
//!
//! Servers disagree about what a path means: some decode `%2e%2e`, some cut at `;`, some fold `//`. A policy that
//! judges one reading while the server acts on another is no policy. So a target is either brought into one spelling,
//! which the proxy then also sends, or refused when any server could read it as a different path:
//!
//! - Percent-escapes of unreserved characters are decoded, the others get upper-case digits; characters that RFC 3986
//!   does not allow raw but browsers send (`"<>^{|}` and the backquote) are escaped.
//! - `.` and `..` segments are refused, plain, escaped, or dressed up as `..;x`, `..%3Bx`, `..%2Fx`, `..%20`.
//! - `\`, `%5C`, `#`, control bytes (plain or escaped), raw non-ASCII, invalid UTF-8 in escapes (overlong forms), and
//!   escapes of escapes that hide any of these (`%252e`, `%25252f`) are refused.
//! - `%2F` inside a segment stays escaped and is data, never a separator (`/@scope%2Fname` is one segment).
//! - `//` at the start is refused (it reads as a host); further inside it stays and makes an empty segment, which `*`
//!   does not match and `**` does.

mod segment;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::host::{Authority, HostError};
use crate::rule::Scheme;

pub(crate) use segment::{canonical_segment, lax_pieces};

/// Longest target accepted. Common servers stop at 8 KiB; some APIs carry signed URLs beyond.
pub const MAX_TARGET: usize = 64 * 1024;

/// Why a request target was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing was given.
    #[error("the request target is empty")]
    Empty,
    /// More than [`MAX_TARGET`] bytes.
    #[error("the request target is longer than 64 KiB")]
    TooLong,
    /// Does not begin with `/`.
    #[error("the request target does not begin with `/`")]
    NotOriginForm,
    /// `*` with any method but OPTIONS.
    #[error("the request target `*` belongs to OPTIONS alone")]
    AsteriskForm,
    /// Begins with `//`, which many parsers read as a host.
    #[error("the path begins with `//`, which reads as a host name")]
    LeadingDoubleSlash,
    /// `.` or `..`, in whatever dress.
    #[error("the path has a `.` or `..` segment")]
    DotSegment,
    /// `\` or `%5C`.
    #[error("the path has a backslash")]
    Backslash,
    /// `#` never leaves a client.
    #[error("the request target has a fragment")]
    Fragment,
    /// A control character, plain or escaped.
    #[error("the request target has a control character")]
    ControlCharacter,
    /// A raw space.
    #[error("the request target has a space")]
    Space,
    /// A raw byte above 127.
    #[error("the request target is not ASCII")]
    NotAscii,
    /// `%` without two hexadecimal digits.
    #[error("the path has an incomplete percent-escape")]
    BadEscape,
    /// The escapes of the path do not decode to UTF-8.
    #[error("the path's percent-escapes are no UTF-8")]
    NotUtf8,
    /// An escape of an escape.
    #[error("the path has a percent-escape that hides another")]
    DoubleEscape,
    /// An absolute-form target whose scheme is neither http nor https.
    #[error("the request target's scheme is neither http nor https")]
    Scheme,
    /// An absolute-form target with an unusable authority.
    #[error("the request target's authority is unusable: {0}")]
    Authority(#[from] HostError),
}

/// A canonical request target in origin form, or `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestTarget {
    text: String,
    /// Where `?` stands, or the length.
    path_end: usize,
}

/// A target in absolute form, as clients send it to proxies (RFC 9112 section 3.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsoluteTarget {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// To be compared with `Host`.
    pub authority: Authority,
    /// What goes on in origin form.
    pub target: RequestTarget,
}

/// A path decoded, in lower case, without parameters and empty segments, joined by `/` without a leading one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaxPath(String);

impl LaxPath {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl RequestTarget {
    /// Parses an origin-form target.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        if text.len() > MAX_TARGET {
            return Err(TargetError::TooLong);
        }
        if text == "*" {
            return Err(TargetError::AsteriskForm);
        }
        if !text.starts_with('/') {
            return Err(TargetError::NotOriginForm);
        }
        refuse_bytes(text)?;
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        if path.starts_with("//") {
            return Err(TargetError::LeadingDoubleSlash);
        }
        let mut canonical = String::with_capacity(text.len());
        for segment in path.split('/').skip(1) {
            canonical.push('/');
            segment::canonicalise(segment, &mut canonical)?;
        }
        let path_end = canonical.len();
        if let Some(query) = query {
            canonical.push('?');
            canonicalise_query(query, &mut canonical);
        }
        Ok(Self {
            text: canonical,
            path_end,
        })
    }

    /// Parses the target of a request with `method`: also `*`, for OPTIONS.
    pub fn parse_for(method: &str, text: &str) -> Result<Self, TargetError> {
        match (method, text) {
            ("OPTIONS", "*") => Ok(Self::asterisk()),
            _ => Self::parse(text),
        }
    }

    /// Parses `http://host/path`.
    pub fn parse_absolute(text: &str) -> Result<AbsoluteTarget, TargetError> {
        if text.len() > MAX_TARGET {
            return Err(TargetError::TooLong);
        }
        let (scheme, rest) = text.split_once("://").ok_or(TargetError::Scheme)?;
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
            _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return Err(TargetError::Scheme),
        };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let authority = Authority::parse(authority)?;
        let target = match target {
            "" => Self::parse("/")?,
            query if query.starts_with('?') => Self::parse(&format!("/{query}"))?,
            other => Self::parse(other)?,
        };
        Ok(AbsoluteTarget {
            scheme,
            authority,
            target,
        })
    }

    /// The asterisk form, which asks about the server as a whole.
    pub fn asterisk() -> Self {
        Self {
            text: "*".to_owned(),
            path_end: 1,
        }
    }

    /// Whether this is the asterisk form.
    pub fn is_asterisk(&self) -> bool {
        self.text == "*"
    }

    /// The canonical path, beginning with `/`, or `*`.
    pub fn path(&self) -> &str {
        &self.text[..self.path_end]
    }

    /// The path as the laxest server would read it, for deny rules.
    pub(crate) fn lax_path(&self) -> LaxPath {
        let mut joined = String::with_capacity(self.path_end);
        for segment in self.path().split('/') {
            for piece in lax_pieces(segment) {
                if !joined.is_empty() {
                    joined.push('/');
                }
                joined.push_str(&piece);
            }
        }
        LaxPath(joined)
    }

    /// What stands behind `?`.
    pub fn query(&self) -> Option<&str> {
        self.text[self.path_end..].strip_prefix('?')
    }

    /// Path and query: exactly what is to be sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for RequestTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::parse(text)
    }
}

fn refuse_bytes(text: &str) -> Result<(), TargetError> {
    for byte in text.bytes() {
        match byte {
            0..=0x1f | 0x7f => return Err(TargetError::ControlCharacter),
            b' ' => return Err(TargetError::Space),
            b'#' => return Err(TargetError::Fragment),
            0x80.. => return Err(TargetError::NotAscii),
            _ => {}
        }
    }
    Ok(())
}

/// Queries are not judged, so their bytes stay, but for those that HTTP libraries refuse to send raw.
fn canonicalise_query(query: &str, out: &mut String) {
    for character in query.chars() {
        match character {
            '"' | '<' | '>' | '`' => segment::push_escape(character as u8, out),
            other => out.push(other),
        }
    }
}
