//! HTTP/2 with the program: a task per stream, one connection to the origin (or, if that speaks only HTTP/1.1, a few).
//!
//! ```text
//! serve ── accept ── stream ── judge ── upstream ─┬─ forward   h2 to h2, trailers and resets included
//!                                                 └─ bridge    h2 to HTTP/1.1; WebSocket (RFC 8441)
//! ```
//!
//! What a hostile client can do to an HTTP/2 server is bounded in [`settings`]: streams, header lists, CONTINUATION
//! frames, windows, resets. A client that resets more than it lets finish is sent away.

mod bridge;
mod fields;
mod forward;
mod stream;
mod upload;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, server};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use self::stream::StreamEnd;
use self::upstream::Upstreams;
use super::ServeError;
use super::judge;
use super::limits::{MAX_RESETS, Timeouts};
use super::record::{self, Spoken};
use crate::context::HttpConnection;

/// What the streams of one connection share.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) connection: HttpConnection,
    /// Its host, as `:authority` says it.
    pub(crate) host: String,
    pub(crate) timeouts: Timeouts,
    pub(crate) upstreams: Upstreams,
}

/// Bytes in flight of one stream and of one connection: what a peer can make us hold.
pub(crate) const STREAM_WINDOW: u32 = 512 * 1024;
pub(crate) const CONNECTION_WINDOW: u32 = 1024 * 1024;
pub(crate) const SEND_BUFFER: usize = 128 * 1024;

fn settings(connection: &HttpConnection) -> server::Builder {
    let limits = &connection.shared.limits;
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(limits.max_concurrent_streams)
        // Also bounds CONTINUATION frames: as many as such a list can need.
        .max_header_list_size(limits.max_head_bytes.min(64 * 1024) as u32)
        .max_frame_size(16 * 1024)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(32)
        .max_pending_accept_reset_streams(32)
        .max_local_error_reset_streams(Some(64))
        .reset_stream_duration(Duration::from_secs(5))
        .enable_connect_protocol();
    builder
}

/// Serves one connection to its end. Returns how many requests there were, and why the door closed it if it did.
pub(crate) async fn serve<IO>(
    io: IO,
    connection: HttpConnection,
) -> Result<(u64, Option<&'static str>), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let timeouts = Timeouts::of(&connection.shared.limits);
    let handshake = settings(&connection).handshake::<_, Bytes>(io);
    let mut server = match timeout(timeouts.head, handshake).await {
        Ok(Ok(server)) => server,
        // Browsers open connections in advance and may close them without a word.
        Ok(Err(error)) if error.is_io() => return Ok((0, None)),
        Ok(Err(error)) => {
            record::protocol_error(
                &connection,
                Spoken::Http2,
                "bad_h2_preface",
                &error.to_string(),
            )?;
            return Ok((0, Some("bad_h2_preface")));
        }
        Err(_) => return Ok((0, Some("head_timeout"))),
    };
    let most_tasks = 2 * connection.shared.limits.max_concurrent_streams as usize;
    let host = judge::host_text(&connection);
    let shared = Arc::new(Streams {
        host,
        connection,
        timeouts,
        upstreams: Upstreams::default(),
    });
    let mut tasks = JoinSet::new();
    let (mut requests, mut resets, mut finished) = (0u64, 0u64, 0u64);
    let mut cut = None;
    let mut idle_since = Instant::now();
    loop {
        tokio::select! {
            accepted = server.accept() => match accepted {
                Some(Ok((request, mut respond))) => {
                    requests += 1;
                    if tasks.len() >= most_tasks {
                        respond.send_reset(Reason::REFUSED_STREAM);
                        continue;
                    }
                    tasks.spawn(stream::serve(Arc::clone(&shared), request, respond));
                }
                Some(Err(error)) => {
                    if let Some(reason) = error.reason().filter(|reason| *reason != Reason::NO_ERROR && !error.is_remote()) {
                        record::protocol_error(&shared.connection, Spoken::Http2, "h2_protocol_error", &reason.to_string())?;
                        cut = Some("h2_protocol_error");
                    }
                    break;
                }
                None => break,
            },
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                idle_since = Instant::now();
                match ended {
                    Ok(Ok(StreamEnd::Finished)) => finished += 1,
                    Ok(Ok(StreamEnd::Reset)) => resets += 1,
                    Ok(Err(error)) => {
                        // No record, no action: the stream that met it has answered 503; every other one ends here.
                        shut(&mut server, Reason::INTERNAL_ERROR, timeouts.linger).await;
                        return Err(error);
                    }
                    Err(_) => resets += 1,
                }
                if resets > MAX_RESETS && resets > finished && cut.is_none() {
                    record::protocol_error(
                        &shared.connection,
                        Spoken::Http2,
                        "too_many_resets",
                        "the client resets more streams than it lets finish",
                    )?;
                    cut = Some("too_many_resets");
                    server.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
            }
            () = sleep_until(idle_since + timeouts.keep_alive), if tasks.is_empty() => {
                cut = Some("idle");
                shut(&mut server, Reason::NO_ERROR, timeouts.linger).await;
                break;
            }
        }
    }
    // Streams that are still running lose both sides with this; their guards write what became of them.
    tasks.shutdown().await;
    Ok((requests, cut))
}

/// Says good-bye and lets what is already answered drain.
async fn shut<IO>(server: &mut server::Connection<IO, Bytes>, reason: Reason, limit: Duration)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    if reason == Reason::NO_ERROR {
        server.graceful_shutdown();
    } else {
        // Answers of this moment go out before the GOAWAY does.
        let _ = timeout(Duration::from_millis(50), server.accept()).await;
        server.abrupt_shutdown(reason);
    }
    let _ = timeout(limit, async {
        while let Some(Ok((_, mut respond))) = server.accept().await {
            respond.send_reset(Reason::REFUSED_STREAM)
        }
    })
    .await;
}
