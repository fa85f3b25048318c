//! One exchange between a program and an HTTP/1.1 origin: both directions at once, in the caller's task.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroize;

use super::write::{self, Downstream, Handshake, Received};
use crate::context::HttpConnection;
use crate::http::cached::Replay;
use crate::http::chunked::ChunkError;
use crate::http::deadline::Deadline;
use crate::http::field::Field;
use crate::http::head::{BodyLength, HeadEnd, HeadError, Persistence, RequestHead, Version};
use crate::http::limits::{MAX_BODY, MAX_INTERIM, Timeouts};
use crate::http::origin::Origin;
use crate::http::record::Exchange;
use crate::http::response::{self, Answering, ResponseBody, ResponseHead};
use crate::http::stream::{BodyReader, BodyWriter, Pace, PumpError, Source, pump};
use crate::http::tap::{Answer, BodyEnds, Fate, Fields, Flow};
use crate::http::websocket::{self, KeyOf};

/// Bytes of a next request that are read while this one is answered.
const READ_AHEAD: usize = 4 * 1024;

/// What the exchange is about, beside the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) request: &'a RequestHead,
    pub(crate) is_head: bool,
    pub(crate) handshake: Handshake,
    pub(crate) timeouts: &'a Timeouts,
    pub(crate) max_head: usize,
    pub(crate) max_fields: usize,
    pub(crate) pace: Pace<'a>,
    pub(crate) refusal: IfUnauthorized,
}

/// What to do with a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfUnauthorized {
    PassOn,
    /// Keep it from the program: the request can be sent again with another value of its credential.
    Stop,
}

impl<'a> Plan<'a> {
    /// For the request whose head `request` was parsed from `bytes`.
    pub(crate) fn of(
        connection: &HttpConnection,
        request: &'a RequestHead,
        bytes: &[u8],
        handshake: Handshake,
        timeouts: &'a Timeouts,
        deadline: &'a Deadline,
        refusal: IfUnauthorized,
    ) -> Self {
        let limits = &connection.shared.limits;
        Self {
            request,
            is_head: request.method.of(bytes) == b"HEAD",
            handshake,
            timeouts,
            max_head: limits.max_head_bytes,
            max_fields: limits.max_header_fields,
            pace: Pace {
                deadline,
                idle: timeouts.idle,
                max_bytes: limits.max_transfer_bytes.unwrap_or(MAX_BODY),
            },
            refusal,
        }
    }
}

/// Buffers that live as long as the connection.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The head for the origin, filled by the caller.
    pub(crate) up: Vec<u8>,
    pub(crate) down: Vec<u8>,
    pub(crate) fields: Vec<Field>,
}

impl Drop for Scratch {
    /// A head may hold a credential.
    fn drop(&mut self) {
        self.up.zeroize();
    }
}

/// How an exchange ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Complete {
        origin: Persistence,
        downstream: Persistence,
    },
    /// Both sides speak WebSocket from here on.
    Upgraded,
}

/// How it did not.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The origin closed without a byte of an answer.
    NoAnswer,
    /// The origin's answer is not one that can be passed on; nothing of it was.
    BadAnswer {
        reason: &'static str,
        why: String,
    },
    /// The answer broke off after its head was passed on.
    CutShort {
        reason: &'static str,
    },
    /// 401, for a credential that can be renewed; nothing of the answer was passed on.
    Unauthorized,
    /// HTTP/2: the origin says that it did nothing with the request (GOAWAY, REFUSED_STREAM), so it may go again.
    Unprocessed,
    /// HTTP/2: the origin reset the stream before it answered.
    Reset(h2::Reason),
    ClientGone,
    ClientMalformed(ChunkError),
    ClientTooMuch,
}

impl Broken {
    pub(crate) fn bad(error: &HeadError) -> Self {
        Self::BadAnswer {
            reason: "bad_upstream_response",
            why: format!("the origin's response is malformed: {error}"),
        }
    }
}

/// Sends `scratch.up` and the body, and passes the answer on. Counts into `exchange`.
pub(crate) async fn relay<R, W>(
    client: &mut Source<R>,
    sink: &mut W,
    origin: &mut Origin,
    scratch: &mut Scratch,
    plan: Plan<'_>,
    exchange: &mut Exchange,
) -> Result<Answered, Broken>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Exchange {
        status,
        up: flow_up,
        down: flow_down,
        sent,
        ..
    } = exchange;
    let sent: &AtomicBool = sent;
    let Scratch { up, down, fields } = scratch;
    let Origin {
        source,
        sink: origin_sink,
        ..
    } = origin;
    let mut body = BodyReader::from(plan.request.body);
    let writer = match plan.request.body {
        BodyLength::Chunked => BodyWriter::Chunked,
        _ => BodyWriter::Plain,
    };
    let upwards = async {
        pump(
            client,
            &mut body,
            origin_sink,
            writer,
            up,
            plan.pace,
            flow_up,
        )
        .await?;
        sent.store(true, Ordering::Relaxed);
        // Nothing is left to do but to notice that the client goes away.
        loop {
            if client.bytes().len() >= READ_AHEAD {
                std::future::pending::<()>().await;
            }
            if client.fill().await.map_err(|_| PumpError::Source)? == 0 {
                return Ok(());
            }
        }
    };
    let downwards = answer(source, sink, down, fields, plan, sent, status, flow_down);
    tokio::pin!(upwards, downwards);
    let mut up_is_over = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut upwards, if !up_is_over => match ended {
                // It may only have closed its sending side, and still listen for the answer.
                Ok(()) => {
                    plan.pace.deadline.shorten(plan.timeouts.half_closed);
                    up_is_over = true;
                }
                // The origin takes no more of the body. It may have answered, though.
                Err(PumpError::Sink) => up_is_over = true,
                Err(PumpError::Source) => return Err(Broken::ClientGone),
                Err(PumpError::Malformed(error)) => return Err(Broken::ClientMalformed(error)),
                Err(PumpError::TooMany) => return Err(Broken::ClientTooMuch),
            },
            answered = &mut downwards => return answered,
        }
    }
}

/// Answers from the cache.
pub(crate) async fn replay<W: AsyncWrite + Unpin>(
    mut source: Replay,
    sink: &mut W,
    scratch: &mut Scratch,
    plan: Plan<'_>,
    exchange: &mut Exchange,
) -> Result<Answered, Broken> {
    let Exchange {
        status, down, sent, ..
    } = exchange;
    sent.store(true, Ordering::Relaxed);
    let Scratch {
        down: out, fields, ..
    } = scratch;
    answer(&mut source, sink, out, fields, plan, sent, status, down).await
}

/// Reads the origin's answer, interim ones included, and passes it on.
#[allow(clippy::too_many_arguments)]
async fn answer<R, W>(
    source: &mut Source<R>,
    sink: &mut W,
    out: &mut Vec<u8>,
    fields: &mut Vec<Field>,
    plan: Plan<'_>,
    sent: &AtomicBool,
    status: &mut Option<u16>,
    flow: &mut Flow,
) -> Result<Answered, Broken>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    out.clear();
    let speaks_11 = plan.request.version == Version::Http11;
    let mut awaits_continue = plan.request.expects_continue;
    for interim in 0.. {
        let end = answer_head(source, sink, plan, &mut awaits_continue, interim).await?;
        let bytes = &source.bytes()[..end];
        let answering = if plan.is_head {
            Answering::Head
        } else {
            Answering::Other
        };
        let head = response::parse(bytes, answering, plan.max_fields, fields)
            .map_err(|error| Broken::bad(&error))?;
        let received = Received {
            bytes,
            head: &head,
            fields,
        };
        if head.status == 101 {
            if plan.handshake == Handshake::No
                || !websocket::is_accepted(bytes, head.upgrade, fields, KeyOf::Program)
            {
                return Err(Broken::BadAnswer {
                    reason: "unsolicited_upgrade",
                    why: "the origin switched to a protocol that was not asked for".to_owned(),
                });
            }
            *status = Some(101);
            // A handshake has no condition.
            let _ = flow.answer(&Answer {
                status: 101,
                fields: Fields::Http1 { bytes, fields },
                ends: BodyEnds::WithConnection,
            });
            write::response(out, received, Downstream::KeepAlive, Handshake::WebSocket);
            source.take(end);
            flush(sink, out).await?;
            return Ok(Answered::Upgraded);
        }
        if head.is_interim() {
            if interim == MAX_INTERIM {
                return Err(Broken::BadAnswer {
                    reason: "bad_upstream_response",
                    why: "the origin sends interim responses without end".to_owned(),
                });
            }
            if speaks_11 && (head.status != 100 || awaits_continue) {
                write::response(out, received, Downstream::KeepAlive, Handshake::No);
                flush(sink, out).await?;
            }
            awaits_continue &= head.status != 100;
            source.take(end);
            continue;
        }
        if head.status == 401 && plan.refusal == IfUnauthorized::Stop {
            return Err(Broken::Unauthorized);
        }
        let mut downstream = downstream(plan.request, &head);
        if !sent.load(Ordering::Relaxed) && plan.request.body != BodyLength::None {
            // Answered before all was heard: what is left of the body cannot be told from a next request.
            downstream = downstream.closing();
        }
        let mut body = BodyReader::from(head.body);
        let fate = flow.answer(&Answer {
            status: head.status,
            fields: Fields::Http1 { bytes, fields },
            ends: body.ends(),
        });
        if fate == Fate::Taken {
            source.take(end);
            return Ok(Answered::Complete {
                origin: head.persistence,
                downstream: Persistence::KeepAlive,
            });
        }
        *status = Some(head.status);
        let writer = write::response(out, received, downstream, Handshake::No);
        source.take(end);
        pump(source, &mut body, sink, writer, out, plan.pace, flow)
            .await
            .map_err(|error| match error {
                PumpError::Source => Broken::CutShort {
                    reason: "upstream_closed",
                },
                PumpError::Malformed(error) => Broken::CutShort {
                    reason: error.reason(),
                },
                PumpError::TooMany => Broken::CutShort {
                    reason: "byte_limit",
                },
                PumpError::Sink => Broken::ClientGone,
            })?;
        let all_sent = sent.load(Ordering::Relaxed);
        return Ok(Answered::Complete {
            origin: if all_sent {
                head.persistence
            } else {
                Persistence::Close
            },
            downstream: if all_sent && !downstream.closes() {
                Persistence::KeepAlive
            } else {
                Persistence::Close
            },
        });
    }
    Err(Broken::NoAnswer)
}

/// Waits for one whole head from the origin. If the program waits for a 100 that does not come, it gets one from here.
async fn answer_head<R, W>(
    source: &mut Source<R>,
    sink: &mut W,
    plan: Plan<'_>,
    awaits_continue: &mut bool,
    interim: usize,
) -> Result<usize, Broken>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if *awaits_continue && source.bytes().is_empty() {
        // What the wait finds is looked at below.
        if timeout(plan.timeouts.expect, source.fill()).await.is_err() {
            *awaits_continue = false;
            sink.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .await
                .map_err(|_| Broken::ClientGone)?;
            sink.flush().await.map_err(|_| Broken::ClientGone)?;
        }
    }
    next_head(source, plan.max_head, plan.pace, interim).await
}

/// Reads until one whole response head is there; `interim` heads came before it.
pub(crate) async fn next_head<R: AsyncRead + Unpin>(
    source: &mut Source<R>,
    max_head: usize,
    pace: Pace<'_>,
    interim: usize,
) -> Result<usize, Broken> {
    let mut finder = HeadEnd::default();
    loop {
        match finder
            .find(source.bytes())
            .map_err(|error| Broken::bad(&error))?
        {
            Some(end) if end <= max_head => return Ok(end),
            None if source.bytes().len() < max_head => {}
            _ => return Err(Broken::bad(&HeadError::TooLarge)),
        }
        match source.fill().await {
            Ok(0) | Err(_) if source.bytes().is_empty() && interim == 0 => {
                return Err(Broken::NoAnswer);
            }
            Ok(0) | Err(_) => {
                return Err(Broken::BadAnswer {
                    reason: "upstream_closed",
                    why: "the origin closed the connection in the middle of its response head"
                        .to_owned(),
                });
            }
            Ok(_) => pace.deadline.set(pace.idle),
        }
    }
}

async fn flush<W: AsyncWrite + Unpin>(sink: &mut W, out: &mut Vec<u8>) -> Result<(), Broken> {
    sink.write_all(out).await.map_err(|_| Broken::ClientGone)?;
    out.clear();
    sink.flush().await.map_err(|_| Broken::ClientGone)
}

fn downstream(request: &RequestHead, answer: &ResponseHead) -> Downstream {
    match (request.version, request.persistence) {
        (Version::Http11, Persistence::KeepAlive) => Downstream::KeepAlive,
        (Version::Http11, Persistence::Close) => Downstream::Close,
        (Version::Http10, Persistence::KeepAlive)
            if matches!(answer.body, ResponseBody::None | ResponseBody::Fixed(_)) =>
        {
            Downstream::KeepAlive10
        }
        (Version::Http10, _) => Downstream::Close10,
    }
}

/// Bytes both ways, each direction ending on its own, until both have ended.
pub(crate) async fn tunnel<R, W>(
    client: &mut Source<R>,
    sink: &mut W,
    origin: &mut Origin,
    pace: Pace<'_>,
    exchange: &mut Exchange,
) -> Result<(), Broken>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Origin {
        source,
        sink: origin_sink,
        ..
    } = origin;
    let Exchange {
        up: flow_up,
        down: flow_down,
        ..
    } = exchange;
    let upwards = async {
        one_way(client, origin_sink, pace, flow_up)
            .await
            .map_err(|error| match error {
                PumpError::Source => Broken::ClientGone,
                PumpError::TooMany => Broken::CutShort {
                    reason: "byte_limit",
                },
                _ => Broken::CutShort {
                    reason: "upstream_closed",
                },
            })
    };
    let downwards = async {
        one_way(source, sink, pace, flow_down)
            .await
            .map_err(|error| match error {
                PumpError::Sink => Broken::ClientGone,
                PumpError::TooMany => Broken::CutShort {
                    reason: "byte_limit",
                },
                _ => Broken::CutShort {
                    reason: "upstream_closed",
                },
            })
    };
    tokio::try_join!(upwards, downwards).map(drop)
}

async fn one_way<R, W>(
    from: &mut Source<R>,
    to: &mut W,
    pace: Pace<'_>,
    flow: &mut Flow,
) -> Result<(), PumpError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    pump(
        from,
        &mut BodyReader::Tunnel,
        to,
        BodyWriter::Plain,
        &mut Vec::new(),
        pace,
        flow,
    )
    .await?;
    // If it is gone already, the other direction has heard so.
    let _ = to.shutdown().await;
    Ok(())
}
