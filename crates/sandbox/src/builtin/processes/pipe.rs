//! Messages that arrive whole, one system call each: every program that is executed inside waits for one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// More than any message: each byte of a path or an argument takes up to four.
const LONGEST: usize = 128 << 10;

/// One end.
#[derive(Debug)]
pub(super) struct Pipe {
    socket: OwnedFd,
    /// For messages to be received.
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(super) enum Received<M> {
    Message(M),
    Nothing,
    Closed,
}

impl Pipe {
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self::from(ours), theirs))
    }

    pub(super) fn send(&self, message: &impl Serialize) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        loop {
            match rustix::net::send(&self.socket, &bytes, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                sent => return sent.map(drop).map_err(io::Error::from),
            }
        }
    }

    /// Without patience, waits for ever.
    pub(super) fn receive<M: DeserializeOwned>(
        &mut self,
        patience: Option<Duration>,
    ) -> io::Result<Received<M>> {
        if let Some(patience) = patience
            && !self.is_ready_within(patience)?
        {
            return Ok(Received::Nothing);
        }
        self.buffer.resize(LONGEST, 0);
        let length = loop {
            match rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                received => break received?.0,
            }
        };
        match &self.buffer[..length] {
            [] => Ok(Received::Closed),
            bytes => Ok(Received::Message(serde_json::from_slice(bytes)?)),
        }
    }

    fn is_ready_within(&self, patience: Duration) -> io::Result<bool> {
        let limit = Timespec::try_from(patience).map_err(io::Error::other)?;
        let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
        match rustix::event::poll(&mut ready, Some(&limit)) {
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl From<OwnedFd> for Pipe {
    fn from(socket: OwnedFd) -> Self {
        Self {
            socket,
            buffer: Vec::new(),
        }
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
