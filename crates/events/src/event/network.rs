//! Events of the door: DNS, connections, requests, credentials.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConnectionId, RequestId, Verdict};

/// A DNS question and what was answered. No question leaves the host, so there is nothing else to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dns {
    /// The name as asked, in presentation form.
    pub question: String,
    /// `A`, `AAAA`, `TXT`, `TYPE65`, ...
    #[serde(rename = "type")]
    pub record_type: String,
    pub transport: DnsTransport,
    /// The synthetic address that was answered, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<IpAddr>,
    #[serde(flatten)]
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DnsTransport {
    Udp,
    Tcp,
}

/// A TCP connection reached the door and was judged. Written before anything is dialled for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    pub id: ConnectionId,
    /// The address that the program meant (a synthetic one, usually).
    pub destination: SocketAddr,
    /// The name that the connection is for, or why there is none.
    #[serde(flatten)]
    pub host: HostFact,
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The rule that decided, such as `claude#2`. None if no rule matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    pub mode: ConnectionMode,
    /// What is spoken, as far as it is known at this point: `tls`, `http`, `tcp`. None if not even looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// The host of a connection: `"host":"api.github.com"` or `"host_absent":"not_synthetic"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HostFact {
    Known {
        /// A name, or an address without brackets where the program meant an address and a rule speaks of it.
        host: String,
    },
    Absent {
        host_absent: HostAbsent,
    },
}

impl HostFact {
    pub fn known(host: impl Into<String>) -> Self {
        HostFact::Known { host: host.into() }
    }

    pub fn absent(why: HostAbsent) -> Self {
        HostFact::Absent { host_absent: why }
    }
}

/// Why the name of a connection is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostAbsent {
    /// The program connected to an address that the door never handed out: it brought its own.
    NotSynthetic,
    /// The address is in the synthetic range, but stands for no name.
    UnknownSynthetic,
    /// The ClientHello carries no server name.
    NoSni,
    /// The server name is encrypted or not a name.
    UnusableSni,
    /// TLS was expected and something else came.
    NotTls,
    /// HTTP was expected and something else came.
    NotHttp,
    /// The connection was refused or closed before a name could be looked for.
    NotLookedFor,
}

/// How the door treats a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionMode {
    /// TLS ends at the door, or it is plain HTTP; each request is judged.
    Inspect,
    /// TLS is passed through after its server name was checked.
    Passthrough,
    /// Bytes are passed through unseen.
    Tcp,
    /// Nothing is passed: the connection was refused.
    None,
}

/// An allowed connection is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionClosed {
    pub id: ConnectionId,
    /// Bytes that the program sent, as seen at the door's inner socket.
    pub bytes_up: u64,
    /// Bytes that it was sent.
    pub bytes_down: u64,
    pub milliseconds: u64,
    /// Set when the door cut the connection: `policy_changed`, `idle`, `upstream_unreachable`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
}

/// Bytes that the door could not or would not understand; it answered them itself and passed nothing on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProtocolError {
    /// None for a DNS datagram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
    /// `tls`, `http/1.1`, `h2`, `dns`, `websocket`, ...
    pub protocol: String,
    /// A snake_case name: `conflicting_lengths`, `bare_lf`, `bad_client_hello`, ...
    pub reason: String,
    /// One sentence more. No bytes of bodies or of header values.
    pub detail: String,
    /// The status the door answered, where the protocol has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// Denials like those that were recorded one by one shortly before, or at more places than are told apart: counted
/// instead, so that a program in a loop does not fill the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FurtherDenials {
    /// The `kind` that each of them would have had.
    pub of: String,
    /// As [`Event::place`](super::Event::place) gives it. None: at various places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub count: u64,
    /// Never allowed.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// A request was judged. Written before a byte of it is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    pub id: RequestId,
    pub connection: ConnectionId,
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    pub host: String,
    pub port: u16,
    /// The canonical target that was judged, query included; with placeholders, never with a credential's value.
    pub path: String,
    /// `http/1.1` or `h2`, as the program speaks it.
    pub version: String,
    /// `websocket`, if the request asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<String>,
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The rule that decided, such as `claude#2`. None if no rule matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The status that the door answered itself, for a denied request. There is no [`Response`] event for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// An allowed exchange is over. One for each allowed [`Request`], whatever became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Response {
    pub request: RequestId,
    /// What the program got to see: the upstream's status, or the door's own (502, 504). None if it got no head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes of the request's body, or of the upgraded stream.
    pub bytes_up: u64,
    /// Bytes of the response's body, or of the upgraded stream.
    pub bytes_down: u64,
    /// From the request's head to the end of the response's body.
    pub milliseconds: u64,
    /// What the cache of downloads had to do with it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheUse>,
    #[serde(flatten)]
    pub outcome: ResponseOutcome,
}

/// What the cache of downloads did for a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheUse {
    /// It came from the cache, and nobody was asked.
    Hit,
    /// It came from the cache once its origin had confirmed it.
    Revalidated,
    /// It came from its origin, and is in the cache now.
    Stored,
}

/// How an allowed exchange ended: `"outcome":"complete"`, or with a snake_case `reason` beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ResponseOutcome {
    Complete,
    /// The upstream could not be reached, its certificate did not verify, it spoke nonsense, it went away, ...
    UpstreamFailed {
        reason: String,
    },
    /// The program inside went away.
    ClientGone,
    /// The door ended it: `policy_changed`, `idle`, `byte_limit`, `stopping`, ...
    Cut {
        reason: String,
    },
}

/// A credential's value is about to be sent. The value itself is never in any event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CredentialUsed {
    /// The credential's name in the policy.
    pub credential: String,
    #[serde(flatten)]
    pub purpose: CredentialPurpose,
    /// Who is sent it: the request's host, or the proxy.
    pub host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// What a credential was sent for: `"request":7` or `"connection":3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CredentialPurpose {
    /// It stands in the head of this request.
    Request { request: RequestId },
    /// It opens the upstream proxy for this connection.
    Proxy { connection: ConnectionId },
}
