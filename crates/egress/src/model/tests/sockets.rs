//! Calls over WebSockets.

use proptest::prelude::*;

use super::super::call::Decoded;
use super::super::socket::Socket;
use super::super::{Api, Undecoded};
use super::{RESPONSES, parts, pieces};

const PATH: &str = "/v1/responses";
const ASKED: &[u8] =
    br#"{"type":"response.create","model":"gpt-5","input":[{"role":"user","content":"Hi"}]}"#;

/// One frame with this first byte.
fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        length @ 0..126 => bytes.push(masked | length as u8),
        length @ 126..65536 => {
            bytes.push(masked | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(masked | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask.iter().flatten());
    let key = mask.unwrap_or_default();
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b));
    bytes
}

/// The sample stream as messages, each ended by what `frame` makes of it.
fn answer(mut frame: impl FnMut(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let text = std::str::from_utf8(RESPONSES).unwrap();
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    events.flat_map(|event| frame(event.as_bytes())).collect()
}

fn calls(extensions: &[u8], up: &[&[u8]], down: &[&[u8]]) -> Vec<Decoded> {
    let mut socket = Socket::new(Api::OpenaiResponses, PATH, [extensions].into_iter());
    let mut calls = Vec::new();
    for piece in up {
        socket.sent(piece, 5, |call| calls.push(call));
    }
    for piece in down {
        socket.received(piece, 25, |call| calls.push(call));
    }
    socket.end(30, |call| calls.push(call));
    calls
}

#[test]
fn one_call_after_the_other() {
    let mask = Some([7, 0, 255, 1]);
    let asked = [
        frame(0x81, mask, b"{\"type\":\"session.update\"}"),
        frame(0x01, mask, &ASKED[..10]),
        frame(0x89, mask, b"ping"),
        frame(0x80, mask, &ASKED[10..]),
        frame(0x81, mask, ASKED),
        frame(0x81, mask, ASKED),
    ]
    .concat();
    let answered = answer(|event| frame(0x81, None, event));
    let calls = calls(b"", &[&asked], &[&answered, &answered]);
    let reasons: Vec<_> = calls.iter().map(|call| call.undecoded).collect();
    assert_eq!(reasons, [None, None, Some(Undecoded::CutShort)]);
    assert_eq!(calls[0].answer, calls[1].answer);
    assert_eq!(parts(&calls[0].answer)[1], ("Text".into(), "Hi there!"));
    assert_eq!(calls[0].answer.tokens.input, Some(37));
    assert_eq!((calls[0].first_token, calls[0].ended), (Some(20), 20));
}

#[test]
fn messages_may_be_compressed() {
    let mut state = zlib_rs::Deflate::new(6, false, 15);
    // With the context of the messages before, and without the mark at the end.
    let mut deflated = |event: &[u8]| {
        let mut out = vec![0; event.len() + 64];
        let before = state.total_out();
        state
            .compress(event, &mut out, zlib_rs::DeflateFlush::SyncFlush)
            .unwrap();
        out.truncate((state.total_out() - before) as usize - 4);
        frame(0xc1, None, &out)
    };
    let compressed = answer(&mut deflated);
    let plain = answer(|event| frame(0x81, None, event));
    assert!(compressed.len() < plain.len() / 2);
    let asked = frame(0x81, Some([1, 2, 3, 4]), ASKED);
    let extension = b"permessage-deflate; client_no_context_takeover";
    assert_eq!(
        calls(extension, &[&asked], &[&compressed]),
        calls(b"", &[&asked], &[&plain])
    );
    // Not agreed upon: no such frame can be.
    let refused = calls(b"", &[&asked], &[&compressed]);
    assert_eq!(refused[0].undecoded, Some(Undecoded::BadFrames));
}

#[test]
fn what_is_no_frame_is_said_once() {
    let calls = calls(b"", &[b"\xf1\x00", b"\xf1\x00"], &[b"\xff\xff\xff"]);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].undecoded, Some(Undecoded::BadFrames));
    assert_eq!(calls[0].asked, None);
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        up in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        down in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let asked = frame(0x81, Some([9, 8, 7, 6]), ASKED);
        let answered = answer(|event| frame(0x81, None, event));
        prop_assert_eq!(
            calls(b"", &pieces(&asked, &up), &pieces(&answered, &down)),
            calls(b"", &[&asked], &[&answered])
        );
    }

    #[test]
    fn hostile_bytes_do_no_harm(
        up in prop::collection::vec(any::<u8>(), 0..100),
        down in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let asked = frame(0x81, Some([9, 8, 7, 6]), ASKED);
        calls(b"permessage-deflate", &[&asked, &up], &[&down]);
    }
}
