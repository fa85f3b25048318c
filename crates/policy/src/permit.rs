//! Permits: proof that a check was made.
//!
//! Their fields are private and only the `check_*` functions of [`Policy`](crate::Policy) make them, so a function that
//! demands a permit cannot be reached without a decision.

use std::net::{IpAddr, SocketAddr};

use crate::credential::CredentialName;
use crate::host::{Host, HostName, HostPattern, Port};
use crate::rule::{Mode, Route, RuleId, Upstream};

/// A name may be answered by DNS inside, because some rule could allow a connection to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePermit {
    pub(crate) name: HostName,
    pub(crate) rule: RuleId,
    pub(crate) spelled: Spelled,
}

/// Who wrote a permitted name in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spelled {
    /// The policy: some rule that could allow the name has exactly it. There are as many of these as the policy says.
    ByRule,
    /// Only the program: wildcards cover it, and it can make up as many as it likes.
    ByProgram,
}

impl NamePermit {
    /// The name.
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// The first rule that could allow it.
    pub fn rule(&self) -> &RuleId {
        &self.rule
    }

    /// Who wrote it in full.
    pub fn spelled(&self) -> Spelled {
        self.spelled
    }
}

/// A connection may be accepted, in the given mode and to the given upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionPermit {
    pub(crate) rule: RuleId,
    pub(crate) host: Host,
    pub(crate) port: Port,
    pub(crate) route: Route,
    pub(crate) pattern: HostPattern,
}

impl ConnectionPermit {
    /// The first allow rule for this host and port.
    pub fn rule(&self) -> &RuleId {
        &self.rule
    }

    /// The host that the program meant.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port that the program meant.
    pub fn port(&self) -> Port {
        self.port
    }

    /// What to do with the bytes.
    pub fn mode(&self) -> Mode {
        self.route.mode
    }

    /// Where to connect.
    pub fn upstream(&self) -> &Upstream {
        &self.route.upstream
    }

    /// A PEM file of further certificate authorities that may vouch for the upstream, as the manifest wrote it.
    pub fn extra_ca(&self) -> Option<&str> {
        self.route.extra_ca.as_deref()
    }

    /// Whether any address that is not public could pass [`check_address`](crate::Policy::check_address).
    pub fn allow_private(&self) -> bool {
        !matches!(self.route.upstream, Upstream::Direct)
            || matches!(self.pattern, HostPattern::Ip(_) | HostPattern::Net(_))
    }
}

/// An address may be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPermit {
    pub(crate) address: SocketAddr,
}

impl AddressPermit {
    /// What to dial.
    pub fn socket_addr(&self) -> SocketAddr {
        self.address
    }

    /// The address alone.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}

/// A request may be forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPermit {
    pub(crate) rule: RuleId,
    pub(crate) credentials: Vec<CredentialName>,
}

impl RequestPermit {
    /// The rule that allowed it.
    pub fn rule(&self) -> &RuleId {
        &self.rule
    }

    /// The credentials that may be put into this request: each belongs to this host, and the request travels over TLS.
    /// The caller must have verified the upstream's certificate before it sends one.
    pub fn credentials(&self) -> &[CredentialName] {
        &self.credentials
    }
}
