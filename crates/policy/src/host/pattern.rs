//! The host part of a rule.

use std::fmt;
use std::net::IpAddr;

use super::{Host, HostError, HostName};
use crate::address::{AddressClass, classify};

/// Which hosts a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `api.example.com`: that name only.
    Exact(HostName),
    /// `*.example.com`: every name below, not the name itself.
    Suffix(HostName),
    /// `192.0.2.7`, `[2001:db8::7]`: that address only, connected to by number.
    Ip(IpAddr),
    /// `10.1.0.0/16`: addresses connected to by number.
    Net(Subnet),
    /// `*`: every name. Addresses are matched by `Ip` and `Net` alone, so that a wildcard never opens them.
    Any,
}

/// Why a text is no host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a host, beside the wildcard.
    #[error("`{text}` is no usable host: {source}")]
    Host {
        /// As written.
        text: String,
        /// What is wrong with it.
        source: HostError,
    },
    /// A `*` anywhere but as the whole first label.
    #[error("`{0}` has a wildcard that is not `*.` at the start")]
    MisplacedWildcard(String),
    /// `*.com`, `*.co.uk`, `*.github.io`: names that anybody can register.
    #[error(
        "`*.{0}` would cover names that anybody can register, because `{0}` is a public suffix"
    )]
    PublicSuffix(String),
    /// Not `ADDRESS/LENGTH`, or bits set behind the prefix.
    #[error(
        "`{0}` is no network: write the first address of the range, then `/` and the prefix length"
    )]
    Network(String),
    /// An address that no connection may ever go to.
    #[error("`{text}` is a {class} address, which no rule can allow")]
    Unusable {
        /// As written.
        text: String,
        /// What it is.
        class: AddressClass,
    },
}

impl HostPattern {
    /// Parses a pattern. A wildcard over a public suffix is parsed too: only an allow rule must refuse it, see
    /// [`HostPattern::refuse_public_suffix`].
    pub(crate) fn parse_any_width(text: &str) -> Result<Self, PatternError> {
        let host_error = |source| PatternError::Host {
            text: text.to_owned(),
            source,
        };
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            if suffix.contains('*') {
                return Err(PatternError::MisplacedWildcard(text.to_owned()));
            }
            return HostName::parse(suffix)
                .map(Self::Suffix)
                .map_err(host_error);
        }
        if text.contains('*') {
            return Err(PatternError::MisplacedWildcard(text.to_owned()));
        }
        if text.contains('/') {
            return Subnet::parse(text).map(Self::Net);
        }
        match Host::parse(text).map_err(host_error)? {
            Host::Name(name) => Ok(Self::Exact(name)),
            Host::Ip(ip) => {
                let class = classify(ip);
                match class {
                    AddressClass::Unspecified
                    | AddressClass::Multicast
                    | AddressClass::Broadcast
                    | AddressClass::Synthetic => Err(PatternError::Unusable {
                        text: text.to_owned(),
                        class,
                    }),
                    _ => Ok(Self::Ip(ip)),
                }
            }
        }
    }

    /// Parses the host of an allow rule or of a credential.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let pattern = Self::parse_any_width(text)?;
        pattern.refuse_public_suffix()?;
        Ok(pattern)
    }

    pub(crate) fn refuse_public_suffix(&self) -> Result<(), PatternError> {
        match self {
            Self::Suffix(name) if is_public_suffix(name) => {
                Err(PatternError::PublicSuffix(name.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Whether the pattern covers `host`. A wildcard never reaches across a public suffix: `*.amazonaws.com` does not
    /// cover `bucket.s3.amazonaws.com`, whose owner is somebody else.
    pub fn matches(&self, host: &Host) -> bool {
        self.covers(host) && self.public_suffix_between(host).is_none()
    }

    /// Plain coverage, as deny rules need it.
    pub(crate) fn covers(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Exact(pattern), Host::Name(name)) => pattern == name,
            (Self::Suffix(suffix), Host::Name(name)) => name.is_below(suffix),
            (Self::Ip(pattern), Host::Ip(ip)) => pattern == ip,
            (Self::Net(net), Host::Ip(ip)) => net.contains(*ip),
            (Self::Any, Host::Name(_)) => true,
            _ => false,
        }
    }

    /// The public suffix that lies between the pattern's own suffix and `host`, if any.
    pub(crate) fn public_suffix_between<'a>(&self, host: &'a Host) -> Option<&'a str> {
        let (Self::Suffix(suffix), Host::Name(name)) = (self, host) else {
            return None;
        };
        psl::suffix_str(name.as_str()).filter(|public| public.len() > suffix.as_str().len())
    }

    /// Whether some host is covered by both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(name), pattern) | (pattern, Self::Exact(name)) => {
                pattern.covers(&Host::Name(name.clone()))
            }
            (Self::Ip(ip), pattern) | (pattern, Self::Ip(ip)) => pattern.covers(&Host::Ip(*ip)),
            (Self::Suffix(left), Self::Suffix(right)) => {
                left == right || left.is_below(right) || right.is_below(left)
            }
            (Self::Net(left), Self::Net(right)) => {
                left.contains(right.first) || right.contains(left.first)
            }
            (Self::Net(_), _) | (_, Self::Net(_)) => false,
            (Self::Any, _) | (_, Self::Any) => true,
        }
    }

    /// Whether the pattern, by naming the place itself, opens `address` although it is not public. A network does so
    /// only for the kind of place that all of it is: `10.0.0.0/8` opens private addresses, `0.0.0.0/0` opens none, and
    /// no wider network opens a metadata service.
    pub(crate) fn opens(&self, address: IpAddr) -> bool {
        match self {
            Self::Ip(ip) => *ip == address,
            Self::Net(net) => {
                let class = classify(address);
                net.contains(address) && net.uniform_class() == Some(class)
            }
            Self::Exact(_) | Self::Suffix(_) | Self::Any => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Suffix(name) => write!(f, "*.{name}"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Net(net) => net.fmt(f),
            Self::Any => f.write_str("*"),
        }
    }
}

impl std::str::FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

/// A CIDR block whose host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet {
    first: IpAddr,
    length: u8,
}

impl Subnet {
    /// Parses `ADDRESS/LENGTH`; bits behind the prefix must be zero, so that a slip of the pen is seen.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let error = || PatternError::Network(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(error)?;
        let address = address
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(address);
        let first: IpAddr = address.parse().map_err(|_| error())?;
        if length.is_empty() || length.len() > 3 || !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let length: u8 = length.parse().map_err(|_| error())?;
        let net = Self { first, length };
        let (bits, width) = bits_of(first);
        // IPv4-mapped networks never match, because mapped addresses are held as IPv4: refuse instead.
        if length > width || bits & net.host_mask() != 0 || first.to_canonical() != first {
            return Err(error());
        }
        Ok(net)
    }

    fn host_mask(self) -> u128 {
        let (_, width) = bits_of(self.first);
        match width.saturating_sub(self.length) {
            128 => u128::MAX,
            free => (1 << free) - 1,
        }
    }

    /// Whether `address` lies in the block.
    pub fn contains(self, address: IpAddr) -> bool {
        let (own, width) = bits_of(self.first);
        let (other, other_width) = bits_of(address);
        width == other_width && (other & !self.host_mask()) == own
    }

    /// The class of every address in the block, if it is one class. Metadata services lie inside other blocks and count
    /// only when they are the whole block.
    fn uniform_class(self) -> Option<AddressClass> {
        let class = classify(self.first);
        if self.host_mask() == 0 {
            return Some(class);
        }
        // Every block of `classify` with a class other than public is one aligned prefix (but for the scattered
        // metadata addresses, whose class no other address has), so a subnet is of one class if it is no larger than
        // the block that holds its first address.
        let block = match (class, self.first) {
            (AddressClass::Loopback, IpAddr::V4(_)) => 8,
            (AddressClass::Private, IpAddr::V4(v4)) => match v4.octets()[0] {
                10 => 8,
                172 => 12,
                _ => 16,
            },
            (AddressClass::LinkLocal, IpAddr::V4(_)) => 16,
            (AddressClass::CarrierGradeNat, IpAddr::V4(_)) => 10,
            (AddressClass::Reserved, IpAddr::V4(v4)) if v4.octets()[0] >= 240 => 4,
            (AddressClass::Private, IpAddr::V6(v6)) if v6.segments()[0] & 0xfe00 == 0xfc00 => 7,
            (AddressClass::Private, IpAddr::V6(v6)) if v6.segments()[0] & 0xffc0 == 0xfec0 => 10,
            (AddressClass::LinkLocal, IpAddr::V6(_)) => 10,
            _ => return None,
        };
        (self.length >= block).then_some(class)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

fn bits_of(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u32::from(v4).into(), 32),
        IpAddr::V6(v6) => (v6.into(), 128),
    }
}

/// Top-level names that are not delegated and that organisations use inside: a wildcard over them covers no stranger.
const PRIVATE_TOP_LEVEL: &[&str] = &[
    "corp",
    "example",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "private",
    "test",
];

fn is_public_suffix(name: &HostName) -> bool {
    let text = name.as_str();
    if PRIVATE_TOP_LEVEL.contains(&text) {
        return false;
    }
    // The second probe finds wildcard entries of the list (`*.ck`), below which every name is a suffix.
    psl::suffix_str(text) == Some(text)
        || psl::suffix_str(&format!("wardian-probe.{text}"))
            .is_none_or(|public| public.len() > text.len())
}
