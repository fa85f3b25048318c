//! `Host` headers and `:authority`.

use std::fmt;

use super::{Host, HostError, Port};

/// A host with an optional port, as in a `Host` header or `:authority` (RFC 9110 section 7.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The host in its canonical spelling.
    pub host: Host,
    /// The port, if the text named one.
    pub port: Option<Port>,
}

impl Authority {
    /// Parses what stood on the wire: ASCII only, no user information, no empty or zero port, IPv6 only in brackets.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if !text.is_ascii() {
            return Err(HostError::NotAscii);
        }
        if text.contains('@') {
            return Err(HostError::UserInfo);
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let end = rest.find(']').ok_or(HostError::InvalidIpv6)?;
            let (inside, after) = text.split_at(end + 2);
            match after {
                "" => (inside, None),
                _ => (
                    inside,
                    Some(after.strip_prefix(':').ok_or(HostError::InvalidPort)?),
                ),
            }
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        Ok(Self {
            port: port.map(Port::parse).transpose()?,
            host: Host::parse(host)?,
        })
    }

    /// Whether a request with this authority belongs on a connection to `host` and `port`. A missing port stands for
    /// the connection's own.
    pub fn agrees_with(&self, host: &Host, port: Port) -> bool {
        self.host == *host && self.port.is_none_or(|named| named == port)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host.to_url_host())?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl std::str::FromStr for Authority {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::parse(text)
    }
}
