//! The sandbox's door: its authority, its secrets, and the threads that serve it.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use wardian_egress::cache::Cache;
use wardian_egress::dial::Resolver;
use wardian_egress::dns::AddressFamilies;
use wardian_egress::model::conversation::Store;
use wardian_egress::model::prices::Prices;
use wardian_egress::tls::{Roots, UpstreamTls};
use wardian_egress::{
    CertificateAuthority, Credential, Credentials, Dialer, Door, DoorConfig, DoorLimits, Listeners,
    ModelRecord, OriginalDestination, PolicyCell,
};
use wardian_events::{Flusher, Journal};
use wardian_policy::{CredentialName, Policy, Recording};
use wardian_sandbox::SandboxName;
use wardian_sandbox::builtin::Listener;
use wardian_sandbox::state::SandboxDirectory;

use crate::custody::{Custody, Held};
use crate::ending::Ending;
use crate::failure::Failed;
use crate::protocol::How;

/// How often the journal is forced to the disk while events arrive.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// The door does little but wait: a second thread keeps one busy connection from delaying the others.
const THREADS: usize = 2;
/// How long connections may take to write their last record.
const CLOSING: Duration = Duration::from_secs(2);

/// All that a door is made of but its listeners.
#[derive(Debug)]
pub(crate) struct ClosedDoor {
    config: DoorConfig,
    certificate: String,
    custody: Option<Custody>,
}

impl ClosedDoor {
    /// Makes the sandbox's authority and takes in its secrets: to be called after pid 1 was forked.
    pub(crate) fn build(
        name: &SandboxName,
        policy: &Policy,
        journal: &Journal,
        custody: Option<(Custody, Vec<Held>)>,
        models: ModelRecord,
        cache: Option<Cache>,
    ) -> Result<Self, Failed> {
        let ca = CertificateAuthority::generate(name.as_str()).map_err(Failed::sandbox)?;
        let limits = DoorLimits::default();
        let dialer = Dialer::new(
            Resolver::system(),
            upstream_tls(policy)?,
            limits.dial_timeout,
        );
        let certificate = ca.certificate_pem().to_owned();
        let (custody, held) = custody.unzip();
        let config = DoorConfig {
            policy: PolicyCell::new(policy.clone()),
            journal: journal.clone(),
            ca,
            credentials: credentials(policy, custody.as_ref(), held.unwrap_or_default())?,
            dialer,
            cache,
            limits,
            models,
            hostname: name.to_string(),
            families: AddressFamilies::Both,
            original_destination: Arc::new(Redirected),
        };
        Ok(Self {
            config,
            certificate,
            custody,
        })
    }

    /// The authority's certificate in PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Serves until dropped. Should serving fail, the sandbox ends: it would only hang.
    pub(crate) fn open(
        mut self,
        sockets: Vec<(Listener, OwnedFd)>,
        ending: &Ending,
    ) -> Result<OpenDoor, Failed> {
        if let Some(custody) = &self.custody {
            custody.listen()?;
        }
        let listeners = listeners(sockets);
        if listeners.tcp.len() < 2 {
            self.config.families = AddressFamilies::V4Only;
        }
        let flusher = self
            .config
            .journal
            .flush_every(FLUSH_INTERVAL)
            .map_err(Failed::sandbox)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("door")
            .enable_all()
            .build()
            .map_err(Failed::sandbox)?;
        let (close, closed) = oneshot::channel::<()>();
        let door = Door::new(self.config);
        let ending = ending.clone();
        let serving = runtime.spawn(async move {
            let shutdown = async {
                let _ = closed.await;
            };
            if let Err(error) = door.serve(listeners, shutdown).await {
                ending.end(How::Lost(format!("the door failed: {error}")));
            }
        });
        Ok(OpenDoor {
            runtime,
            serving,
            close,
            _flusher: flusher,
        })
    }
}

/// A door that is being served.
#[derive(Debug)]
pub(crate) struct OpenDoor {
    runtime: Runtime,
    serving: tokio::task::JoinHandle<()>,
    close: oneshot::Sender<()>,
    _flusher: Flusher,
}

impl OpenDoor {
    /// Cuts what is open and waits until every connection has its last record.
    pub(crate) fn close(self) {
        let _ = self.close.send(());
        let serving = self.serving;
        let _ = self
            .runtime
            .block_on(async { tokio::time::timeout(CLOSING, serving).await });
        self.runtime.shutdown_timeout(CLOSING);
    }
}

/// How calls of models are recorded: by the user's prices, and in the directory of the sandbox where the policy wants
/// what was said to be kept.
pub(crate) fn model_record(
    policy: &Policy,
    prices: Option<&str>,
    directory: &SandboxDirectory,
) -> Result<ModelRecord, Failed> {
    let prices = match prices {
        Some(text) => Prices::with_own(text).map_err(Failed::sandbox)?,
        None => Prices::built_in(),
    };
    let conversations = match policy.recording() {
        Recording::Metadata => None,
        Recording::Full => Some(Store::open(directory.path()).map_err(|error| {
            let path = directory.path().display();
            Failed::sandbox(format!("cannot keep conversations in {path}: {error}"))
        })?),
    };
    Ok(ModelRecord {
        prices,
        conversations,
    })
}

pub(crate) fn upstream_tls(policy: &Policy) -> Result<UpstreamTls, Failed> {
    let mut tls = UpstreamTls::new(Roots::System);
    for path in policy.extra_cas() {
        let pem = fs::read(path)
            .map_err(|error| Failed::sandbox(format!("cannot read the CA file {path}: {error}")))?;
        tls.trust(path, &pem).map_err(Failed::sandbox)?;
    }
    Ok(tls)
}

fn credentials(
    policy: &Policy,
    custody: Option<&Custody>,
    held: Vec<Held>,
) -> Result<Credentials, Failed> {
    let mut credentials = Credentials::new();
    let Some(custody) = custody else {
        return Ok(credentials);
    };
    for held in held {
        let unknown = || Failed::sandbox(format!("no credential is named {:?}", held.name));
        let name = CredentialName::new(&held.name).ok_or_else(unknown)?;
        let spec = policy.credential(&name).ok_or_else(unknown)?.clone();
        let current = custody.current(&held.name)?;
        let renewal = held.renewable.then(|| Arc::new(custody.clone()) as _);
        let credential = Credential::new(held.placeholder, current, spec, renewal);
        credentials.insert(name, credential);
    }
    Ok(credentials)
}

fn listeners(sockets: Vec<(Listener, OwnedFd)>) -> Listeners {
    let mut listeners = Listeners::default();
    for (kind, socket) in sockets {
        match kind {
            Listener::Tcp => listeners.tcp.push(TcpListener::from(socket)),
            Listener::DnsUdp => listeners.dns_udp.push(UdpSocket::from(socket)),
            Listener::DnsTcp => listeners.dns_tcp.push(TcpListener::from(socket)),
        }
    }
    listeners
}

/// The seal's redirect rules remember where a connection meant to go.
struct Redirected;

impl OriginalDestination for Redirected {
    fn of(&self, stream: &tokio::net::TcpStream) -> io::Result<SocketAddr> {
        wardian_linux::seal::original_destination(stream.as_fd())
    }
}
