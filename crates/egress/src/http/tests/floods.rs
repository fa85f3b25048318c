//! What hostile HTTP/2 clients try.

use h2::Reason;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use wardian_policy::Scheme;

use super::h2::{H2, client, echo, request};
use super::support::*;
use crate::dial::Alpn;

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let origin = echo(H2).await;
    let door = TestDoor::new(&allow_all(&origin));
    let client = client(&door).await;
    let flood = async {
        let mut sender = client.sender.clone();
        for number in 0..20_000 {
            let Ok(ready) = sender.ready().await else {
                return number;
            };
            sender = ready;
            match sender.send_request(request(Method::GET, "/x"), false) {
                Ok((_, mut up)) => up.send_reset(Reason::CANCEL),
                Err(_) => return number,
            }
            tokio::task::yield_now().await;
        }
        20_000
    };
    let sent = timeout(PATIENCE, flood)
        .await
        .expect("the door ends it in time");
    assert!(sent < 20_000, "all resets were taken");
    let totals = timeout(PATIENCE, client.door)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(totals.cut.is_some(), "{totals:?}");
    drop(client.driver);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn continuation_floods_and_malformed_frames_end_the_connection() {
    let origin = echo(H2).await;
    let endless: Vec<u8> = {
        // HEADERS without END_HEADERS, then CONTINUATION frames without end: literal fields, never indexed.
        let field: Vec<u8> = [&[0x10, 5], &b"x-abc"[..], &[100], &[b'y'; 100]].concat();
        let block = field.repeat(100);
        std::iter::once(frame(1, 0, 1, &block))
            .chain((0..2000).map(|_| frame(9, 0, 1, &block)))
            .flatten()
            .collect()
    };
    let pings: Vec<u8> = (0..20_000).flat_map(|_| frame(4, 0, 0, &[])).collect();
    for (bytes, is_fatal) in [
        (endless, true),
        // DATA on a stream that was never opened; a frame longer than allowed; a HEADERS frame on stream 0.
        (frame(0, 1, 5, b"data"), true),
        (
            [&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], &[0u8; 64][..]].concat(),
            true,
        ),
        (frame(1, 5, 0, &[0x82]), true),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), true),
        (pings, false),
    ] {
        let door = TestDoor::new(&allow_all(&origin));
        let mut program = door.connect(Scheme::Https, Alpn::H2).await;
        let started = [PREFACE, &frame(4, 0, 0, &[])].concat();
        program.send(started).await;
        let (mut reader, mut writer) = program.io.split();
        let writing = async {
            let _ = writer.write_all(&bytes).await;
            let _ = writer.shutdown().await;
        };
        let reading = async { while let Ok(1..) = reader.read(&mut [0u8; 4096]).await {} };
        timeout(PATIENCE, async { tokio::join!(writing, reading) })
            .await
            .expect("the door ends it in time");
        let totals = program.ended().await.unwrap();
        assert!(totals.cut.is_some() || !is_fatal, "{totals:?}");
        assert_eq!(origin.bytes(), 0);
    }
}

#[tokio::test]
async fn a_client_without_a_preface_is_sent_away() {
    let origin = echo(H2).await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut program = door.connect(Scheme::Https, Alpn::H2).await;
    program.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    program.rest().await;
    let totals = program.ended().await.unwrap();
    assert_eq!(totals.cut, Some("bad_h2_preface"));
    assert_eq!(door.denials(), ["bad_h2_preface"]);
}
