//! The program's side of a connection: counted, with bytes that were read ahead given back, and resettable.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What went over one inner socket, and how it is to end. Outlives the stream.
#[derive(Debug, Default)]
pub struct Meter {
    up: AtomicU64,
    down: AtomicU64,
    reset: AtomicBool,
}

impl Meter {
    /// Bytes that the program sent.
    pub fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// Bytes that it was sent.
    pub fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    pub(crate) fn add_up(&self, bytes: usize) {
        self.up.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_down(&self, bytes: usize) {
        self.down.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// When the stream is dropped, its connection ends with RST instead of FIN.
    pub fn reset_on_drop(&self) {
        self.reset.store(true, Ordering::Release);
    }
}

/// The accepted socket. Nothing is written to it but by what was judged.
#[derive(Debug)]
pub struct ClientStream {
    socket: TcpStream,
    ahead: BytesMut,
    meter: Arc<Meter>,
}

impl ClientStream {
    pub fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            ahead: BytesMut::new(),
            meter: Arc::default(),
        }
    }

    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What was read ahead and not yet taken by a reader.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Reads more into [`ClientStream::ahead`], at most up to `most` bytes of it; 0 is the end, or a full buffer.
    /// Cancel safe.
    pub async fn read_ahead(&mut self, most: usize) -> io::Result<usize> {
        let room = most.saturating_sub(self.ahead.len());
        if room == 0 {
            return Ok(0);
        }
        self.ahead.reserve(room.min(4096));
        let read = (&mut self.socket)
            .take(room as u64)
            .read_buf(&mut self.ahead)
            .await?;
        self.meter.add_up(read);
        Ok(read)
    }

    /// Takes what was read ahead, to be written to an upstream before the tunnel begins.
    pub fn take_ahead(&mut self) -> BytesMut {
        std::mem::take(&mut self.ahead)
    }

    /// Ends the connection with RST at once: no wait, no bytes.
    pub fn reset(self) {
        self.meter.reset_on_drop();
    }
}

/// Makes the kernel answer with RST when `socket` is closed.
pub(crate) fn reset_on_close(socket: &TcpStream) {
    // Fails on a socket that is gone already, which is what was wanted.
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        if self.meter.reset.load(Ordering::Acquire) {
            reset_on_close(&self.socket);
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let length = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..length]);
            this.ahead.advance(length);
            if this.ahead.is_empty() {
                this.ahead = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let poll = Pin::new(&mut this.socket).poll_read(cx, buf);
        this.meter.add_up(buf.filled().len() - before);
        poll
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.socket).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = &poll {
            this.meter.add_down(*written);
        }
        poll
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(written)) = &poll {
            this.meter.add_down(*written);
        }
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
