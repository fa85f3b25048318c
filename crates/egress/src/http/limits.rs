//! Bounds on everything that the other side controls.

use std::time::Duration;

use crate::context::DoorLimits;

/// Largest request or response head, request line and blank line included.
pub const MAX_HEAD: usize = 64 * 1024;
/// Longest method; the longest registered one (`UPDATEREDIRECTREF`) has 17.
pub const MAX_METHOD: usize = 32;
/// Largest body, in either direction: a bound on endless streams rather than on real transfers.
pub const MAX_BODY: u64 = 1 << 40;
/// Largest chunk-size line and the sum of all chunk extensions of one body.
pub const MAX_CHUNK_LINE: usize = 1024;
pub const MAX_CHUNK_EXTENSIONS: usize = 16 * 1024;
/// Largest trailer section and most fields of it.
pub const MAX_TRAILERS: usize = 16 * 1024;
pub const MAX_TRAILER_FIELDS: usize = 64;
/// Most interim (1xx) responses before a final one.
pub const MAX_INTERIM: usize = 16;

/// HTTP/1.1 connections to the origin for the streams of one HTTP/2 connection.
pub const MAX_BRIDGED: usize = 16;
/// Streams that an HTTP/2 client may reset before it is measured against those it let finish.
pub const MAX_RESETS: u64 = 100;
/// Largest body of a refused request that is read to its end so that the connection can go on.
pub const MAX_DISCARD: u64 = 256 * 1024;
/// A connection without a request for this long gives its buffers back.
pub const REST_AFTER: Duration = Duration::from_secs(1);

/// The time limits of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the first byte of a head to its last; also for a request head to begin on a new connection.
    pub head: Duration,
    /// Between two requests of a kept-alive connection.
    pub keep_alive: Duration,
    /// No byte in either direction while a request or response body streams, or while waiting for a response.
    pub idle: Duration,
    /// No byte in either direction on a WebSocket.
    pub tunnel_idle: Duration,
    /// No byte of the response after the client has closed its sending side.
    pub half_closed: Duration,
    /// How long a client may wait for the origin's `100 Continue` before the door sends one.
    pub expect: Duration,
    /// Reading and discarding after a refusal, so that the client gets to see it.
    pub linger: Duration,
}

impl Timeouts {
    pub fn of(limits: &DoorLimits) -> Self {
        Self {
            head: limits.request_head_timeout,
            keep_alive: limits.idle_timeout.min(Duration::from_secs(300)),
            idle: limits.idle_timeout,
            tunnel_idle: limits.idle_timeout,
            half_closed: Duration::from_secs(10),
            expect: Duration::from_secs(1),
            linger: Duration::from_secs(2),
        }
    }
}
