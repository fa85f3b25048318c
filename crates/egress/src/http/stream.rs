//! Bytes in and out of one side: a buffered source, and the pump that moves a body from a source to a sink.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::chunked::{self, ChunkError, Piece};
use super::deadline::Deadline;
use super::head::BodyLength;
use super::response::ResponseBody;
use super::tap::{BodyEnds, Flow};

/// A fresh buffer; enough for nearly every head.
const SMALL: usize = 4 * 1024;
/// The buffer of a connection that waits.
const RESTING: usize = 512;
/// A buffer that a fast body has grown to.
const LARGE: usize = 64 * 1024;

/// Pieces up to this size are copied behind what waits to be written, larger ones written from where they lie.
const COPY: usize = 8 * 1024;

/// The reading half of one side with what has arrived and was not yet taken.
#[derive(Debug)]
pub(crate) struct Source<R> {
    io: R,
    buffer: BytesMut,
    /// How much to ask for at once; follows how much comes at once.
    want: usize,
    /// Bytes read since the beginning.
    pub(crate) total: u64,
    pub(crate) ended: bool,
    pub(crate) truncated: bool,
    /// What was taken and may be wanted again.
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    bytes: BytesMut,
    most: usize,
}

impl<R: AsyncRead + Unpin> Source<R> {
    pub(crate) fn new(io: R) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            want: SMALL,
            total: 0,
            ended: false,
            truncated: false,
            kept: None,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    pub(crate) fn take(&mut self, length: usize) {
        if let Some(kept) = &mut self.kept {
            if kept.bytes.len() + length <= kept.most {
                kept.bytes.extend_from_slice(&self.buffer[..length]);
            } else {
                self.kept = None;
            }
        }
        self.buffer.advance(length);
    }

    /// From here on, what is taken can be had again, as long as it is not more than `most` bytes.
    pub(crate) fn keep(&mut self, most: usize) {
        let bytes = BytesMut::new();
        self.kept = Some(Kept { bytes, most });
    }

    /// Back to where [`Source::keep`] was called.
    pub(crate) fn rewind(&mut self) {
        if let Some(Kept { mut bytes, .. }) = self.kept.take() {
            bytes.extend_from_slice(&self.buffer);
            self.buffer = bytes;
        }
    }

    /// Nothing is wanted again.
    pub(crate) fn forget(&mut self) {
        self.kept = None;
    }

    /// Takes bytes out without copying them.
    pub(crate) fn split(&mut self, length: usize) -> Bytes {
        self.buffer.split_to(length).freeze()
    }

    /// Reads more; 0 means that the other side has finished. Cancel safe.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        self.make_room();
        let room = self.buffer.capacity() - self.buffer.len();
        let read = match self.io.read_buf(&mut self.buffer).await {
            Ok(read) => read,
            // TLS closed without close_notify: only a body that ends with the connection may be cut short by it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.truncated = true;
                0
            }
            Err(error) => return Err(error),
        };
        self.total += read as u64;
        self.ended = read == 0;
        if read == room {
            self.want = (self.want * 4).clamp(SMALL, LARGE);
        }
        Ok(read)
    }

    /// Bytes are there, the end is there, or neither: without waiting.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        if !self.buffer.is_empty() || self.ended {
            return false;
        }
        let mut fill = std::pin::pin!(self.fill());
        poll_fn(|cx| Poll::Ready(fill.as_mut().poll(cx).is_pending())).await
    }

    /// Gives memory back while nothing is expected soon.
    pub(crate) fn rest(&mut self) {
        self.want = RESTING;
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Room for a good read. What was taken is reclaimed where it lies; a new block is the exception.
    fn make_room(&mut self) {
        if self.buffer.capacity() - self.buffer.len() < self.want / 2 {
            self.buffer.reserve(self.want);
        }
    }

    /// The io and what was read ahead of it.
    pub(crate) fn into_parts(self) -> (R, BytesMut) {
        (self.io, self.buffer)
    }
}

/// How a body is read.
#[derive(Debug)]
pub(crate) enum BodyReader {
    None,
    Fixed(u64),
    Chunked(chunked::Decoder),
    UntilClose,
    /// One way of a WebSocket. What is spoken on it says itself whether it is whole, so that many servers close without
    /// TLS's close_notify.
    Tunnel,
}

impl From<BodyLength> for BodyReader {
    fn from(length: BodyLength) -> Self {
        match length {
            BodyLength::None | BodyLength::Fixed(0) => Self::None,
            BodyLength::Fixed(length) => Self::Fixed(length),
            BodyLength::Chunked => Self::Chunked(chunked::Decoder::default()),
        }
    }
}

impl From<ResponseBody> for BodyReader {
    fn from(body: ResponseBody) -> Self {
        match body {
            ResponseBody::None | ResponseBody::Fixed(0) => Self::None,
            ResponseBody::Fixed(length) => Self::Fixed(length),
            ResponseBody::Chunked => Self::Chunked(chunked::Decoder::default()),
            ResponseBody::UntilClose => Self::UntilClose,
        }
    }
}

impl BodyReader {
    /// Looks at what has arrived. `Data` is counted as taken; the caller must take it.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<Piece, ChunkError> {
        match self {
            Self::None => Ok(Piece::End(0)),
            Self::Chunked(decoder) => decoder.next(bytes),
            Self::Fixed(0) => Ok(Piece::End(0)),
            Self::Fixed(_) | Self::UntilClose | Self::Tunnel if bytes.is_empty() => {
                Ok(Piece::NeedMore)
            }
            Self::UntilClose | Self::Tunnel => Ok(Piece::Data(bytes.len())),
            Self::Fixed(left) => {
                let length = (bytes.len() as u64).min(*left);
                *left -= length;
                Ok(Piece::Data(length as usize))
            }
        }
    }

    pub(crate) fn ends(&self) -> BodyEnds {
        match self {
            Self::None | Self::Fixed(_) | Self::Chunked(_) => BodyEnds::Marked,
            Self::UntilClose | Self::Tunnel => BodyEnds::WithConnection,
        }
    }

    /// Is the body whole if its connection ends here?
    pub(crate) fn may_end(&self, truncated: bool) -> bool {
        match self {
            Self::None | Self::Tunnel => true,
            Self::UntilClose => !truncated,
            Self::Fixed(_) | Self::Chunked(_) => false,
        }
    }

    pub(crate) fn trailers(&self) -> &[u8] {
        match self {
            Self::Chunked(decoder) => decoder.trailers(),
            _ => &[],
        }
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyWriter {
    /// As it is: its length was announced, or it ends with the connection.
    Plain,
    Chunked,
}

/// Why a body did not get through.
#[derive(Debug)]
pub(crate) enum PumpError {
    /// The sending side broke off, or ended before the body did.
    Source,
    /// The sending side sent a malformed body.
    Malformed(ChunkError),
    /// The receiving side is gone.
    Sink,
    /// More bytes than one transfer may have.
    TooMany,
}

/// What holds while a body moves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace<'a> {
    pub(crate) deadline: &'a Deadline,
    pub(crate) idle: Duration,
    pub(crate) max_bytes: u64,
}

/// Moves one body, and before it what `out` holds (the head). Everything is flushed before the pump waits for more,
/// so an event of a stream is with the receiver before the next one is sent. `flow` counts data as it is written.
pub(crate) async fn pump<R, W>(
    source: &mut Source<R>,
    body: &mut BodyReader,
    sink: &mut W,
    writer: BodyWriter,
    out: &mut Vec<u8>,
    pace: Pace<'_>,
    flow: &mut Flow,
) -> Result<(), PumpError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        match body.next(source.bytes()).map_err(PumpError::Malformed)? {
            Piece::Data(length) => {
                let data = &source.bytes()[..length];
                flow.pass(data);
                if flow.bytes() > pace.max_bytes {
                    return Err(PumpError::TooMany);
                }
                if writer == BodyWriter::Chunked {
                    chunked::write_size(out, length);
                }
                if length <= COPY && out.len() <= LARGE - COPY {
                    out.extend_from_slice(data);
                } else {
                    write_both(sink, out, data)
                        .await
                        .map_err(|_| PumpError::Sink)?;
                    pace.deadline.set(pace.idle);
                    out.clear();
                }
                source.take(length);
                if writer == BodyWriter::Chunked {
                    out.extend_from_slice(b"\r\n");
                }
            }
            Piece::Framing(length) => source.take(length),
            Piece::End(length) => {
                source.take(length);
                if writer == BodyWriter::Chunked {
                    out.extend_from_slice(b"0\r\n");
                    out.extend_from_slice(body.trailers());
                    out.extend_from_slice(b"\r\n");
                }
                return send(sink, out).await;
            }
            Piece::NeedMore => {
                send(sink, out).await?;
                pace.deadline.set(pace.idle);
                let read = source.fill().await.map_err(|_| PumpError::Source)?;
                if read == 0 {
                    return match writer {
                        _ if !body.may_end(source.truncated) => Err(PumpError::Source),
                        BodyWriter::Chunked => {
                            out.extend_from_slice(b"0\r\n\r\n");
                            send(sink, out).await
                        }
                        BodyWriter::Plain => Ok(()),
                    };
                }
            }
        }
    }
}

async fn send<W: AsyncWrite + Unpin>(sink: &mut W, out: &mut Vec<u8>) -> Result<(), PumpError> {
    if !out.is_empty() {
        sink.write_all(out).await.map_err(|_| PumpError::Sink)?;
        out.clear();
    }
    sink.flush().await.map_err(|_| PumpError::Sink)
}

/// Writes both slices, in one system call where the sink can.
pub(crate) async fn write_both<W: AsyncWrite + Unpin>(
    sink: &mut W,
    mut first: &[u8],
    mut second: &[u8],
) -> io::Result<()> {
    while !first.is_empty() {
        let written = poll_fn(|cx| {
            let both = [IoSlice::new(first), IoSlice::new(second)];
            Pin::new(&mut *sink).poll_write_vectored(cx, &both)
        })
        .await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_first = written.min(first.len());
        first = &first[of_first..];
        second = &second[written - of_first..];
    }
    sink.write_all(second).await
}
