//! A loopback server: TLS or not, HTTP/1.1 or HTTP/2 as negotiated, every byte counted.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::certificates::{Leaf, server_config};

/// One runtime for all servers of a test process.
pub fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    })
}

pub type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A body that is fed frame by frame.
pub fn channel() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel(8);
    (sender, Fed(receiver).boxed())
}

struct Fed(mpsc::Receiver<Frame<Bytes>>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// What a handler may know about the connection that a request came on.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Numbers the connections of one server, from 1.
    pub connection: usize,
    pub server_name: Option<String>,
}

pub type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
pub type Handler = Arc<dyn Fn(Request<Incoming>, Peer) -> Answer + Send + Sync>;
/// For servers that speak no HTTP of hyper's: what to do with an accepted (and decrypted) stream.
pub type RawHandler =
    Arc<dyn Fn(Box<dyn Stream>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[derive(Clone)]
pub enum Service {
    Http(Handler),
    Raw(RawHandler),
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Service::Http(_) => "Http",
            Service::Raw(_) => "Raw",
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Transport {
    Plain,
    Tls {
        leaf: Leaf,
        alpn: &'static [&'static str],
    },
}

impl Transport {
    pub const TLS: Transport = Transport::Tls {
        leaf: Leaf::Trusted,
        alpn: &["h2", "http/1.1"],
    };
    pub const TLS_HTTP1: Transport = Transport::Tls {
        leaf: Leaf::Trusted,
        alpn: &["http/1.1"],
    };
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicUsize,
    bytes: AtomicU64,
}

/// Serves until dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    counters: Arc<Counters>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub fn start(transport: Transport, service: Service) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), transport, service)
    }

    pub fn start_at(at: SocketAddr, transport: Transport, service: Service) -> Self {
        let listener =
            std::net::TcpListener::bind(at).unwrap_or_else(|error| panic!("bind {at}: {error}"));
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let counters = Arc::new(Counters::default());
        let acceptor = match transport {
            Transport::Plain => None,
            Transport::Tls { leaf, alpn } => Some(TlsAcceptor::from(server_config(leaf, alpn))),
        };
        let task = runtime().spawn(accept(listener, acceptor, service, counters.clone()));
        Self {
            address,
            counters,
            task,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// TCP connections that were accepted.
    pub fn connections(&self) -> usize {
        self.counters.connections.load(Ordering::SeqCst)
    }

    /// Bytes received on all connections, TLS handshakes included.
    pub fn bytes_received(&self) -> u64 {
        self.counters.bytes.load(Ordering::SeqCst)
    }

    /// Nobody ever connected: what a refusal must look like from here.
    pub fn assert_untouched(&self) {
        assert_eq!(
            (self.connections(), self.bytes_received()),
            (0, 0),
            "(connections, bytes) at an origin that nothing may reach"
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
    service: Service,
    counters: Arc<Counters>,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: give others time to close.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        let connection = counters.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let _ = stream.set_nodelay(true);
        let stream = Counted {
            stream,
            counters: counters.clone(),
        };
        let (tls, service) = (tls.clone(), service.clone());
        tokio::spawn(async move {
            let mut peer = Peer {
                connection,
                server_name: None,
            };
            let Some(tls) = tls else {
                return serve(stream, service, peer, false).await;
            };
            if let Ok(stream) = tls.accept(stream).await {
                let session = stream.get_ref().1;
                peer.server_name = session.server_name().map(str::to_owned);
                let http2 = session.alpn_protocol() == Some(b"h2");
                serve(stream, service, peer, http2).await;
            }
        });
    }
}

async fn serve(stream: impl Stream + 'static, service: Service, peer: Peer, http2: bool) {
    let handler = match service {
        Service::Raw(handler) => return handler(Box::new(stream)).await,
        Service::Http(handler) => handler,
    };
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        // hyper itself leaves the body out over HTTP/1.1 only.
        let bodiless = http2 && request.method() == http::Method::HEAD;
        let answer = handler(request, peer.clone());
        async move {
            let answer = answer.await;
            Ok::<_, Infallible>(if bodiless {
                answer.map(|_| full(""))
            } else {
                answer
            })
        }
    });
    let stream = TokioIo::new(stream);
    // A client that goes away is no business of the server's.
    let _ = if http2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .enable_connect_protocol()
            .serve_connection(stream, service)
            .await
    } else {
        hyper::server::conn::http1::Builder::new()
            .serve_connection(stream, service)
            .with_upgrades()
            .await
    };
}

struct Counted {
    stream: TcpStream,
    counters: Arc<Counters>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        self.counters.bytes.fetch_add(read as u64, Ordering::SeqCst);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
