//! Names, addresses and authorities in exactly one spelling each.
//!
//! Everything that is compared with a rule passes through here first, so two spellings of one host cannot be judged
//! differently. What resolvers and C libraries would read as an IP address although it is no canonical one (`127.1`,
//! `0x7f.0.0.1`, `2130706433`) is an error: it is neither a name nor an address.

mod authority;
mod pattern;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

pub use authority::Authority;
pub use pattern::{HostPattern, PatternError, Subnet};

/// Longest name that DNS can carry, without the trailing dot (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Why a text is no host, in words that fit behind "`…` is no usable host: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("it is longer than 253 bytes")]
    TooLong,
    /// Two dots in a row, or a leading dot.
    #[error("it has an empty label")]
    EmptyLabel,
    /// More than 63 bytes between two dots.
    #[error("it has a label longer than 63 bytes")]
    LabelTooLong,
    /// A label begins or ends with a hyphen.
    #[error("a label begins or ends with a hyphen")]
    HyphenAtEdge,
    /// Something that no host name contains.
    #[error("it contains {0:?}")]
    ForbiddenCharacter(char),
    /// Raw non-ASCII where the protocol allows ASCII only.
    #[error("it is not ASCII")]
    NotAscii,
    /// IDNA processing (UTS 46) refused it.
    #[error("it is no valid international domain name")]
    Idna,
    /// The last label is a number, so some resolvers would read an address (`127.1`, `0x7f.0.0.1`, `2130706433`).
    #[error("it would be read as an IP address by some programs, but is not written as one")]
    AmbiguousAddress,
    /// A name was required.
    #[error("it is an IP address, not a name")]
    AddressNotName,
    /// `fe80::1%eth0`.
    #[error("it carries an IPv6 zone")]
    ZoneId,
    /// `user@host`.
    #[error("it carries user information")]
    UserInfo,
    /// `host:443` where only a host may stand.
    #[error("it carries a port")]
    UnexpectedPort,
    /// `:0`, `:65537`, `:+80`, `:`, `:443.example.com`.
    #[error("its port is not a number from 1 to 65535")]
    InvalidPort,
    /// Brackets that hold no IPv6 address.
    #[error("its brackets hold no IPv6 address")]
    InvalidIpv6,
}

/// A canonical DNS name: lower-case ASCII (IDNA applied), no trailing dot, never an IP address in any spelling.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

impl HostName {
    /// Canonicalises `text`. One trailing dot is dropped, upper case is folded, Unicode labels become `xn--` labels.
    /// Underscores are allowed, as in service names.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.len() > 4 * MAX_NAME {
            return Err(HostError::TooLong);
        }
        refuse_foreign_syntax(text)?;
        if text.parse::<Ipv4Addr>().is_ok() {
            return Err(HostError::AddressNotName);
        }
        let name = to_ascii(text)?;
        let name = name.strip_suffix('.').unwrap_or(&name);
        if name.is_empty() {
            return Err(HostError::EmptyLabel);
        }
        if name.len() > MAX_NAME {
            return Err(HostError::TooLong);
        }
        for label in name.split('.') {
            check_label(label)?;
        }
        if ends_in_number(name) {
            return Err(HostError::AmbiguousAddress);
        }
        Ok(Self(name.into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name itself, then each parent: `a.b.c`, `b.c`, `c`.
    pub(crate) fn ancestors(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.as_str()), |name| {
            name.split_once('.').map(|(_, parent)| parent)
        })
    }

    /// Whether this name lies strictly below `parent`.
    pub fn is_below(&self, parent: &HostName) -> bool {
        self.0
            .strip_suffix(parent.as_str())
            .is_some_and(|head| head.ends_with('.'))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostName({})", self.0)
    }
}

impl std::str::FromStr for HostName {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::parse(text)
    }
}

impl std::borrow::Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// Where a connection goes: a name or an address. Displays IPv6 without brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name.
    Name(HostName),
    /// An address; IPv4-mapped IPv6 is always held as IPv4.
    Ip(IpAddr),
}

impl Host {
    /// Parses a name, a dotted-quad IPv4 address, or an IPv6 address with or without brackets. Ports, user
    /// information and zone identifiers are refused.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError::InvalidIpv6)?;
            return parse_ipv6(inner).map(Self::ip);
        }
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(v4.into()));
        }
        if text.bytes().filter(|byte| *byte == b':').count() > 1 && !text.contains('@') {
            return parse_ipv6(text).map(Self::ip);
        }
        HostName::parse(text).map(Self::Name)
    }

    fn ip(v6: Ipv6Addr) -> Self {
        Self::Ip(IpAddr::V6(v6).to_canonical())
    }

    /// The name, if it is one.
    pub fn name(&self) -> Option<&HostName> {
        match self {
            Self::Name(name) => Some(name),
            Self::Ip(_) => None,
        }
    }

    /// As it stands in a URL: IPv6 in brackets.
    pub fn to_url_host(&self) -> Cow<'_, str> {
        match self {
            Self::Name(name) => Cow::Borrowed(name.as_str()),
            Self::Ip(IpAddr::V4(v4)) => Cow::Owned(v4.to_string()),
            Self::Ip(IpAddr::V6(v6)) => Cow::Owned(format!("[{v6}]")),
        }
    }
}

impl From<HostName> for Host {
    fn from(name: HostName) -> Self {
        Self::Name(name)
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip.to_canonical())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// A TCP port that can be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// 443, where HTTPS is expected.
    pub const HTTPS: Self = Self(NonZeroU16::new(443).expect("443 is not zero"));
    /// 80, where plain HTTP is expected.
    pub const HTTP: Self = Self(NonZeroU16::new(80).expect("80 is not zero"));

    /// `None` for 0.
    pub fn new(port: u16) -> Option<Self> {
        NonZeroU16::new(port).map(Self)
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// Decimal digits only: no sign, no space, 1 to 65535.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() || text.len() > 5 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HostError::InvalidPort);
        }
        text.parse()
            .ok()
            .and_then(Self::new)
            .ok_or(HostError::InvalidPort)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn parse_ipv6(text: &str) -> Result<Ipv6Addr, HostError> {
    if text.contains('%') {
        return Err(HostError::ZoneId);
    }
    text.parse().map_err(|_| HostError::InvalidIpv6)
}

/// Gives the specific error for the URL pieces that people (and attackers) put beside a host.
fn refuse_foreign_syntax(text: &str) -> Result<(), HostError> {
    for character in text.chars() {
        match character {
            '@' => return Err(HostError::UserInfo),
            ':' => return Err(HostError::UnexpectedPort),
            '%' | '/' | '\\' | '?' | '#' | '[' | ']' | '*' | ' ' => {
                return Err(HostError::ForbiddenCharacter(character));
            }
            other if other.is_control() || is_invisible(other) => {
                return Err(HostError::ForbiddenCharacter(other));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Characters that IDNA drops without a trace, or that turn the reading direction: nobody types them on purpose.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
    )
}

fn to_ascii(text: &str) -> Result<Cow<'_, str>, HostError> {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    if text.bytes().all(plain) && !text.contains("xn--") {
        return Ok(Cow::Borrowed(text));
    }
    Uts46::new()
        .to_ascii(
            text.as_bytes(),
            AsciiDenyList::EMPTY,
            Hyphens::Allow,
            DnsLength::Ignore,
        )
        .map_err(|_| HostError::Idna)
}

fn check_label(label: &str) -> Result<(), HostError> {
    if label.is_empty() {
        return Err(HostError::EmptyLabel);
    }
    if label.len() > MAX_LABEL {
        return Err(HostError::LabelTooLong);
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(HostError::HyphenAtEdge);
    }
    match label
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_'))
    {
        Some(character) => Err(HostError::ForbiddenCharacter(character)),
        None => Ok(()),
    }
}

/// The test of the WHATWG URL standard ("ends in a number"): such hosts go to the IPv4 parser of browsers and to
/// `inet_aton` of C libraries, whatever stands before the last label.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return true;
    }
    last.strip_prefix("0x")
        .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
