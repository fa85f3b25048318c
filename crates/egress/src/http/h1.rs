//! HTTP/1.1 with the program: one task, one request after the other, an origin connection kept beside it.
//!
//! ```text
//! Waiting -> Head -> judged -> Exchange -> Waiting ...
//!                 \-> refused -> Waiting, or answered and closed
//!                               Exchange -> Tunnel (WebSocket)
//! ```
//!
//! One [`Deadline`] guards all of it. When it passes, [`Session::expired`] answers what can still be answered.

pub(crate) mod relay;
mod session;
pub(crate) mod write;

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::session::Session;
use super::deadline::{Deadline, Expired};
use super::limits::Timeouts;
use super::{ServeError, refusal};
use crate::context::HttpConnection;

/// Serves one connection to its end. Returns how many requests there were, and why the door closed it if it did.
pub(crate) async fn serve<IO>(
    io: IO,
    connection: &HttpConnection,
) -> Result<(u64, Option<&'static str>), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (reader, writer) = tokio::io::split(io);
    let timeouts = Timeouts::of(&connection.shared.limits);
    let deadline = Deadline::unlimited();
    let mut session = Session::new(reader, writer, connection, timeouts);
    let ended = match deadline.guard(session.run(&deadline)).await {
        Ok(ended) => ended,
        Err(Expired) => session.expired().await,
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => {
            session.unrecorded().await;
            return Err(error);
        }
    };
    let requests = session.requests;
    let cut = match ended {
        Ended::Done => None,
        Ended::Cut(reason) => Some(reason),
        Ended::Answered(reason) => {
            session.linger(timeouts.linger).await;
            reason
        }
    };
    Ok((requests, cut))
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The program is done, or the response said that the connection ends with it.
    Done,
    /// A last answer was written; the program may still be sending, and must get to read it.
    Answered(Option<&'static str>),
    /// Closed in the middle of something: the program must not take it for complete.
    Cut(&'static str),
}

/// What comes after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Next,
    End(Ended),
}

impl<R, W> Session<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// Closes the sending side and drops what still comes, so that the answer is not lost to a reset.
    async fn linger(self, limit: Duration) {
        let (mut reader, mut sink) = self.into_io();
        let _ = tokio::time::timeout(limit, async {
            use tokio::io::AsyncWriteExt;
            sink.shutdown().await?;
            refusal::drain(&mut reader).await
        })
        .await;
    }
}
