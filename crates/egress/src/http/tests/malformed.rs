//! What is not valid HTTP/1.1, or not for this connection, is answered by the door and reaches nobody.

use std::time::Duration;

use super::support::*;
use crate::context::DoorLimits;

/// Sends `bytes`; there must be one refusal with this status and this reason, then the end, and nothing upstream.
async fn refused(bytes: &[u8], status_expected: u16, reason: &str) {
    let origin = Origin::scripted(Speaks::Plain, |_, _| ok("leaked")).await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.http().await;
    program.send(bytes).await;
    let text = program.rest().await;
    let shown = bytes.escape_ascii().to_string();
    let answers = text.lines().filter(|line| line.starts_with("HTTP/1.1 "));
    assert_eq!(answers.count(), 1, "{shown}: {text}");
    assert_eq!(status(&text), status_expected, "{shown}: {text}");
    assert!(text.contains("Connection: close"), "{shown}: {text}");
    assert!(
        text.contains(&format!("\"reason\":\"{reason}\"")),
        "{shown}: {text}"
    );
    assert_eq!(door.denials(), [reason], "{shown}");
    assert_eq!((origin.connections(), origin.bytes()), (0, 0), "{shown}");
}

#[tokio::test]
async fn malformed_heads_are_answered_once_and_closed() {
    let h = format!("Host: {HOST}\r\n");
    let cases: Vec<(String, u16, &str)> = vec![
        (format!("GET / HTTP/1.1\n{h}\n"), 400, "bare_lf"),
        (
            format!("GET / HTTP/1.1\r\n{h}X: y\rz\r\n\r\n"),
            400,
            "bare_cr",
        ),
        (
            format!("GET / HTTP/1.1\r\n{h} folded\r\n\r\n"),
            400,
            "folded_field",
        ),
        (
            format!("GET / HTTP/1.1\r\n{h}X : y\r\n\r\n"),
            400,
            "bad_field_name",
        ),
        (
            format!("GET / HTTP/1.1\r\n{h}X: \0\r\n\r\n"),
            400,
            "control_character",
        ),
        (format!("GET / HTTP/1.1\r\n{h}{h}\r\n"), 400, "many_hosts"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "no_host"),
        (format!("GET / HTTP/2.0\r\n{h}\r\n"), 505, "bad_version"),
        (
            format!("GET  / HTTP/1.1\r\n{h}\r\n"),
            400,
            "bad_request_line",
        ),
        ("\x16\x03\x01\x02\x00\x01".to_owned(), 400, "not_http"),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            403,
            "h2c_prior_knowledge",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\n{h}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
            "conflicting_lengths",
        ),
        (
            format!("POST / HTTP/1.1\r\n{h}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
            400,
            "many_content_lengths",
        ),
        (
            format!("POST / HTTP/1.1\r\n{h}Content-Length: 5, 5\r\n\r\nhello"),
            400,
            "bad_content_length",
        ),
        (
            format!("POST / HTTP/1.1\r\n{h}Content-Length: 99999999999999999999\r\n\r\n"),
            413,
            "body_too_large",
        ),
        (
            format!("POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunkedx\r\n\r\n"),
            400,
            "bad_transfer_encoding",
        ),
        (
            format!("POST / HTTP/1.1\r\n{h}Transfer-Encoding: gzip, chunked\r\n\r\n"),
            400,
            "bad_transfer_encoding",
        ),
        (
            format!("POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
            400,
            "bad_chunk_size",
        ),
        (
            format!("POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\nfffffffffffffff0\r\n"),
            413,
            "body_too_large",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n1;{}\r\n",
                "x".repeat(2000)
            ),
            400,
            "chunk_extensions_too_long",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n0\r\nHost: evil.example\r\n\r\n"
            ),
            400,
            "forbidden_trailer",
        ),
        (
            format!("GET / HTTP/1.1\r\n{h}Connection: Authorization\r\n\r\n"),
            400,
            "bad_connection_field",
        ),
        (
            format!("GET / HTTP/1.1\r\n{h}Expect: something\r\nContent-Length: 1\r\n\r\n"),
            417,
            "bad_expect",
        ),
        (
            format!("GET / HTTP/1.1\r\n{h}{}\r\n", "X: y\r\n".repeat(300)),
            431,
            "too_many_fields",
        ),
        (
            format!("GET / HTTP/1.1\r\n{h}X: {}\r\n\r\n", "y".repeat(70_000)),
            431,
            "head_too_large",
        ),
        (
            format!("GET /{} HTTP/1.1\r\n{h}\r\n", "y".repeat(70_000)),
            431,
            "head_too_large",
        ),
        // A second request behind a malformed one is never read.
        (
            format!("GET / HTTP/1.1\r\n{h} folded\r\n\r\n{}", get("/second")),
            400,
            "folded_field",
        ),
    ];
    for (text, status, reason) in cases {
        refused(text.as_bytes(), status, reason).await;
    }
}

#[tokio::test]
async fn authorities_that_are_none_are_malformed() {
    for host in [
        "user@api.test.example",
        "api.test.example:0",
        "api.test.example:65537",
        "api.test.example:443.allowed.com",
        "a b",
        "",
        "127.1",
        "0x7f.0.0.1",
    ] {
        refused(
            format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
            400,
            "bad_authority",
        )
        .await;
    }
}

#[tokio::test]
async fn path_tricks_are_malformed() {
    for target in [
        "/a/../b",
        "/a/%2e%2e/b",
        "/a/..;x/b",
        "//evil.example/",
        "/a\\b",
        "/a%5cb",
        "/a#b",
        "/%00",
        "/%252e%252e/x",
        "/a%0d%0ab",
        "/..%2fx",
        "*",
        "api.test.example",
        "ftp://api.test.example/",
    ] {
        refused(
            format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes(),
            400,
            "bad_target",
        )
        .await;
    }
}

#[tokio::test]
async fn requests_for_other_places_are_denied() {
    let origin = Origin::scripted(Speaks::Plain, |_, _| ok("leaked")).await;
    let door = TestDoor::new(&allow_all(&origin));
    for (request, reason) in [
        (
            "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
            "authority_mismatch",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: {HOST}:8080\r\n\r\n"),
            "authority_mismatch",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: {HOST}.evil.example\r\n\r\n"),
            "authority_mismatch",
        ),
        (
            "GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n".to_owned(),
            "authority_mismatch",
        ),
        (
            format!("GET http://evil.example/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
            "authority_mismatch",
        ),
        (
            format!("GET https://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
            "authority_mismatch",
        ),
        (
            format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n"),
            "connect_method",
        ),
        (
            format!("TRACE / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
            "trace_method",
        ),
        (
            format!("trace / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
            "trace_method",
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: h2c, websocket\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
            ),
            "upgrade_not_allowed",
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n"
            ),
            "upgrade_not_allowed",
        ),
    ] {
        let before = door.denials().len();
        let mut program = door.http().await;
        let (head, body) = program.ask(&request).await;
        assert_eq!(status(&head), 403, "{request}: {head}");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["reason"], reason, "{request}");
        assert_eq!(door.denials()[before..], [reason], "{request}");
    }
    assert_eq!((origin.connections(), origin.bytes()), (0, 0));
    // The control: the same connection, asked properly, does reach the origin.
    let (head, _) = door
        .http()
        .await
        .ask(format!(
            "GET http://{}/x HTTP/1.1\r\nHost: {}:80\r\n\r\n",
            HOST,
            HOST.to_uppercase()
        ))
        .await;
    assert_eq!(status(&head), 200);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_chunked_body_that_turns_bad_never_completes_upstream() {
    let origin = Origin::scripted(Speaks::Plain, |_, _| ok("completed")).await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.http().await;
    program
        .send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        ))
        .await;
    while origin.bytes() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    program.send("bad\n0\r\n\r\n").await;
    let text = program.rest().await;
    assert_eq!(status(&text), 400, "{text}");
    assert!(!text.contains("completed"));
    assert_eq!(door.denials(), ["bad_chunk_size"]);
}

#[tokio::test]
async fn slow_heads_run_out_of_time() {
    let origin = Origin::scripted(Speaks::Plain, |_, _| ok("leaked")).await;
    let limits = DoorLimits {
        request_head_timeout: Duration::from_millis(300),
        ..DoorLimits::default()
    };
    let door = TestDoor::with(
        &allow_all(&origin),
        Options {
            limits,
            ..Options::default()
        },
    );
    let mut program = door.http().await;
    let started = std::time::Instant::now();
    program.send("GET / HT").await;
    let text = program.rest().await;
    assert_eq!(status(&text), 408, "{text}");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(door.denials(), ["head_timeout"]);
    // A connection that says nothing is closed without a word.
    assert_eq!(door.http().await.rest().await, "");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn one_byte_at_a_time_is_still_a_request() {
    let origin = Origin::scripted(Speaks::Plain, |head, _| {
        ok(head.lines().next().unwrap_or_default())
    })
    .await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.http().await;
    program.io.set_nodelay(true).unwrap();
    for byte in format!("\r\n{}", get("/slow")).bytes() {
        program.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(program.receive().await.1, b"GET /slow HTTP/1.1");
}

/// Whatever is sent, the door neither panics nor hangs, and says nothing that is not HTTP.
#[test]
fn arbitrary_connections_end() {
    use proptest::prelude::*;

    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "GET / HTTP/1.1\r\nHost: api.test.example\r\n", "POST /x HTTP/1.1\r\nHost: api.test.example\r\n", "\r\n", "\r\n\r\n",
            "Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n", "0\r\n\r\n", "Connection: close\r\n",
            "Expect: 100-continue\r\n", "Upgrade: websocket\r\nConnection: upgrade\r\n", "GET / HTTP/1.0\r\n\r\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let origin = runtime.block_on(Origin::scripted(Speaks::Plain, |_, _| ok("fine")));
    let door = TestDoor::new(&allow_all(&origin));
    let connections = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
    let config = ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&connections, |bytes| {
            runtime.block_on(async {
                use tokio::io::AsyncWriteExt;
                let mut program = door.http().await;
                program.send(&bytes).await;
                let _ = program.io.shutdown().await;
                let text = program.rest().await;
                assert!(text.is_empty() || text.starts_with("HTTP/1.1 "), "{text}");
                assert!(program.ended().await.is_ok());
            });
            Ok(())
        })
        .unwrap();
}
