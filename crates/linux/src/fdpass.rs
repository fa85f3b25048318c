//! Messages with descriptors over a unix socket: a length, the bytes, and up to 16 descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// The most descriptors one message carries.
pub const MAX_DESCRIPTORS: usize = 16;
/// The longest message, so that a confused peer cannot make us allocate without bound.
pub const MAX_MESSAGE: usize = 16 << 20;

/// Sends one message on a stream socket. Blocks until the peer's buffer took it.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|length| *length as usize <= MAX_MESSAGE)
        .ok_or_else(|| invalid("message too long"))?;
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(invalid("too many descriptors in one message"));
    }
    let header = length.to_le_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    // The descriptors travel with the header; a stream socket takes its 4 bytes whole or not at all.
    let sent = retry(|| {
        rustix::net::sendmsg(
            &socket,
            &[IoSlice::new(&header)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
    })?;
    if sent != header.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let sent = retry(|| rustix::net::send(&socket, rest, SendFlags::NOSIGNAL))?;
        rest = &rest[sent..];
    }
    Ok(())
}

/// Receives one message; `None` when the peer has closed between messages.
pub fn receive(socket: impl AsFd) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut header = [0u8; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = retry(|| {
        rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut header)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL,
        )
    })?
    .bytes;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    match received {
        0 => return Ok(None),
        4 => {}
        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
    }
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_MESSAGE {
        return Err(invalid("message too long"));
    }
    let mut bytes = vec![0u8; length];
    let mut filled = 0;
    while filled < length {
        let (received, _) =
            retry(|| rustix::net::recv(&socket, &mut bytes[filled..], RecvFlags::empty()))?;
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += received;
    }
    Ok(Some((bytes, descriptors)))
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn carries_bytes_and_descriptors() {
        let (left, right) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"held outside").unwrap();
        send(&left, b"{\"a\":1}", &[file.as_fd()]).unwrap();
        send(&left, b"", &[]).unwrap();
        drop(left);

        let (bytes, descriptors) = receive(&right).unwrap().unwrap();
        assert_eq!(bytes, b"{\"a\":1}");
        let [descriptor] = <[OwnedFd; 1]>::try_from(descriptors).unwrap();
        let mut received = std::fs::File::from(descriptor);
        received.rewind().unwrap();
        let mut text = String::new();
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "held outside");

        assert_eq!(receive(&right).unwrap().unwrap().0, b"");
        assert!(receive(&right).unwrap().is_none());
    }

    #[test]
    fn refuses_an_endless_length() {
        let (mut left, right) = UnixStream::pair().unwrap();
        left.write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert_eq!(
            receive(&right).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
