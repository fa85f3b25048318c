//! The security cases that show at this level, each with its control, over real sockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::testing::{AUTHORITY, Origin, PATIENCE, Quality, TestDoor, rest, server_name};

mod ends;

const RESET: Option<std::io::ErrorKind> = Some(std::io::ErrorKind::ConnectionReset);
const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n";

fn inspected(origin: &Origin) -> String {
    format!(
        "[[egress]]\nhost = \"api.test\"\nports = [80, 443, 8443]\nconnect = \"127.0.0.1:{}\"\nca = \"test-ca.pem\"\n",
        origin.port()
    )
}

fn passed(origin: &Origin) -> String {
    format!(
        "[[egress]]\nhost = \"api.test\"\nports = [443]\nconnect = \"127.0.0.1:{}\"\ninspect = false\n",
        origin.port()
    )
}

fn raw(origin: &Origin) -> String {
    format!(
        "[[egress]]\nhost = \"db.test\"\nports = [5432]\nconnect = \"127.0.0.1:{}\"\nprotocol = \"tcp\"\n",
        origin.port()
    )
}

/// The one verdict of a denied connection, and what came back.
async fn denied(
    door: &TestDoor,
    mut stream: TcpStream,
    bytes: &[u8],
) -> (String, Option<std::io::ErrorKind>, String) {
    let started = Instant::now();
    let before = door.denials().len();
    // A reset may come before all is written.
    let _ = stream.write_all(bytes).await;
    let (text, end) = rest(&mut stream).await;
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "refused at once"
    );
    let denials = door.denials();
    assert_eq!(denials.len(), before + 1, "exactly one event: {denials:?}");
    (text, end, denials[before].clone())
}

#[tokio::test]
async fn an_allowed_https_request_passes_through_both_handshakes() {
    let origin = Origin::tls("api.test", Quality::Good).await;
    let mut door = TestDoor::new(&inspected(&origin)).await;
    let socket = door.connect("api.test", 443).await;
    let mut tls = door
        .connector(None, &["http/1.1"])
        .connect(server_name("api.test"), socket)
        .await
        .unwrap();
    tls.write_all(REQUEST).await.unwrap();
    let (answer, _) = rest(&mut tls).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("origin"),
        "{answer}"
    );
    assert!(origin.seen().starts_with(b"GET /x HTTP/1.1\r\n"));
    drop(tls);
    let closed = door.wait_for("connection_closed", 1).await;
    assert!(closed[0]["bytes_up"].as_u64().unwrap() > REQUEST.len() as u64);
    let connection = &door.kind("connection")[0];
    assert_eq!(connection["host"], "api.test");
    assert_eq!(connection["mode"], "inspect");
    assert_eq!(connection["protocol"], "tls");
    door.stop().await;
    assert_eq!(door.denials(), Vec::<String>::new());
}

#[tokio::test]
async fn an_allowed_plain_request_passes_and_another_on_the_same_door_is_told_why_not() {
    let origin = Origin::http().await;
    let manifest = format!("{}paths = [\"/x\"]\n", inspected(&origin));
    let door = TestDoor::new(&manifest).await;
    let mut stream = door.connect("api.test", 80).await;
    stream.write_all(REQUEST).await.unwrap();
    let (answer, _) = rest(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("plain"),
        "{answer}"
    );
    let mut stream = door.connect("api.test", 80).await;
    stream
        .write_all(b"GET /y HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let (answer, _) = rest(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("no_rule_for_request"),
        "{answer}"
    );
    assert_eq!(door.denials(), ["no_rule_for_request"]);
    assert_eq!(door.kind("connection")[0]["protocol"], "http");
    assert_eq!(origin.connections(), 1);
}

/// Case 89. The control is the test above: the same door, the same origin, the right name.
#[tokio::test]
async fn a_server_name_other_than_the_connections_is_reset() {
    let origin = Origin::tls("api.test", Quality::Good).await;
    for manifest in [inspected(&origin), passed(&origin)] {
        let door = TestDoor::new(&manifest).await;
        // (A literal address as name makes the client send none.)
        for (name, reason) in [("evil.test", "sni_mismatch"), ("192.0.2.1", "no_sni")] {
            let socket = door.connect("api.test", 443).await;
            let error = door
                .connector(None, &[])
                .connect(server_name(name), socket)
                .await
                .unwrap_err();
            assert_eq!(Some(error.kind()), RESET);
            assert_eq!(door.denials().last().unwrap(), reason);
        }
        assert_eq!(door.kind("connection").len(), 2);
    }
    assert_eq!(origin.connections(), 0);
}

/// Case 93.
#[tokio::test]
async fn port_443_is_for_tls() {
    let origin = Origin::tls("api.test", Quality::Good).await;
    for manifest in [inspected(&origin), passed(&origin)] {
        let door = TestDoor::new(&manifest).await;
        let (answer, _, reason) = denied(&door, door.connect("api.test", 443).await, REQUEST).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"reason\":\"not_tls\""),
            "{answer}"
        );
        assert_eq!(reason, "not_tls");
        let ssh = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";
        let (answer, end, reason) = denied(&door, door.connect("api.test", 443).await, ssh).await;
        assert_eq!(
            (answer.as_str(), end, reason.as_str()),
            ("", RESET, "not_tls")
        );
    }
    assert_eq!(origin.connections(), 0);
}

/// Case 82, in the clear; 64 and 69 for what programs with a proxy variable do.
#[tokio::test]
async fn other_protocols_on_an_allowed_connection_are_told_so() {
    let origin = Origin::echo("").await;
    let door = TestDoor::new(&inspected(&origin)).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let (answer, end, reason) = denied(&door, door.connect("api.test", 80).await, preface).await;
    assert_eq!(
        (answer.as_str(), end, reason.as_str()),
        ("", RESET, "h2c_prior_knowledge")
    );
    let connect = b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n";
    let (answer, _, reason) = denied(&door, door.connect("api.test", 80).await, connect).await;
    assert!(
        answer.starts_with("HTTP/1.1 40") && answer.contains("proxy"),
        "{answer}"
    );
    assert_eq!(reason, "connect_method");
    let (answer, end, reason) =
        denied(&door, door.connect("api.test", 80).await, b"\x05\x01\0").await;
    assert_eq!(
        (answer.as_bytes(), end, reason.as_str()),
        ("\u{5}\u{fffd}".as_bytes(), None, "socks")
    );
    let (_, end, reason) = denied(
        &door,
        door.connect("api.test", 8443).await,
        b"\0\0\0\x2a\xffSMB",
    )
    .await;
    assert_eq!(
        (end, reason.as_str()),
        (RESET, "not_http_needs_protocol_tcp")
    );
    // A WebSocket or TLS to an odd port is no such thing; ALPN for another protocol is.
    let socket = door.connect("api.test", 8443).await;
    door.connector(None, &["mqtt"])
        .connect(server_name("api.test"), socket)
        .await
        .unwrap_err();
    assert_eq!(door.denials().last().unwrap(), "alpn_not_http");
    assert_eq!(origin.connections(), 0);
}

/// Cases 64, 76, 90: what no rule allows is refused in the program's own protocol.
#[tokio::test]
async fn a_denied_connection_is_refused_at_once_and_understandably() {
    let origin = Origin::echo("").await;
    let door = TestDoor::new(&inspected(&origin)).await;
    let denied_name = || door.connect("evil.test", 443);
    let (answer, _, reason) = denied(&door, denied_name().await, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let body: serde_json::Value =
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(
        (body["reason"].as_str(), body["host"].as_str()),
        (Some("no_rule"), Some("evil.test"))
    );
    assert_eq!(reason, "no_rule");

    let (answer, _, _) = denied(
        &door,
        denied_name().await,
        b"CONNECT a.test:443 HTTP/1.1\r\n\r\n",
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 40") && answer.contains("proxy"),
        "{answer}"
    );
    let (answer, ..) = denied(&door, denied_name().await, b"\x05\x02\0\x02").await;
    assert_eq!(answer, "\u{5}\u{fffd}");
    let (answer, ..) = denied(
        &door,
        denied_name().await,
        b"\x04\x01\x01\xbb\x01\x02\x03\x04\0",
    )
    .await;
    assert_eq!(answer.as_bytes(), b"\0[\0\0\0\0\0\0");
    for bytes in [
        &b""[..],
        b"\x16\x03\x01\0\x05\x01\0",
        b"SSH-2.0-x\r\n",
        b"GET",
        b"\xff\xff",
    ] {
        let (answer, end, _) = denied(&door, denied_name().await, bytes).await;
        assert_eq!((answer.as_str(), end), ("", RESET), "{bytes:?}");
    }
    // The right name on a port, or at an address, that no rule speaks of.
    let (_, _, reason) = denied(&door, door.connect("api.test", 22).await, b"").await;
    assert_eq!(reason, "no_rule");
    let literal: SocketAddr = "192.0.2.66:443".parse().unwrap();
    let socket = door.connect_to(literal).await;
    door.connector(None, &[])
        .connect(server_name("api.test"), socket)
        .await
        .unwrap_err();
    let event = door.kind("connection").pop().unwrap();
    assert_eq!(
        (event["host_absent"].as_str(), event["mode"].as_str()),
        (Some("not_synthetic"), Some("none"))
    );
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn connections_that_were_not_steered_or_mean_nothing_are_refused() {
    let door = TestDoor::new("").await;
    let (_, end, reason) = denied(&door, TcpStream::connect(door.tcp).await.unwrap(), b"").await;
    assert_eq!((end, reason.as_str()), (RESET, "not_steered"));
    let (_, _, reason) = denied(&door, door.connect_to(door.tcp).await, b"").await;
    assert_eq!(reason, "not_steered");
    let (_, _, reason) = denied(
        &door,
        door.connect_to("198.18.77.77:443".parse().unwrap()).await,
        b"",
    )
    .await;
    assert_eq!(reason, "unknown_synthetic_address");
    for address in [
        "127.0.0.1:443",
        "169.254.169.254:80",
        "10.0.0.1:80",
        "[::1]:80",
        "[::ffff:10.0.0.1]:80",
        "1.1.1.1:53",
    ] {
        let (_, _, reason) =
            denied(&door, door.connect_to(address.parse().unwrap()).await, b"").await;
        assert_eq!(reason, "no_rule", "{address}");
    }
}

#[tokio::test]
async fn raw_tcp_passes_when_its_rule_says_so_even_if_the_server_speaks_first() {
    let origin = Origin::echo("220 hello\r\n").await;
    let door = TestDoor::new(&raw(&origin)).await;
    let mut stream = door.connect("db.test", 5432).await;
    let mut greeting = [0; 11];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 hello\r\n");
    let large: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    let (mut reader, mut writer) = stream.into_split();
    let sent = large.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    tokio::time::timeout(PATIENCE, reader.read_to_end(&mut back))
        .await
        .unwrap()
        .unwrap();
    writing.await.unwrap();
    assert!(back == large);
    let closed = door.wait_for("connection_closed", 1).await;
    assert_eq!(closed[0]["bytes_up"], 1_000_000);
    assert_eq!(closed[0]["bytes_down"], 1_000_011);
    assert_eq!(door.kind("connection")[0]["mode"], "tcp");
}

#[tokio::test]
async fn a_literal_address_passes_when_a_rule_names_it() {
    let origin = Origin::echo("hi").await;
    let manifest = format!(
        "[[egress]]\nhost = \"127.0.0.1\"\nports = [{}]\nprotocol = \"tcp\"\n",
        origin.port()
    );
    let door = TestDoor::new(&manifest).await;
    let mut stream = door.connect_to(origin.address).await;
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, ("hi".to_owned(), None));
    assert_eq!(door.kind("connection")[0]["host"], "127.0.0.1");
}

#[tokio::test]
async fn tls_passes_untouched_where_the_rule_says_so() {
    let origin = Origin::tls("api.test", Quality::Good).await;
    let door = TestDoor::new(&passed(&origin)).await;
    let socket = door.connect("api.test", 443).await;
    // The program sees the origin's own certificate.
    let connector = door.connector(Some(&AUTHORITY.pem), &["http/1.1"]);
    let mut tls = connector
        .connect(server_name("api.test"), socket)
        .await
        .unwrap();
    tls.write_all(b"pinned").await.unwrap();
    assert!(rest(&mut tls).await.0.ends_with("origin"));
    assert_eq!(origin.seen(), b"pinned");
    let connection = &door.kind("connection")[0];
    assert_eq!(
        (connection["mode"].as_str(), connection["protocol"].as_str()),
        (Some("passthrough"), Some("tls"))
    );
}

/// A hello with `extensions` behind the right server name, in records of `size` bytes.
fn hello(extensions: &[u8], size: usize) -> Vec<u8> {
    let name = b"api.test";
    let sni = [
        &[
            0,
            0,
            0,
            name.len() as u8 + 5,
            0,
            name.len() as u8 + 3,
            0,
            0,
            name.len() as u8,
        ][..],
        name,
    ]
    .concat();
    let extensions = [&sni[..], extensions].concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &[0, 2, 0x13, 1],
        &[1, 0],
        &(extensions.len() as u16).to_be_bytes(),
        &extensions,
    ]
    .concat();
    let message = [&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat();
    message
        .chunks(size)
        .flat_map(|chunk| [&[22, 3, 1][..], &(chunk.len() as u16).to_be_bytes(), chunk].concat())
        .collect()
}

#[tokio::test]
async fn a_hidden_server_name_does_not_pass() {
    let origin = Origin::echo("").await;
    let door = TestDoor::new(&passed(&origin)).await;
    // The control: without the extension, and in small pieces, the very bytes arrive.
    let bytes = hello(&[], 7);
    let mut stream = door.connect("api.test", 443).await;
    stream.write_all(&bytes[..9]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    stream.write_all(&bytes[9..]).await.unwrap();
    let mut back = vec![0; bytes.len()];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut back))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(back, bytes);
    assert_eq!(origin.seen(), bytes);
    let hidden = hello(&[0xfe, 0x0d, 0, 4, 0, 0, 0, 0], 400);
    let (_, end, reason) = denied(&door, door.connect("api.test", 443).await, &hidden).await;
    assert_eq!((end, reason.as_str()), (RESET, "encrypted_client_hello"));
    let garbage = b"\x16\x03\x01\0\x04\x02\0\0\0";
    let (_, end, reason) = denied(&door, door.connect("api.test", 443).await, garbage).await;
    assert_eq!((end, reason.as_str()), (RESET, "not_client_hello"));
    assert_eq!(origin.connections(), 1);
}

/// Case 71.
#[tokio::test]
async fn an_allowed_name_that_leads_inside_is_refused() {
    let origin = Origin::echo("").await;
    let door =
        TestDoor::new("[[egress]]\nhost = \"db.test\"\nports = [1024, 5432]\nprotocol = \"tcp\"\n")
            .await;
    let (_, end, reason) = denied(&door, door.connect("db.test", 5432).await, b"x").await;
    assert_eq!((end, reason.as_str()), (RESET, "private_address"));
    assert_eq!(origin.connections(), 0);
}

/// Case 92 at the door; the control is the first test.
#[tokio::test]
async fn an_unproven_upstream_answers_502_and_sees_no_request() {
    for (name, quality) in [
        ("api.test", Quality::Expired),
        ("api.test", Quality::SelfSigned),
        ("other.test", Quality::Good),
    ] {
        let origin = Origin::tls(name, quality).await;
        let door = TestDoor::new(&inspected(&origin)).await;
        let socket = door.connect("api.test", 443).await;
        let mut tls = door
            .connector(None, &["http/1.1"])
            .connect(server_name("api.test"), socket)
            .await
            .unwrap();
        tls.write_all(REQUEST).await.unwrap();
        let (answer, _) = rest(&mut tls).await;
        assert!(
            answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_certificate_"),
            "{answer}"
        );
        assert!(origin.seen().is_empty());
    }
}

#[tokio::test]
async fn a_program_that_does_not_trust_the_authority_is_named() {
    let origin = Origin::tls("api.test", Quality::Good).await;
    let door = TestDoor::new(&inspected(&origin)).await;
    let socket = door.connect("api.test", 443).await;
    let connector = door.connector(Some(&AUTHORITY.pem), &[]);
    connector
        .connect(server_name("api.test"), socket)
        .await
        .unwrap_err();
    assert_eq!(
        door.wait_for("protocol_error", 1).await[0]["reason"],
        "authority_not_trusted"
    );
    assert_eq!(
        door.wait_for("connection_closed", 1).await[0]["cut"],
        "authority_not_trusted"
    );
    assert_eq!(origin.connections(), 0);
}
