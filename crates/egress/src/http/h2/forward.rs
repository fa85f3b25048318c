//! One stream forwarded to an HTTP/2 origin: fields, data, trailers, interim responses and resets.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{Request, Response, StatusCode};

use super::fields;
use super::upload::{Incoming, Upload};
use crate::http::h1::relay::{Broken, IfUnauthorized};
use crate::http::limits::MAX_INTERIM;
use crate::http::record::Exchange;
use crate::http::stream::Pace;
use crate::http::tap::{Answer, BodyEnds, Fate, Fields, Flow};

/// Why data stopped.
#[derive(Debug)]
pub(crate) enum DataError {
    Source(Option<Reason>),
    Sink,
    TooMany,
}

/// Sends `request` with the body of the downstream stream, and passes the answer on.
pub(crate) async fn exchange(
    mut sender: SendRequest<Bytes>,
    request: Request<()>,
    body: &mut Upload<'_>,
    respond: &mut SendResponse<Bytes>,
    pace: Pace<'_>,
    refusal: IfUnauthorized,
    exchange: &mut Exchange,
) -> Result<(), Broken> {
    let ends = body.is_end_stream();
    // What could not even be queued was not sent.
    let (response, mut up) = sender
        .send_request(request, ends)
        .map_err(|_| Broken::Unprocessed)?;
    let Exchange {
        status,
        up: flow_up,
        down: flow_down,
        ..
    } = exchange;
    let upwards = async {
        if ends {
            Ok(())
        } else {
            copy(body, &mut up, pace, flow_up).await
        }
    };
    let downwards = answer(response, respond, pace, refusal, status, flow_down);
    tokio::pin!(upwards, downwards);
    let mut up_is_over = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut upwards, if !up_is_over => match ended {
                // The origin may have heard enough; its answer tells.
                Ok(()) | Err(DataError::Sink) => up_is_over = true,
                Err(DataError::Source(_)) => return Err(Broken::ClientGone),
                Err(DataError::TooMany) => return Err(Broken::ClientTooMuch),
            },
            answered = &mut downwards => return answered,
        }
    }
}

async fn answer(
    mut response: ResponseFuture,
    respond: &mut SendResponse<Bytes>,
    pace: Pace<'_>,
    refusal: IfUnauthorized,
    status: &mut Option<u16>,
    flow: &mut Flow,
) -> Result<(), Broken> {
    let mut interim = 0;
    let answered = poll_fn(|cx| {
        if let Poll::Ready(reset) = respond.poll_reset(cx) {
            return Poll::Ready(Err(reset.map_or(Broken::ClientGone, |_| Broken::ClientGone)));
        }
        while let Poll::Ready(Some(Ok(informational))) = response.poll_informational(cx) {
            interim += 1;
            if interim > MAX_INTERIM {
                return Poll::Ready(Err(Broken::BadAnswer {
                    reason: "bad_upstream_response",
                    why: "the origin sends interim responses without end".to_owned(),
                }));
            }
            if informational.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Poll::Ready(Err(unsolicited_upgrade()));
            }
            let mut informational = informational;
            fields::strip(informational.headers_mut());
            let _ = respond.send_informational(informational);
            pace.deadline.set(pace.idle);
        }
        Pin::new(&mut response)
            .poll(cx)
            .map_err(|error| match error.reason() {
                Some(Reason::REFUSED_STREAM) if error.is_remote() => Broken::Unprocessed,
                // Only streams above the last one that the origin takes end so.
                Some(_) if error.is_go_away() && error.is_remote() => Broken::Unprocessed,
                Some(reason) if error.is_reset() && error.is_remote() => Broken::Reset(reason),
                Some(_) if error.is_library() => Broken::BadAnswer {
                    reason: "bad_upstream_response",
                    why: format!("what the origin sent is not HTTP/2: {error}"),
                },
                _ => Broken::NoAnswer,
            })
    })
    .await?;
    let (mut parts, mut body) = answered.into_parts();
    if parts.status.is_informational() {
        return Err(unsolicited_upgrade());
    }
    if parts.status == StatusCode::UNAUTHORIZED && refusal == IfUnauthorized::Stop {
        return Err(Broken::Unauthorized);
    }
    fields::strip(&mut parts.headers);
    let fate = flow.answer(&Answer {
        status: parts.status.as_u16(),
        fields: Fields::Http2(&parts.headers),
        ends: BodyEnds::Marked,
    });
    if fate == Fate::Taken {
        return Ok(());
    }
    *status = Some(parts.status.as_u16());
    pace.deadline.set(pace.idle);
    let mut down = send_head(respond, parts.status, parts.headers, body.is_end_stream())?;
    if body.is_end_stream() {
        return Ok(());
    }
    match copy(&mut body, &mut down, pace, flow).await {
        Ok(()) => Ok(()),
        Err(DataError::Source(reason)) => {
            // The program gets to see the same reset as the origin sent: gRPC clients act on it.
            down.send_reset(reason.unwrap_or(Reason::INTERNAL_ERROR));
            Err(Broken::CutShort {
                reason: "upstream_reset",
            })
        }
        Err(DataError::Sink) => Err(Broken::ClientGone),
        Err(DataError::TooMany) => {
            down.send_reset(Reason::CANCEL);
            Err(Broken::CutShort {
                reason: "byte_limit",
            })
        }
    }
}

/// HTTP/2 has no 101 (RFC 9113 section 8.6).
fn unsolicited_upgrade() -> Broken {
    Broken::BadAnswer {
        reason: "unsolicited_upgrade",
        why: "the origin switched to a protocol that was not asked for".to_owned(),
    }
}

pub(crate) fn send_head(
    respond: &mut SendResponse<Bytes>,
    status: StatusCode,
    headers: http::HeaderMap,
    ends: bool,
) -> Result<SendStream<Bytes>, Broken> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    respond
        .send_response(response, ends)
        .map_err(|_| Broken::ClientGone)
}

/// Moves data and trailers from one stream to another. Window is given back to the sender only as the receiver takes
/// the data, so that no more than one window is ever held.
pub(crate) async fn copy(
    from: &mut impl Incoming,
    to: &mut SendStream<Bytes>,
    pace: Pace<'_>,
    flow: &mut Flow,
) -> Result<(), DataError> {
    loop {
        let next = poll_fn(|cx| {
            if let Poll::Ready(_reset) = to.poll_reset(cx) {
                return Poll::Ready(Err(DataError::Sink));
            }
            from.poll_data(cx).map(Ok)
        })
        .await?;
        match next {
            Some(Ok(data)) => {
                let length = data.len();
                flow.pass(&data);
                if flow.bytes() > pace.max_bytes {
                    return Err(DataError::TooMany);
                }
                let ends = from.is_end_stream();
                send(to, data, ends, pace).await?;
                from.release(length);
                pace.deadline.set(pace.idle);
                if ends {
                    return Ok(());
                }
            }
            Some(Err(error)) => return Err(DataError::Source(error.reason())),
            None => {
                let trailers = poll_fn(|cx| from.poll_trailers(cx))
                    .await
                    .map_err(|error| DataError::Source(error.reason()))?;
                return match trailers {
                    Some(mut trailers) => {
                        fields::strip(&mut trailers);
                        to.send_trailers(trailers)
                    }
                    None => to.send_data(Bytes::new(), true),
                }
                .map_err(|_| DataError::Sink);
            }
        }
    }
}

/// Sends as the receiver's window allows.
pub(crate) async fn send(
    to: &mut SendStream<Bytes>,
    mut data: Bytes,
    ends: bool,
    pace: Pace<'_>,
) -> Result<(), DataError> {
    if data.is_empty() {
        return if ends {
            to.send_data(data, true).map_err(|_| DataError::Sink)
        } else {
            Ok(())
        };
    }
    while !data.is_empty() {
        to.reserve_capacity(data.len());
        while to.capacity() == 0 {
            match poll_fn(|cx| to.poll_capacity(cx)).await {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(DataError::Sink),
            }
        }
        let part = data.split_to(to.capacity().min(data.len()));
        let last = ends && data.is_empty();
        to.send_data(part, last).map_err(|_| DataError::Sink)?;
        pace.deadline.set(pace.idle);
    }
    Ok(())
}
