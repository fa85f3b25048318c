//! What everything behind one door shares: the policy in force, the journal, the authority, the limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use wardian_events::{ConnectionId, CredentialPurpose, CredentialUsed, Event, Journal};
use wardian_policy::{ConnectionPermit, Denial, Destination, HostName, Policy, Scheme};

use crate::ca::CertificateAuthority;
use crate::cache::Cache;
use crate::credentials::Credentials;
use crate::dial::{DialError, Dialer, Login, Route};
use crate::model::observer::Observer;
use crate::names::Names;
use crate::refusals::Refusals;

/// The policy in force, replaced whole. Clones share one policy.
#[derive(Clone)]
pub struct PolicyCell {
    sender: Arc<watch::Sender<Arc<Policy>>>,
}

impl PolicyCell {
    pub fn new(policy: Policy) -> Self {
        Self {
            sender: Arc::new(watch::Sender::new(Arc::new(policy))),
        }
    }

    pub fn load(&self) -> Arc<Policy> {
        self.sender.borrow().clone()
    }

    /// Puts `policy` in force for everything decided from now on, and wakes every watch.
    pub fn replace(&self, policy: Policy) {
        self.sender.send_replace(Arc::new(policy));
    }

    pub fn watch(&self) -> PolicyWatch {
        PolicyWatch {
            receiver: self.sender.subscribe(),
            _keep: Arc::clone(&self.sender),
        }
    }
}

impl fmt::Debug for PolicyCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyCell").finish_non_exhaustive()
    }
}

/// Tells one open connection that the policy was replaced since the watch was made (or last asked).
pub struct PolicyWatch {
    receiver: watch::Receiver<Arc<Policy>>,
    // With the sender alive, `changed` cannot fail.
    _keep: Arc<watch::Sender<Arc<Policy>>>,
}

impl PolicyWatch {
    /// Waits for the next replacement. Cancel safe.
    pub async fn changed(&mut self) -> Arc<Policy> {
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.receiver.borrow_and_update().clone()
    }
}

impl fmt::Debug for PolicyWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyWatch").finish_non_exhaustive()
    }
}

/// Bounds on what a sandbox can make its door hold. Every wait and every buffer behind the door has one.
#[derive(Debug, Clone)]
pub struct DoorLimits {
    /// Connections open at once; further ones are reset.
    pub max_connections: usize,
    /// TCP connections to the DNS listener open at once.
    pub max_dns_connections: usize,
    /// From accept to a first byte that says what protocol it is.
    pub first_bytes_timeout: Duration,
    /// From the first byte to a finished TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a denied connection may take to say how it wants to hear about it.
    pub refusal_timeout: Duration,
    /// Upstream: name lookup, TCP connect, proxy CONNECT and TLS handshake together.
    pub dial_timeout: Duration,
    /// No byte in either direction.
    pub idle_timeout: Duration,
    /// From the first byte of a request head to its end, and between two requests of one connection.
    pub request_head_timeout: Duration,
    /// Bytes of one request or response head.
    pub max_head_bytes: usize,
    /// Header fields of one head.
    pub max_header_fields: usize,
    /// HTTP/2 streams open at once on one connection.
    pub max_concurrent_streams: u32,
    /// Bytes of one connection or body in one direction; `None` has no bound.
    pub max_transfer_bytes: Option<u64>,
    /// Names below wildcards that hold a synthetic address; names that the policy spells out come on top.
    pub max_names: usize,
    /// Leaf certificates kept.
    pub max_leaves: usize,
}

impl Default for DoorLimits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_dns_connections: 128,
            first_bytes_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            refusal_timeout: Duration::from_millis(300),
            dial_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(15 * 60),
            request_head_timeout: Duration::from_secs(30),
            max_head_bytes: 64 * 1024,
            max_header_fields: 256,
            max_concurrent_streams: 128,
            max_transfer_bytes: None,
            max_names: 4096,
            max_leaves: 1024,
        }
    }
}

/// What one door shares among its connections.
#[derive(Debug)]
pub struct Shared {
    pub policy: PolicyCell,
    pub journal: Journal,
    /// What is denied goes to the journal through these.
    pub refusals: Arc<Refusals>,
    pub ca: CertificateAuthority,
    pub credentials: Arc<Credentials>,
    pub dialer: Dialer,
    pub names: Names,
    /// Downloads that are kept between sandboxes, if they are.
    pub cache: Option<Cache>,
    pub limits: DoorLimits,
    /// Calls of models are shown to it.
    pub(crate) models: Observer,
}

impl Shared {
    /// The login for the proxy on `route`, if the rule names one that has a value: recorded before it is sent.
    pub(crate) fn login(
        &self,
        route: &Route,
        connection: ConnectionId,
    ) -> Result<Option<Login>, DialError> {
        let Some(wanted) = route.login() else {
            return Ok(None);
        };
        let credential = self.credentials.get(&wanted.credential);
        let Some(login) = credential.and_then(|found| Login::new(found, &wanted.proxy)) else {
            return Ok(None);
        };
        let used = CredentialUsed {
            credential: wanted.credential.to_string(),
            purpose: CredentialPurpose::Proxy { connection },
            host: wanted.proxy.to_string(),
            rule: Some(wanted.rule.to_string()),
        };
        match self.journal.append(&Event::CredentialUsed(used)) {
            Ok(_) => Ok(Some(login)),
            Err(_) => Err(DialError::Unrecorded),
        }
    }
}

/// The server name a TLS client asked for, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsName {
    /// Equal to the name of the destination.
    Matches(HostName),
    /// TLS to a literal address, whose clients send no server name.
    NoSni,
    NotTls,
}

/// One downstream connection on which HTTP is spoken, handed to `http::serve`.
///
/// The caller has journalled the connection, ended its TLS if any, and cuts it (drops the future) when a new policy no
/// longer permits the connection as a whole. Single requests are judged by `http` under the policy of their moment.
#[derive(Debug)]
pub struct HttpConnection {
    pub shared: Arc<Shared>,
    /// Where the program meant to go: every request's authority must name exactly this.
    pub destination: Destination,
    /// Of the policy at accept. For a request under a later policy, ask [`HttpConnection::current`].
    pub permit: ConnectionPermit,
    pub scheme: Scheme,
    /// Unique within the door's life; ties requests to their connection in the journal.
    pub connection_id: u64,
    pub tls_name: TlsName,
}

impl HttpConnection {
    /// The policy of this moment and its permit for this connection.
    pub fn current(&self) -> Result<(Arc<Policy>, ConnectionPermit), Box<Denial>> {
        let policy = self.shared.policy.load();
        let permit = policy
            .check_connection(&self.destination)
            .map_err(Box::new)?;
        Ok((policy, permit))
    }
}
