//! Answers every DNS question of the sandbox without asking anybody.
//!
//! A name that some rule could allow gets its synthetic addresses, whether it exists or not: that is found out when
//! something connects. Every other name does not exist. No other record type is ever answered with data, so there is
//! nothing that a question or an answer could carry out or in: no packet leaves because of a question.
//!
//! - [`message`]: the wire format, both ways
//! - [`judge`]: what a question gets, and why
//! - [`record`]: one event a question, without letting a flood of questions flood the journal
//! - [`listen`]: the loops on the sockets

use std::sync::Arc;

use wardian_events::DnsTransport;

use crate::context::{PolicyCell, Shared};

pub mod judge;
pub mod listen;
pub mod message;
pub mod record;
#[cfg(test)]
mod tests;

use judge::{Judge, Outcome};
use message::{Decoded, Reply};
use record::Recorder;

/// Which families a sandbox can connect over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressFamilies {
    #[default]
    Both,
    /// The host's kernel has no IPv6: AAAA questions get an empty answer.
    V4Only,
}

/// Turns one question into one answer.
#[derive(Debug)]
pub struct Responder {
    policy: PolicyCell,
    judge: Judge,
    recorder: Recorder,
}

impl Responder {
    /// `hostname` is the sandbox's own host name, which leads to loopback.
    pub fn new(shared: &Shared, hostname: &str, families: AddressFamilies) -> Self {
        Self {
            policy: shared.policy.clone(),
            judge: Judge::new(shared.names.clone(), hostname, families),
            recorder: Recorder::new(shared.journal.clone(), Arc::clone(&shared.refusals)),
        }
    }

    /// The answer to one message, or `None` if it deserves none. Does no I/O but the journal's; never panics.
    pub fn respond(&self, bytes: &[u8], transport: DnsTransport) -> Option<Vec<u8>> {
        let asked = match message::decode(bytes) {
            Decoded::Asked(asked) => asked,
            Decoded::Refused { answer, reason } => {
                self.recorder.malformed(reason);
                return answer;
            }
        };
        let judged = self.judge.judge(&asked.query, &self.policy.load());
        let event = judged.event(&asked.query, transport);
        // What cannot be recorded is not answered: SERVFAIL, so that the program hears at once.
        let reply = match self.recorder.record(event) {
            Ok(()) => judged.outcome.into_reply(),
            Err(error) => {
                tracing::error!(%error, "a DNS question was refused because it cannot be recorded");
                Reply::failure()
            }
        };
        message::encode(&asked, reply)
    }
}

impl Outcome {
    fn into_reply(self) -> Reply {
        use hickory_proto::op::ResponseCode;
        match self {
            Self::Data { data, .. } => Reply::data(data),
            // Not NXDOMAIN, which would speak of the name's addresses too and be remembered.
            Self::Empty | Self::NoData(_) => Reply::code(ResponseCode::NoError),
            Self::Denied(_) => Reply::code(ResponseCode::NXDomain),
            Self::Refused(_) => Reply::code(ResponseCode::Refused),
            Self::Full => Reply::failure(),
        }
    }
}
