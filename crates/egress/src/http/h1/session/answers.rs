//! What the door says itself on an HTTP/1.1 connection: refusals, failures, time that ran out.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use wardian_events::ResponseOutcome;

use super::{Phase, Session};
use crate::http::ServeError;
use crate::http::chunked::Piece;
use crate::http::deadline::Deadline;
use crate::http::h1::relay::Broken;
use crate::http::h1::{After, Ended};
use crate::http::head::{BodyLength, HeadError, Persistence, RequestHead};
use crate::http::judge::Permitted;
use crate::http::limits::MAX_DISCARD;
use crate::http::record::{self, Line, Spoken};
use crate::http::refusal::{About, Class, Refusal};
use crate::http::stream::BodyReader;

impl<R, W> Session<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// The exchange broke off: says so to the program if it has heard nothing yet, and closes.
    pub(super) async fn broken(
        &mut self,
        broken: Broken,
        head: &RequestHead,
        permitted: &Permitted,
    ) -> Result<After, ServeError> {
        let about = self.about(head, permitted);
        let (refusal, outcome) = match broken {
            Broken::NoAnswer | Broken::Unprocessed | Broken::Unauthorized | Broken::Reset(_) => {
                let why = "the origin closed the connection without an answer";
                (
                    Refusal::upstream("upstream_closed", why, about),
                    record::upstream_failed("upstream_closed"),
                )
            }
            Broken::BadAnswer { reason, why } => (
                Refusal::upstream(reason, &why, about),
                record::upstream_failed(reason),
            ),
            Broken::ClientMalformed(error) => {
                record::protocol_error(
                    self.connection,
                    Spoken::Http1,
                    error.reason(),
                    &error.to_string(),
                )?;
                (Refusal::bad_body(&error), record::cut(error.reason()))
            }
            Broken::ClientTooMuch => (Refusal::too_much(), record::cut("byte_limit")),
            Broken::CutShort {
                reason: "byte_limit",
            } => {
                self.finish(record::cut("byte_limit"))?;
                return Ok(After::End(Ended::Cut("byte_limit")));
            }
            Broken::CutShort { reason } => {
                self.finish(record::upstream_failed(reason))?;
                return Ok(After::End(Ended::Cut(reason)));
            }
            Broken::ClientGone => {
                self.finish(ResponseOutcome::ClientGone)?;
                return Ok(After::End(Ended::Done));
            }
        };
        if self
            .exchange
            .as_ref()
            .is_none_or(|exchange| exchange.status.is_some())
        {
            self.finish(outcome)?;
            return Ok(After::End(Ended::Cut(refusal.reason)));
        }
        if let Some(exchange) = &mut self.exchange {
            exchange.status = Some(refusal.status);
        }
        self.finish(outcome)?;
        let is_head = head.method.of(&self.head) == b"HEAD";
        self.answer(&refusal, is_head, true).await.map(After::End)
    }

    /// A permitted request that never reached its origin.
    pub(super) async fn failed(
        &mut self,
        refusal: &Refusal,
        head: &RequestHead,
        deadline: &Deadline,
    ) -> Result<After, ServeError> {
        if let Some(exchange) = &mut self.exchange {
            exchange.status = Some(refusal.status);
        }
        self.finish(match refusal.error {
            Class::Denied => record::cut(refusal.reason),
            _ => record::upstream_failed(refusal.reason),
        })?;
        self.refuse(refusal, head, deadline).await
    }

    pub(super) fn finish(&mut self, outcome: ResponseOutcome) -> Result<(), ServeError> {
        self.exchange
            .take()
            .map_or(Ok(()), |exchange| exchange.finish(outcome))
    }

    pub(super) fn about<'h>(&'h self, head: &RequestHead, permitted: &'h Permitted) -> About<'h> {
        About {
            scheme: record::scheme_str(self.connection.scheme),
            host: &self.host,
            method: Some(head.method.text(&self.head)),
            path: Some(permitted.target.path()),
        }
    }

    /// Answers a request that is not forwarded. The connection goes on if the request ends here or soon.
    pub(super) async fn refuse(
        &mut self,
        refusal: &Refusal,
        head: &RequestHead,
        deadline: &Deadline,
    ) -> Result<After, ServeError> {
        self.phase = Phase::Refusing;
        deadline.set(self.timeouts.head);
        let short = match head.body {
            BodyLength::None => true,
            // Who waits for a 100 may or may not send the body after a refusal.
            BodyLength::Fixed(length) => length <= MAX_DISCARD && !head.expects_continue,
            BodyLength::Chunked => false,
        };
        let closes = !short || head.persistence == Persistence::Close;
        let is_head = head.method.of(&self.head) == b"HEAD";
        let ended = self.answer(refusal, is_head, closes).await?;
        if closes {
            return Ok(After::End(ended));
        }
        let mut body = BodyReader::from(head.body);
        loop {
            match body.next(self.client.bytes()) {
                Ok(Piece::Data(length) | Piece::Framing(length)) => self.client.take(length),
                Ok(Piece::End(length)) => {
                    self.client.take(length);
                    return Ok(After::Next);
                }
                Ok(Piece::NeedMore) if matches!(self.client.fill().await, Ok(1..)) => {}
                _ => return Ok(After::End(Ended::Done)),
            }
        }
    }

    pub(super) async fn malformed(&mut self, error: &HeadError) -> Result<Ended, ServeError> {
        self.phase = Phase::Refusing;
        let refusal = Refusal::malformed(error);
        record::refused(
            self.connection,
            Line {
                spoken: Spoken::Http1,
                method: "",
                target: "",
                upgrade: None,
            },
            &refusal,
        )?;
        self.answer(&refusal, false, true).await
    }

    /// Writes a last (or, if it does not close, another) answer.
    pub(super) async fn answer(
        &mut self,
        refusal: &Refusal,
        is_head: bool,
        closes: bool,
    ) -> Result<Ended, ServeError> {
        let text = refusal.to_http1(is_head, closes);
        // Whoever does not read its refusal is refused all the same.
        let written = timeout(self.timeouts.linger, async {
            self.sink.write_all(&text).await?;
            self.sink.flush().await
        })
        .await;
        self.phase = Phase::Waiting;
        Ok(match written {
            Ok(Ok(())) if closes && refusal.error == Class::BadRequest => {
                Ended::Answered(Some(refusal.reason))
            }
            Ok(Ok(())) => Ended::Answered(None),
            _ => Ended::Cut(refusal.reason),
        })
    }

    /// The deadline has passed.
    pub(crate) async fn expired(&mut self) -> Result<Ended, ServeError> {
        match self.phase {
            Phase::Waiting | Phase::Refusing => Ok(Ended::Cut("idle")),
            Phase::Head => {
                let refusal =
                    Refusal::timeout("head_timeout", "the request head did not arrive in time");
                let line = Line {
                    spoken: Spoken::Http1,
                    method: "",
                    target: "",
                    upgrade: None,
                };
                record::refused(self.connection, line, &refusal)?;
                self.answer(&refusal, false, true).await
            }
            Phase::Exchange | Phase::Tunnel => {
                let heard = self
                    .exchange
                    .as_ref()
                    .is_none_or(|exchange| exchange.status.is_some());
                let all_sent = self
                    .exchange
                    .as_ref()
                    .is_none_or(|exchange| exchange.sent.load(Ordering::Relaxed));
                let refusal = if all_sent {
                    Refusal::upstream_timeout()
                } else {
                    Refusal::timeout("body_timeout", "the request body stopped arriving")
                };
                if let Some(exchange) = &mut self.exchange
                    && !heard
                {
                    exchange.status = Some(refusal.status);
                }
                self.finish(record::cut("idle"))?;
                if heard {
                    Ok(Ended::Cut("idle"))
                } else {
                    self.answer(&refusal, false, true).await
                }
            }
        }
    }

    /// The record failed: the program is told, if it still waits for an answer.
    pub(crate) async fn unrecorded(&mut self) {
        let waits = match self.phase {
            Phase::Refusing => true,
            Phase::Exchange => self
                .exchange
                .as_ref()
                .is_none_or(|exchange| exchange.status.is_none()),
            _ => false,
        };
        if waits {
            let _ = self.answer(&Refusal::no_record(), false, true).await;
        }
    }
}
