//! Refusals, each with its name and what a person needs to understand it.

use std::net::IpAddr;

use crate::address::AddressClass;
use crate::host::{Authority, Host, HostName, Port};
use crate::rule::RuleId;

/// Why something may not pass. `Display` is one sentence without a full stop.
///
/// Methods and paths in here come from inside the sandbox: make them visible before they reach a terminal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// No rule could allow any connection to the name.
    #[error("no rule allows {name}")]
    NameNotAllowed {
        /// What was asked for.
        name: HostName,
    },
    /// No allow rule covers host and port.
    #[error("no rule allows {host} on port {port}")]
    NoRule {
        /// Meant by the program.
        host: Host,
        /// Meant by the program.
        port: Port,
    },
    /// Host and port are allowed, but not this method and path.
    #[error("no rule allows {method} {path} on {host}")]
    NoRuleForRequest {
        /// The connection's host.
        host: Host,
        /// The connection's port.
        port: Port,
        /// As sent.
        method: String,
        /// The canonical path.
        path: String,
    },
    /// A deny rule matched a name or a connection.
    #[error("rule {rule} denies {host}")]
    DeniedByRule {
        /// The deny rule.
        rule: RuleId,
        /// What it was matched with.
        host: Host,
    },
    /// A deny rule matched a request.
    #[error("rule {rule} denies {method} {path} on {host}")]
    RequestDeniedByRule {
        /// The deny rule.
        rule: RuleId,
        /// The connection's host.
        host: Host,
        /// As sent.
        method: String,
        /// The canonical path.
        path: String,
    },
    /// The only rules that cover the name are wildcards above a public suffix.
    #[error("rule {rule} does not reach {host}, because anybody can register names below {suffix}")]
    WildcardAcrossPublicSuffix {
        /// The wildcard rule.
        rule: RuleId,
        /// The name.
        host: Host,
        /// What lies between.
        suffix: String,
    },
    /// An address that is not public, and that the rule does not name.
    #[error("{host} leads to {address}, a {class} address that rule {rule} does not name")]
    PrivateAddress {
        /// The connection's host.
        host: Host,
        /// What it resolved to.
        address: IpAddr,
        /// What kind of place that is.
        class: AddressClass,
        /// The rule that allowed the connection.
        rule: RuleId,
    },
    /// Not the address that the connection is bound to.
    #[error("the connection to {host} is bound to {expected}, not to {address}")]
    AddressMismatch {
        /// The connection's host.
        host: Host,
        /// What the program dialled or the rule pins.
        expected: IpAddr,
        /// What was about to be dialled.
        address: IpAddr,
    },
    /// `Host` or `:authority` names another place than the connection goes to.
    #[error("the request is for {authority} but the connection goes to {host} on port {port}")]
    AuthorityMismatch {
        /// The connection's host.
        host: Host,
        /// The connection's port.
        port: Port,
        /// As the request says.
        authority: Authority,
    },
    /// A request arrived on a connection that is passed on without inspection.
    #[error("the connection to {host} is not inspected, so no request on it can be judged")]
    NotInspected {
        /// The connection's host.
        host: Host,
    },
    /// Clear text where TLS is expected.
    #[error("the request to {host} on port {port} is not encrypted")]
    NotTls {
        /// The connection's host.
        host: Host,
        /// The connection's port.
        port: Port,
    },
    /// CONNECT, which would tunnel past every rule.
    #[error("CONNECT to {host} is refused, because connections need no proxy here")]
    ConnectMethod {
        /// The connection's host.
        host: Host,
    },
    /// Not a token.
    #[error("the request method is malformed")]
    InvalidMethod,
    /// `*` with another method than OPTIONS.
    #[error("the request target `*` belongs to OPTIONS alone")]
    InvalidTarget,
    /// A rule allows the request but not as a WebSocket.
    #[error("rule {rule} allows {path} on {host}, but not as a WebSocket")]
    WebSocketNotAllowed {
        /// The rule whose methods lack `WEBSOCKET`.
        rule: RuleId,
        /// The connection's host.
        host: Host,
        /// The canonical path.
        path: String,
    },
    /// An earlier deny rule speaks about requests, which an uninspected connection would hide.
    #[error("rule {deny} denies requests to {host}, which rule {allow} would pass uninspected")]
    UninspectedDeny {
        /// The deny rule.
        deny: RuleId,
        /// The allow rule without inspection.
        allow: RuleId,
        /// The connection's host.
        host: Host,
    },
    /// The policy was replaced and now connects to this host in another way.
    #[error("the policy changed how {host} is reached, so the connection must be opened anew")]
    PolicyChanged {
        /// The connection's host.
        host: Host,
    },
}

impl Denial {
    /// The name of the reason in events, answers and tests.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NameNotAllowed { .. } | Self::NoRule { .. } => "no_rule",
            Self::NoRuleForRequest { .. } => "no_rule_for_request",
            Self::DeniedByRule { .. } | Self::RequestDeniedByRule { .. } => "denied_by_rule",
            Self::WildcardAcrossPublicSuffix { .. } => "wildcard_across_public_suffix",
            Self::PrivateAddress { .. } => "private_address",
            Self::AddressMismatch { .. } => "address_mismatch",
            Self::AuthorityMismatch { .. } => "authority_mismatch",
            Self::NotInspected { .. } => "not_inspected",
            Self::NotTls { .. } => "not_tls",
            Self::ConnectMethod { .. } => "connect_method",
            Self::InvalidMethod => "invalid_method",
            Self::InvalidTarget => "invalid_target",
            Self::WebSocketNotAllowed { .. } => "websocket_not_allowed",
            Self::UninspectedDeny { .. } => "uninspected_deny",
            Self::PolicyChanged { .. } => "policy_changed",
        }
    }

    /// The rule that refused, or that came closest.
    pub fn rule(&self) -> Option<&RuleId> {
        match self {
            Self::DeniedByRule { rule, .. }
            | Self::RequestDeniedByRule { rule, .. }
            | Self::WildcardAcrossPublicSuffix { rule, .. }
            | Self::PrivateAddress { rule, .. }
            | Self::WebSocketNotAllowed { rule, .. }
            | Self::UninspectedDeny { deny: rule, .. } => Some(rule),
            Self::NameNotAllowed { .. }
            | Self::NoRule { .. }
            | Self::NoRuleForRequest { .. }
            | Self::AddressMismatch { .. }
            | Self::AuthorityMismatch { .. }
            | Self::NotInspected { .. }
            | Self::NotTls { .. }
            | Self::ConnectMethod { .. }
            | Self::InvalidMethod
            | Self::InvalidTarget
            | Self::PolicyChanged { .. } => None,
        }
    }
}
