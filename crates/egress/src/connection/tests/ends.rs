//! What ends connections: a new policy, a journal that fails, limits, the door itself.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{RESET, hello, inspected, passed, raw};
use crate::context::DoorLimits;
use crate::testing::{Options, Origin, Quality, TestDoor, policy, rest, server_name};

#[tokio::test]
async fn a_replaced_policy_cuts_what_no_longer_passes_and_nothing_else() {
    let origin = Origin::echo("").await;
    let both = format!(
        "{}{}",
        raw(&origin),
        raw(&origin).replace("db.test", "other.test")
    );
    let door = TestDoor::new(&both).await;
    let mut stays = door.connect("db.test", 5432).await;
    let mut goes = door.connect("other.test", 5432).await;
    for stream in [&mut stays, &mut goes] {
        stream.write_all(b"x").await.unwrap();
        stream.read_u8().await.unwrap();
    }
    door.shared.policy.replace(policy(&raw(&origin)));
    assert_eq!(rest(&mut goes).await, (String::new(), RESET));
    assert_eq!(
        door.wait_for("connection_closed", 1).await[0]["cut"],
        "no_rule"
    );
    stays.write_all(b"y").await.unwrap();
    assert_eq!(stays.read_u8().await.unwrap(), b'y');
    // The same rule, another way: what is open goes to a place that the policy no longer names.
    let elsewhere = Origin::echo("").await;
    door.shared.policy.replace(policy(&raw(&elsewhere)));
    assert_eq!(rest(&mut stays).await.1, RESET);
    assert_eq!(
        door.wait_for("connection_closed", 2).await[1]["cut"],
        "policy_changed"
    );
    let mut again = door.connect("db.test", 5432).await;
    again.write_all(b"z").await.unwrap();
    assert_eq!(again.read_u8().await.unwrap(), b'z');
    assert_eq!(elsewhere.seen(), b"z");
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_happen() {
    let origin = Origin::tls("api.test", Quality::Good).await;
    for manifest in [inspected(&origin), passed(&origin), raw(&origin)] {
        let door = TestDoor::with(
            &manifest,
            Options {
                journal_bytes: 10,
                ..Options::default()
            },
        )
        .await;
        let mut stream = door.connect("db.test", 5432).await;
        assert_eq!(rest(&mut stream).await, (String::new(), RESET));
        let socket = door.connect("api.test", 443).await;
        let error = door
            .connector(None, &[])
            .connect(server_name("api.test"), socket)
            .await
            .unwrap_err();
        assert_eq!(Some(error.kind()), RESET);
    }
    assert_eq!(origin.connections(), 0);
}

fn hasty() -> DoorLimits {
    DoorLimits {
        first_bytes_timeout: Duration::from_millis(200),
        handshake_timeout: Duration::from_millis(300),
        refusal_timeout: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(400),
        ..DoorLimits::default()
    }
}

/// Cases 111 and 112, as far as they happen before HTTP.
#[tokio::test]
async fn who_says_nothing_or_says_it_slowly_is_ended() {
    let origin = Origin::echo("").await;
    let manifest = format!("{}{}", inspected(&origin), raw(&origin));
    let door = TestDoor::with(
        &manifest,
        Options {
            limits: hasty(),
            ..Options::default()
        },
    )
    .await;
    let mut silent = door.connect("api.test", 8443).await;
    assert_eq!(rest(&mut silent).await, (String::new(), RESET));
    assert_eq!(door.denials(), ["silent_needs_protocol_tcp"]);
    // On the web's own ports it is no offence, but it ends as well.
    let mut silent = door.connect("api.test", 443).await;
    assert_eq!(rest(&mut silent).await.0, "");
    assert_eq!(
        door.wait_for("connection_closed", 1).await[0]["cut"],
        "silent"
    );
    // A ClientHello drop by drop.
    let mut slow = door.connect("api.test", 443).await;
    let started = Instant::now();
    for byte in hello(&[], 400) {
        if slow.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(rest(&mut slow).await.0, "");
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(door.denials().last().unwrap(), "client_hello_timeout");
    // A hello, and then nothing.
    let mut stalled = door.connect("api.test", 443).await;
    stalled.write_all(&hello(&[], 400)).await.unwrap();
    rest(&mut stalled).await;
    // A tunnel without traffic.
    let mut idle = door.connect("db.test", 5432).await;
    idle.write_all(b"x").await.unwrap();
    assert_eq!(rest(&mut idle).await, ("x".to_owned(), RESET));
    let cuts: Vec<_> = door
        .wait_for("connection_closed", 3)
        .await
        .iter()
        .map(|event| event["cut"].clone())
        .collect();
    assert!(cuts.contains(&"idle".into()), "{cuts:?}");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_reset_and_summed_up() {
    let origin = Origin::echo("").await;
    let limits = DoorLimits {
        max_connections: 3,
        ..DoorLimits::default()
    };
    let mut door = TestDoor::with(
        &raw(&origin),
        Options {
            limits,
            ..Options::default()
        },
    )
    .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = door.connect("db.test", 5432).await;
        stream.write_all(b"x").await.unwrap();
        stream.read_u8().await.unwrap();
        held.push(stream);
    }
    for _ in 0..200 {
        let mut stream = door.connect("db.test", 5432).await;
        assert_eq!(rest(&mut stream).await, (String::new(), RESET));
    }
    door.shared.refusals.flush();
    let sums = door.kind("further_denials");
    let counted: u64 = sums.iter().filter_map(|sum| sum["count"].as_u64()).sum();
    let recorded = (door.denials().len() - sums.len()) as u64;
    assert!(
        recorded < 50 && recorded + counted == 200,
        "{recorded} {sums:?}"
    );
    assert!(
        door.denials()
            .iter()
            .all(|reason| reason == "too_many_connections")
    );
    // Room again.
    drop(held.pop());
    door.wait_for("connection_closed", 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut stream = door.connect("db.test", 5432).await;
    stream.write_all(b"y").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'y');
    door.stop().await;
    assert_eq!(door.kind("connection_closed").len(), 4);
}

#[tokio::test]
async fn a_door_that_closes_ends_every_connection_and_says_so() {
    let origin = Origin::echo("").await;
    let mut door = TestDoor::new(&raw(&origin)).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = door.connect("db.test", 5432).await;
        stream.write_all(b"x").await.unwrap();
        stream.read_u8().await.unwrap();
        streams.push(stream);
    }
    door.stop().await;
    assert_eq!(door.kind("connection_closed").len(), 20);
    for stream in &mut streams {
        assert_eq!(rest(stream).await.0, "");
    }
    assert!(TcpStream::connect(door.tcp).await.is_err());
}

/// Nothing is left of a connection when it is over: no lease on its name, no task, no record without an end.
#[tokio::test]
async fn many_connections_leave_nothing_behind() {
    let origin = Origin::echo("").await;
    let limits = DoorLimits {
        max_names: 4,
        ..DoorLimits::default()
    };
    let door = TestDoor::with(
        &raw(&origin),
        Options {
            limits,
            ..Options::default()
        },
    )
    .await;
    for _ in 0..300 {
        let mut stream = door.connect("db.test", 5432).await;
        stream.write_all(b"x").await.unwrap();
        stream.read_u8().await.unwrap();
    }
    door.wait_for("connection_closed", 300).await;
    assert_eq!(door.kind("connection").len(), 300);
    assert_eq!(
        format!("{:?}", door.shared.names)
            .matches("open: 0")
            .count(),
        1
    );
}

/// Browsers open connections in advance, and close those that they do not need: at any point before a request.
#[tokio::test]
async fn a_connection_that_ends_before_a_request_is_no_denial() {
    let origin = Origin::tls("api.test", Quality::Good).await;
    for manifest in [inspected(&origin), passed(&origin)] {
        let door = TestDoor::new(&manifest).await;
        // Nothing, half a ClientHello, a ClientHello.
        let whole = {
            let (mut ours, theirs) = tokio::io::duplex(65536);
            let connector = door.connector(None, &["h2"]);
            let begins = tokio::spawn(async move {
                let _ = connector.connect(server_name("api.test"), theirs).await;
            });
            let mut hello = vec![0; 4096];
            let length = ours.read(&mut hello).await.unwrap();
            begins.abort();
            hello.truncate(length);
            hello
        };
        for bytes in [&whole[..0], &whole[..3], &whole[..whole.len() / 2]] {
            let mut stream = door.connect("api.test", 443).await;
            stream.write_all(bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(rest(&mut stream).await.0, "");
        }
        door.wait_for("connection_closed", 3).await;
        assert_eq!((door.denials(), origin.connections()), (vec![], 0));
        for event in door.kind("connection_closed") {
            assert!(event["cut"].is_null(), "{event}");
        }
    }
    let door = TestDoor::new(&inspected(&origin)).await;
    for protocols in [&["h2"][..], &["http/1.1"], &[]] {
        let socket = door.connect("api.test", 443).await;
        let mut tls = door
            .connector(None, protocols)
            .connect(server_name("api.test"), socket)
            .await
            .unwrap();
        tls.shutdown().await.unwrap();
        rest(&mut tls).await;
        // Or without good-bye.
        let socket = door.connect("api.test", 443).await;
        let connector = door.connector(None, protocols);
        drop(
            connector
                .connect(server_name("api.test"), socket)
                .await
                .unwrap(),
        );
    }
    let closed = door.wait_for("connection_closed", 6).await;
    assert!(
        closed.iter().all(|event| event["cut"].is_null()),
        "{closed:?}"
    );
    assert_eq!((door.denials(), origin.connections()), (vec![], 0));
    assert_eq!(door.kind("connection").len(), 6);
}
