//! Origins whose HTTP/2 is not HTTP/2.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wardian_tests::certificates::Leaf;
use wardian_tests::mode::Mode;
use wardian_tests::origin;
use wardian_tests::server::{Stream, Transport};

use super::{Answer, Seen, answer, closing, see};

wardian_tests::both_modes!(case_80_malformed_http2_of_an_origin);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field as a literal without indexing (RFC 7541 section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0, name.len() as u8];
    field.extend(name.as_bytes());
    field.push(value.len() as u8);
    field.extend(value.as_bytes());
    field
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const BOTH: u8 = END_STREAM | END_HEADERS;
/// `:status: 200` of the static table.
const OK: &[u8] = &[0x88];

/// A head on stream 1 that leaves the stream open.
fn head(fields: &[Vec<u8>]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &[OK, &fields.concat()].concat())
}

/// A whole answer of one head.
fn only(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, BOTH, 1, block)
}

fn with(name: &str, value: &str) -> Vec<u8> {
    only(&[OK, &field(name, value)].concat())
}

fn data(flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, 1, payload)
}

fn http2_answers() -> Vec<Answer> {
    use Seen::{Cut, Refused, Whole};
    let ok = || head(&[]);
    let length = |length| head(&[field("content-length", length)]);
    let two_lengths = [field("content-length", "2"), field("content-length", "3")];
    let large = field("x-large", &"y".repeat(120)).repeat(120);
    let continued = |at: u32, kind: u8| {
        [
            frame(HEADERS, END_STREAM, 1, OK),
            frame(kind, END_HEADERS, at, &field("x", "y")),
        ]
        .concat()
    };
    let endless: Vec<u8> = (0..3000)
        .flat_map(|_| frame(CONTINUATION, 0, 1, &field("x", &"y".repeat(100))))
        .collect();
    let interim = frame(HEADERS, END_HEADERS, 1, &field(":status", "103"));
    vec![
        answer("control", Whole, [ok(), data(END_STREAM, b"fine")].concat()),
        answer(
            "interim",
            Whole,
            [interim.clone(), ok(), data(END_STREAM, b"fine")].concat(),
        ),
        answer(
            "trailers",
            Whole,
            [
                ok(),
                data(0, b"fine"),
                frame(HEADERS, BOTH, 1, &field("x-t", "1")),
            ]
            .concat(),
        ),
        answer(
            "unknown-frame",
            Whole,
            [frame(0xee, 0xff, 0, b"x"), ok(), data(END_STREAM, b"fine")].concat(),
        ),
        closing(
            "http1",
            Refused,
            *b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
        ),
        // Heads.
        answer("no-status", Refused, only(&field("x", "smuggled"))),
        answer(
            "two-statuses",
            Refused,
            only(&[OK, &field(":status", "204")].concat()),
        ),
        answer(
            "status-of-two-digits",
            Refused,
            only(&field(":status", "20")),
        ),
        answer("status-in-words", Refused, only(&field(":status", "2xx"))),
        answer("status-101", Refused, only(&field(":status", "101"))),
        answer(
            "status-behind-a-field",
            Refused,
            only(&[field("x", "y"), OK.to_vec()].concat()),
        ),
        answer(
            // Dropped rather than refused.
            "path-in-an-answer",
            Whole,
            only(&[OK, &field(":path", "/smuggled")].concat()),
        ),
        answer(
            "unknown-pseudo-field",
            Refused,
            only(&[OK, &field(":smuggled", "y")].concat()),
        ),
        answer("upper-case-name", Refused, with("X-Smuggled", "y")),
        answer("colon-in-a-name", Refused, with("x-smuggled:", "y")),
        answer("newline-in-a-name", Refused, with("x\r\nx-smuggled", "y")),
        answer(
            "newline-in-a-value",
            Refused,
            with("x", "y\r\nx-smuggled: 1"),
        ),
        answer("nul-in-a-value", Refused, with("x", "smuggled\0")),
        answer("empty-name", Refused, with("", "smuggled")),
        answer(
            "connection-field",
            Refused,
            with("connection", "x-smuggled"),
        ),
        answer(
            "transfer-encoding",
            Refused,
            with("transfer-encoding", "chunked"),
        ),
        answer("upgrade-field", Refused, with("upgrade", "smuggled")),
        answer(
            "two-lengths",
            Refused,
            [head(&two_lengths), data(END_STREAM, b"ab")].concat(),
        ),
        answer(
            "signed-length",
            Refused,
            [length("+2"), data(END_STREAM, b"ab")].concat(),
        ),
        answer(
            "large-head",
            Refused,
            [
                frame(HEADERS, END_STREAM, 1, OK),
                frame(CONTINUATION, 0, 1, &large),
                frame(CONTINUATION, 0, 1, &large),
                frame(CONTINUATION, 0, 1, &large),
                frame(CONTINUATION, 0, 1, &large),
                frame(CONTINUATION, END_HEADERS, 1, &large),
            ]
            .concat(),
        ),
        answer(
            "endless-head",
            Refused,
            [frame(HEADERS, END_STREAM, 1, OK), endless].concat(),
        ),
        answer("endless-interim", Refused, interim.repeat(100)),
        answer("interim-that-ends", Refused, only(&field(":status", "103"))),
        answer(
            "broken-compression",
            Refused,
            only(&[OK, &[0xff; 12]].concat()),
        ),
        answer(
            "index-beyond-the-table",
            Refused,
            only(&[OK, &[0xff, 0x20]].concat()),
        ),
        // Bodies.
        answer(
            "body-longer-than-said",
            Cut,
            [length("2"), data(0, b"ab"), data(END_STREAM, b"smuggled")].concat(),
        ),
        answer(
            "body-shorter-than-said",
            Cut,
            [length("9"), data(END_STREAM, b"ab")].concat(),
        ),
        answer(
            "no-body-where-one-was-said",
            Refused,
            frame(
                HEADERS,
                BOTH,
                1,
                &[OK, &field("content-length", "9")].concat(),
            ),
        ),
        closing("body-without-end", Cut, [ok(), data(0, b"ab")].concat()),
        answer(
            "reset-in-a-body",
            Cut,
            [ok(), data(0, b"ab"), frame(RST_STREAM, 0, 1, &[0, 0, 0, 2])].concat(),
        ),
        answer("too-much-padding", Cut, [ok(), data(8, b"\xffab")].concat()),
        answer(
            "second-head",
            Cut,
            [
                ok(),
                data(0, b"ab"),
                frame(HEADERS, END_HEADERS, 1, &field("x", "smuggled")),
                data(END_STREAM, b""),
            ]
            .concat(),
        ),
        answer(
            "more-than-the-window",
            Cut,
            [ok(), data(0, &[b'x'; 16384]).repeat(100)].concat(),
        ),
        answer(
            "frame-too-large",
            Cut,
            [ok(), data(END_STREAM, &[b'x'; 16385])].concat(),
        ),
        // Frames in the wrong place.
        answer(
            "data-before-the-head",
            Refused,
            data(END_STREAM, b"smuggled"),
        ),
        answer("stream-0", Refused, frame(HEADERS, BOTH, 0, OK)),
        answer("stream-nobody-opened", Refused, frame(HEADERS, BOTH, 3, OK)),
        answer("stream-of-its-own", Refused, frame(HEADERS, BOTH, 2, OK)),
        answer(
            "push",
            Refused,
            frame(
                PUSH_PROMISE,
                END_HEADERS,
                1,
                &[&[0, 0, 0, 2][..], &[0x82, 0x87, 0x84]].concat(),
            ),
        ),
        answer(
            "data-on-an-idle-stream",
            Refused,
            frame(DATA, END_STREAM, 5, b"smuggled"),
        ),
        answer("other-frame-in-a-head", Refused, continued(1, DATA)),
        answer(
            "other-stream-in-a-head",
            Refused,
            continued(3, CONTINUATION),
        ),
        answer(
            "continuation-alone",
            Refused,
            frame(CONTINUATION, END_HEADERS, 1, OK),
        ),
        answer("ping-of-6", Refused, frame(PING, 0, 0, b"123456")),
        answer("settings-of-3", Refused, frame(SETTINGS, 0, 0, b"abc")),
        answer("settings-on-a-stream", Refused, frame(SETTINGS, 0, 1, b"")),
        answer(
            "window-too-large",
            Refused,
            frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
        ),
        answer(
            "window-update-of-0",
            Refused,
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        ),
        answer(
            "window-that-overflows",
            Refused,
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(2),
        ),
        answer("reset", Refused, frame(RST_STREAM, 0, 1, &[0, 0, 0, 2])),
        answer(
            "goaway-with-an-error",
            Refused,
            frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2]),
        ),
        closing("silence", Refused, *b""),
    ]
}

fn case_80_malformed_http2_of_an_origin(mode: Mode) {
    let transport = Transport::Tls {
        leaf: Leaf::Trusted,
        alpn: &["h2"],
    };
    see(mode, "--http2", &http2_answers(), |one| {
        let (bytes, closes) = (one.bytes.clone(), one.closes);
        origin::raw(transport, move |stream| {
            frames(stream, bytes.clone(), closes)
        })
    });
}

/// Waits for a request, and answers it with these frames.
async fn frames(mut stream: Box<dyn Stream>, bytes: Vec<u8>, closes: bool) {
    let mut preface = [0; 24];
    if stream.read_exact(&mut preface).await.is_err() {
        return;
    }
    let _ = stream.write_all(&frame(SETTINGS, 0, 0, b"")).await;
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        if head[3] == HEADERS {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
            if closes {
                return;
            }
        }
    }
}
