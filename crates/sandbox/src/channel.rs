//! Conversations between Wardian's own processes: JSON messages with descriptors over a socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use wardian_linux::fdpass;

#[derive(Debug, Error)]
pub enum ProtocolError {
    #[error("the other side is gone")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("malformed message: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("a message of another kind or with other descriptors than expected: {0}")]
    Unexpected(String),
}

/// One end of the conversation.
#[derive(Debug)]
pub struct Channel(UnixStream);

impl Channel {
    pub fn pair() -> io::Result<(Self, Self)> {
        let (left, right) = UnixStream::pair()?;
        Ok((Self(left), Self(right)))
    }

    pub fn send<M: Serialize>(
        &self,
        message: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ProtocolError> {
        let bytes = serde_json::to_vec(message)?;
        Ok(fdpass::send(&self.0, &bytes, descriptors)?)
    }

    pub fn receive<M: DeserializeOwned>(&self) -> Result<(M, Vec<OwnedFd>), ProtocolError> {
        let (bytes, descriptors) = fdpass::receive(&self.0)?.ok_or(ProtocolError::Closed)?;
        Ok((serde_json::from_slice(&bytes)?, descriptors))
    }

    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Channel {
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0.into()
    }
}
