//! What happened in a sandbox, and the record of it.
//!
//! - [`event`]: the kinds of event. Plain data; whoever emits one fills in what it knows.
//! - [`journal`]: the append-only file that they go to, one JSON object a line, each line carrying the SHA-256 of the
//!   line before it. A record is in the file before [`Journal::append`] returns; a journal that could not write once
//!   refuses ever after, so that "no record, no action" holds.
//! - [`mod@read`]: streaming and following a journal while it grows, over all the files that it has come to.
//! - [`mod@verify`]: checking the chain and naming the first record that breaks it.
//! - [`mod@tally`]: counting what was allowed and denied, for summaries.
//! - [`mod@visible`]: making control characters, escape sequences and invisible letters of hostile text visible.

pub mod chain;
pub mod clock;
pub mod event;
pub mod journal;
mod lines;
pub mod read;
mod segments;
pub mod tally;
pub mod verify;
pub mod visible;

pub use chain::{Anchor, Digest, Record, Seq};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use event::{
    CacheUse, ChangeKind, Command, CommandExited, CommandStarted, Connection, ConnectionClosed,
    ConnectionId, ConnectionMode, CredentialPurpose, CredentialUsed, Dns, DnsTransport, Event,
    Exit, FileChange, FileType, FilesChanged, FilesOf, FurtherDenials, FurtherProcesses,
    HostAbsent, HostFact, JournalReopened, Kept, LimitNotEnforced, LimitReached, ModelCall,
    ModelConversation, ModelTokens, ModelToolCall, PolicyInForce, PrivilegeMode, ProcessExited,
    ProcessFound, ProcessStarted, ProcessesUnseen, ProtocolError, Request, RequestId, Response,
    ResponseOutcome, SandboxStarted, SandboxStopped, SelfProbe, StopCause, TornTail, Verdict,
};
pub use journal::{
    Bounds, Flusher, Journal, JournalError, MemorySink, ReopenError, Reopened, Sink,
};
pub use read::{Entry, Follow, ReadError, Records, follow, last, read};
pub use segments::Segments;
pub use tally::Tally;
pub use verify::{Broken, BrokenReason, Expect, Verified, VerifyError, verify, verify_reader};
pub use visible::{visible, visible_bytes, visible_json};
