//! An HTTP/1.1 connection to the origin.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::{ReadHalf, WriteHalf};
use wardian_events::ConnectionId;
use wardian_policy::{Policy, Scheme};

use super::judge::Permitted;
use super::stream::Source;
use crate::context::HttpConnection;
use crate::dial::{Alpn, AlpnOffer, DialError, Route, TlsWanted, Upstream, UpstreamIo};

/// Was the origin's identity proven to us?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// By TLS, for the connection's name. With the address at the other end, which may be a proxy's.
    Verified(IpAddr),
    /// Plain HTTP.
    Unknown,
}

/// Looks up where the host of `permitted` is. Nothing goes to the host itself; [`DialError::Denied`] means that the
/// policy refuses it at every address it has.
pub(crate) async fn locate(
    connection: &HttpConnection,
    permitted: &Permitted,
) -> Result<Route, DialError> {
    connection
        .shared
        .dialer
        .route(&permitted.connection, &permitted.policy)
        .await
}

/// Connects along `route`.
pub(crate) async fn open(
    connection: &HttpConnection,
    permitted: &Permitted,
    route: Route,
    offer: AlpnOffer,
) -> Result<Dialed, DialError> {
    let tls = match connection.scheme {
        Scheme::Https => Some(TlsWanted {
            name: connection.destination.host.clone(),
            alpn: offer,
        }),
        Scheme::Http => None,
    };
    let shared = &connection.shared;
    let login = shared.login(&route, ConnectionId(connection.connection_id))?;
    let Upstream { io, alpn, peer } = shared.dialer.open(route, tls, login).await?;
    let identity = match &io {
        UpstreamIo::Tls(_) => Identity::Verified(peer.ip()),
        UpstreamIo::Tcp(_) => Identity::Unknown,
    };
    Ok(Dialed {
        io,
        alpn,
        identity,
        policy: Arc::clone(&permitted.policy),
    })
}

/// A fresh connection on which nothing was said yet.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) io: UpstreamIo,
    pub(crate) alpn: Alpn,
    pub(crate) identity: Identity,
    pub(crate) policy: Arc<Policy>,
}

/// A connection on which HTTP/1.1 is spoken, one exchange at a time.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) source: Source<ReadHalf<UpstreamIo>>,
    pub(crate) sink: WriteHalf<UpstreamIo>,
    pub(crate) identity: Identity,
    /// An exchange was completed on it before, so it may have gone stale.
    pub(crate) reused: bool,
    policy: Arc<Policy>,
}

impl From<Dialed> for Origin {
    fn from(dialed: Dialed) -> Self {
        let (reader, sink) = tokio::io::split(dialed.io);
        Self {
            source: Source::new(reader),
            sink,
            identity: dialed.identity,
            reused: false,
            policy: dialed.policy,
        }
    }
}

impl Origin {
    /// May the next request go here? Not if the origin has closed, has said something nobody asked for, or was dialled
    /// under a policy that is no longer in force (which might pin the name elsewhere).
    pub(crate) async fn is_usable(&mut self, policy: &Arc<Policy>) -> bool {
        Arc::ptr_eq(&self.policy, policy) && self.source.is_quiet().await
    }
}
