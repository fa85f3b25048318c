//! What the tests of this crate share: a door on loopback, origins with certificates of any quality, a program.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use wardian_policy::{HostName, Policy, PolicyFile, PolicyInputs, Spelled};

use crate::ca::provider;
use crate::dns::AddressFamilies;
use crate::{
    CertificateAuthority, Credentials, Dialer, Door, DoorConfig, DoorLimits, Listeners,
    OriginalDestination, PolicyCell, Resolver, Roots, Shared, UpstreamTls,
};

mod certificates;
mod written;

pub(crate) use certificates::{AUTHORITY, Quality, acceptor};
pub(crate) use written::Written;

/// Longer than anything here takes when it works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn policy(manifest: &str) -> Policy {
    let manifest =
        PolicyFile::parse("policy.toml", manifest).unwrap_or_else(|error| panic!("{error}"));
    Policy::build(&PolicyInputs {
        file: Some(manifest),
        ..PolicyInputs::default()
    })
    .unwrap_or_else(|error| panic!("{error}"))
}

/// Something at the far end that remembers what it was sent.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
    connections: Arc<AtomicUsize>,
}

impl Origin {
    /// Speaks TLS, and answers the first bytes in it as HTTP.
    pub(crate) async fn tls(name: &str, quality: Quality) -> Self {
        let acceptor = acceptor(name, quality, &["http/1.1"]);
        Self::start(move |socket, seen| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(socket).await?;
                let mut buffer = vec![0; 4096];
                let length = stream.read(&mut buffer).await?;
                seen.lock().unwrap().extend_from_slice(&buffer[..length]);
                stream
                    .write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\norigin",
                    )
                    .await?;
                stream.shutdown().await
            }
        })
        .await
    }

    /// Answers the first bytes as HTTP, in the clear.
    pub(crate) async fn http() -> Self {
        Self::start(move |mut stream, seen| async move {
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).await?;
            seen.lock().unwrap().extend_from_slice(&buffer[..length]);
            stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nplain",
                )
                .await?;
            stream.shutdown().await
        })
        .await
    }

    /// Speaks first, then sends everything back until the end.
    pub(crate) async fn echo(greeting: &'static str) -> Self {
        Self::start(move |mut socket, seen| async move {
            socket.write_all(greeting.as_bytes()).await?;
            let mut buffer = vec![0; 65536];
            loop {
                let length = socket.read(&mut buffer).await?;
                if length == 0 {
                    return socket.shutdown().await;
                }
                seen.lock().unwrap().extend_from_slice(&buffer[..length]);
                socket.write_all(&buffer[..length]).await?;
            }
        })
        .await
    }

    async fn start<F, W>(serve: F) -> Self
    where
        F: Fn(TcpStream, Arc<Mutex<Vec<u8>>>) -> W + Send + 'static,
        W: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::default(), Arc::<AtomicUsize>::default());
        let (of_task, counter) = (Arc::clone(&seen), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(socket, Arc::clone(&of_task)));
            }
        });
        Self {
            address,
            seen,
            connections,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Tells the original destination by the program's own port.
#[derive(Default)]
struct ByPeer(Mutex<HashMap<SocketAddr, SocketAddr>>);

impl OriginalDestination for ByPeer {
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        let peer = stream.peer_addr()?;
        self.0
            .lock()
            .unwrap()
            .get(&peer)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

type Resolve = Box<dyn Fn(&HostName) -> Vec<IpAddr> + Send + Sync>;

pub(crate) struct Options {
    pub(crate) limits: DoorLimits,
    pub(crate) journal_bytes: usize,
    pub(crate) resolve: Resolve,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: DoorLimits {
                refusal_timeout: Duration::from_millis(200),
                ..DoorLimits::default()
            },
            journal_bytes: usize::MAX,
            resolve: Box::new(|_| vec![IpAddr::from([127, 0, 0, 1])]),
        }
    }
}

/// A whole door on loopback.
pub(crate) struct TestDoor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tcp: SocketAddr,
    pub(crate) dns: SocketAddr,
    pub(crate) dns_tcp: SocketAddr,
    original: Arc<ByPeer>,
    written: Written,
    stop: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
}

pub(crate) fn dialer(resolve: impl Fn(&HostName) -> Vec<IpAddr> + Send + Sync + 'static) -> Dialer {
    let mut tls = UpstreamTls::new(Roots::Empty);
    tls.trust("test-ca.pem", AUTHORITY.pem.as_bytes()).unwrap();
    Dialer::new(Resolver::with(resolve), tls, Duration::from_secs(5))
}

impl Deref for TestDoor {
    type Target = Written;

    fn deref(&self) -> &Written {
        &self.written
    }
}

impl TestDoor {
    pub(crate) async fn new(manifest: &str) -> Self {
        Self::with(manifest, Options::default()).await
    }

    pub(crate) async fn with(manifest: &str, options: Options) -> Self {
        let (journal, written) = Written::journal(options.journal_bytes);
        let original = Arc::<ByPeer>::default();
        let door = Door::new(DoorConfig {
            cache: None,
            policy: PolicyCell::new(policy(manifest)),
            journal,
            ca: CertificateAuthority::generate("test").unwrap(),
            credentials: Credentials::new(),
            dialer: dialer(options.resolve),
            limits: options.limits,
            models: Default::default(),
            hostname: "Sandbox-1".into(),
            families: AddressFamilies::Both,
            original_destination: original.clone(),
        });
        let shared = Arc::clone(door.shared());
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let dns_udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let dns_tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (stop, stopped) = oneshot::channel();
        let mut result = Self {
            shared,
            tcp: tcp.local_addr().unwrap(),
            dns: dns_udp.local_addr().unwrap(),
            dns_tcp: dns_tcp.local_addr().unwrap(),
            original,
            written,
            stop: Some(stop),
            served: None,
        };
        let listeners = Listeners {
            tcp: vec![tcp],
            dns_udp: vec![dns_udp],
            dns_tcp: vec![dns_tcp],
        };
        result.served = Some(tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            door.serve(listeners, stopped).await.unwrap();
        }));
        result
    }

    /// Connects as a program inside does that means `destination`.
    pub(crate) async fn connect_to(&self, destination: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        self.original
            .0
            .lock()
            .unwrap()
            .insert(socket.local_addr().unwrap(), destination);
        socket.connect(self.tcp).await.unwrap()
    }

    /// The same by name, which gets its synthetic address whether the policy would answer it or not.
    pub(crate) async fn connect(&self, name: &str, port: u16) -> TcpStream {
        let at = self
            .shared
            .names
            .assign(&HostName::parse(name).unwrap(), Spelled::ByRule)
            .unwrap();
        self.connect_to(SocketAddr::new(at.v4.into(), port)).await
    }

    /// Ends the door in order.
    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            tokio::time::timeout(PATIENCE, served)
                .await
                .expect("the door ends")
                .unwrap();
        }
    }

    /// TLS as a program does that trusts the sandbox's authority, or `roots` instead.
    pub(crate) fn connector(&self, roots: Option<&str>, alpn: &[&str]) -> TlsConnector {
        use rustls::pki_types::pem::PemObject;
        let pem = roots.unwrap_or(self.shared.ca.certificate_pem());
        let mut store = RootCertStore::empty();
        store
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .unwrap();
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(store)
            .with_no_client_auth();
        config.alpn_protocols = alpn
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        TlsConnector::from(Arc::new(config))
    }
}

pub(crate) fn server_name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

/// Reads to the end, or to the reset.
pub(crate) async fn rest(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
) -> (String, Option<io::ErrorKind>) {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("an end in time");
    (
        String::from_utf8_lossy(&bytes).into_owned(),
        end.err().map(|error| error.kind()),
    )
}
