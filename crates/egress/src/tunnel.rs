//! Bytes of a connection whose rule lets them through unread, both ways, with half-close.
//!
//! A direction begins with a small buffer and goes over to splice(2), which moves pages between the sockets without
//! copying them through this process, once it has carried more than a little: an idle or short tunnel costs no pipe.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::client::{Meter, reset_on_close};

#[cfg(test)]
mod tests;

const BUFFER: usize = 16 * 1024;
/// Bytes after which a direction is worth a pipe.
const SPLICE_AFTER: u64 = 64 * 1024;
/// What a pipe holds without being asked to grow.
const PIPE: usize = 64 * 1024;

/// Why a tunnel ended.
#[derive(Debug)]
pub enum TunnelEnd {
    /// Both sides finished.
    Closed,
    /// One side failed or reset; the other was reset as well.
    Broken(io::Error),
    /// No byte moved for the idle time.
    Idle,
    /// More bytes in one direction than allowed.
    TooMuch,
}

impl TunnelEnd {
    /// Why the door cut the tunnel, if it did.
    pub fn cut(&self) -> Option<&'static str> {
        match self {
            Self::Closed | Self::Broken(_) => None,
            Self::Idle => Some("idle"),
            Self::TooMuch => Some("byte_limit"),
        }
    }
}

/// Bounds of one tunnel.
#[derive(Debug, Clone, Copy)]
pub struct TunnelLimits {
    pub idle: Duration,
    /// In one direction.
    pub most_bytes: Option<u64>,
}

/// Carries bytes between `inner` (the program) and `outer` (the upstream) until both have closed. Any other end leaves
/// both sockets set to reset when they are dropped.
pub async fn run(
    inner: &TcpStream,
    outer: &TcpStream,
    meter: &Meter,
    limits: TunnelLimits,
) -> TunnelEnd {
    let activity = Activity::new();
    let up = pump(inner, outer, &activity, limits.most_bytes, |bytes| {
        meter.add_up(bytes)
    });
    let down = pump(outer, inner, &activity, limits.most_bytes, |bytes| {
        meter.add_down(bytes)
    });
    let end = tokio::select! {
        both = async { tokio::try_join!(up, down) } => match both {
            Ok(_) => TunnelEnd::Closed,
            Err(end) => end,
        },
        () = activity.idle_for(limits.idle) => TunnelEnd::Idle,
    };
    if !matches!(end, TunnelEnd::Closed) {
        reset_on_close(inner);
        reset_on_close(outer);
    }
    end
}

/// When a byte last moved.
struct Activity {
    start: Instant,
    last: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn mark(&self) {
        self.last
            .store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    async fn idle_for(&self, limit: Duration) {
        loop {
            let until =
                self.start + Duration::from_millis(self.last.load(Ordering::Relaxed)) + limit;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// One direction, to the end of `from`, which is passed on as a half-close.
async fn pump(
    from: &TcpStream,
    to: &TcpStream,
    activity: &Activity,
    most: Option<u64>,
    count: impl Fn(usize),
) -> Result<(), TunnelEnd> {
    let mut moved = 0u64;
    let mut note = |bytes: usize| {
        moved += bytes as u64;
        activity.mark();
        count(bytes);
        match most {
            Some(most) if moved > most => Err(TunnelEnd::TooMuch),
            _ => Ok(moved),
        }
    };
    let finished = copy_beginning(from, to, &mut note).await?;
    if let Finished::No = finished {
        match rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) {
            Ok(pipe) => splice_rest(from, to, &pipe, &mut note).await?,
            // No descriptors left, or none allowed: slower, but it works.
            Err(_) => copy_rest(from, to, &mut note).await?,
        }
    }
    match rustix::net::shutdown(to, rustix::net::Shutdown::Write) {
        Ok(()) | Err(Errno::NOTCONN) => Ok(()),
        Err(errno) => Err(TunnelEnd::Broken(errno.into())),
    }
}

enum Finished {
    Yes,
    No,
}

async fn copy_beginning(
    from: &TcpStream,
    to: &TcpStream,
    note: &mut impl FnMut(usize) -> Result<u64, TunnelEnd>,
) -> Result<Finished, TunnelEnd> {
    loop {
        match copy_once(from, to, note).await? {
            None => return Ok(Finished::Yes),
            Some(moved) if moved >= SPLICE_AFTER => return Ok(Finished::No),
            Some(_) => {}
        }
    }
}

async fn copy_rest(
    from: &TcpStream,
    to: &TcpStream,
    note: &mut impl FnMut(usize) -> Result<u64, TunnelEnd>,
) -> Result<(), TunnelEnd> {
    while copy_once(from, to, note).await?.is_some() {}
    Ok(())
}

/// Reads what is there and writes all of it; `None` is the end. The buffer lives only while there is something in it.
async fn copy_once(
    from: &TcpStream,
    to: &TcpStream,
    note: &mut impl FnMut(usize) -> Result<u64, TunnelEnd>,
) -> Result<Option<u64>, TunnelEnd> {
    let buffer = loop {
        from.readable().await.map_err(TunnelEnd::Broken)?;
        let mut buffer = Vec::with_capacity(BUFFER);
        match from.try_read_buf(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(_) => break buffer,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(TunnelEnd::Broken(error)),
        }
    };
    let moved = note(buffer.len())?;
    write_all(to, &buffer).await.map_err(TunnelEnd::Broken)?;
    Ok(Some(moved))
}

/// Writes through a shared reference, so that the other direction can read at the same time.
pub(crate) async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn splice_rest(
    from: &TcpStream,
    to: &TcpStream,
    (read_end, write_end): &(OwnedFd, OwnedFd),
    note: &mut impl FnMut(usize) -> Result<u64, TunnelEnd>,
) -> Result<(), TunnelEnd> {
    loop {
        // The pipe is empty here, so "would block" can only come from the socket.
        let filled = from
            .async_io(Interest::READABLE, || splice(from, write_end))
            .await
            .map_err(TunnelEnd::Broken)?;
        if filled == 0 {
            return Ok(());
        }
        note(filled)?;
        let mut left = filled;
        while left > 0 {
            // And here it is not, so it can only come from the socket on the other side.
            let drained = to
                .async_io(Interest::WRITABLE, || splice(read_end, to))
                .await
                .map_err(TunnelEnd::Broken)?;
            if drained == 0 {
                return Err(TunnelEnd::Broken(io::ErrorKind::WriteZero.into()));
            }
            left = left.saturating_sub(drained);
        }
    }
}

fn splice(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd) -> io::Result<usize> {
    loop {
        match rustix::pipe::splice(
            &from,
            None,
            &to,
            None,
            PIPE,
            SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
        ) {
            Err(Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}
