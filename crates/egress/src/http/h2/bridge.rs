//! One stream forwarded to an origin that speaks HTTP/1.1, and WebSockets, which always are.

use std::future::poll_fn;

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroize;

use super::fields;
use super::forward::{self, DataError};
use super::upload::{Incoming, Upload};
use crate::http::cached::Replay;
use crate::http::chunked::{self, Piece};
use crate::http::field::{self, Field, Known};
use crate::http::h1::relay::{Broken, IfUnauthorized, next_head};
use crate::http::h1::write;
use crate::http::head::Persistence;
use crate::http::limits::MAX_INTERIM;
use crate::http::origin::Origin;
use crate::http::record::Exchange;
use crate::http::response::{self, Answering, ResponseHead};
use crate::http::stream::{BodyReader, BodyWriter, Pace, Source, write_both};
use crate::http::tap::{Answer, BodyEnds, Fate, Fields, Flow};
use crate::http::websocket::{self, KeyOf};

/// A request as it goes to the origin: judged, stripped and with its credentials.
#[derive(Debug)]
pub(crate) struct Bridged<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a [u8],
    pub(crate) host: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

/// Bounds of the origin's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'a> {
    pub(crate) max_head: usize,
    pub(crate) max_fields: usize,
    pub(crate) pace: Pace<'a>,
    pub(crate) refusal: IfUnauthorized,
}

/// Sends `request` with the body of the downstream stream, and passes the answer on.
pub(crate) async fn exchange(
    origin: &mut Origin,
    request: &Bridged<'_>,
    body: &mut Upload<'_>,
    respond: &mut SendResponse<Bytes>,
    bounds: Bounds<'_>,
    exchange: &mut Exchange,
) -> Result<Persistence, Broken> {
    let Exchange {
        status,
        up: flow_up,
        down: flow_down,
        ..
    } = exchange;
    let Origin { source, sink, .. } = origin;
    let has_body = !body.is_end_stream();
    let writer = if has_body && !request.headers.contains_key(header::CONTENT_LENGTH) {
        BodyWriter::Chunked
    } else {
        BodyWriter::Plain
    };
    let mut head = head(request, writer, "");
    let mut sent = false;
    let answered = {
        let upwards = async {
            write_out(sink, &head).await?;
            if has_body {
                send_body(body, sink, writer, bounds.pace, flow_up).await?;
            }
            sent = true;
            Ok(())
        };
        let is_head = *request.method == Method::HEAD;
        let downwards = answer(source, respond, is_head, bounds, status, flow_down);
        tokio::pin!(upwards, downwards);
        let mut up_is_over = false;
        loop {
            tokio::select! {
                biased;
                ended = &mut upwards, if !up_is_over => match ended {
                    Ok(()) | Err(DataError::Sink) => up_is_over = true,
                    Err(DataError::Source(_)) => break Err(Broken::ClientGone),
                    Err(DataError::TooMany) => break Err(Broken::ClientTooMuch),
                },
                answered = &mut downwards => break answered,
            }
        }
    };
    head.zeroize();
    answered.map(|persistence| {
        if sent {
            persistence
        } else {
            Persistence::Close
        }
    })
}

/// Answers from the cache.
pub(crate) async fn replay(
    mut source: Replay,
    respond: &mut SendResponse<Bytes>,
    bounds: Bounds<'_>,
    exchange: &mut Exchange,
) -> Result<(), Broken> {
    let Exchange { status, down, .. } = exchange;
    answer(&mut source, respond, false, bounds, status, down)
        .await
        .map(drop)
}

/// Makes the origin's side of a WebSocket whose stream has asked for one, and moves bytes until both sides are done.
pub(crate) async fn websocket(
    origin: &mut Origin,
    request: &Bridged<'_>,
    body: &mut Upload<'_>,
    respond: &mut SendResponse<Bytes>,
    bounds: Bounds<'_>,
    tunnel: Pace<'_>,
    exchange: &mut Exchange,
) -> Result<(), Broken> {
    let Exchange {
        status,
        up: flow_up,
        down: flow_down,
        ..
    } = exchange;
    let Origin { source, sink, .. } = origin;
    let key = websocket::new_key().map_err(|error| Broken::BadAnswer {
        reason: "no_randomness",
        why: error.to_string(),
    })?;
    let mut head = head(request, BodyWriter::Plain, &key);
    let written = write_out(sink, &head).await;
    head.zeroize();
    written.map_err(|_| Broken::NoAnswer)?;

    let mut parsed = Vec::new();
    let end = unless_reset(respond, next_head(source, bounds.max_head, bounds.pace, 0)).await?;
    let bytes = &source.bytes()[..end];
    let answer = response::parse(bytes, Answering::Other, bounds.max_fields, &mut parsed)
        .map_err(|error| Broken::bad(&error))?;
    if answer.status != 101 {
        if answer.status < 300 {
            return Err(Broken::BadAnswer {
                reason: "upgrade_refused",
                why: format!(
                    "the origin answered {} to a WebSocket handshake",
                    answer.status
                ),
            });
        }
        return body_down(
            source, end, answer, &parsed, respond, bounds, status, flow_down,
        )
        .await
        .map(drop);
    }
    let own = KeyOf::Door(&key);
    if !websocket::is_accepted(bytes, answer.upgrade, &parsed, own) {
        return Err(Broken::BadAnswer {
            reason: "unsolicited_upgrade",
            why: "the origin switched to a protocol that was not asked for".to_owned(),
        });
    }
    let mut headers = fields_of(bytes, &answer, &parsed);
    headers.remove("sec-websocket-accept");
    source.take(end);
    *status = Some(200);
    // A handshake has no condition.
    let _ = flow_down.answer(&Answer {
        status: 101,
        fields: Fields::Http2(&headers),
        ends: BodyEnds::WithConnection,
    });
    tunnel.deadline.set(tunnel.idle);
    let mut down = forward::send_head(respond, StatusCode::OK, headers, false)?;
    let upwards = async {
        match send_body(body, sink, BodyWriter::Plain, tunnel, flow_up).await {
            Ok(()) => {
                // If it is gone already, the other direction has heard so.
                let _ = sink.shutdown().await;
                Ok(())
            }
            Err(DataError::Source(_)) => Err(Broken::ClientGone),
            Err(DataError::Sink) => Err(Broken::CutShort {
                reason: "upstream_closed",
            }),
            Err(DataError::TooMany) => Err(Broken::CutShort {
                reason: "byte_limit",
            }),
        }
    };
    let downwards = send_down(source, BodyReader::Tunnel, &mut down, tunnel, flow_down);
    tokio::try_join!(upwards, downwards).map(drop)
}

/// The head as HTTP/1.1. With a `key` it is a WebSocket handshake.
fn head(request: &Bridged<'_>, writer: BodyWriter, key: &str) -> Vec<u8> {
    let Bridged {
        method,
        target,
        host,
        headers,
    } = request;
    let fields: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let mut out = Vec::with_capacity(fields + target.len() + host.len() + 256);
    let is_websocket = !key.is_empty();
    out.extend_from_slice(if is_websocket {
        b"GET"
    } else {
        method.as_str().as_bytes()
    });
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write::line(&mut out, b"Host", host.as_bytes());
    let mut cookies = 0;
    for (name, value) in headers.iter() {
        match Known::of(name.as_str().as_bytes()) {
            Known::Te | Known::Expect | Known::Cookie | Known::SecWebSocketKey => {
                cookies += usize::from(name == header::COOKIE)
            }
            Known::ContentLength if is_websocket => {}
            _ => write::line(&mut out, name.as_str().as_bytes(), value.as_bytes()),
        }
    }
    if cookies > 0 {
        // HTTP/2 may split cookies into several fields; HTTP/1.1 must not (RFC 9113 section 8.2.3).
        out.extend_from_slice(b"cookie: ");
        for (index, value) in headers.get_all(header::COOKIE).iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b"; ");
            }
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
    if writer == BodyWriter::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if is_websocket {
        write::line(&mut out, b"Sec-WebSocket-Key", key.as_bytes());
        if !headers.contains_key("sec-websocket-version") {
            out.extend_from_slice(b"Sec-WebSocket-Version: 13\r\n");
        }
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    } else if headers.contains_key(header::TE) {
        out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

async fn write_out<W: AsyncWrite + Unpin>(sink: &mut W, bytes: &[u8]) -> Result<(), DataError> {
    sink.write_all(bytes).await.map_err(|_| DataError::Sink)?;
    sink.flush().await.map_err(|_| DataError::Sink)
}

async fn send_body<W: AsyncWrite + Unpin>(
    body: &mut Upload<'_>,
    sink: &mut W,
    writer: BodyWriter,
    pace: Pace<'_>,
    flow: &mut Flow,
) -> Result<(), DataError> {
    let mut out = Vec::new();
    while let Some(data) = poll_fn(|cx| body.poll_data(cx)).await {
        let data = data.map_err(|error| DataError::Source(error.reason()))?;
        flow.pass(&data);
        if flow.bytes() > pace.max_bytes {
            return Err(DataError::TooMany);
        }
        // A chunk of no bytes would end the body.
        if data.is_empty() {
            continue;
        }
        if writer == BodyWriter::Chunked {
            chunked::write_size(&mut out, data.len());
        }
        write_both(sink, &out, &data)
            .await
            .map_err(|_| DataError::Sink)?;
        out.clear();
        if writer == BodyWriter::Chunked {
            write_both(sink, b"\r\n", b"")
                .await
                .map_err(|_| DataError::Sink)?;
        }
        sink.flush().await.map_err(|_| DataError::Sink)?;
        pace.deadline.set(pace.idle);
        body.release(data.len());
    }
    if writer == BodyWriter::Chunked {
        out.extend_from_slice(b"0\r\n");
        let trailers = poll_fn(|cx| body.poll_trailers(cx))
            .await
            .map_err(|error| DataError::Source(error.reason()))?;
        for (name, value) in trailers.iter().flatten() {
            if matches!(
                Known::of(name.as_str().as_bytes()),
                Known::Other | Known::Trailer
            ) {
                write::line(&mut out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
        write_out(sink, &out).await?;
    }
    Ok(())
}

async fn answer<R: AsyncRead + Unpin>(
    source: &mut Source<R>,
    respond: &mut SendResponse<Bytes>,
    is_head: bool,
    bounds: Bounds<'_>,
    status: &mut Option<u16>,
    flow: &mut Flow,
) -> Result<Persistence, Broken> {
    let mut parsed = Vec::new();
    for interim in 0..=MAX_INTERIM {
        let end = unless_reset(
            respond,
            next_head(source, bounds.max_head, bounds.pace, interim),
        )
        .await?;
        let bytes = &source.bytes()[..end];
        let answering = if is_head {
            Answering::Head
        } else {
            Answering::Other
        };
        let head = response::parse(bytes, answering, bounds.max_fields, &mut parsed)
            .map_err(|error| Broken::bad(&error))?;
        if head.status == 101 {
            return Err(Broken::BadAnswer {
                reason: "unsolicited_upgrade",
                why: "the origin switched to a protocol that was not asked for".to_owned(),
            });
        }
        if head.is_interim() {
            let mut informational = http::Response::new(());
            if let Ok(status) = StatusCode::from_u16(head.status) {
                *informational.status_mut() = status;
                *informational.headers_mut() = fields_of(bytes, &head, &parsed);
                let _ = respond.send_informational(informational);
            }
            source.take(end);
            continue;
        }
        if head.status == 401 && bounds.refusal == IfUnauthorized::Stop {
            return Err(Broken::Unauthorized);
        }
        return body_down(source, end, head, &parsed, respond, bounds, status, flow).await;
    }
    Err(Broken::BadAnswer {
        reason: "bad_upstream_response",
        why: "the origin sends interim responses without end".to_owned(),
    })
}

/// Passes on the response whose head is the first `end` bytes of `source`.
#[allow(clippy::too_many_arguments)]
async fn body_down<R: AsyncRead + Unpin>(
    source: &mut Source<R>,
    end: usize,
    head: ResponseHead,
    parsed: &[Field],
    respond: &mut SendResponse<Bytes>,
    bounds: Bounds<'_>,
    status: &mut Option<u16>,
    flow: &mut Flow,
) -> Result<Persistence, Broken> {
    let headers = fields_of(&source.bytes()[..end], &head, parsed);
    source.take(end);
    let code = StatusCode::from_u16(head.status).map_err(|_| Broken::BadAnswer {
        reason: "bad_upstream_response",
        why: "the origin's status is not one".to_owned(),
    })?;
    let body = BodyReader::from(head.body);
    let empty = matches!(body, BodyReader::None);
    let fate = flow.answer(&Answer {
        status: head.status,
        fields: Fields::Http2(&headers),
        ends: body.ends(),
    });
    if fate == Fate::Taken {
        return Ok(head.persistence);
    }
    *status = Some(head.status);
    let mut down = forward::send_head(respond, code, headers, empty)?;
    if !empty {
        send_down(source, body, &mut down, bounds.pace, flow).await?;
    }
    Ok(head.persistence)
}

async fn send_down<R: AsyncRead + Unpin>(
    source: &mut Source<R>,
    mut body: BodyReader,
    down: &mut SendStream<Bytes>,
    pace: Pace<'_>,
    flow: &mut Flow,
) -> Result<(), Broken> {
    let broken_off = |down: &mut SendStream<Bytes>, reason| {
        down.send_reset(h2::Reason::INTERNAL_ERROR);
        Broken::CutShort { reason }
    };
    loop {
        match body.next(source.bytes()) {
            Ok(Piece::Data(length)) => {
                flow.pass(&source.bytes()[..length]);
                if flow.bytes() > pace.max_bytes {
                    return Err(broken_off(down, "byte_limit"));
                }
                let data = source.split(length);
                forward::send(down, data, false, pace)
                    .await
                    .map_err(|_| Broken::ClientGone)?;
            }
            Ok(Piece::Framing(length)) => source.take(length),
            Ok(Piece::End(length)) => {
                source.take(length);
                let trailers = trailers_of(body.trailers());
                return if trailers.is_empty() {
                    down.send_data(Bytes::new(), true)
                } else {
                    down.send_trailers(trailers)
                }
                .map_err(|_| Broken::ClientGone);
            }
            Ok(Piece::NeedMore) => {
                let filled = tokio::select! {
                    filled = source.fill() => filled,
                    _ = poll_fn(|cx| down.poll_reset(cx)) => return Err(Broken::ClientGone),
                };
                pace.deadline.set(pace.idle);
                match filled {
                    Ok(1..) => {}
                    Ok(0) if body.may_end(source.truncated) => {
                        return down
                            .send_data(Bytes::new(), true)
                            .map_err(|_| Broken::ClientGone);
                    }
                    _ => return Err(broken_off(down, "upstream_closed")),
                }
            }
            Err(error) => return Err(broken_off(down, error.reason())),
        }
    }
}

/// Waits for `work`, or for the program to give the stream up.
async fn unless_reset<T>(
    respond: &mut SendResponse<Bytes>,
    work: impl Future<Output = Result<T, Broken>>,
) -> Result<T, Broken> {
    tokio::select! {
        done = work => done,
        _ = poll_fn(|cx| respond.poll_reset(cx)) => Err(Broken::ClientGone),
    }
}

/// The fields of a response head, for HTTP/2: without those of the hop and those that its `Connection` names.
fn fields_of(bytes: &[u8], head: &ResponseHead, parsed: &[Field]) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = field.name.of(bytes);
        if head.names_fields && crate::http::head::is_named_by_connection(bytes, parsed, name) {
            continue;
        }
        // A length is said once; that of a chunked or endless body is not said at all.
        if field.known == Known::ContentLength {
            headers.remove(header::CONTENT_LENGTH);
        }
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_bytes(field.value.of(bytes)),
        ) {
            headers.append(name, value);
        }
    }
    fields::strip(&mut headers);
    headers
}

fn trailers_of(block: &[u8]) -> HeaderMap {
    let mut parsed = Vec::new();
    let mut headers = HeaderMap::new();
    // The decoder has parsed each of these lines before.
    if field::parse_block(block, 0, block.len(), usize::MAX, &mut parsed).is_ok() {
        for field in &parsed {
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(field.name.of(block)),
                HeaderValue::from_bytes(field.value.of(block)),
            ) {
                headers.append(name, value);
            }
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(headers: &[(&'static str, &'static str)], writer: BodyWriter, key: &str) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let request = Bridged {
            method: &Method::POST,
            target: b"/x",
            host: "a.com",
            headers: &map,
        };
        String::from_utf8(head(&request, writer, key)).expect("text")
    }

    #[test]
    fn cookies_are_joined_and_expectations_dropped() {
        let headers = [
            ("cookie", "a=1"),
            ("x-a", "b"),
            ("cookie", "c=2"),
            ("expect", "100-continue"),
            ("te", "trailers"),
        ];
        assert_eq!(
            written(&headers, BodyWriter::Chunked, ""),
            "POST /x HTTP/1.1\r\nHost: a.com\r\nx-a: b\r\ncookie: a=1; c=2\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
        );
    }

    #[test]
    fn a_websocket_gets_a_handshake() {
        let text = written(
            &[
                ("sec-websocket-version", "13"),
                ("sec-websocket-protocol", "chat"),
            ],
            BodyWriter::Plain,
            "KEY",
        );
        assert_eq!(
            text,
            "GET /x HTTP/1.1\r\nHost: a.com\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: chat\r\n\
             Sec-WebSocket-Key: KEY\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
    }
}
