//! Telling a program that its connection is refused, in the protocol that it speaks.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use wardian_policy::{Denial, Host};

use super::first_bytes::{FirstBytes, Heard, hear};
use super::ledger::Ledger;
use crate::client::ClientStream;
use crate::context::Shared;
use crate::http::refusal::{About, Refusal, answer_and_close};

/// How long a program has to take an answer.
const LINGER: Duration = Duration::from_secs(2);
/// "No acceptable methods" (RFC 1928 section 3).
const SOCKS5_REFUSED: [u8; 2] = [5, 0xff];
/// "Request rejected or failed".
const SOCKS4_REFUSED: [u8; 8] = [0, 0x5b, 0, 0, 0, 0, 0, 0];

/// Why a connection is refused.
#[derive(Debug)]
pub(super) struct Refused {
    reason: &'static str,
    rule: Option<String>,
    why: String,
    host: Option<Host>,
    protocol: Option<&'static str>,
    answer: Answer,
}

/// How an HTTP client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// 403: the policy says no.
    Forbidden,
    /// 400: what came is not what belongs here.
    BadRequest,
    /// Whatever it speaks, it is reset.
    Reset,
}

impl Refused {
    pub(super) fn because(reason: &'static str, why: &str) -> Self {
        Self {
            reason,
            rule: None,
            why: why.to_owned(),
            host: None,
            protocol: None,
            answer: Answer::Forbidden,
        }
    }

    pub(super) fn denied(denial: &Denial, host: &Host) -> Self {
        Self {
            rule: denial.rule().map(ToString::to_string),
            host: Some(host.clone()),
            ..Self::because(denial.reason(), &denial.to_string())
        }
    }

    pub(super) fn on(self, host: &Host) -> Self {
        Self {
            host: Some(host.clone()),
            ..self
        }
    }

    /// What was spoken, as far as it was found out.
    pub(super) fn spoken(self, protocol: &'static str) -> Self {
        Self {
            protocol: Some(protocol),
            ..self
        }
    }

    pub(super) fn with_bad_request(self) -> Self {
        Self {
            answer: Answer::BadRequest,
            ..self
        }
    }

    pub(super) fn by_reset(self) -> Self {
        Self {
            answer: Answer::Reset,
            ..self
        }
    }

    /// Records the refusal, then tells the program: in HTTP or SOCKS if it speaks that, by a reset otherwise.
    pub(super) async fn conclude(self, mut client: ClientStream, ledger: &Ledger, shared: &Shared) {
        if let Err(error) = ledger.deny(self.reason, self.rule.clone(), self.protocol) {
            tracing::error!(%error, reason = self.reason, "a refused connection cannot be recorded");
            return client.reset();
        }
        if self.answer == Answer::Reset {
            return client.reset();
        }
        let heard = hear(&mut client, shared.limits.refusal_timeout).await;
        let Heard::Protocol(protocol) = heard else {
            return client.reset();
        };
        match protocol {
            FirstBytes::Http => self.http(client, false).await,
            FirstBytes::Connect => self.http(client, true).await,
            FirstBytes::Socks4 => say(client, &SOCKS4_REFUSED).await,
            FirstBytes::Socks5 => say(client, &SOCKS5_REFUSED).await,
            FirstBytes::Tls | FirstBytes::Http2Preface | FirstBytes::Other => client.reset(),
        }
    }

    async fn http(self, mut client: ClientStream, is_connect: bool) {
        let host = self
            .host
            .as_ref()
            .map(|host| host.to_url_host().into_owned());
        let about = About {
            scheme: "http",
            host: host.as_deref().unwrap_or_default(),
            method: None,
            path: None,
        };
        let refusal = match (is_connect, self.answer) {
            (true, _) => Refusal::connect(about),
            (false, Answer::BadRequest) => Refusal::bad_request(self.reason, &self.why, about),
            (false, _) => Refusal::denied(self.reason, self.rule, &self.why, about),
        };
        // The program is told as well as it can be; if it does not listen, that is all.
        let _ = answer_and_close(&mut client, &refusal, LINGER).await;
    }
}

async fn say(mut client: ClientStream, bytes: &[u8]) {
    let told = async {
        client.write_all(bytes).await?;
        client.shutdown().await?;
        while client.read_ahead(usize::MAX).await? > 0 {
            drop(client.take_ahead());
        }
        std::io::Result::Ok(())
    };
    // As above.
    let _ = tokio::time::timeout(LINGER, told).await;
}
