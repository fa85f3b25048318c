//! WebSocket over HTTP/1.1; over HTTP/2 see `h2`.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::*;
use crate::http::websocket::answer_to;

pub(super) const HANDSHAKE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Stands for the answer to the key.
const FITTING: &str = "@ACCEPT@";

/// Accepts a handshake with `answer`, then echoes in capitals until its side is closed, and says good-bye.
pub(super) async fn shouting(speaks: Speaks, answer: &'static str) -> Origin {
    Origin::start(speaks, move |mut io| async move {
        let mut held = Vec::new();
        let Some((head, _)) = read_message(&mut io, &mut held).await else {
            return;
        };
        assert!(head.contains("Upgrade: websocket\r\n"), "{head}");
        let mut lines = head.lines();
        let key = lines.find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let answer = answer.replace(FITTING, &answer_to(key.unwrap()));
        io.write_all(answer.as_bytes()).await.unwrap();
        io.flush().await.unwrap();
        let mut block = [0u8; 1024];
        while let Ok(read @ 1..) = io.read(&mut block).await {
            let _ = io.write_all(&block[..read].to_ascii_uppercase()).await;
            let _ = io.flush().await;
        }
        let _ = io.write_all(b"BYE").await;
        let _ = io.shutdown().await;
    })
    .await
}

pub(super) const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                                   Sec-WebSocket-Accept: @ACCEPT@\r\n\r\n";

#[tokio::test]
async fn bytes_pass_both_ways_and_each_way_ends_on_its_own() {
    for speaks in [Speaks::Plain, Speaks::Tls(&["http/1.1"])] {
        let origin = shouting(speaks, ACCEPTED).await;
        let door = TestDoor::new(&allow_all(&origin));
        let mut program = if speaks == Speaks::Plain {
            door.http().await
        } else {
            door.https().await
        };
        // The first frame comes with the handshake, before the answer is there.
        program
            .send(format!(
                "GET /chat HTTP/1.1\r\nHost: {HOST}\r\n{HANDSHAKE}\r\nfirst"
            ))
            .await;
        program.until("FIRST").await;
        program.send("second").await;
        program.until("SECOND").await;
        program.io.shutdown().await.unwrap();
        assert!(program.rest().await.ends_with("BYE"));
        assert_eq!(door.kind("request")[0]["upgrade"], "websocket");
        let ended = &door.wait_for("response", 1).await[0];
        assert_eq!(ended["status"], 101);
        assert_eq!(
            (ended["bytes_up"].as_u64(), ended["bytes_down"].as_u64()),
            (Some(11), Some(14))
        );
        assert_eq!(ended["outcome"], "complete");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_acceptance_is_refused() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n",
    ] {
        let origin = shouting(Speaks::Plain, answer).await;
        let door = TestDoor::new(&allow_all(&origin));
        let mut program = door.http().await;
        program
            .send(format!(
                "GET /chat HTTP/1.1\r\nHost: {HOST}\r\n{HANDSHAKE}\r\n"
            ))
            .await;
        let text = program.rest().await;
        assert_eq!(status(&text), 502, "{text}");
        assert!(text.contains("unsolicited_upgrade"), "{text}");
    }
}

#[tokio::test]
async fn an_origin_may_decline_and_the_connection_goes_on() {
    let origin = Origin::scripted(Speaks::Plain, |head, _| {
        if head.contains("Upgrade") {
            b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno".to_vec()
        } else {
            ok("fine")
        }
    })
    .await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.http().await;
    let (head, body) = program
        .ask(format!(
            "GET /chat HTTP/1.1\r\nHost: {HOST}\r\n{HANDSHAKE}\r\n"
        ))
        .await;
    assert_eq!((status(&head), body), (426, b"no".to_vec()));
    assert_eq!(program.ask(get("/")).await.1, b"fine");
}

#[tokio::test]
async fn a_rule_for_get_does_not_admit_a_websocket() {
    let origin = shouting(Speaks::Plain, ACCEPTED).await;
    let door = TestDoor::new(&rule(&origin, "methods = [\"GET\"]"));
    let (head, body) = door
        .http()
        .await
        .ask(format!(
            "GET /chat HTTP/1.1\r\nHost: {HOST}\r\n{HANDSHAKE}\r\n"
        ))
        .await;
    assert_eq!(status(&head), 403);
    assert!(String::from_utf8_lossy(&body).contains("websocket_not_allowed"));
    assert_eq!(origin.connections(), 0);
}
