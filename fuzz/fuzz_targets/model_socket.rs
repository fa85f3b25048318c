#![no_main]

use wardian_egress::model::Api;
use wardian_egress::model::call::Decoded;
use wardian_egress::model::socket::Socket;

/// A call that was asked for in an ordinary way, then hostile bytes from the origin; or hostile bytes from the program.
fn decode(bytes: &[u8], step: usize) -> Vec<Decoded> {
    const ASKED: &[u8] = br#"{"type":"response.create","model":"m","input":"Hi"}"#;
    let Some((first, rest)) = bytes.split_first() else {
        return Vec::new();
    };
    let extensions: &[u8] = if first & 1 == 0 { b"" } else { b"permessage-deflate" };
    let mut socket = Socket::new(Api::OpenaiResponses, "/v1/responses", [extensions].into_iter());
    let mut calls = Vec::new();
    let mut ordinary = vec![0x81, ASKED.len() as u8];
    ordinary.extend(ASKED);
    socket.sent(&ordinary, 0, |call| calls.push(call));
    for piece in rest.chunks(step) {
        if first & 2 == 0 {
            socket.received(piece, 0, |call| calls.push(call));
        } else {
            socket.sent(piece, 0, |call| calls.push(call));
        }
    }
    socket.end(0, |call| calls.push(call));
    calls
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = decode(bytes, usize::MAX);
    if whole.iter().all(|call| call.undecoded.is_none()) {
        assert_eq!(decode(bytes, 3), whole);
    }
});
