//! The kinds of event.
//!
//! Each is a struct of its own, written as a JSON object with a `kind` beside its fields. Names of fields carry their
//! unit (`milliseconds`, `bytes_up`). Text that comes from inside the sandbox goes in as it is: JSON escapes it on the
//! way to the file, and whoever shows it passes it through [`visible`](crate::visible()). Bytes that are not UTF-8 go
//! through [`visible_bytes`](crate::visible_bytes) first.
//!
//! An HTTP exchange is two events: a [`Request`] with the verdict, written *before* anything is forwarded, and, if it
//! was allowed, a [`Response`] when it is over. A refused request has no [`Response`]: its [`Request`] says all.

mod files;
mod lifecycle;
mod model;
mod network;
mod process;
#[cfg(test)]
pub(crate) mod strategy;

pub use files::{ChangeKind, FileChange, FileType, FilesChanged, FilesOf};
pub use lifecycle::{
    Command, CommandExited, CommandStarted, Exit, JournalReopened, Kept, LimitNotEnforced,
    LimitReached, PolicyInForce, PrivilegeMode, SandboxStarted, SandboxStopped, SelfProbe,
    StopCause, TornTail,
};
pub use model::{ModelCall, ModelConversation, ModelTokens, ModelToolCall};
pub use network::{
    CacheUse, Connection, ConnectionClosed, ConnectionMode, CredentialPurpose, CredentialUsed, Dns,
    DnsTransport, FurtherDenials, HostAbsent, HostFact, ProtocolError, Request, Response,
    ResponseOutcome,
};
pub use process::{FurtherProcesses, ProcessExited, ProcessFound, ProcessStarted, ProcessesUnseen};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that happened. `kind` in JSON is the variant in snake_case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    SandboxStarted(SandboxStarted),
    PolicyInForce(PolicyInForce),
    SelfProbe(SelfProbe),
    LimitNotEnforced(LimitNotEnforced),
    LimitReached(LimitReached),
    Dns(Dns),
    Connection(Connection),
    ConnectionClosed(ConnectionClosed),
    ProtocolError(ProtocolError),
    FurtherDenials(FurtherDenials),
    Request(Request),
    Response(Response),
    CredentialUsed(CredentialUsed),
    ModelCall(Box<ModelCall>),
    CommandStarted(CommandStarted),
    CommandExited(CommandExited),
    FilesChanged(FilesChanged),
    ProcessStarted(ProcessStarted),
    ProcessFound(ProcessFound),
    ProcessExited(ProcessExited),
    FurtherProcesses(FurtherProcesses),
    ProcessesUnseen(ProcessesUnseen),
    JournalReopened(JournalReopened),
    SandboxStopped(SandboxStopped),
}

impl Event {
    /// Every `kind` there is.
    pub const KINDS: &[&str] = &[
        "sandbox_started",
        "policy_in_force",
        "self_probe",
        "limit_not_enforced",
        "limit_reached",
        "dns",
        "connection",
        "connection_closed",
        "protocol_error",
        "further_denials",
        "request",
        "response",
        "credential_used",
        "model_call",
        "command_started",
        "command_exited",
        "files_changed",
        "process_started",
        "process_found",
        "process_exited",
        "further_processes",
        "processes_unseen",
        "journal_reopened",
        "sandbox_stopped",
    ];

    /// The `kind` as it stands in the journal.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::SandboxStarted(_) => "sandbox_started",
            Event::PolicyInForce(_) => "policy_in_force",
            Event::SelfProbe(_) => "self_probe",
            Event::LimitNotEnforced(_) => "limit_not_enforced",
            Event::LimitReached(_) => "limit_reached",
            Event::Dns(_) => "dns",
            Event::Connection(_) => "connection",
            Event::ConnectionClosed(_) => "connection_closed",
            Event::ProtocolError(_) => "protocol_error",
            Event::FurtherDenials(_) => "further_denials",
            Event::Request(_) => "request",
            Event::Response(_) => "response",
            Event::CredentialUsed(_) => "credential_used",
            Event::ModelCall(_) => "model_call",
            Event::CommandStarted(_) => "command_started",
            Event::CommandExited(_) => "command_exited",
            Event::FilesChanged(_) => "files_changed",
            Event::ProcessStarted(_) => "process_started",
            Event::ProcessFound(_) => "process_found",
            Event::ProcessExited(_) => "process_exited",
            Event::FurtherProcesses(_) => "further_processes",
            Event::ProcessesUnseen(_) => "processes_unseen",
            Event::JournalReopened(_) => "journal_reopened",
            Event::SandboxStopped(_) => "sandbox_stopped",
        }
    }

    /// The reason by which this event refused something, if it did.
    pub fn denied(&self) -> Option<&str> {
        let verdict = match self {
            Event::Dns(event) => &event.verdict,
            Event::Connection(event) => &event.verdict,
            Event::Request(event) => &event.verdict,
            Event::FurtherDenials(event) => &event.verdict,
            Event::ProtocolError(event) => return Some(&event.reason),
            _ => return None,
        };
        match verdict {
            Verdict::Allowed => None,
            Verdict::Denied { reason } => Some(reason),
        }
    }

    /// Whether this event allowed something.
    pub fn is_allowed(&self) -> bool {
        match self {
            Event::Dns(event) => event.verdict.is_allowed(),
            Event::Connection(event) => event.verdict.is_allowed(),
            Event::Request(event) => event.verdict.is_allowed(),
            _ => false,
        }
    }

    /// Where this event allowed or refused something, if it did: a host, or an address where no name is known, or a
    /// protocol where there is not even that. As it came from inside.
    pub fn place(&self) -> Option<String> {
        Some(match self {
            Event::Dns(dns) => dns.question.trim_end_matches('.').to_owned(),
            Event::Connection(connection) => match &connection.host {
                HostFact::Known { host } => host.clone(),
                HostFact::Absent { .. } => connection.destination.to_string(),
            },
            Event::Request(request) => request.host.clone(),
            Event::ProtocolError(error) => error.protocol.clone(),
            Event::FurtherDenials(denials) => return denials.place.clone(),
            _ => return None,
        })
    }
}

/// What the policy said. Flattened into its event: `"verdict":"allowed"` or `"verdict":"denied","reason":"no_rule"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    Allowed,
    /// `reason` is a snake_case name such as `no_rule` or `private_address`.
    Denied {
        reason: String,
    },
}

impl Verdict {
    pub fn denied(reason: impl Into<String>) -> Self {
        Verdict::Denied {
            reason: reason.into(),
        }
    }

    pub fn is_allowed(&self) -> bool {
        matches!(self, Verdict::Allowed)
    }
}

/// Numbers the connections of one sandbox, from 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct ConnectionId(pub u64);

/// Numbers the requests of one sandbox (not of one connection), from 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct RequestId(pub u64);

impl std::fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn kinds_are_as_they_stand_in_the_journal(events in strategy::events(8)) {
            for event in events {
                let written = serde_json::to_value(&event).unwrap();
                prop_assert_eq!(&written["kind"], event.kind());
                prop_assert!(Event::KINDS.contains(&event.kind()));
            }
        }
    }
}
