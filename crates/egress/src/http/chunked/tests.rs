use proptest::prelude::*;

use super::*;

#[test]
fn decodes_data_extensions_and_trailers() {
    let body = b"4;a=b\r\nWiki\r\n5\r\npedia\r\n0\r\nX-Sum: 1\r\n\r\nnext";
    assert_eq!(
        decode_bytes(body),
        Ok(Some((b"Wikipedia".to_vec(), body.len() - 4)))
    );
}

#[test]
fn refuses_what_other_decoders_repair() {
    use ChunkError as E;
    for (body, error) in [
        (&b"x\r\n"[..], E::Size),
        (b"\r\n", E::Size),
        (b" 5\r\nhello\r\n", E::Size),
        (b"5 \r\nhello\r\n", E::Size),
        (b"+5\r\nhello\r\n", E::Size),
        (b"0x5\r\nhello\r\n", E::Size),
        (b"5\nhello\r\n", E::Size),
        (b"5;a\nhello\r\n", E::Size),
        (b"5;a\0\r\nhello\r\n", E::Extension),
        (b"5\r\nhelloX\r\n", E::End),
        (b"5\r\nhello\n0\r\n\r\n", E::End),
        (b"00000000000000005\r\nhello\r\n", E::Size),
        (b"FFFFFFFFFFFFFFFF\r\n", E::TooLarge),
        (b"8000000000000000\r\n", E::TooLarge),
        (b"0\r\nContent-Length: 5\r\n\r\n", E::ForbiddenTrailer),
        (
            b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::ForbiddenTrailer,
        ),
        (b"0\r\nHost: x\r\n\r\n", E::ForbiddenTrailer),
        (b"0\r\nAuthorization: x\r\n\r\n", E::ForbiddenTrailer),
        (b"0\r\n X: y\r\n\r\n", E::Trailer(FieldError::Folded)),
        (b"0\r\nX: y\n\r\n", E::Trailer(FieldError::Value)),
    ] {
        assert_eq!(decode_bytes(body), Err(error), "{}", body.escape_ascii());
    }
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let long = [b"1;".as_slice(), &[b'a'; MAX_CHUNK_LINE + 1]].concat();
    assert_eq!(decode_bytes(&long), Err(ChunkError::ExtensionsTooLong));
    let chunk = [b"1;".as_slice(), &[b'a'; 900], b"\r\nx\r\n"].concat();
    assert_eq!(
        decode_bytes(&chunk.repeat(30)),
        Err(ChunkError::ExtensionsTooLong)
    );
    let trailers = [
        b"0\r\n".to_vec(),
        b"X: y\r\n".repeat(MAX_TRAILER_FIELDS + 1),
    ]
    .concat();
    assert_eq!(decode_bytes(&trailers), Err(ChunkError::TrailersTooLong));
    let one = [b"0\r\nX: ".as_slice(), &[b'a'; MAX_TRAILERS + 8]].concat();
    assert_eq!(decode_bytes(&one), Err(ChunkError::TrailersTooLong));
}

#[test]
fn sizes_are_written_in_hexadecimal() {
    for (size, text) in [
        (0, "0\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (65_536, "10000\r\n"),
    ] {
        let mut out = Vec::new();
        write_size(&mut out, size);
        assert_eq!(out, text.as_bytes());
    }
}

/// Decodes `bytes` as they would arrive in pieces of at most `step`.
fn in_pieces(bytes: &[u8], step: usize) -> Result<Option<Vec<u8>>, ChunkError> {
    let (mut decoder, mut data, mut held, mut arrived) =
        (Decoder::default(), Vec::new(), Vec::new(), 0);
    loop {
        match decoder.next(&held)? {
            Piece::Data(length) => data.extend(held.drain(..length)),
            Piece::Framing(length) => drop(held.drain(..length)),
            Piece::End(_) => return Ok(Some(data)),
            Piece::NeedMore if arrived == bytes.len() => return Ok(None),
            Piece::NeedMore => {
                let next = (arrived + step).min(bytes.len());
                held.extend_from_slice(&bytes[arrived..next]);
                arrived = next;
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_bytes(&bytes);
    }

    #[test]
    fn round_trips_in_any_pieces(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8), step in 1usize..50) {
        let mut body = Vec::new();
        for chunk in &chunks {
            write_size(&mut body, chunk.len());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        prop_assert_eq!(decode_bytes(&body), Ok(Some((chunks.concat(), body.len()))));
        prop_assert_eq!(in_pieces(&body, step), Ok(Some(chunks.concat())));
    }

    #[test]
    fn pieces_decide_as_the_whole_does(text in "[0-9a-f;x\r\n :]{0,40}", step in 1usize..6) {
        let whole = decode_bytes(text.as_bytes()).map(|decoded| decoded.map(|(data, _)| data));
        let pieced = in_pieces(text.as_bytes(), step);
        prop_assert_eq!(whole.is_ok(), pieced.is_ok());
        if let (Ok(whole), Ok(pieced)) = (whole, pieced) {
            prop_assert_eq!(whole, pieced);
        }
    }
}
