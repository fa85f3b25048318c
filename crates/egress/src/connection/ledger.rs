//! The records of one connection: one verdict, and one end if it was allowed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use wardian_events::{
    Connection, ConnectionClosed, ConnectionId, ConnectionMode, Event, HostAbsent, HostFact,
    Journal, JournalError, ProtocolError, Verdict,
};
use wardian_policy::{ConnectionPermit, Mode};

use crate::client::Meter;
use crate::context::Shared;
use crate::refusals::Refusals;

/// Writes what happens to one connection. Dropping it writes what is still missing.
#[derive(Debug)]
pub(super) struct Ledger {
    journal: Journal,
    refusals: Arc<Refusals>,
    id: ConnectionId,
    meter: Arc<Meter>,
    started: Instant,
    destination: SocketAddr,
    host: HostFact,
    rule: Option<String>,
    mode: ConnectionMode,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// No verdict yet.
    Judging,
    /// Allowed; why it was cut, if it was.
    Open(Option<&'static str>),
    /// Nothing more to say.
    Done,
}

impl Ledger {
    pub(super) fn new(shared: &Shared, id: ConnectionId, meter: Arc<Meter>) -> Self {
        Self {
            journal: shared.journal.clone(),
            refusals: Arc::clone(&shared.refusals),
            id,
            meter,
            started: Instant::now(),
            destination: super::UNKNOWN,
            host: HostFact::absent(HostAbsent::NotLookedFor),
            rule: None,
            mode: ConnectionMode::None,
            state: Mutex::new(State::Judging),
        }
    }

    /// Where the program meant to go, as far as it was found out.
    pub(super) fn to(&mut self, destination: SocketAddr, host: HostFact) {
        self.destination = destination;
        self.host = host;
    }

    pub(super) fn permitted(&mut self, permit: &ConnectionPermit) {
        self.rule = Some(permit.rule().to_string());
        self.mode = match permit.mode() {
            Mode::Inspect => ConnectionMode::Inspect,
            Mode::Passthrough => ConnectionMode::Passthrough,
            Mode::Tcp => ConnectionMode::Tcp,
        };
    }

    /// Records that the connection is let through. On `Err`, it must not be, and dropping its stream resets it.
    pub(super) fn allow(&self, protocol: Option<&str>) -> Result<(), JournalError> {
        let mut state = self.state();
        let event = self.event(Verdict::Allowed, self.rule.clone(), self.mode, protocol);
        let written = self.journal.append(&event);
        *state = match &written {
            Ok(_) => State::Open(None),
            Err(_) => {
                self.meter.reset_on_drop();
                State::Done
            }
        };
        written.map(drop)
    }

    /// Records that it is refused. `rule` is the rule that refuses, if one does.
    pub(super) fn deny(
        &self,
        reason: &str,
        rule: Option<String>,
        protocol: Option<&str>,
    ) -> Result<(), JournalError> {
        let mut state = self.state();
        *state = State::Done;
        let event = self.event(
            Verdict::denied(reason),
            rule,
            ConnectionMode::None,
            protocol,
        );
        self.refusals.record(&event)
    }

    /// As [`Ledger::deny`], where nothing depends on the record: the connection is refused either way.
    pub(super) fn deny_or_log(&self, reason: &str, rule: Option<String>, protocol: Option<&str>) {
        if let Err(error) = self.deny(reason, rule, protocol) {
            tracing::error!(%error, reason, "a refused connection cannot be recorded");
        }
    }

    /// The door ends the connection. Before a verdict this is one.
    pub(super) fn cut(&self, reason: &'static str) {
        let mut state = self.state();
        match &mut *state {
            State::Open(cut) => *cut = cut.or(Some(reason)),
            State::Judging => {
                drop(state);
                self.deny_or_log(reason, None, None);
            }
            State::Done => {}
        }
    }

    /// Something came that the door cannot read, on a connection that was let through.
    pub(super) fn protocol_error(&self, protocol: &str, reason: &str, detail: String) {
        let event = ProtocolError {
            connection: Some(self.id),
            protocol: protocol.into(),
            reason: reason.into(),
            detail,
            status: None,
        };
        if let Err(error) = self.refusals.record(&Event::ProtocolError(event)) {
            tracing::error!(%error, reason, "a protocol error cannot be recorded");
        }
    }

    fn event(
        &self,
        verdict: Verdict,
        rule: Option<String>,
        mode: ConnectionMode,
        protocol: Option<&str>,
    ) -> Event {
        Event::Connection(Connection {
            id: self.id,
            destination: self.destination,
            host: self.host.clone(),
            verdict,
            rule,
            mode,
            protocol: protocol.map(str::to_owned),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.state(), State::Done);
        match state {
            State::Done => {}
            // The door is closing, or the task was ended in the middle.
            State::Judging => self.deny_or_log("door_closed", None, None),
            State::Open(cut) => {
                let ended_early = cut.is_none() && std::thread::panicking();
                let cut = if ended_early {
                    Some("internal_error")
                } else {
                    cut
                };
                let event = ConnectionClosed {
                    id: self.id,
                    bytes_up: self.meter.up(),
                    bytes_down: self.meter.down(),
                    milliseconds: self.started.elapsed().as_millis() as u64,
                    cut: cut.map(str::to_owned),
                };
                if let Err(error) = self.journal.append(&Event::ConnectionClosed(event)) {
                    tracing::error!(%error, "the end of a connection cannot be recorded");
                }
            }
        }
    }
}
