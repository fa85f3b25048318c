//! Server-sent events, as far as models use them: the data of each event, whatever the pieces that it arrives in.
//!
//! [HTML, section 9.2](https://html.spec.whatwg.org/multipage/server-sent-events.html): lines end with CR, LF or both;
//! the `data` lines of an event are joined by LF; an empty line ends it. Other fields are of no interest here, for the
//! models' events all name their type in their data too.

use super::limits;

/// An event, or what was collected of one, is longer than is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    data: Vec<u8>,
    /// The line before ended with CR: an LF right behind it belongs to that.
    after_cr: bool,
    begun: bool,
}

impl Decoder {
    /// Takes bytes, and gives the data of each event that they complete to `event`, until that fails.
    pub(crate) fn take<E: From<TooLarge>>(
        &mut self,
        mut bytes: &[u8],
        mut event: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if bytes.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.after_cr) {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(at) = memchr::memchr2(b'\r', b'\n', bytes) {
            self.keep(&bytes[..at])?;
            let is_cr = bytes[at] == b'\r';
            bytes = &bytes[at + 1..];
            if is_cr {
                match bytes.first() {
                    Some(b'\n') => bytes = &bytes[1..],
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            self.end_line(&mut event)?;
        }
        self.keep(bytes)?;
        Ok(())
    }

    /// The stream is over. An event that no empty line has ended is given all the same: some servers leave it out
    /// behind their last.
    pub(crate) fn end<E: From<TooLarge>>(
        &mut self,
        mut event: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.end_line(&mut event)?;
        self.end_line(&mut event)
    }

    /// Bytes that are held of an event that is not whole yet.
    pub(crate) fn held(&self) -> usize {
        self.line.capacity() + self.data.capacity()
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if self.line.len() + self.data.len() + bytes.len() > limits::EVENT {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line<E>(&mut self, event: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if !std::mem::replace(&mut self.begun, true) && self.line.starts_with(b"\xef\xbb\xbf") {
            self.line.drain(..3);
        }
        if self.line.is_empty() {
            if self.data.is_empty() {
                return Ok(());
            }
            let given = event(&self.data[..self.data.len() - 1]);
            self.data.clear();
            return given;
        }
        if let Some(data) = self.line.strip_prefix(b"data:") {
            self.data
                .extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            self.data.push(b'\n');
        }
        self.line.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl From<TooLarge> for () {
        fn from(_: TooLarge) {}
    }

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        let mut event = |data: &[u8]| {
            events.push(String::from_utf8_lossy(data).into_owned());
            Ok::<(), ()>(())
        };
        for piece in pieces {
            decoder.take(piece, &mut event).unwrap();
        }
        decoder.end(&mut event).unwrap();
        events
    }

    #[test]
    fn events_as_the_standard_has_them() {
        let stream = b"\xef\xbb\xbf: a comment\nevent: x\nid: 1\ndata: one\n\ndata:two\r\ndata: lines\r\n\r\n\
                       data\n\nother: y\n\ndata: last";
        assert_eq!(events(&[stream]), ["one", "two\nlines", "last"]);
        assert_eq!(events(&[b"data: a\r\rdata: b\r\r"]), ["a", "b"]);
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut decoder = Decoder::default();
        let piece = vec![b'x'; limits::EVENT / 2];
        let mut event = |_: &[u8]| Ok::<(), TooLarge>(());
        assert_eq!(decoder.take(&piece, &mut event), Ok(()));
        assert_eq!(decoder.take(&piece, &mut event), Ok(()));
        assert_eq!(decoder.take(b"x", &mut event), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(
            stream in prop::collection::vec(prop::sample::select(&b"data: \r\nx:\xef\xbb\xbf"[..]), 0..60),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let whole = events(&[&stream]);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&stream[from..cut]);
                from = cut;
            }
            pieces.push(&stream[from..]);
            prop_assert_eq!(events(&pieces), whole);
        }
    }
}
