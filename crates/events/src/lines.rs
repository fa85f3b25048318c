//! Lines of a journal out of any reader, in bounded memory.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use crate::journal::MAX_POLICY_RECORD;

/// No line of a journal is longer, without its newline.
pub(crate) const MAX_LINE: usize = MAX_POLICY_RECORD;

#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: BufReader<R>,
    buffer: Vec<u8>,
    /// Where the next line starts, in bytes.
    offset: u64,
    /// How many whole lines came so far.
    count: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A line, without its newline.
    Whole(&'a [u8]),
    /// The last bytes of the input, which no newline follows.
    Torn(&'a [u8]),
    /// More than [`MAX_LINE`] bytes without a newline. There is no going on from here.
    TooLong,
    End,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(input: R) -> Self {
        Self::after(0, input)
    }

    /// Of what follows `count` lines that were read elsewhere.
    pub(crate) fn after(count: u64, input: R) -> Self {
        Self {
            input: BufReader::with_capacity(64 * 1024, input),
            buffer: Vec::new(),
            offset: 0,
            count,
        }
    }

    pub(crate) fn get_ref(&self) -> &R {
        self.input.get_ref()
    }

    /// Bytes of the whole lines so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// How many whole lines came so far: the number of the last one, from 1.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn next(&mut self) -> io::Result<Line<'_>> {
        self.buffer.clear();
        (&mut self.input)
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut self.buffer)?;
        match self.buffer.split_last() {
            None => Ok(Line::End),
            Some((b'\n', line)) => {
                self.offset += self.buffer.len() as u64;
                self.count += 1;
                Ok(Line::Whole(line))
            }
            Some(_) if self.buffer.len() > MAX_LINE => Ok(Line::TooLong),
            Some(_) => Ok(Line::Torn(&self.buffer)),
        }
    }
}

impl<R: Read + Seek> Lines<R> {
    /// After [`Line::Torn`]: forgets those bytes, so that the line is read anew once it is whole.
    pub(crate) fn back_to_line_start(&mut self) -> io::Result<()> {
        self.input.seek(SeekFrom::Start(self.offset)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_and_bounds() -> io::Result<()> {
        let mut input = b"a\n\nbc".to_vec();
        let mut lines = Lines::new(&input[..]);
        assert_eq!(lines.next()?, Line::Whole(b"a"));
        assert_eq!(lines.next()?, Line::Whole(b""));
        assert_eq!((lines.count(), lines.offset()), (2, 3));
        assert_eq!(lines.next()?, Line::Torn(b"bc"));
        assert_eq!(lines.next()?, Line::End);
        assert_eq!((lines.count(), lines.offset()), (2, 3));

        input = vec![b'x'; MAX_LINE];
        assert_eq!(Lines::new(&input[..]).next()?, Line::Torn(&input));
        input.push(b'\n');
        assert_eq!(
            Lines::new(&input[..]).next()?,
            Line::Whole(&input[..MAX_LINE])
        );
        input.insert(0, b'x');
        assert_eq!(Lines::new(&input[..]).next()?, Line::TooLong);
        Ok(())
    }
}
