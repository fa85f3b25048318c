//! The chunked transfer coding (RFC 9112 section 7.1), decoded strictly and bounded in every part.

use super::field::{self, Field, FieldError, Known};
use super::limits::{
    MAX_BODY, MAX_CHUNK_EXTENSIONS, MAX_CHUNK_LINE, MAX_TRAILER_FIELDS, MAX_TRAILERS,
};

#[cfg(test)]
mod tests;

/// Why a chunked body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("a chunk size is not a hexadecimal number")]
    Size,
    #[error("a chunk or the whole body is too large")]
    TooLarge,
    #[error("a chunk extension is malformed")]
    Extension,
    #[error("chunk extensions are too long")]
    ExtensionsTooLong,
    #[error("a chunk does not end with CR LF")]
    End,
    #[error("trailers are too long")]
    TrailersTooLong,
    #[error("a trailer is malformed: {0}")]
    Trailer(#[from] FieldError),
    #[error("a trailer names a field that belongs into the head")]
    ForbiddenTrailer,
}

impl ChunkError {
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Size => "bad_chunk_size",
            Self::TooLarge => "body_too_large",
            Self::Extension => "bad_chunk_extension",
            Self::ExtensionsTooLong => "chunk_extensions_too_long",
            Self::End => "bad_chunk_end",
            Self::TrailersTooLong => "trailers_too_long",
            Self::Trailer(_) => "bad_trailer",
            Self::ForbiddenTrailer => "forbidden_trailer",
        }
    }
}

/// What the next bytes of a chunked body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes, from where the decoder stands, are data. The caller takes them; the decoder has counted them.
    Data(usize),
    /// So many bytes are framing, to be dropped.
    Framing(usize),
    /// The body has ended with these bytes of framing. Trailers are in [`Decoder::trailers`].
    End(usize),
    /// Nothing can be said before more bytes arrive.
    NeedMore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SizeLine,
    Data(u64),
    DataEnd,
    Trailers,
    Ended,
}

/// Decodes one body. Feed it the bytes that have arrived, take or drop what it names, repeat.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    total: u64,
    extensions: usize,
    trailers: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            state: State::SizeLine,
            total: 0,
            extensions: 0,
            trailers: Vec::new(),
        }
    }
}

impl Decoder {
    /// Looks at `bytes`, which begin where the last piece ended.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, ChunkError> {
        match self.state {
            State::SizeLine => self.size_line(bytes),
            State::Data(left) => {
                let length = (bytes.len() as u64).min(left) as usize;
                if length == 0 {
                    return Ok(Piece::NeedMore);
                }
                let left = left - length as u64;
                self.state = if left == 0 {
                    State::DataEnd
                } else {
                    State::Data(left)
                };
                Ok(Piece::Data(length))
            }
            State::DataEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.state = State::SizeLine;
                    Ok(Piece::Framing(2))
                }
                [] | [b'\r'] => Ok(Piece::NeedMore),
                _ => Err(ChunkError::End),
            },
            State::Trailers => self.trailer_line(bytes),
            State::Ended => Ok(Piece::End(0)),
        }
    }

    /// The trailer section as received, each line with its CRLF; empty if there was none. Complete after the end.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Bytes of data so far, those of chunks announced but not yet seen included.
    pub fn total(&self) -> u64 {
        self.total
    }

    fn size_line(&mut self, bytes: &[u8]) -> Result<Piece, ChunkError> {
        let digits = bytes
            .iter()
            .take(17)
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        if digits > 16 || (digits == 0 && !bytes.is_empty()) {
            return Err(ChunkError::Size);
        }
        let line = match line(bytes, MAX_CHUNK_LINE) {
            Line::Whole(line) => line,
            Line::Partial => {
                return match bytes.get(digits) {
                    None | Some(b';' | b'\r') => Ok(Piece::NeedMore),
                    Some(_) => Err(ChunkError::Size),
                };
            }
            Line::TooLong => return Err(ChunkError::ExtensionsTooLong),
            Line::BareLf => return Err(ChunkError::Size),
        };
        let (size, extension) = line.split_at(digits);
        match extension.first() {
            None => {}
            Some(b';') => {
                if !extension
                    .iter()
                    .all(|byte| field::is_value_byte(*byte) && byte.is_ascii())
                {
                    return Err(ChunkError::Extension);
                }
                self.extensions += extension.len();
                if self.extensions > MAX_CHUNK_EXTENSIONS {
                    return Err(ChunkError::ExtensionsTooLong);
                }
            }
            Some(_) => return Err(ChunkError::Size),
        }
        let size = size
            .iter()
            .fold(0u64, |sum, digit| sum << 4 | u64::from(hex_value(*digit)));
        self.total = self
            .total
            .checked_add(size)
            .filter(|total| *total <= MAX_BODY)
            .ok_or(ChunkError::TooLarge)?;
        self.state = if size == 0 {
            State::Trailers
        } else {
            State::Data(size)
        };
        Ok(Piece::Framing(line.len() + 2))
    }

    fn trailer_line(&mut self, bytes: &[u8]) -> Result<Piece, ChunkError> {
        let line = match line(bytes, MAX_TRAILERS - self.trailers.len().min(MAX_TRAILERS)) {
            Line::Whole(line) => line,
            Line::Partial => return Ok(Piece::NeedMore),
            Line::TooLong => return Err(ChunkError::TrailersTooLong),
            Line::BareLf => return Err(ChunkError::Trailer(FieldError::Value)),
        };
        if line.is_empty() {
            self.state = State::Ended;
            return Ok(Piece::End(2));
        }
        if self.trailers.iter().filter(|byte| **byte == b'\n').count() >= MAX_TRAILER_FIELDS {
            return Err(ChunkError::TrailersTooLong);
        }
        let field = field::parse_line(line, 0)?;
        if !may_trail(&field, line) {
            return Err(ChunkError::ForbiddenTrailer);
        }
        let taken = line.len() + 2;
        self.trailers.extend_from_slice(&bytes[..taken]);
        Ok(Piece::Framing(taken))
    }
}

/// Fields that frame, route or authenticate are never trailers (RFC 9110 section 6.5.1).
fn may_trail(field: &Field, line: &[u8]) -> bool {
    let name = field.name.of(line);
    matches!(field.known, Known::Other | Known::Trailer)
        && !name.eq_ignore_ascii_case(b"set-cookie")
        && !name.eq_ignore_ascii_case(b"content-encoding")
        && !name.eq_ignore_ascii_case(b"content-range")
}

enum Line<'a> {
    /// Without its CRLF.
    Whole(&'a [u8]),
    Partial,
    BareLf,
    TooLong,
}

fn line(bytes: &[u8], most: usize) -> Line<'_> {
    let window = &bytes[..bytes.len().min(most + 2)];
    match memchr::memchr(b'\n', window) {
        Some(0) => Line::BareLf,
        Some(at) if window[at - 1] == b'\r' => Line::Whole(&window[..at - 1]),
        Some(_) => Line::BareLf,
        None if window.len() < most + 2 => Line::Partial,
        None => Line::TooLong,
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Writes `size CRLF`, the beginning of one chunk, without allocating.
pub(crate) fn write_size(out: &mut Vec<u8>, size: usize) {
    let mut digits = [0u8; 16];
    let mut at = digits.len();
    let mut rest = size;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Decodes a whole body held in memory: the fuzz target's entry, and the reference for piecewise decoding.
pub fn decode_bytes(mut bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ChunkError> {
    let (mut decoder, mut data, whole) = (Decoder::default(), Vec::new(), bytes.len());
    loop {
        match decoder.next(bytes)? {
            Piece::Data(length) => {
                data.extend_from_slice(&bytes[..length]);
                bytes = &bytes[length..];
            }
            Piece::Framing(length) => bytes = &bytes[length..],
            Piece::End(length) => return Ok(Some((data, whole - bytes.len() + length))),
            Piece::NeedMore => return Ok(None),
        }
    }
}
