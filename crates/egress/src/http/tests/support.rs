//! A door with one connection at a time, and origins that count what reaches them.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wardian_credentials::{Current, Value};
use wardian_policy::{CredentialName, Destination, Host, Port, Scheme};

use crate::CertificateAuthority;
use crate::cache::Cache;
use crate::context::{DoorLimits, HttpConnection, PolicyCell, Shared, TlsName};
use crate::credentials::{Credential, Credentials, Renewal};
use crate::dial::Alpn;
use crate::http::{ConnectionTotals, ServeError, serve};
use crate::model::ModelRecord;
use crate::model::observer::Observer;
use crate::names::Names;
use crate::refusals::Refusals;
pub(super) use crate::testing::policy;
use crate::testing::{Quality, Written, acceptor, dialer};

pub(super) const HOST: &str = "api.test.example";
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How an origin speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Plain,
    /// TLS with these protocols, in this order of preference.
    Tls(&'static [&'static str]),
    /// TLS with a certificate that nobody vouches for.
    UntrustedTls,
}

pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}
pub(super) type BoxIo = Box<dyn Io>;

/// A server on loopback. `bytes` and `connections` count what reached it, on the wire.
pub(super) struct Origin {
    pub(super) port: u16,
    pub(super) bytes: Arc<AtomicU64>,
    pub(super) connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    /// Serves each connection with `handler`, after TLS if it speaks that.
    pub(super) async fn start<F, Fut>(speaks: Speaks, handler: F) -> Self
    where
        F: Fn(BoxIo) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (bytes, connections) = (Arc::<AtomicU64>::default(), Arc::<AtomicUsize>::default());
        let (count_bytes, count) = (Arc::clone(&bytes), Arc::clone(&connections));
        let handler = Arc::new(handler);
        let acceptor = match speaks {
            Speaks::Plain => None,
            Speaks::Tls(protocols) => Some(acceptor(HOST, Quality::Good, protocols)),
            Speaks::UntrustedTls => Some(acceptor(HOST, Quality::SelfSigned, &["http/1.1"])),
        };
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let counted = Counted {
                    io: stream,
                    bytes: Arc::clone(&count_bytes),
                };
                let (handler, acceptor) = (Arc::clone(&handler), acceptor.clone());
                connections.spawn(async move {
                    match acceptor {
                        None => handler(Box::new(counted)).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(counted).await {
                                handler(Box::new(stream)).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            port,
            bytes,
            connections,
            task,
        }
    }

    /// Answers every request of every connection with what `answer` says, given the request's head and body.
    pub(super) async fn scripted<F>(speaks: Speaks, answer: F) -> Self
    where
        F: Fn(&str, &[u8]) -> Vec<u8> + Send + Sync + 'static,
    {
        let answer = Arc::new(answer);
        Self::start(speaks, move |mut io| {
            let answer = Arc::clone(&answer);
            async move {
                let mut held = Vec::new();
                while let Some((head, body)) = read_message(&mut io, &mut held).await {
                    let response = answer(&head, &body);
                    if io.write_all(&response).await.is_err() || io.flush().await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

struct Counted {
    io: TcpStream,
    bytes: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.bytes
            .fetch_add((buf.filled().len() - before) as u64, Ordering::SeqCst);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Reads one message (either kind) whose body has a Content-Length, is chunked, or is absent. `held` keeps what came
/// after it. Chunked bodies come back with their framing.
pub(super) async fn read_message<IO: AsyncRead + Unpin>(
    io: &mut IO,
    held: &mut Vec<u8>,
) -> Option<(String, Vec<u8>)> {
    let find =
        |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let head_end = loop {
        if let Some(at) = find(held, b"\r\n\r\n") {
            break at + 4;
        }
        if io.read_buf(held).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&held[..head_end]).into_owned();
    let field = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let chunked = field("transfer-encoding").is_some();
    let length = field("content-length").map_or(0, |length| length.parse::<usize>().unwrap());
    let end = loop {
        let rest = &held[head_end..];
        if chunked {
            // Trailers end with an empty line too, so the last chunk is looked for, then the empty line behind it.
            let last = if rest.starts_with(b"0\r\n") {
                Some(0)
            } else {
                find(rest, b"\r\n0\r\n").map(|at| at + 2)
            };
            if let Some(last) = last
                && let Some(at) = find(&rest[last..], b"\r\n\r\n")
            {
                break head_end + last + at + 4;
            }
        } else if rest.len() >= length {
            break head_end + length;
        }
        if io.read_buf(held).await.ok()? == 0 {
            return None;
        }
    };
    let body = held[head_end..end].to_vec();
    held.drain(..end);
    Some((head, body))
}

/// A door whose policy is `manifest`.
pub(super) struct TestDoor {
    pub(super) shared: Arc<Shared>,
    written: Written,
}

impl Deref for TestDoor {
    type Target = Written;

    fn deref(&self) -> &Written {
        &self.written
    }
}

pub(super) struct Options {
    pub(super) limits: DoorLimits,
    pub(super) secrets: Vec<(&'static str, &'static str, &'static str)>,
    /// Who renews all of them.
    pub(super) renewal: Option<Arc<dyn Renewal>>,
    pub(super) journal_bytes: usize,
    pub(super) resolves_to: &'static str,
    pub(super) cache: Option<Cache>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: DoorLimits::default(),
            secrets: Vec::new(),
            renewal: None,
            journal_bytes: usize::MAX,
            resolves_to: "127.0.0.1",
            cache: None,
        }
    }
}

/// One rule: all of `HOST` on the origin's port and on 443 and 80, pinned to the origin.
pub(super) fn allow_all(origin: &Origin) -> String {
    rule(origin, "")
}

pub(super) fn rule(origin: &Origin, more: &str) -> String {
    format!(
        "[[egress]]\nhost = \"{HOST}\"\nports = [80, 443]\nconnect = \"127.0.0.1:{}\"\nca = \"test-ca.pem\"\n{more}\n",
        origin.port
    )
}

impl TestDoor {
    pub(super) fn new(manifest: &str) -> Self {
        Self::with(manifest, Options::default())
    }

    pub(super) fn with(manifest: &str, options: Options) -> Self {
        let policy = policy(manifest);
        let mut credentials = Credentials::new();
        for (name, placeholder, secret) in options.secrets {
            let name = CredentialName::new(name).unwrap();
            let spec = policy.credential(&name).unwrap().clone();
            let value = Value::new(secret).unwrap();
            let current = Current {
                value,
                generation: 0,
                expires: None,
            };
            let renewal = options.renewal.clone();
            let credential = Credential::new(placeholder.to_owned(), current, spec, renewal);
            credentials.insert(name, credential);
        }
        let address: std::net::IpAddr = options.resolves_to.parse().unwrap();
        let (journal, written) = Written::journal(options.journal_bytes);
        let credentials = Arc::new(credentials);
        let models = Observer::new(ModelRecord::default(), &credentials, journal.clone());
        let shared = Shared {
            policy: PolicyCell::new(policy),
            refusals: Arc::new(Refusals::new(journal.clone())),
            journal,
            ca: CertificateAuthority::generate("test").unwrap(),
            credentials,
            dialer: dialer(move |_| vec![address]),
            names: Names::new(16),
            cache: options.cache,
            limits: options.limits,
            models,
        };
        Self {
            shared: Arc::new(shared),
            written,
        }
    }

    /// A program's connection to `HOST`, past TLS if the scheme says so.
    pub(super) async fn connect(&self, scheme: Scheme, alpn: Alpn) -> Program {
        let port = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let destination = Destination {
            host: Host::parse(HOST).unwrap(),
            port: Port::new(port).unwrap(),
        };
        let permit = self
            .shared
            .policy
            .load()
            .check_connection(&destination)
            .unwrap();
        let connection = HttpConnection {
            shared: Arc::clone(&self.shared),
            destination,
            permit,
            scheme,
            connection_id: 7,
            tls_name: TlsName::NotTls,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(
            TcpStream::connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        let door = tokio::spawn(serve(far.unwrap().0, alpn, connection));
        Program {
            io: near.unwrap(),
            held: Vec::new(),
            door,
        }
    }

    pub(super) async fn https(&self) -> Program {
        self.connect(Scheme::Https, Alpn::H1).await
    }

    pub(super) async fn http(&self) -> Program {
        self.connect(Scheme::Http, Alpn::None).await
    }
}

/// The program's end of a connection.
pub(super) struct Program {
    pub(super) io: TcpStream,
    held: Vec<u8>,
    pub(super) door: JoinHandle<Result<ConnectionTotals, ServeError>>,
}

impl Program {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(super) fn held_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// The next response: head and body.
    pub(super) async fn receive(&mut self) -> (String, Vec<u8>) {
        timeout(PATIENCE, read_message(&mut self.io, &mut self.held))
            .await
            .expect("a response in time")
            .expect("a whole response")
    }

    pub(super) async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> (String, Vec<u8>) {
        self.send(bytes).await;
        self.receive().await
    }

    /// Everything until the door closes.
    pub(super) async fn rest(&mut self) -> String {
        let mut bytes = std::mem::take(&mut self.held);
        // A reset after the answer ends it too.
        let _ = timeout(PATIENCE, self.io.read_to_end(&mut bytes))
            .await
            .expect("a close in time");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads until `text` has arrived.
    pub(super) async fn until(&mut self, text: &str) {
        let found = timeout(PATIENCE, async {
            while !String::from_utf8_lossy(&self.held).contains(text) {
                if self.io.read_buf(&mut self.held).await.unwrap() == 0 {
                    return false;
                }
            }
            true
        });
        let held = if found.await.expect("it arrives in time") {
            None
        } else {
            Some(&self.held)
        };
        assert!(
            held.is_none(),
            "closed before {text:?}: {}",
            String::from_utf8_lossy(&self.held)
        );
    }

    pub(super) async fn ended(self) -> Result<ConnectionTotals, ServeError> {
        drop(self.io);
        timeout(PATIENCE, self.door)
            .await
            .expect("the door lets go in time")
            .unwrap()
    }
}

/// `GET path` with nothing but a Host.
pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// A 200 with this body.
pub(super) fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(super) fn status(head: &str) -> u16 {
    head.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("{head}"))
}
