//! One connection, from accept to its end.
//!
//! ```text
//! accept -> original destination -> name -> policy -+-> refuse: record, then tell the program in its own protocol
//!                                                   +-> tcp: look up, check, record, dial, tunnel
//!                                                   +-> passthrough: ClientHello, the same, with the hello in front
//!                                                   +-> inspect: first bytes, record, end TLS, serve HTTP
//! ```
//!
//! Each connection has exactly one verdict in the journal, written before anything is done for it, and one
//! `connection_closed` if it was allowed. When the policy is replaced, every connection is judged again and cut if the
//! new policy refuses it or would reach its host in another way.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpStream;
use wardian_events::{ConnectionId, HostAbsent, HostFact, JournalError};
use wardian_policy::{ConnectionPermit, Destination, Host, Mode, Policy, Port};

mod first_bytes;
mod inspect;
mod ledger;
mod pass;
mod refuse;
#[cfg(test)]
mod tests;

use ledger::Ledger;
use refuse::Refused;

use crate::client::{ClientStream, Meter};
use crate::context::{PolicyWatch, Shared};
use crate::door::OriginalDestination;
use crate::names::{Lease, Meaning};

/// What every connection starts from.
pub(crate) struct Doorway {
    pub(crate) shared: Arc<Shared>,
    original: Arc<dyn OriginalDestination>,
    last_id: AtomicU64,
}

impl fmt::Debug for Doorway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorway").finish_non_exhaustive()
    }
}

impl Doorway {
    pub(crate) fn new(shared: Arc<Shared>, original: Arc<dyn OriginalDestination>) -> Self {
        Self {
            shared,
            original,
            last_id: AtomicU64::new(0),
        }
    }

    fn next_id(&self) -> ConnectionId {
        ConnectionId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Where a program meant to go.
struct Arrival {
    destination: Destination,
    host: HostFact,
    /// Keeps the synthetic address with its name while the connection lives.
    _lease: Option<Lease>,
}

/// Serves one accepted connection to its end.
pub(crate) async fn handle(doorway: Arc<Doorway>, socket: TcpStream) {
    let shared = &doorway.shared;
    let id = doorway.next_id();
    // Costs only latency if it fails.
    let _ = socket.set_nodelay(true);
    let own = socket.local_addr().ok();
    let original = doorway
        .original
        .of(&socket)
        .ok()
        .filter(|original| Some(*original) != own);
    let client = ClientStream::new(socket);
    let mut ledger = Ledger::new(shared, id, Arc::clone(client.meter()));
    let Some(address) = original else {
        ledger.to(
            own.unwrap_or(UNKNOWN),
            HostFact::absent(HostAbsent::NotLookedFor),
        );
        let refused = Refused::because("not_steered", "the connection was made to the door itself");
        return Box::pin(refused.conclude(client, &ledger, shared)).await;
    };
    // Before the policy is loaded, so that no replacement is missed.
    let mut watch = shared.policy.watch();
    let policy = shared.policy.load();
    let arrival = match arrive(shared, address) {
        Ok(arrival) => arrival,
        Err((absent, refused)) => {
            ledger.to(address, HostFact::absent(absent));
            return Box::pin(refused.conclude(client, &ledger, shared)).await;
        }
    };
    ledger.to(address, arrival.host.clone());
    let permit = match policy.check_connection(&arrival.destination) {
        Ok(permit) => permit,
        Err(denial) => {
            if let Host::Ip(_) = arrival.destination.host {
                ledger.to(address, HostFact::absent(HostAbsent::NotSynthetic));
            }
            let refused = Refused::denied(&denial, &arrival.destination.host);
            return Box::pin(refused.conclude(client, &ledger, shared)).await;
        }
    };
    ledger.permitted(&permit);
    let meter = Arc::clone(client.meter());
    let permitted = Permitted {
        shared: Arc::clone(shared),
        policy,
        destination: arrival.destination.clone(),
        permit: permit.clone(),
        id,
    };
    let ending = tokio::select! {
        ending = permitted.run(client, &ledger) => ending,
        reason = outdated(shared, &arrival.destination, &permit, &mut watch, &meter) => {
            Err(Ending::Cut(reason))
        }
    };
    match ending {
        Ok(()) => {}
        Err(Ending::Cut(reason)) => ledger.cut(reason),
        Err(Ending::Refused(refusal)) => {
            let (client, refused) = *refusal;
            Box::pin(refused.conclude(client, &ledger, shared)).await;
        }
        Err(Ending::Unrecorded(error)) => {
            tracing::error!(%error, "a connection was refused because it cannot be recorded");
        }
    }
}

/// Where a socket's address is not known, which no steered connection is like.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

fn arrive(shared: &Shared, address: SocketAddr) -> Result<Arrival, (HostAbsent, Refused)> {
    let Some(port) = Port::new(address.port()) else {
        let refused = Refused::because("port_zero", "port 0 is no destination");
        return Err((HostAbsent::NotLookedFor, refused));
    };
    match shared.names.meaning(address.ip()) {
        Meaning::Name(lease) => Ok(Arrival {
            destination: Destination {
                host: Host::Name(lease.name().clone()),
                port,
            },
            host: HostFact::known(lease.name().as_str()),
            _lease: Some(lease),
        }),
        Meaning::Literal(ip) => Ok(Arrival {
            destination: Destination {
                host: Host::from(ip),
                port,
            },
            host: HostFact::known(ip.to_string()),
            _lease: None,
        }),
        Meaning::Unassigned => Err((
            HostAbsent::UnknownSynthetic,
            Refused::because(
                "unknown_synthetic_address",
                "the address stands for no name (any more); look the name up again",
            ),
        )),
    }
}

/// A connection that the policy lets in.
struct Permitted {
    shared: Arc<Shared>,
    policy: Arc<Policy>,
    destination: Destination,
    permit: ConnectionPermit,
    id: ConnectionId,
}

/// Why a permitted connection did not end by itself.
enum Ending {
    /// The door ended it, whether it had been recorded yet or not.
    Cut(&'static str),
    /// What came on it is not what its rule is for. Not recorded yet.
    Refused(Box<(ClientStream, Refused)>),
    /// Nothing was done for it.
    Unrecorded(JournalError),
}

impl Ending {
    fn refused(client: ClientStream, refused: Refused) -> Self {
        Self::Refused(Box::new((client, refused)))
    }
}

impl From<JournalError> for Ending {
    fn from(error: JournalError) -> Self {
        Self::Unrecorded(error)
    }
}

impl Permitted {
    async fn run(self, client: ClientStream, ledger: &Ledger) -> Result<(), Ending> {
        // Boxed, so that no way makes room for the largest of them.
        match self.permit.mode() {
            Mode::Tcp => Box::pin(pass::tcp(self, client, ledger)).await,
            Mode::Passthrough => Box::pin(pass::tls(self, client, ledger)).await,
            Mode::Inspect => Box::pin(inspect::run(self, client, ledger)).await,
        }
    }
}

/// Resolves when a replaced policy no longer permits the connection as it is, which is then set to be reset.
async fn outdated(
    shared: &Shared,
    destination: &Destination,
    permit: &ConnectionPermit,
    watch: &mut PolicyWatch,
    meter: &Meter,
) -> &'static str {
    loop {
        watch.changed().await;
        let reason = match shared.policy.load().check_connection(destination) {
            Err(denial) => denial.reason(),
            Ok(now) if !same_way(&now, permit) => "policy_changed",
            Ok(_) => continue,
        };
        meter.reset_on_drop();
        return reason;
    }
}

/// Whether two permits treat a connection alike. Which rule it was does not matter.
fn same_way(one: &ConnectionPermit, other: &ConnectionPermit) -> bool {
    one.mode() == other.mode()
        && one.upstream() == other.upstream()
        && one.extra_ca() == other.extra_ca()
}

/// Refuses a connection for which there is no room, without a task and without reading from it.
pub(crate) fn refuse_overload(doorway: &Doorway, socket: TcpStream) {
    let id = doorway.next_id();
    let address = doorway
        .original
        .of(&socket)
        .or_else(|_| socket.local_addr())
        .unwrap_or(UNKNOWN);
    let client = ClientStream::new(socket);
    let mut ledger = Ledger::new(&doorway.shared, id, Arc::clone(client.meter()));
    ledger.to(address, HostFact::absent(HostAbsent::NotLookedFor));
    ledger.deny_or_log("too_many_connections", None, None);
    client.reset();
}
