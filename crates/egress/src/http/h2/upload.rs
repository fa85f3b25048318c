//! The body of a request, which can be sent a second time if it was kept.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

/// A body that comes in on a stream.
pub(crate) trait Incoming {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>>;
    fn poll_trailers(&mut self, cx: &mut Context<'_>)
    -> Poll<Result<Option<HeaderMap>, h2::Error>>;
    fn is_end_stream(&self) -> bool;
    /// `length` bytes of data have gone on: the sender may send as many more.
    fn release(&mut self, length: usize);
}

impl Incoming for RecvStream {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        RecvStream::poll_data(self, cx)
    }

    fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        RecvStream::poll_trailers(self, cx)
    }

    fn is_end_stream(&self) -> bool {
        RecvStream::is_end_stream(self)
    }

    fn release(&mut self, length: usize) {
        let _ = self.flow_control().release_capacity(length);
    }
}

/// What the program sends.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    stream: &'a mut RecvStream,
    /// What has come, if it is wanted again and not more than `most`.
    kept: Option<Vec<Bytes>>,
    most: usize,
    size: usize,
    trailers: Option<HeaderMap>,
    /// To be sent again, before what the stream still has.
    again: VecDeque<Bytes>,
    /// Of the stream, taken and not released.
    held: usize,
}

impl<'a> Upload<'a> {
    /// Keeps up to `most` bytes.
    pub(crate) fn new(stream: &'a mut RecvStream, most: Option<usize>) -> Self {
        Self {
            stream,
            kept: most.map(|_| Vec::new()),
            most: most.unwrap_or(0),
            size: 0,
            trailers: None,
            again: VecDeque::new(),
            held: 0,
        }
    }

    /// Back to the beginning, once.
    pub(crate) fn rewind(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.again = kept.into();
            let held = std::mem::take(&mut self.held);
            self.stream.release(held);
        }
    }
}

impl Incoming for Upload<'_> {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        if let Some(data) = self.again.pop_front() {
            return Poll::Ready(Some(Ok(data)));
        }
        let polled = Incoming::poll_data(self.stream, cx);
        if let Poll::Ready(Some(Ok(data))) = &polled {
            self.held += data.len();
            self.size += data.len();
            match &mut self.kept {
                Some(kept) if self.size <= self.most => kept.push(data.clone()),
                kept => *kept = None,
            }
        }
        polled
    }

    fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Ok(Some(trailers)));
        }
        let polled = Incoming::poll_trailers(self.stream, cx);
        if let (Poll::Ready(Ok(Some(trailers))), Some(_)) = (&polled, &self.kept) {
            self.trailers = Some(trailers.clone());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.again.is_empty() && self.trailers.is_none() && self.stream.is_end_stream()
    }

    fn release(&mut self, length: usize) {
        // What is sent again was released when it was taken from the stream.
        let of_stream = length.min(self.held);
        self.held -= of_stream;
        self.stream.release(of_stream);
    }
}
