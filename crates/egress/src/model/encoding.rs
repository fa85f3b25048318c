//! Content encodings, undone piece by piece and within bounds.
//!
//! The door could instead ask origins for answers that are not encoded. Then programs would be sent something else than
//! they asked for, and requests, which come encoded too, would still have to be read.

use std::io::{Read, Write};

use brotli_decompressor::DecompressorWriter;
use ruzstd::decoding::StreamingDecoder;
use zlib_rs::{Inflate, InflateFlush, Status};

use super::Undecoded;

/// What is undone at once, so that a few bytes which stand for many cannot take much memory.
const STEP: usize = 16 * 1024;
/// HTTP allows no larger window (RFC 9659).
const ZSTD_WINDOW: u64 = 8 * 1024 * 1024;

/// One body, on its way from encoded to plain.
pub(crate) enum Decoder {
    Identity,
    Inflate {
        state: Box<Inflate>,
        over: bool,
    },
    Brotli(Box<DecompressorWriter<Vec<u8>>>),
    /// Undone at the end, for its decoder gives nothing out before a whole window is there. Holds what came, and how
    /// much of it may come.
    Zstd {
        encoded: Vec<u8>,
        limit: usize,
    },
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Identity => "Identity",
            Self::Inflate { .. } => "Inflate",
            Self::Brotli(_) => "Brotli",
            Self::Zstd { .. } => "Zstd",
        })
    }
}

impl Decoder {
    /// By the values of the `Content-Encoding` fields. A body that cannot be undone piece by piece may have `limit`
    /// bytes, encoded or not.
    pub(crate) fn of<'a>(
        values: impl Iterator<Item = &'a [u8]>,
        limit: usize,
    ) -> Result<Self, Undecoded> {
        let mut decoder = Self::Identity;
        let members = values.flat_map(|value| value.split(|&byte| byte == b','));
        for coding in members.map(<[u8]>::trim_ascii) {
            let next = match coding.to_ascii_lowercase().as_slice() {
                b"" | b"identity" => continue,
                b"gzip" | b"x-gzip" => Self::inflate(true, 16 + 15),
                b"deflate" => Self::inflate(true, 15),
                b"br" => Self::Brotli(Box::new(DecompressorWriter::new(Vec::new(), STEP))),
                b"zstd" => Self::Zstd {
                    encoded: Vec::new(),
                    limit,
                },
                _ => return Err(Undecoded::UnknownEncoding),
            };
            if !matches!(decoder, Self::Identity) {
                return Err(Undecoded::UnknownEncoding);
            }
            decoder = next;
        }
        Ok(decoder)
    }

    /// Deflate without a header of its own, as WebSocket messages have it.
    pub(crate) fn raw_deflate() -> Self {
        Self::inflate(false, 15)
    }

    fn inflate(header: bool, window_bits: u8) -> Self {
        Self::Inflate {
            state: Box::new(Inflate::new(header, window_bits)),
            over: false,
        }
    }

    /// Bytes that are held, about.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Identity => 0,
            Self::Inflate { .. } => 48 * 1024,
            // Its window grows with what it gives out; nothing tells how far.
            Self::Brotli(_) => 256 * 1024,
            Self::Zstd { encoded, .. } => encoded.capacity(),
        }
    }

    /// Gives what `bytes` stand for to `plain`, in small pieces, until that fails.
    pub(crate) fn take(
        &mut self,
        mut bytes: &[u8],
        mut plain: impl FnMut(&[u8]) -> Result<(), Undecoded>,
    ) -> Result<(), Undecoded> {
        match self {
            Self::Identity => plain(bytes),
            Self::Inflate { state, over } => {
                let mut out = [0; STEP];
                // What follows the end of a stream is nobody's.
                while !*over {
                    let (read, written) = (state.total_in(), state.total_out());
                    let status = state
                        .decompress(bytes, &mut out, InflateFlush::NoFlush)
                        .map_err(|_| Undecoded::BadEncoding)?;
                    *over = status == Status::StreamEnd;
                    let (read, written) = (state.total_in() - read, state.total_out() - written);
                    bytes = &bytes[read as usize..];
                    plain(&out[..written as usize])?;
                    if read == 0 && written == 0 || bytes.is_empty() && written < out.len() as u64 {
                        break;
                    }
                }
                Ok(())
            }
            Self::Brotli(decoder) => {
                // In small pieces, since each is undone as a whole.
                for piece in bytes.chunks(64) {
                    decoder
                        .write_all(piece)
                        .map_err(|_| Undecoded::BadEncoding)?;
                    let out = decoder.get_mut();
                    let given = plain(out);
                    out.clear();
                    given?;
                }
                Ok(())
            }
            Self::Zstd { encoded, limit } => {
                if encoded.len() + bytes.len() > *limit {
                    return Err(Undecoded::AnswerTooLarge);
                }
                encoded.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// The body is over.
    pub(crate) fn end(
        &mut self,
        mut plain: impl FnMut(&[u8]) -> Result<(), Undecoded>,
    ) -> Result<(), Undecoded> {
        let Self::Zstd { encoded, limit } = self else {
            return Ok(());
        };
        let encoded = std::mem::take(encoded);
        let mut rest = encoded.as_slice();
        let mut left = *limit;
        while !rest.is_empty() {
            check_window(rest)?;
            let mut frame = StreamingDecoder::new(&mut rest).map_err(|_| Undecoded::BadEncoding)?;
            let mut out = [0; STEP];
            loop {
                let read = frame.read(&mut out).map_err(|_| Undecoded::BadEncoding)?;
                if read == 0 {
                    break;
                }
                left = left.checked_sub(read).ok_or(Undecoded::AnswerTooLarge)?;
                plain(&out[..read])?;
            }
        }
        Ok(())
    }
}

/// Reads the window of a frame from its header (RFC 8878, section 3.1.1.1), before a decoder acts on it.
fn check_window(frame: &[u8]) -> Result<(), Undecoded> {
    const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
    let [a, b, c, d, descriptor, window, ..] = *frame else {
        return Err(Undecoded::BadEncoding);
    };
    if [a, b, c, d] != MAGIC {
        return Err(Undecoded::BadEncoding);
    }
    let is_single_segment = descriptor & 0x20 != 0;
    let base = 1_u64 << (10 + (window >> 3));
    if !is_single_segment && base + base / 8 * u64::from(window & 7) > ZSTD_WINDOW {
        return Err(Undecoded::BadEncoding);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    const LIMIT: usize = 1 << 20;

    /// `gzip -9`, `zlib.compress`, `brotli -q 5` of `TEXT`, from other implementations.
    const TEXT: &[u8] = b"data: {\"type\":\"ping\"}\n\ndata: {\"type\":\"ping\"}\n\n";
    const GZIP: &[u8] =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x4b\x49\x2c\x49\xb4\x52\xa8\x56\x2a\xa9\x2c\x48\
        \x55\xb2\x52\x2a\xc8\xcc\x4b\x57\xaa\xe5\xe2\x4a\xc1\x2e\x0c\x00\xc6\x58\x47\x5c\x2e\x00\
        \x00\x00";
    const ZLIB: &[u8] =
        b"\x78\xda\x4b\x49\x2c\x49\xb4\x52\xa8\x56\x2a\xa9\x2c\x48\x55\xb2\x52\x2a\xc8\xcc\x4b\x57\
        \xaa\xe5\xe2\x4a\xc1\x2e\x0c\x00\x5f\xeb\x0e\x65";
    const BROTLI: &[u8] =
        b"\x1b\x2d\x00\x00\x04\x6a\x72\xfe\x42\xbf\x13\x7c\x94\x96\xb4\xbc\x95\x83\x8c\x42\x54\x55\
        \xa7\xc8\x52\x7c\x8c\x97\x0b\x61\x7b\x8a\x97\x08";

    fn decoded(coding: &str, bytes: &[u8], step: usize) -> Result<Vec<u8>, Undecoded> {
        let mut decoder = Decoder::of([coding.as_bytes()].into_iter(), LIMIT)?;
        let mut plain = Vec::new();
        let mut keep = |bytes: &[u8]| {
            plain.extend_from_slice(bytes);
            match plain.len() > LIMIT {
                true => Err(Undecoded::AnswerTooLarge),
                false => Ok(()),
            }
        };
        for piece in bytes.chunks(step) {
            decoder.take(piece, &mut keep)?;
        }
        decoder.end(&mut keep)?;
        Ok(plain)
    }

    #[test]
    fn every_encoding_in_pieces_of_any_length() {
        let zstd = compress_to_vec(TEXT, CompressionLevel::Fastest);
        for (coding, bytes) in [
            ("identity", TEXT),
            ("GZIP", GZIP),
            ("deflate", ZLIB),
            ("br", BROTLI),
            ("zstd", &zstd),
        ] {
            for step in [1, 2, 7, bytes.len()] {
                assert_eq!(
                    decoded(coding, bytes, step).as_deref(),
                    Ok(TEXT),
                    "{coding}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        for coding in ["compress", "gzip, br", "aes128gcm"] {
            assert_eq!(decoded(coding, b"", 1), Err(Undecoded::UnknownEncoding));
        }
        assert_eq!(decoded("gzip", TEXT, 9), Err(Undecoded::BadEncoding));
        assert_eq!(decoded("zstd", TEXT, 9), Err(Undecoded::BadEncoding));
    }

    #[test]
    fn bombs_are_given_up() {
        let zeros = vec![0; 4 * LIMIT];
        let zstd = compress_to_vec(zeros.as_slice(), CompressionLevel::Fastest);
        assert_eq!(decoded("zstd", &zstd, 100), Err(Undecoded::AnswerTooLarge));
        let mut config = zlib_rs::Deflate::new(9, true, 15);
        let mut deflated = vec![0; LIMIT];
        config
            .compress(&zeros, &mut deflated, zlib_rs::DeflateFlush::Finish)
            .unwrap();
        deflated.truncate(config.total_out() as usize);
        assert!(deflated.len() < LIMIT / 100);
        assert_eq!(
            decoded("deflate", &deflated, deflated.len()),
            Err(Undecoded::AnswerTooLarge)
        );
        // A window of 2 TiB is refused before anything is set aside for it.
        let mut wide = zstd[..4].to_vec();
        wide.extend([0x00, 0xf8, 0, 0, 0]);
        assert_eq!(decoded("zstd", &wide, 9), Err(Undecoded::BadEncoding));
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(
            coding in prop::sample::select(&["gzip", "deflate", "br", "zstd"][..]),
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            step in 1_usize..50,
        ) {
            let _ = decoded(coding, &bytes, step);
        }
    }
}
