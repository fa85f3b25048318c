//! One door: its listeners, and the tasks that answer on them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use wardian_events::Journal;

use crate::ca::CertificateAuthority;
use crate::cache::Cache;
use crate::connection::{Doorway, handle, refuse_overload};
use crate::context::{DoorLimits, PolicyCell, Shared};
use crate::credentials::Credentials;
use crate::dial::Dialer;
use crate::dns::{AddressFamilies, Responder, listen};
use crate::model::ModelRecord;
use crate::model::observer::Observer;
use crate::names::Names;
use crate::refusals::Refusals;

/// The sockets that the seal handed out. All of them must be listening or bound, inside the sandbox's namespace.
#[derive(Debug, Default)]
pub struct Listeners {
    pub tcp: Vec<std::net::TcpListener>,
    pub dns_udp: Vec<std::net::UdpSocket>,
    pub dns_tcp: Vec<std::net::TcpListener>,
}

/// How the steering tells where a program meant to go.
pub trait OriginalDestination: Send + Sync {
    /// The address that the program connected to, before it was steered to the door. An error, or the door's own
    /// address, means that it was not steered: such a connection is refused.
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddr>;
}

/// How long the end of a door waits for its last downloads to be kept.
const SETTLING: Duration = Duration::from_secs(1);

/// What a door is made of.
pub struct DoorConfig {
    pub policy: PolicyCell,
    pub journal: Journal,
    pub ca: CertificateAuthority,
    pub credentials: Credentials,
    pub dialer: Dialer,
    /// Downloads that are kept between sandboxes, if they are.
    pub cache: Option<Cache>,
    pub limits: DoorLimits,
    pub models: ModelRecord,
    /// The sandbox's own host name.
    pub hostname: String,
    pub families: AddressFamilies,
    pub original_destination: Arc<dyn OriginalDestination>,
}

impl std::fmt::Debug for DoorConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DoorConfig")
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}

impl DoorConfig {
    fn into_shared(self) -> Arc<Shared> {
        let names = Names::new(self.limits.max_names);
        let ca = self.ca.with_max_leaves(self.limits.max_leaves);
        let credentials = Arc::new(self.credentials);
        let models = Observer::new(self.models, &credentials, self.journal.clone());
        Arc::new(Shared {
            policy: self.policy,
            refusals: Arc::new(Refusals::new(self.journal.clone())),
            journal: self.journal,
            ca,
            credentials,
            dialer: self.dialer,
            names,
            cache: self.cache,
            limits: self.limits,
            models,
        })
    }
}

/// Why a door does not open.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error("the door has no TCP listener")]
    NoListener,
    #[error("the door's sockets cannot be used")]
    Socket(#[from] io::Error),
}

/// One sandbox's way out. Serving consumes it.
#[derive(Debug)]
pub struct Door {
    doorway: Arc<Doorway>,
    hostname: String,
    families: AddressFamilies,
}

impl Door {
    pub fn new(config: DoorConfig) -> Self {
        let original = Arc::clone(&config.original_destination);
        let (hostname, families) = (config.hostname.clone(), config.families);
        Self {
            doorway: Arc::new(Doorway::new(config.into_shared(), original)),
            hostname,
            families,
        }
    }

    /// For whoever replaces the policy or asks what the door holds while it serves.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.doorway.shared
    }

    /// Answers on `listeners` until `shutdown` resolves; then cuts every connection and waits until each has its last
    /// record. Needs a tokio runtime with I/O and time.
    pub async fn serve(
        self,
        listeners: Listeners,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), DoorError> {
        if listeners.tcp.is_empty() {
            return Err(DoorError::NoListener);
        }
        let responder = Arc::new(Responder::new(
            &self.doorway.shared,
            &self.hostname,
            self.families,
        ));
        let limits = &self.doorway.shared.limits;
        let (arrivals, mut arrived) = mpsc::channel(64);
        let mut loops = JoinSet::new();
        for listener in listeners.tcp {
            listener.set_nonblocking(true)?;
            loops.spawn(accept(TcpListener::from_std(listener)?, arrivals.clone()));
        }
        for socket in listeners.dns_udp {
            socket.set_nonblocking(true)?;
            loops.spawn(listen::udp(
                UdpSocket::from_std(socket)?,
                Arc::clone(&responder),
            ));
        }
        for listener in listeners.dns_tcp {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            loops.spawn(listen::tcp(
                listener,
                Arc::clone(&responder),
                limits.max_dns_connections,
            ));
        }
        let refusals = Arc::clone(&self.doorway.shared.refusals);
        loops.spawn(async move { refusals.run().await });

        let places = Arc::new(Semaphore::new(limits.max_connections.max(1)));
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(ended) = connections.join_next() => report(ended),
                Some(socket) = arrived.recv() => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        let doorway = Arc::clone(&self.doorway);
                        connections.spawn(async move {
                            handle(doorway, socket).await;
                            drop(place);
                        });
                    }
                    Err(_) => refuse_overload(&self.doorway, socket),
                },
                Some(ended) = loops.join_next() => report(ended),
            }
        }
        loops.shutdown().await;
        connections.shutdown().await;
        if let Some(cache) = &self.doorway.shared.cache {
            // Records of the last downloads wait for it.
            let _ = tokio::time::timeout(SETTLING, cache.settle()).await;
        }
        self.doorway.shared.refusals.flush();
        let shared = Arc::clone(&self.doorway.shared);
        let closed = tokio::task::spawn_blocking(move || shared.models.close()).await;
        report(closed);
        Ok(())
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task of the door panicked");
    }
}

async fn accept(listener: TcpListener, arrivals: mpsc::Sender<TcpStream>) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                if arrivals.send(socket).await.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // No descriptors left: those who wait are accepted when others have ended.
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
