//! Origins whose HTTP/1.1 is not HTTP/1.1.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin;
use wardian_tests::server::{Stream, Transport};

use super::{Answer, Seen, answer, closing, see};

wardian_tests::both_modes!(case_80_malformed_http1_of_an_origin);

fn http1_answers() -> Vec<Answer> {
    use Seen::{Cut, Refused, Whole};
    let ok = "HTTP/1.1 200 OK\r\n";
    let fine = |fields: &str| format!("{ok}{fields}Content-Length: 4\r\n\r\nfine");
    let chunked = |body: &str| format!("{ok}Transfer-Encoding: chunked\r\n\r\n{body}");
    vec![
        answer("control", Whole, fine("")),
        answer("equal-lengths", Whole, fine("Content-Length: 4\r\n")),
        answer(
            "chunks",
            Whole,
            chunked("2;x=y\r\nfi\r\n2\r\nne\r\n0\r\nX-T: 1\r\n\r\n"),
        ),
        answer(
            "interim",
            Whole,
            format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{}", fine("")),
        ),
        closing(
            "until-close",
            Refused,
            "HTTP/1.1 200 OK\nContent-Length: 4\n\nfine",
        ),
        answer(
            "another-answer-behind",
            Whole,
            format!("{}{ok}Content-Length: 8\r\n\r\nsmuggled", fine("")),
        ),
        closing(
            "http2",
            Refused,
            *b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x05\0\0\0\x01\x88",
        ),
        closing("http0.9", Refused, "smuggled"),
        closing("other-protocol", Refused, "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        answer(
            "version-2",
            Refused,
            fine("").replace("HTTP/1.1", "HTTP/2.0"),
        ),
        answer(
            "lower-case-version",
            Refused,
            fine("").replace("HTTP", "http"),
        ),
        answer(
            "status-of-two-digits",
            Refused,
            fine("").replace("200", "20"),
        ),
        answer(
            "status-of-four-digits",
            Refused,
            fine("").replace("200", "2000"),
        ),
        answer("negative-status", Refused, fine("").replace("200", "-20")),
        answer("bare-lf", Refused, fine("").replace("\r\n", "\n")),
        answer(
            "bare-lf-in-a-head",
            Refused,
            fine("X: y\nX-Smuggled: 1\r\n"),
        ),
        answer(
            "bare-cr-in-a-value",
            Refused,
            fine("X: y\rX-Smuggled: 1\r\n"),
        ),
        answer("nul-in-a-value", Refused, fine("X: smuggled\0\r\n")),
        answer("folded-line", Refused, fine("X: y\r\n smuggled\r\n")),
        answer("space-before-a-colon", Refused, fine("X-Smuggled : y\r\n")),
        answer("no-colon", Refused, fine("smuggled\r\n")),
        answer("empty-name", Refused, fine(": smuggled\r\n")),
        answer(
            "length-and-chunked",
            Refused,
            format!(
                "{ok}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nsmuggled\r\n0\r\n\r\n"
            ),
        ),
        answer("two-lengths", Refused, fine("Content-Length: 8\r\n")),
        answer(
            "list-of-lengths",
            Refused,
            fine("").replace(": 4", ": 4, 8"),
        ),
        answer("signed-length", Refused, fine("").replace(": 4", ": +4")),
        answer(
            "length-that-overflows",
            Refused,
            fine("").replace(": 4", ": 18446744073709551620"),
        ),
        answer("chunkedx", Refused, fine("Transfer-Encoding: chunkedx\r\n")),
        answer(
            "chunked-twice",
            Refused,
            fine("Transfer-Encoding: chunked, chunked\r\n").replace("Content-Length: 4\r\n", ""),
        ),
        answer(
            "chunked-in-1.0",
            Refused,
            chunked("4\r\nfine\r\n0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0"),
        ),
        answer(
            "switching",
            Refused,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsmuggled",
        ),
        answer(
            "endless-interim",
            Refused,
            "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100),
        ),
        answer(
            "endless-head",
            Refused,
            format!(
                "{ok}{}",
                "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(9000)
            ),
        ),
        answer(
            "endless-line",
            Refused,
            format!("{ok}X: {}", "y".repeat(300_000)),
        ),
        closing("half-a-head", Refused, "HTTP/1.1 200 OK\r\nX-Smug"),
        closing("silence", Refused, ""),
        closing(
            "body-shorter-than-said",
            Cut,
            fine("").replace(": 4", ": 9"),
        ),
        closing("chunks-without-end", Cut, chunked("4\r\nfine\r\n")),
        answer(
            "chunk-size-in-words",
            Cut,
            chunked("4\r\nfine\r\nsmuggled\r\n0\r\n\r\n"),
        ),
        answer(
            "signed-chunk-size",
            Cut,
            chunked("4\r\nfine\r\n+8\r\nsmuggled\r\n0\r\n\r\n"),
        ),
        answer(
            "chunk-size-that-overflows",
            Cut,
            chunked("4\r\nfine\r\nfffffffffffffffff\r\n"),
        ),
        answer(
            "chunk-longer-than-said",
            Cut,
            chunked("4\r\nfinesmuggled\r\n0\r\n\r\n"),
        ),
        answer(
            "bare-lf-behind-a-chunk",
            Cut,
            chunked("4\r\nfine\n8\r\nsmuggled\r\n0\r\n\r\n"),
        ),
        answer(
            "endless-extension",
            Cut,
            chunked(&format!("4\r\nfine\r\n1;{}", "x".repeat(100_000))),
        ),
        answer(
            "endless-trailers",
            Cut,
            chunked(&format!("4\r\nfine\r\n0\r\n{}", "X: y\r\n".repeat(10_000))),
        ),
    ]
}

fn case_80_malformed_http1_of_an_origin(mode: Mode) {
    let answers = http1_answers();
    let start = |one: &Answer| {
        let (bytes, closes) = (one.bytes.clone(), one.closes);
        origin::raw(Transport::TLS_HTTP1, move |stream| {
            text(stream, bytes.clone(), closes)
        })
    };
    // Control: without the door, the program takes an answer that others read otherwise.
    let ambiguous = answers.iter().find(|one| one.name == "length-and-chunked");
    let server = start(ambiguous.unwrap());
    let url = format!("https://{}/", server.address());
    let told = Host::new(mode)
        .outside(["curl", "-sk", "-m", "10", &url])
        .success();
    assert_eq!(told.text(), "smuggled");
    // The program speaks either version: the same answers are passed on in two ways.
    for curl in ["--http1.1", "--http2"] {
        see(mode, curl, &answers, start);
    }
}

/// Waits for a request, and answers it with these bytes.
async fn text(mut stream: Box<dyn Stream>, bytes: Vec<u8>, closes: bool) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(read @ 1..) => head.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    let _ = stream.write_all(&bytes).await;
    let _ = stream.flush().await;
    if !closes {
        while let Ok(1..) = stream.read(&mut buffer).await {}
    }
}
