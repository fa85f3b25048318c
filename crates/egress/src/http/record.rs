//! The record of requests: written before a byte goes upstream, and once more when the exchange is over.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::timeout;
use wardian_events::{
    CacheUse, ConnectionId, CredentialPurpose, CredentialUsed, Event, Journal, ProtocolError,
    Request, RequestId, Response, ResponseOutcome, Verdict,
};
use wardian_policy::Scheme;

use super::ServeError;
use super::refusal::{Class, Refusal};
use super::tap::{End, Flow, Tap, Taps, Way};
use crate::cache::Kept;
use crate::context::HttpConnection;

/// How long the record of an exchange waits to hear that the cache has its answer. It rarely has to.
const KEEPING: Duration = Duration::from_secs(1);

/// One supervisor serves one sandbox, so numbers unique in the process are unique in its journal.
static LAST_REQUEST: AtomicU64 = AtomicU64::new(0);

fn next_id() -> RequestId {
    RequestId(LAST_REQUEST.fetch_add(1, Ordering::Relaxed) + 1)
}

/// The protocol as the program speaks it, as events name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http1,
    Http2,
}

impl Spoken {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

pub(crate) fn scheme_str(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    }
}

/// What a request event says of the request itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) spoken: Spoken,
    pub(crate) method: &'a str,
    /// Canonical, or as it came if it was never judged.
    pub(crate) target: &'a str,
    pub(crate) upgrade: Option<&'static str>,
}

fn append(journal: &Journal, event: Event) -> Result<(), ServeError> {
    journal
        .append(&event)
        .map(drop)
        .map_err(|error| ServeError::Journal(error.to_string()))
}

fn request(
    connection: &HttpConnection,
    line: Line<'_>,
    verdict: Verdict,
    rule: Option<String>,
    status: Option<u16>,
) -> Request {
    Request {
        id: next_id(),
        connection: ConnectionId(connection.connection_id),
        method: line.method.to_owned(),
        scheme: scheme_str(connection.scheme).to_owned(),
        host: connection.destination.host.to_string(),
        port: connection.destination.port.get(),
        path: line.target.to_owned(),
        version: line.spoken.as_str().to_owned(),
        upgrade: line.upgrade.map(str::to_owned),
        verdict,
        rule,
        status,
    }
}

/// Records that a request was allowed; the exchange is open from then on.
pub(crate) fn allowed(
    connection: &HttpConnection,
    line: Line<'_>,
    rule: String,
) -> Result<Exchange, ServeError> {
    let request = request(connection, line, Verdict::Allowed, Some(rule), None);
    let id = request.id;
    let started = Instant::now();
    append(&connection.shared.journal, Event::Request(request))?;
    Ok(Exchange {
        journal: connection.shared.journal.clone(),
        id,
        started,
        status: None,
        up: Flow::new(Way::Up, Taps::default()),
        down: Flow::new(Way::Down, Taps::default()),
        taps: Taps::default(),
        kept: None,
        cache: None,
        took: None,
        sent: AtomicBool::new(false),
        over: false,
    })
}

/// Records one refusal: of a request that could be read as a `request`, of anything else as a `protocol_error`.
pub(crate) fn refused(
    connection: &HttpConnection,
    line: Line<'_>,
    refusal: &Refusal,
) -> Result<(), ServeError> {
    let event = match refusal.error {
        Class::BadRequest => Event::ProtocolError(ProtocolError {
            connection: Some(ConnectionId(connection.connection_id)),
            protocol: line.spoken.as_str().to_owned(),
            reason: refusal.reason.to_owned(),
            detail: refusal.message.clone(),
            status: Some(refusal.status),
        }),
        _ => Event::Request(request(
            connection,
            line,
            Verdict::denied(refusal.reason),
            refusal.rule.clone(),
            Some(refusal.status),
        )),
    };
    refuse(connection, &event)
}

fn refuse(connection: &HttpConnection, event: &Event) -> Result<(), ServeError> {
    let written = connection.shared.refusals.record(event);
    written.map_err(|error| ServeError::Journal(error.to_string()))
}

/// Records that a connection was closed for what it sent, with no request to speak of.
pub(crate) fn protocol_error(
    connection: &HttpConnection,
    spoken: Spoken,
    reason: &str,
    detail: &str,
) -> Result<(), ServeError> {
    let event = ProtocolError {
        connection: Some(ConnectionId(connection.connection_id)),
        protocol: spoken.as_str().to_owned(),
        reason: reason.to_owned(),
        detail: detail.to_owned(),
        status: None,
    };
    refuse(connection, &Event::ProtocolError(event))
}

/// An allowed request that is not over yet. Dropping it records that it was cut.
#[derive(Debug)]
pub(crate) struct Exchange {
    journal: Journal,
    id: RequestId,
    started: Instant,
    /// Of the final response, as soon as it is being written to the program.
    pub(crate) status: Option<u16>,
    pub(crate) up: Flow,
    pub(crate) down: Flow,
    taps: Taps,
    /// Tells whether the answer was added to the cache.
    kept: Option<Kept>,
    cache: Option<CacheUse>,
    /// How long it took, once it was complete.
    took: Option<Duration>,
    /// All of the request has gone to the origin.
    pub(crate) sent: AtomicBool,
    over: bool,
}

impl Exchange {
    /// Records that a credential is about to be sent.
    pub(crate) fn credential_used(
        &self,
        connection: &HttpConnection,
        credential: &str,
        rule: String,
    ) -> Result<(), ServeError> {
        append(
            &self.journal,
            Event::CredentialUsed(CredentialUsed {
                credential: credential.to_owned(),
                purpose: CredentialPurpose::Request { request: self.id },
                host: connection.destination.host.to_string(),
                rule: Some(rule),
            }),
        )
    }

    pub(crate) fn id(&self) -> RequestId {
        self.id
    }

    /// Shows the exchange to `taps`, before anything of it has passed.
    pub(crate) fn tap(&mut self, taps: impl IntoIterator<Item = Box<dyn Tap>>) {
        for tap in taps {
            self.taps.add(tap);
        }
        self.up = Flow::new(Way::Up, self.taps.clone());
        self.down = Flow::new(Way::Down, self.taps.clone());
    }

    /// Has `keeper` keep the answer. An exchange that goes to another connection has the keeper of the first.
    pub(crate) fn keep(&mut self, keeper: Box<dyn Tap>, kept: Kept) {
        if self.kept.is_none() {
            self.tap([keeper]);
            self.kept = Some(kept);
        }
    }

    /// The answer comes from the cache, so that it need not be kept.
    pub(crate) fn comes_from_cache(&mut self, how: CacheUse) {
        self.cache = Some(how);
        self.kept = None;
    }

    /// All of the answer is with the program. If the answer is being kept, its record waits a little to hear whether it
    /// was; nothing else does.
    pub(crate) fn complete(mut self) -> Result<(), ServeError> {
        self.taps.end(End::Complete);
        self.took = Some(self.started.elapsed());
        if self.is_kept() == Err(TryRecvError::Empty) {
            tokio::spawn(self.hear());
            return Ok(());
        }
        self.finish(ResponseOutcome::Complete)
    }

    async fn hear(mut self) {
        if let Some(kept) = &mut self.kept {
            if let Ok(Ok(())) = timeout(KEEPING, kept).await {
                self.cache = Some(CacheUse::Stored);
            }
            self.kept = None;
        }
        // A journal that failed refuses everything from then on.
        let _ = self.finish(ResponseOutcome::Complete);
    }

    fn is_kept(&mut self) -> Result<(), TryRecvError> {
        let Some(kept) = &mut self.kept else {
            return Err(TryRecvError::Closed);
        };
        kept.try_recv()?;
        self.cache = Some(CacheUse::Stored);
        self.kept = None;
        Ok(())
    }

    pub(crate) fn finish(mut self, outcome: ResponseOutcome) -> Result<(), ServeError> {
        self.over = true;
        self.taps.end(match outcome {
            ResponseOutcome::Complete => End::Complete,
            _ => End::Broken,
        });
        append(&self.journal, self.event(outcome))
    }

    fn event(&self, outcome: ResponseOutcome) -> Event {
        let took = self.took.unwrap_or_else(|| self.started.elapsed());
        Event::Response(Response {
            request: self.id,
            status: self.status,
            bytes_up: self.up.bytes(),
            bytes_down: self.down.bytes(),
            milliseconds: took.as_millis() as u64,
            cache: self.cache,
            outcome,
        })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.over {
            self.taps.end(End::Broken);
            let outcome = match self.took {
                Some(_) => ResponseOutcome::Complete,
                None => cut("connection_cut"),
            };
            // There is no more waiting, but it may be known.
            let _ = self.is_kept();
            // Whoever dropped the connection is no longer there to hear of a journal that failed; the journal itself
            // refuses everything from then on.
            let _ = append(&self.journal, self.event(outcome));
        }
    }
}

pub(crate) fn cut(reason: &str) -> ResponseOutcome {
    ResponseOutcome::Cut {
        reason: reason.to_owned(),
    }
}

pub(crate) fn upstream_failed(reason: &str) -> ResponseOutcome {
    ResponseOutcome::UpstreamFailed {
        reason: reason.to_owned(),
    }
}
