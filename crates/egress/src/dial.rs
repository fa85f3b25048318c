//! The only place that opens a connection to the world.
//!
//! A permit goes in, a connected stream comes out. Names are looked up once per connection and each address is checked
//! against the policy; what was checked is a socket address, and that very address is dialled.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use wardian_policy::{ConnectionPermit, Denial, Host, Policy};

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

/// Plain TCP or TLS over it.
#[derive(Debug)]
pub enum UpstreamIo {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why no upstream connection was made. `Display` holds no secret and may be shown inside the sandbox.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error(transparent)]
    Denied(Box<Denial>),
    // more in the next commit
}

impl DialError {
    /// snake_case name for the journal and the refusal's JSON.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.reason(),
        }
    }
}

/// Makes upstream connections for one door.
#[derive(Debug)]
pub struct Dialer {}

impl Dialer {
    /// Looks up, checks, connects and, if wanted, does TLS: all within the door's `dial_timeout`.
    pub async fn connect(
        &self,
        _permit: &ConnectionPermit,
        _policy: &Policy,
        _tls: Option<TlsWanted>,
    ) -> Result<Upstream, DialError> {
        std::future::pending().await
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }
}
