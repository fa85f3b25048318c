//! HTTP between a program inside and its origin: each request judged by itself, judged bytes are sent bytes.
//!
//! ```text
//! serve ── h1 ── head ─┐                                          ┌─ h1 upstream
//!       └─ h2 ─────────┴─ judge ─┬─ record ── inject ── dial ─────┴─ h2 upstream
//!                                └─ cached ── record
//! ```
//!
//! - [`head`], [`response`], [`chunked`], [`field`]: the HTTP/1.1 codec. Pure functions over bytes, strict: what two
//!   parsers could read differently is refused, never repaired.
//! - `judge`: from a parsed head to the facts the policy asks for, and from its answer to a permit and a record.
//! - `cached`: downloads that need not come from their origin.
//! - `inject`: credentials in place of placeholders, in the head only.
//! - `tap`: who looks on at an exchange.
//! - [`refusal`]: the answers that the door gives itself.
//! - `h1`, `h2`: the two protocols downstream. `h1` runs in the connection's own task; `h2` has a task per stream.
//!
//! Nothing here opens a connection except through the door's [`Dialer`](crate::Dialer), and nothing is dialled before
//! a request was permitted and recorded.

mod cached;
pub mod chunked;
mod deadline;
pub mod field;
mod foreign;
mod h1;
mod h2;
pub mod head;
mod inject;
mod judge;
pub mod limits;
mod logins;
mod origin;
pub mod post;
mod record;
pub mod refusal;
mod repeat;
pub mod response;
mod stream;
pub(crate) mod tap;
#[cfg(test)]
mod tests;
pub mod websocket;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::context::HttpConnection;
use crate::dial::Alpn;

/// How one downstream connection went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionTotals {
    pub requests: u64,
    /// Why the door ended the connection, if it did: `malformed_request`, `idle`, `head_timeout`, ...
    pub cut: Option<&'static str>,
}

/// Why a connection could not be served on. Everything that a peer can cause is in [`ConnectionTotals::cut`].
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The record could not be written; the request was refused and the connection closed.
    #[error("journal refused the record: {0}")]
    Journal(String),
}

/// Speaks HTTP with the program inside until either side is done.
///
/// Cancel safe in the sense the connection layer needs: dropping the future closes both sides at once, and the
/// `response` event of every open exchange is written by its guard.
pub async fn serve<IO>(
    io: IO,
    alpn: Alpn,
    connection: HttpConnection,
) -> Result<ConnectionTotals, ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, cut) = match alpn {
        Alpn::H1 | Alpn::None => h1::serve(io, &connection).await?,
        Alpn::H2 => h2::serve(io, connection).await?,
    };
    Ok(ConnectionTotals { requests, cut })
}
