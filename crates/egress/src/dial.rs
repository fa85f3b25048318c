//! The only place that opens a connection to the world.
//!
//! A permit goes in, a connected stream comes out. Names are looked up once per connection and each address is checked
//! against the policy; what was checked is a socket address, and that very address is dialled.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;
use wardian_policy::{
    AddressPermit, ConnectionPermit, CredentialName, Host, Policy, Port, RuleId,
    Upstream as UpstreamRule,
};

mod connect;
mod error;
mod io;
mod proxy;
mod resolve;
#[cfg(test)]
mod tests;

pub use error::DialError;
pub use io::UpstreamIo;
pub use proxy::Login;
pub use resolve::{Lookup, Resolver};

use crate::tls::UpstreamTls;

/// The application protocol that a TLS handshake settled on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    H1,
    H2,
    /// None was offered, none was chosen, or there is no TLS. HTTP over it is HTTP/1.1.
    None,
}

/// What to offer the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlpnOffer {
    Http1,
    Http2,
    /// Both, HTTP/2 preferred.
    Both,
}

/// TLS towards the upstream, verified for `name` always.
#[derive(Debug, Clone)]
pub struct TlsWanted {
    pub name: Host,
    pub alpn: AlpnOffer,
}

/// A connected upstream.
#[derive(Debug)]
pub struct Upstream {
    pub io: UpstreamIo,
    pub alpn: Alpn,
    pub peer: SocketAddr,
}

/// Where a connection will go: everything was looked up and checked, and nothing was sent there yet.
///
/// Made by [`Dialer::route`] only, so that whoever has one has asked the policy about each address in it.
#[derive(Debug)]
pub struct Route {
    host: Host,
    extra_ca: Option<String>,
    way: Way,
    login: Option<LoginWanted>,
    deadline: Instant,
}

impl Route {
    /// What the proxy on the way is to be sent; see [`Dialer::open`].
    pub fn login(&self) -> Option<&LoginWanted> {
        self.login.as_ref()
    }
}

/// A credential that a rule names for its proxy.
#[derive(Debug)]
pub struct LoginWanted {
    pub credential: CredentialName,
    pub proxy: Host,
    pub rule: RuleId,
}

#[derive(Debug)]
enum Way {
    /// Tried in this order.
    Addresses(Vec<AddressPermit>),
    /// By the name, at a proxy that the rule names, at one of its addresses. The proxy resolves the name.
    Proxy {
        proxy: Vec<AddressPermit>,
        port: Port,
    },
}

/// Makes upstream connections for one door.
#[derive(Debug)]
pub struct Dialer {
    resolver: Resolver,
    tls: UpstreamTls,
    timeout: Duration,
}

impl Dialer {
    /// `timeout` bounds one connection from the lookup of its name to the end of its TLS handshake.
    pub fn new(resolver: Resolver, tls: UpstreamTls, timeout: Duration) -> Self {
        Self {
            resolver,
            tls,
            timeout,
        }
    }

    /// A digest of what `permit` lets vouch for its upstream, beside the roots.
    pub(crate) fn vouching(&self, permit: &ConnectionPermit) -> Option<Vec<u8>> {
        self.tls.vouching(permit.extra_ca())
    }

    /// See [`UpstreamTls::preload`].
    pub fn preload(&self) {
        self.tls.preload();
        self.resolver.preload();
    }

    /// Looks up, checks, connects and, if wanted, does TLS.
    #[cfg(test)]
    async fn connect(
        &self,
        permit: &ConnectionPermit,
        policy: &Policy,
        tls: Option<TlsWanted>,
    ) -> Result<Upstream, DialError> {
        let route = self.route(permit, policy).await?;
        self.open(route, tls, None).await
    }

    /// Looks up where the permitted host is and asks the policy about each address. Nothing goes to the host itself.
    ///
    /// [`DialError::Denied`] means that the policy refused every address.
    pub async fn route(
        &self,
        permit: &ConnectionPermit,
        policy: &Policy,
    ) -> Result<Route, DialError> {
        let deadline = Instant::now() + self.timeout;
        let way = within(deadline, self.way(permit, policy)).await?;
        Ok(Route {
            host: permit.host().clone(),
            extra_ca: permit.extra_ca().map(str::to_owned),
            way,
            login: login_wanted(permit),
            deadline,
        })
    }

    async fn way(&self, permit: &ConnectionPermit, policy: &Policy) -> Result<Way, DialError> {
        match permit.upstream() {
            UpstreamRule::Pinned(address) => {
                let checked = policy
                    .check_address(permit, address.ip())
                    .map_err(DialError::denied)?;
                Ok(Way::Addresses(vec![checked]))
            }
            UpstreamRule::Direct => Ok(Way::Addresses(
                self.checked(permit.host(), permit, policy).await?,
            )),
            UpstreamRule::HttpProxy { host, .. } => Ok(Way::Proxy {
                proxy: self.checked(host, permit, policy).await?,
                port: permit.port(),
            }),
        }
    }

    /// The addresses of `host` that the policy lets be dialled.
    async fn checked(
        &self,
        host: &Host,
        permit: &ConnectionPermit,
        policy: &Policy,
    ) -> Result<Vec<AddressPermit>, DialError> {
        let mut refused = None;
        let mut checked = Vec::new();
        for address in self.resolver.addresses(host).await? {
            match policy.check_address(permit, address) {
                Ok(address) => checked.push(address),
                Err(denial) => refused = refused.or(Some(denial)),
            }
        }
        match (checked.is_empty(), refused) {
            (false, _) => Ok(checked),
            (true, Some(denial)) => Err(DialError::denied(denial)),
            (true, None) => Err(DialError::NoAddress(host.clone())),
        }
    }

    /// Connects along `route`. `login` is for its proxy, and was recorded.
    pub async fn open(
        &self,
        route: Route,
        tls: Option<TlsWanted>,
        login: Option<Login>,
    ) -> Result<Upstream, DialError> {
        let deadline = route.deadline;
        within(deadline, async {
            let stream = match &route.way {
                Way::Addresses(permits) => connect::first(addresses(permits)).await?,
                Way::Proxy { proxy, port } => {
                    let stream = connect::first(addresses(proxy)).await?;
                    proxy::tunnel(&stream, &route.host, *port, login.as_ref()).await?;
                    stream
                }
            };
            let peer = stream.peer_addr().map_err(DialError::from_connect)?;
            let Some(tls) = tls else {
                return Ok(Upstream {
                    io: UpstreamIo::Tcp(stream),
                    alpn: Alpn::None,
                    peer,
                });
            };
            let extra_ca = route.extra_ca.as_deref();
            let (stream, alpn) = self
                .tls
                .handshake(stream, &tls.name, extra_ca, tls.alpn)
                .await?;
            Ok(Upstream {
                io: UpstreamIo::Tls(Box::new(stream)),
                alpn,
                peer,
            })
        })
        .await
    }

    /// Connects along `route` for a tunnel.
    pub async fn open_tcp(
        &self,
        route: Route,
        login: Option<Login>,
    ) -> Result<TcpStream, DialError> {
        match self.open(route, None, login).await?.io {
            UpstreamIo::Tcp(stream) => Ok(stream),
            UpstreamIo::Tls(_) => Err(DialError::Tls("not asked for".into())),
        }
    }
}

fn login_wanted(permit: &ConnectionPermit) -> Option<LoginWanted> {
    match permit.upstream() {
        UpstreamRule::HttpProxy {
            host,
            credential: Some(credential),
            ..
        } => Some(LoginWanted {
            credential: credential.clone(),
            proxy: host.clone(),
            rule: permit.rule().clone(),
        }),
        _ => None,
    }
}

fn addresses(permits: &[AddressPermit]) -> Vec<SocketAddr> {
    permits.iter().map(AddressPermit::socket_addr).collect()
}

/// Boxed, because who dials is a long-lived connection, and dialling is a short and large part of its life.
fn within<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, DialError>>,
) -> impl Future<Output = Result<T, DialError>> {
    let work = tokio::time::timeout_at(deadline, Box::pin(work));
    async { work.await.unwrap_or(Err(DialError::Timeout)) }
}
