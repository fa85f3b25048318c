//! Origins that answer early, badly or never, and programs that go away: what becomes of the exchange and its record.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wardian_policy::Scheme;

use super::forward::mirror;
use super::support::*;
use crate::context::DoorLimits;
use crate::dial::Alpn;

#[tokio::test]
async fn an_answer_that_comes_early_is_passed_on() {
    let origin = Origin::start(Speaks::Plain, |mut io| async move {
        let mut head = [0u8; 256];
        let _ = io.read(&mut head).await;
        let _ = io.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbig!").await;
        let _ = io.shutdown().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    })
    .await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.http().await;
    program
        .send(format!(
            "PUT / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000000\r\n\r\n"
        ))
        .await;
    program.send(vec![b'x'; 1000]).await;
    let text = program.rest().await;
    assert_eq!(status(&text), 413, "{text}");
    assert!(
        text.contains("Connection: close\r\n") && text.ends_with("big!"),
        "{text}"
    );
}

#[tokio::test]
async fn a_stale_origin_connection_is_replaced() {
    let origin = Origin::start(Speaks::Plain, |mut io| async move {
        let mut held = Vec::new();
        read_message(&mut io, &mut held).await.unwrap();
        io.write_all(&ok("once")).await.unwrap();
        // Kept open just long enough to look alive, then closed without an answer to the next request.
        let _ = read_message(&mut io, &mut held).await;
    })
    .await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.http().await;
    for _ in 0..3 {
        assert_eq!(program.ask(get("/")).await.1, b"once");
    }
    assert_eq!(origin.connections(), 3);
    assert!(
        door.wait_for("response", 3)
            .await
            .iter()
            .all(|event| event["outcome"] == "complete")
    );
}

#[tokio::test]
async fn bad_answers_become_502() {
    for (answer, reason) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok"[..], "bad_upstream_response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "bad_upstream_response"),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "bad_upstream_response"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "bad_upstream_response"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "unsolicited_upgrade"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "unsolicited_upgrade"),
        (b"HTTP/1.1 200 OK\r\nContent-", "upstream_closed"),
        (b"", "upstream_closed"),
    ] {
        let answer = answer.to_vec();
        let flood = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(40);
        for (bytes, reason) in [(answer, reason), (flood, "bad_upstream_response")] {
            let origin = Origin::start(Speaks::Plain, move |mut io| {
                let bytes = bytes.clone();
                async move {
                    let _ = read_message(&mut io, &mut Vec::new()).await;
                    let _ = io.write_all(&bytes).await;
                    let _ = io.flush().await;
                }
            })
            .await;
            let door = TestDoor::new(&allow_all(&origin));
            let mut program = door.http().await;
            program.send(get("/")).await;
            let text = program.rest().await;
            assert!(text.contains("HTTP/1.1 502 Bad Gateway\r\n"), "{text}");
            assert!(text.contains(&format!("\"reason\":\"{reason}\"")), "{reason}: {text}");
            let ended = &door.wait_for("response", 1).await[0];
            assert_eq!((ended["outcome"].as_str(), ended["reason"].as_str()), (Some("upstream_failed"), Some(reason)));
        }
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_made_whole() {
    let origin = Origin::start(Speaks::Plain, |mut io| async move {
        let _ = read_message(&mut io, &mut Vec::new()).await;
        let _ = io
            .write_all(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwor",
            )
            .await;
        let _ = io.flush().await;
    })
    .await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.http().await;
    program.send(get("/")).await;
    let text = program.rest().await;
    assert!(
        text.contains("hello") && !text.contains("0\r\n\r\n"),
        "{text}"
    );
    assert_eq!(
        door.wait_for("response", 1).await[0]["outcome"],
        "upstream_failed"
    );
}

#[tokio::test]
async fn without_a_record_nothing_is_done() {
    let origin = mirror(Speaks::Plain).await;
    let door = TestDoor::with(
        &allow_all(&origin),
        Options {
            journal_bytes: 100,
            ..Options::default()
        },
    );
    let mut program = door.http().await;
    program.send(get("/")).await;
    let text = program.rest().await;
    assert_eq!(status(&text), 503, "{text}");
    assert!(text.contains("journal_unavailable"), "{text}");
    assert!(program.ended().await.is_err());
    assert_eq!(origin.bytes(), 0);
}

#[tokio::test]
async fn each_request_is_judged_by_the_policy_of_its_moment() {
    let origin = mirror(Speaks::Plain).await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.http().await;
    assert_eq!(status(&program.ask(get("/x")).await.0), 200);
    door.shared
        .policy
        .replace(policy(&rule(&origin, "paths = [\"/other\"]")));
    assert_eq!(status(&program.ask(get("/x")).await.0), 403);
    assert_eq!(status(&program.ask(get("/other")).await.0), 200);
    assert_eq!(
        origin.connections(),
        2,
        "a new policy may lead elsewhere, so the connection is made anew"
    );
}

#[tokio::test]
async fn private_addresses_are_denied_before_anything_is_recorded_as_allowed() {
    for address in [
        "10.0.0.1",
        "169.254.169.254",
        "127.0.0.1",
        "::ffff:192.168.0.1",
    ] {
        let options = Options {
            resolves_to: address,
            ..Options::default()
        };
        let door = TestDoor::with(
            &format!("[[egress]]\nhost = \"{HOST}\"\nports = [80, 443]\n"),
            options,
        );
        for alpn in [Alpn::H1, Alpn::None] {
            let mut program = door
                .connect(
                    if alpn == Alpn::H1 {
                        Scheme::Https
                    } else {
                        Scheme::Http
                    },
                    alpn,
                )
                .await;
            let (head, body) = program.ask(get("/")).await;
            assert_eq!(status(&head), 403, "{address}");
            assert!(String::from_utf8_lossy(&body).contains("private_address"));
        }
        assert_eq!(
            door.denials(),
            ["private_address", "private_address"],
            "{address}"
        );
        assert_eq!(door.kind("request").len(), 2);
    }
}

#[tokio::test]
async fn an_origin_that_says_nothing_is_given_up() {
    let origin = Origin::start(Speaks::Plain, |mut io| async move {
        let _ = io.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let limits = DoorLimits {
        idle_timeout: Duration::from_millis(300),
        ..DoorLimits::default()
    };
    let door = TestDoor::with(
        &allow_all(&origin),
        Options {
            limits,
            ..Options::default()
        },
    );
    let started = Instant::now();
    let mut program = door.http().await;
    program.send(get("/")).await;
    let text = program.rest().await;
    assert_eq!(status(&text), 504, "{text}");
    assert!(started.elapsed() < Duration::from_secs(8));
    let ended = &door.wait_for("response", 1).await[0];
    assert_eq!(
        (ended["outcome"].as_str(), ended["status"].as_u64()),
        (Some("cut"), Some(504))
    );
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_given_up() {
    let origin = mirror(Speaks::Plain).await;
    let limits = DoorLimits {
        idle_timeout: Duration::from_millis(300),
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
    program
        .send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhalf"
        ))
        .await;
    let text = program.rest().await;
    assert_eq!(status(&text), 408, "{text}");
    assert!(text.contains("body_timeout"), "{text}");
}

#[tokio::test]
async fn endless_streams_meet_the_byte_limit() {
    let origin = Origin::start(Speaks::Plain, |mut io| async move {
        let _ = read_message(&mut io, &mut Vec::new()).await;
        let _ = io.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while io.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let limits = DoorLimits {
        max_transfer_bytes: Some(1_000_000),
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
    program.send(get("/")).await;
    assert!(program.rest().await.len() < 1_200_000);
    let ended = &door.wait_for("response", 1).await[0];
    assert_eq!(
        (ended["outcome"].as_str(), ended["reason"].as_str()),
        (Some("cut"), Some("byte_limit"))
    );
}

#[tokio::test]
async fn dropping_the_connection_is_on_the_record() {
    let origin = Origin::start(Speaks::Plain, |mut io| async move {
        let _ = io.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.http().await;
    program.send(get("/")).await;
    while origin.bytes() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    program.door.abort();
    let ended = &door.wait_for("response", 1).await[0];
    assert_eq!(
        (ended["outcome"].as_str(), ended["reason"].as_str()),
        (Some("cut"), Some("connection_cut"))
    );
}
