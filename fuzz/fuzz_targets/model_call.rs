#![no_main]

use wardian_egress::model::Api;
use wardian_egress::model::call::{Decoded, HttpCall};

const PATHS: [&str; 4] = [
    "/v1/messages",
    "/v1/responses",
    "/v1/chat/completions",
    "/v1beta/models/m:streamGenerateContent",
];
const ENCODINGS: [&[u8]; 5] = [b"identity", b"gzip", b"deflate", b"br", b"zstd"];

/// The first byte says which protocol and which encodings; the first line is the request, the rest the response.
fn decode(bytes: &[u8], step: usize) -> Option<Decoded> {
    let (first, rest) = bytes.split_first()?;
    let at = rest.iter().position(|&byte| byte == b'\n')?;
    let (request, response) = (&rest[..at], &rest[at + 1..]);
    let path = PATHS[usize::from(first % 4)];
    let up = ENCODINGS[usize::from(first / 4 % 5)];
    let down = ENCODINGS[usize::from(first / 20 % 5)];
    let (api, _) = Api::of("POST", path)?;
    let mut call = HttpCall::new(api, path, [up].into_iter());
    for piece in request.chunks(step) {
        call.request_data(piece);
    }
    call.response_head(200, [down].into_iter());
    for piece in response.chunks(step) {
        call.response_data(piece, 0);
    }
    call.end(1)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = decode(bytes, usize::MAX);
    // However the bytes were split, and only where nothing was given up: how far one comes before may differ.
    if whole.as_ref().is_some_and(|call| call.undecoded.is_none()) {
        assert_eq!(decode(bytes, 7), whole);
    }
});
