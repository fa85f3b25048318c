//! The origin connections of one HTTP/2 downstream connection: dialled when the first permitted request needs one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use wardian_policy::Policy;

use super::{CONNECTION_WINDOW, SEND_BUFFER, STREAM_WINDOW};
use crate::context::HttpConnection;
use crate::dial::{self, Alpn, AlpnOffer, DialError};
use crate::http::judge::Permitted;
use crate::http::limits::MAX_BRIDGED;
use crate::http::origin::{self, Dialed, Identity, Origin};
use crate::http::refusal::{About, Refusal};

/// Where one request goes.
#[derive(Debug)]
pub(crate) enum Route {
    H2 {
        sender: SendRequest<Bytes>,
        identity: Identity,
    },
    H1 {
        origin: Box<Origin>,
        slot: OwnedSemaphorePermit,
    },
}

#[derive(Debug)]
pub(crate) struct Upstreams {
    state: Mutex<State>,
    /// Counts failed attempts, so that those who waited for one share its outcome rather than repeat it.
    failures: AtomicU64,
    bridged: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    known: Known,
    last_failure: Option<Refusal>,
    /// Connections for which there is a newer one, with streams that are still running.
    retired: Vec<Driver>,
}

impl State {
    fn renew(&mut self, known: Known) {
        self.retired.retain(|driver| !driver.0.is_finished());
        if let Known::H2(shared) = std::mem::replace(&mut self.known, known) {
            self.retired.push(shared.driver);
        }
    }
}

#[derive(Debug, Default)]
enum Known {
    #[default]
    Nothing,
    H2(Shared),
    /// The origin speaks HTTP/1.1 only; connections that wait for a next request.
    H1(Vec<Origin>),
}

/// One HTTP/2 connection to the origin.
#[derive(Debug)]
struct Shared {
    sender: SendRequest<Bytes>,
    identity: Identity,
    /// In force when it was dialled; a later one might pin the name elsewhere.
    policy: Arc<Policy>,
    driver: Driver,
}

impl Shared {
    fn serves(&self, policy: &Arc<Policy>) -> bool {
        Arc::ptr_eq(&self.policy, policy) && !self.driver.0.is_finished()
    }
}

/// Where the host is, as the lookup of a request found it.
pub(crate) type Located = Result<dial::Route, DialError>;

/// Ends the task that drives a connection when nobody holds the connection any more.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Default for Upstreams {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            failures: AtomicU64::new(0),
            bridged: Arc::new(Semaphore::new(MAX_BRIDGED)),
        }
    }
}

impl Upstreams {
    /// Would a request have to dial now?
    pub(crate) async fn must_dial(&self, policy: &Arc<Policy>) -> bool {
        match &self.state.lock().await.known {
            Known::Nothing => true,
            Known::H2(shared) => !shared.serves(policy),
            Known::H1(idle) => idle.is_empty(),
        }
    }

    /// A connection for `permitted`: one that is open, or a new one along `located` (looked up again if that is used
    /// up).
    pub(crate) async fn route(
        &self,
        connection: &HttpConnection,
        permitted: &Permitted,
        mut located: Option<Located>,
        about: About<'_>,
    ) -> Result<Route, Refusal> {
        loop {
            let failures = self.failures.load(Ordering::Acquire);
            let mut state = self.state.lock().await;
            if self.failures.load(Ordering::Acquire) != failures
                && let Some(failure) = &state.last_failure
            {
                return Err(failure.clone());
            }
            let sender = match &mut state.known {
                Known::H2(shared) if shared.serves(&permitted.policy) => {
                    Some((shared.sender.clone(), shared.identity))
                }
                Known::H1(idle) => {
                    while let Some(mut origin) = idle.pop() {
                        if origin.is_usable(&permitted.policy).await {
                            drop(state);
                            return Ok(Route::H1 {
                                origin: Box::new(origin),
                                slot: self.slot().await,
                            });
                        }
                    }
                    drop(state);
                    let slot = self.slot().await;
                    let dialed = dial(
                        connection,
                        permitted,
                        located.take(),
                        AlpnOffer::Http1,
                        about,
                    )
                    .await?;
                    return Ok(Route::H1 {
                        origin: Box::new(Origin::from(dialed)),
                        slot,
                    });
                }
                Known::H2(_) | Known::Nothing => None,
            };
            if let Some((sender, identity)) = sender {
                drop(state);
                // May wait until the origin allows one more stream.
                match sender.ready().await {
                    Ok(sender) => return Ok(Route::H2 { sender, identity }),
                    Err(_) => {
                        self.forget().await;
                        continue;
                    }
                }
            }
            match connect(connection, permitted, located.take(), about).await {
                Ok(known) => state.renew(known),
                Err(refusal) => {
                    state.last_failure = Some(refusal.clone());
                    self.failures.fetch_add(1, Ordering::Release);
                    return Err(refusal);
                }
            }
        }
    }

    /// A connection of its own that speaks HTTP/1.1, for a WebSocket.
    pub(crate) async fn separate(
        &self,
        connection: &HttpConnection,
        permitted: &Permitted,
        located: Option<Located>,
        about: About<'_>,
    ) -> Result<Origin, Refusal> {
        dial(connection, permitted, located, AlpnOffer::Http1, about)
            .await
            .map(Origin::from)
    }

    /// Takes back an HTTP/1.1 connection whose exchange is complete.
    pub(crate) async fn give_back(&self, mut origin: Origin) {
        origin.reused = true;
        origin.source.rest();
        if let Known::H1(idle) = &mut self.state.lock().await.known
            && idle.len() < MAX_BRIDGED
        {
            idle.push(origin);
        }
    }

    /// Lets go of a connection on which no further stream can begin.
    pub(crate) async fn forget(&self) {
        let mut state = self.state.lock().await;
        if matches!(&state.known, Known::H2(shared) if shared.driver.0.is_finished() || shared.sender.clone().ready().await.is_err())
        {
            state.renew(Known::Nothing);
        }
    }

    async fn slot(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.bridged).acquire_owned().await {
            Ok(slot) => slot,
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn dial(
    connection: &HttpConnection,
    permitted: &Permitted,
    located: Option<Located>,
    offer: AlpnOffer,
    about: About<'_>,
) -> Result<Dialed, Refusal> {
    let located = match located {
        Some(located) => located,
        None => origin::locate(connection, permitted).await,
    };
    let opened = match located {
        Ok(route) => origin::open(connection, permitted, route, offer).await,
        Err(error) => Err(error),
    };
    opened.map_err(|error| Refusal::dial(&error, about))
}

async fn connect(
    connection: &HttpConnection,
    permitted: &Permitted,
    located: Option<Located>,
    about: About<'_>,
) -> Result<Known, Refusal> {
    let dialed = dial(connection, permitted, located, AlpnOffer::Both, about).await?;
    if dialed.alpn != Alpn::H2 {
        return Ok(Known::H1(vec![Origin::from(dialed)]));
    }
    let Dialed {
        io,
        identity,
        policy,
        ..
    } = dialed;
    let (sender, driver) = client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(64 * 1024)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake::<_, Bytes>(io)
        .await
        .map_err(|error| {
            Refusal::upstream(
                "bad_upstream_response",
                &format!("HTTP/2 handshake: {error}"),
                about,
            )
        })?;
    let driver = tokio::spawn(async move {
        let _ = driver.await;
    });
    Ok(Known::H2(Shared {
        sender,
        identity,
        policy,
        driver: Driver(driver),
    }))
}
