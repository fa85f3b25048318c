//! A synchronous netlink client: messages are encoded into one buffer, sent with one system call,
//! and every one of them must be acknowledged. See netlink(7).
//!
//! It runs in a forked child without threads, so it depends on no runtime.

use std::os::fd::OwnedFd;

use rustix::net::netlink::NETFILTER;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use crate::error::{SyscallError, SyscallResult, failed};

const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
const ALIGNMENT: usize = 4;

const NLM_F_REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const NLM_F_ACK: u16 = libc::NLM_F_ACK as u16;
const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;

/// Messages for the kernel, each with the text that an error about it shows.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    shown: Vec<String>,
    acknowledged: usize,
}

/// Whether the kernel is to confirm a message. The frame of an nf_tables batch is never confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Acknowledge,
    OnlyOnError,
}

impl Batch {
    /// Appends a message: the fixed header of its family, then what `fill` adds. The sequence number
    /// is the index of the message, which is how an error finds its text.
    pub(super) fn message(
        &mut self,
        shown: impl Into<String>,
        kind: u16,
        flags: u16,
        reply: Reply,
        fill: impl FnOnce(&mut Body<'_>),
    ) {
        let start = self.bytes.len();
        let sequence = u32::try_from(self.shown.len()).unwrap_or(u32::MAX);
        self.shown.push(shown.into());
        let mut flags = flags | NLM_F_REQUEST;
        if reply == Reply::Acknowledge {
            flags |= NLM_F_ACK;
            self.acknowledged += 1;
        }
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend(0u32.to_ne_bytes());
        let mut body = Body {
            bytes: &mut self.bytes,
        };
        fill(&mut body);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn name(&self, sequence: u32) -> &str {
        let index = usize::try_from(sequence).unwrap_or(usize::MAX);
        self.shown
            .get(index)
            .map_or("an unknown message", String::as_str)
    }
}

/// The part of a message after its header, kept aligned.
#[derive(Debug)]
pub(super) struct Body<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Body<'_> {
    /// Raw bytes, for a family's fixed header.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.pad();
    }

    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.begin(kind, value.len());
        self.bytes.extend(value);
        self.pad();
    }

    /// Netfilter's integers are in network byte order.
    pub(super) fn be32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// A string with its terminating NUL.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.begin(kind, value.len() + 1);
        self.bytes.extend(value.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    pub(super) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Body<'_>)) {
        let start = self.bytes.len();
        self.begin(kind | libc::NLA_F_NESTED as u16, 0);
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn begin(&mut self, kind: u16, value: usize) {
        let length = u16::try_from(ATTRIBUTE_HEADER + value).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(padded, 0);
    }
}

/// An open netlink socket in the calling thread's network namespace.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    pub(super) fn route() -> SyscallResult<Self> {
        Self::open(None, "NETLINK_ROUTE")
    }

    pub(super) fn netfilter() -> SyscallResult<Self> {
        Self::open(Some(NETFILTER), "NETLINK_NETFILTER")
    }

    fn open(protocol: Option<Protocol>, shown: &str) -> SyscallResult<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .map_err(failed!("socket(AF_NETLINK, SOCK_RAW, {shown})"))?;
        Ok(Self { socket })
    }

    /// Sends the whole batch and waits for its acknowledgements; the first refusal is the error.
    pub(super) fn send(&self, batch: &Batch) -> SyscallResult<()> {
        self.write(batch)?;
        let mut waiting = batch.acknowledged;
        while waiting > 0 {
            self.read(|message| {
                if message.kind == NLMSG_ERROR {
                    message.outcome(batch)?;
                    waiting = waiting.saturating_sub(1);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Sends one dump request (its only message) and hands every answer's payload to `each`.
    pub(super) fn dump(
        &self,
        batch: &Batch,
        kind: u16,
        mut each: impl FnMut(&[u8]),
    ) -> SyscallResult<()> {
        self.write(batch)?;
        let mut done = false;
        while !done {
            self.read(|message| {
                match message.kind {
                    NLMSG_ERROR => message.outcome(batch)?,
                    NLMSG_DONE => done = true,
                    other if other == kind => each(message.payload),
                    _ => {}
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn write(&self, batch: &Batch) -> SyscallResult<()> {
        let length = batch.bytes.len();
        let sent = send(&self.socket, &batch.bytes, SendFlags::empty())
            .map_err(failed!("send(netlink, {length} bytes)"))?;
        if sent == length {
            Ok(())
        } else {
            Err(SyscallError::from_errno("send(netlink)", libc::EMSGSIZE))
        }
    }

    /// Reads one datagram. The kernel works on a request before `send` returns, so an answer that is
    /// not there yet never comes: waiting for it would hang.
    fn read(&self, mut each: impl FnMut(Message<'_>) -> SyscallResult<()>) -> SyscallResult<()> {
        let mut buffer = vec![0u8; 32 << 10];
        let (length, _) = recv(&self.socket, buffer.as_mut_slice(), RecvFlags::DONTWAIT)
            .map_err(failed!("recv(netlink)"))?;
        let mut rest = &buffer[..length];
        while let Some((message, after)) = Message::split(rest) {
            each(message)?;
            rest = after;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Message<'a> {
    kind: u16,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let kind = u16_at(bytes, 4)?;
        let payload = bytes.get(HEADER..length)?;
        let after = bytes
            .get(length.next_multiple_of(ALIGNMENT)..)
            .unwrap_or_default();
        Some((Self { kind, payload }, after))
    }

    /// An NLMSG_ERROR: an errno (0 acknowledges), then the header of the message it is about.
    fn outcome(&self, batch: &Batch) -> SyscallResult<()> {
        let errno = u32_at(self.payload, 0).map_or(-libc::EPROTO, u32::cast_signed);
        if errno == 0 {
            return Ok(());
        }
        let sequence = u32_at(self.payload, 4 + 8).unwrap_or(u32::MAX);
        let call = format!("netlink({})", batch.name(sequence));
        Err(SyscallError::from_errno(call, errno.saturating_neg()))
    }
}

/// The attributes in `bytes`, as (type, value). Stops at what is malformed.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)?;
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes
            .get(length.next_multiple_of(ALIGNMENT)..)
            .unwrap_or_default();
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let field = bytes.get(offset..offset + 2)?;
    Some(u16::from_ne_bytes(field.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_padding() {
        let mut batch = Batch::default();
        batch.message("one", 16, 0, Reply::Acknowledge, |body| {
            body.raw(&[1]);
            body.text(1, "lo");
            body.nested(2, |inner| inner.be32(3, 7));
        });
        batch.message("two", 17, 0, Reply::OnlyOnError, |_| {});
        let (first, rest) = Message::split(&batch.bytes).unwrap();
        assert_eq!((first.kind, first.payload.len()), (16, 4 + 8 + 12));
        assert_eq!(first.payload[..4], [1, 0, 0, 0]);
        let parsed: Vec<_> = attributes(&first.payload[4..]).collect();
        assert_eq!(parsed[0], (1, &b"lo\0"[..]));
        assert_eq!(parsed[1].0, 2 | libc::NLA_F_NESTED as u16);
        let inner: Vec<_> = attributes(parsed[1].1).collect();
        assert_eq!(inner, [(3, &[0, 0, 0, 7][..])]);
        let (second, rest) = Message::split(rest).unwrap();
        assert_eq!((second.kind, rest.len()), (17, 0));
        assert_eq!((batch.acknowledged, batch.name(1)), (1, "two"));
    }

    #[test]
    fn malformed_answers_end_the_walk() {
        for bytes in [&[][..], &[1, 2, 3], &[0; 16], &[255; 40]] {
            while_some(bytes);
            assert!(attributes(bytes).count() < 20);
        }
    }

    fn while_some(mut bytes: &[u8]) {
        while let Some((_, rest)) = Message::split(bytes) {
            assert!(rest.len() < bytes.len());
            bytes = rest;
        }
    }
}
