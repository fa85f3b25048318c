//! HTTP/1.1 through the door: what arrives is what was judged, and everything streams.

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::*;

const SIZE: usize = 64 * 1024 * 1024;

/// Bytes that compress badly and repeat never within a window.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Answers with the head it received.
pub(super) async fn mirror(speaks: Speaks) -> Origin {
    Origin::scripted(speaks, |head, body| {
        ok(&format!("{head}{}", String::from_utf8_lossy(body)))
    })
    .await
}

#[tokio::test]
async fn judged_is_sent() {
    let origin = mirror(Speaks::Tls(&["http/1.1"])).await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.https().await;
    let (head, body) = program
        .ask(concat!(
            "POST /%41/b%2fc?q=%7e&r=a/../b HTTP/1.1\r\nhost: API.Test.Example:443\r\nX-One: 1\r\nKeep-Alive: 5\r\n",
            "Connection: keep-alive, X-Gone\r\nX-Gone: 1\r\nProxy-Authorization: x\r\nContent-Length: 2\r\n\r\nhi"
        ))
        .await;
    assert_eq!(status(&head), 200);
    let seen = String::from_utf8(body).unwrap();
    let line = seen.lines().next().unwrap();
    assert!(line.starts_with("POST /A/b%2Fc?q="), "{line}");
    assert!(
        seen.contains("\r\nHost: api.test.example\r\n") && seen.contains("\r\nX-One: 1\r\n"),
        "{seen}"
    );
    assert!(seen.ends_with("\r\n\r\nhi"), "{seen}");
    for gone in ["Keep-Alive", "X-Gone", "Proxy-Authorization", "Connection"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    let event = &door.kind("request")[0];
    assert_eq!(
        format!("POST {} HTTP/1.1", event["path"].as_str().unwrap()),
        line
    );
    let answered = &door.wait_for("response", 1).await[0];
    assert_eq!(
        (answered["status"].as_u64(), answered["bytes_up"].as_u64()),
        (Some(200), Some(2))
    );
    assert_eq!(answered["outcome"], "complete");
}

#[tokio::test]
async fn pipelined_requests_are_judged_one_by_one() {
    let origin = Origin::scripted(Speaks::Plain, |head, _| {
        ok(head.split(' ').nth(1).unwrap_or_default())
    })
    .await;
    let door = TestDoor::new(&rule(
        &origin,
        "methods = [\"GET\"]\npaths = [\"/open/**\"]",
    ));
    let mut program = door.http().await;
    let denied_post =
        format!("POST /open/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\nbody");
    program
        .send([get("/open/1"), get("/closed"), denied_post, get("/open/2")].concat())
        .await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        let (head, body) = program.receive().await;
        answers.push((status(&head), String::from_utf8(body).unwrap()));
    }
    assert_eq!(answers[0], (200, "/open/1".to_owned()));
    assert_eq!((answers[1].0, answers[2].0), (403, 403));
    assert!(
        answers[1]
            .1
            .contains("wardian run --allow 'GET http://api.test.example/closed'"),
        "{}",
        answers[1].1
    );
    assert_eq!(answers[3], (200, "/open/2".to_owned()));
    assert_eq!(origin.connections(), 1, "kept alive past the refusals");
    assert_eq!(door.kind("request").len(), 4);
    let totals = program.ended().await.unwrap();
    assert_eq!(totals.requests, 4);
    assert_eq!(totals.cut, None);
}

#[tokio::test]
async fn a_denied_request_contacts_nobody() {
    let origin = mirror(Speaks::Plain).await;
    let door = TestDoor::new(&rule(&origin, "paths = [\"/open\"]"));
    let mut program = door.http().await;
    // More than the door reads to keep a connection, so it is closed, and the answer still arrives.
    let head = format!("POST /closed HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\n");
    program.send(head).await;
    let _ = program.io.write_all(&vec![b'x'; 1_000_000]).await;
    let text = program.rest().await;
    assert_eq!(status(&text), 403, "{text}");
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1);
    assert_eq!(origin.connections(), 0);
    assert_eq!(door.denials(), ["no_rule_for_request"]);
}

#[tokio::test]
async fn expectations_are_met_after_the_verdict_only() {
    let origin = Origin::start(Speaks::Plain, |mut io| async move {
        let mut held = Vec::new();
        let mut head = [0u8; 1024];
        let read = io.read(&mut head).await.unwrap();
        assert!(String::from_utf8_lossy(&head[..read]).contains("Expect: 100-continue"));
        io.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .unwrap();
        let mut body = [0u8; 5];
        io.read_exact(&mut body).await.unwrap();
        io.write_all(&ok(std::str::from_utf8(&body).unwrap()))
            .await
            .unwrap();
        let _ = read_message(&mut io, &mut held).await;
    })
    .await;
    let door = TestDoor::new(&rule(&origin, "paths = [\"/open\"]"));
    let ask = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
    };
    let mut program = door.http().await;
    let (head, _) = program.ask(ask("/open")).await;
    assert_eq!(status(&head), 100);
    let (head, body) = program.ask("hello").await;
    assert_eq!((status(&head), body), (200, b"hello".to_vec()));

    let mut program = door.http().await;
    program.send(ask("/closed")).await;
    let text = program.rest().await;
    assert_eq!(status(&text), 403, "{text}");
    assert!(!text.contains("100 Continue"));
}

#[tokio::test]
async fn an_origin_that_never_continues_does_not_deadlock() {
    let origin = mirror(Speaks::Plain).await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.http().await;
    let (head, _) = program
        .ask(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        ))
        .await;
    assert_eq!(status(&head), 100);
    let (head, body) = program.ask("hello").await;
    assert_eq!(status(&head), 200);
    assert!(body.ends_with(b"hello"));
}

#[tokio::test]
async fn bodiless_responses_keep_the_connection() {
    let origin = Origin::scripted(Speaks::Plain, |head, _| {
        match head.split(' ').nth(1).unwrap_or_default() {
            "/head" => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec(),
            "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n".to_vec(),
            "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            "/103" => [
                b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec(),
                ok("hinted"),
            ]
            .concat(),
            _ => ok("end"),
        }
    })
    .await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.http().await;
    program
        .send(format!("HEAD /head HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    program.until("Content-Length: 1000\r\n\r\n").await;
    program
        .send([get("/304"), get("/204"), get("/103"), get("/end")].concat())
        .await;
    program.until("end").await;
    let text = String::from_utf8_lossy(&program.held_bytes()).into_owned();
    let statuses: Vec<_> = text.matches("HTTP/1.1 ").collect();
    assert_eq!(statuses.len(), 6, "{text}");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn http_1_0_programs_are_served() {
    let origin = Origin::start(Speaks::Plain, |mut io| async move {
        let mut held = Vec::new();
        let (head, _) = read_message(&mut io, &mut held).await.unwrap();
        assert!(
            head.starts_with("GET / HTTP/1.1\r\nHost: api.test.example\r\n"),
            "{head}"
        );
        io.write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        )
        .await
        .unwrap();
    })
    .await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.http().await;
    program.send("GET / HTTP/1.0\r\n\r\n").await;
    let text = program.rest().await;
    assert!(text.ends_with("\r\n\r\nhello"), "{text}");
    assert!(
        !text.to_ascii_lowercase().contains("transfer-encoding"),
        "{text}"
    );
}

#[tokio::test]
async fn a_half_closed_program_still_gets_its_answer() {
    let origin = mirror(Speaks::Plain).await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.http().await;
    program.send(get("/")).await;
    program.io.shutdown().await.unwrap();
    assert_eq!(status(&program.rest().await), 200);
}

#[tokio::test]
async fn events_arrive_before_the_next_is_sent() {
    let (go, waiting) = tokio::sync::mpsc::unbounded_channel::<()>();
    let waiting = std::sync::Arc::new(tokio::sync::Mutex::new(waiting));
    let origin = Origin::start(Speaks::Tls(&["http/1.1"]), move |mut io| {
        let waiting = std::sync::Arc::clone(&waiting);
        async move {
            let mut held = Vec::new();
            read_message(&mut io, &mut held).await.unwrap();
            io.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
            for number in 0..5 {
                let event = format!("data: {number}\n\n");
                io.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await.unwrap();
                io.flush().await.unwrap();
                // Not before the program has seen this one.
                waiting.lock().await.recv().await.unwrap();
            }
            io.write_all(b"0\r\n\r\n").await.unwrap();
            io.flush().await.unwrap();
        }
    })
    .await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.https().await;
    program.send(get("/events")).await;
    for number in 0..5 {
        program.until(&format!("data: {number}\n\n")).await;
        go.send(()).unwrap();
    }
    program.until("\r\n0\r\n\r\n").await;
}

/// Reads a body of `SIZE` bytes and answers with its digest, or sends one.
async fn bulk() -> Origin {
    Origin::start(Speaks::Tls(&["http/1.1"]), |mut io| async move {
        let mut held = Vec::new();
        let head_end = loop {
            if let Some(at) = held.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if io.read_buf(&mut held).await.unwrap() == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&held[..head_end]).into_owned();
        if head.starts_with("GET") {
            let body = pattern(SIZE);
            let _ = io
                .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes())
                .await;
            let _ = io.write_all(&body).await;
            let _ = io.flush().await;
            return;
        }
        let mut body = held.split_off(head_end);
        let raw = if head.contains("Transfer-Encoding: chunked") {
            while !body.ends_with(b"0\r\n\r\n") {
                io.read_buf(&mut body).await.unwrap();
            }
            crate::http::chunked::decode_bytes(&body)
                .unwrap()
                .unwrap()
                .0
        } else {
            while body.len() < SIZE {
                io.read_buf(&mut body).await.unwrap();
            }
            body
        };
        io.write_all(&ok(&digest(&raw))).await.unwrap();
        io.flush().await.unwrap();
    })
    .await
}

#[tokio::test]
async fn sixty_four_mebibytes_arrive_unchanged() {
    let origin = bulk().await;
    let door = TestDoor::new(&allow_all(&origin));
    let body = pattern(SIZE);
    let expected = digest(&body);

    let mut program = door.https().await;
    program
        .send(format!(
            "PUT / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {SIZE}\r\n\r\n"
        ))
        .await;
    program.send(&body).await;
    assert_eq!(
        String::from_utf8(program.receive().await.1).unwrap(),
        expected
    );

    let mut program = door.https().await;
    program
        .send(format!(
            "PUT / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ))
        .await;
    for chunk in body.chunks(100_000) {
        program.send(format!("{:x}\r\n", chunk.len())).await;
        program.send(chunk).await;
        program.send("\r\n").await;
    }
    program.send("0\r\n\r\n").await;
    assert_eq!(
        String::from_utf8(program.receive().await.1).unwrap(),
        expected
    );

    let mut program = door.https().await;
    program.send(get("/")).await;
    let (_, received) = program.receive().await;
    assert_eq!(digest(&received), expected);
    let down = door.wait_for("response", 3).await;
    assert_eq!(down[2]["bytes_down"].as_u64(), Some(SIZE as u64));
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = Origin::scripted(Speaks::Plain, |_, body| {
        let trailed = String::from_utf8_lossy(body).contains("X-Up: 1\r\n");
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Down\r\n\r\n2\r\nok\r\n0\r\nX-Down: {trailed}\r\n\r\n").into_bytes()
    })
    .await;
    let door = TestDoor::new(&allow_all(&origin));
    let (_, body) = door
        .http()
        .await
        .ask(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n2\r\nhi\r\n0\r\nX-Up: 1\r\n\r\n"))
        .await;
    assert_eq!(
        String::from_utf8(body).unwrap(),
        "2\r\nok\r\n0\r\nX-Down: true\r\n\r\n"
    );
}
