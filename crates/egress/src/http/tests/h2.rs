//! HTTP/2 through the door, to origins of both versions.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wardian_policy::Scheme;

use super::support::*;
use super::websocket::{ACCEPTED, shouting};
use crate::dial::Alpn;
use crate::http::{ConnectionTotals, ServeError};

const SIZE: usize = 64 * 1024 * 1024;

pub(super) struct Client {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) door: JoinHandle<Result<ConnectionTotals, ServeError>>,
    pub(super) driver: JoinHandle<Result<(), h2::Error>>,
}

pub(super) async fn client(door: &TestDoor) -> Client {
    let Program { io, door, .. } = door.connect(Scheme::Https, Alpn::H2).await;
    let (sender, driver) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .handshake(io)
        .await
        .unwrap();
    Client {
        sender,
        door,
        driver: tokio::spawn(driver),
    }
}

pub(super) fn request(method: Method, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("https://{HOST}{path}"))
        .body(())
        .unwrap()
}

/// Sends as the window allows.
pub(super) async fn send(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        while stream.capacity() == 0 {
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
        let part = data.split_to(stream.capacity().min(data.len()));
        stream.send_data(part, end && data.is_empty())?;
    }
    Ok(())
}

async fn collect(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, body.trailers().await?))
}

impl Client {
    pub(super) async fn ask(
        &mut self,
        request: Request<()>,
        body: &[u8],
    ) -> (Response<()>, Vec<u8>, Option<HeaderMap>) {
        timeout(PATIENCE, async {
            let mut sender = self.sender.clone().ready().await.unwrap();
            let (response, mut up) = sender.send_request(request, body.is_empty()).unwrap();
            if !body.is_empty() {
                send(&mut up, Bytes::copy_from_slice(body), true)
                    .await
                    .unwrap();
            }
            let (parts, body) = response.await.unwrap().into_parts();
            let (bytes, trailers) = collect(body).await.unwrap();
            (Response::from_parts(parts, ()), bytes, trailers)
        })
        .await
        .expect("an answer in time")
    }
}

/// The body of what a program gets for `GET path`, which must be a 200.
pub(super) async fn get(door: &TestDoor, path: &str) -> String {
    let mut client = client(door).await;
    let (response, body, _) = client.ask(request(Method::GET, path), b"").await;
    assert_eq!(response.status(), 200, "{response:?}");
    String::from_utf8(body).unwrap()
}

/// Answers each stream with its body, what it saw in fields, and trailers that echo the request's.
pub(super) async fn echo(speaks: Speaks) -> Origin {
    Origin::start(speaks, |io| async move {
        let mut server = h2::server::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 20)
            .handshake::<_, Bytes>(io)
            .await
            .unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(Ok((request, mut respond))) = server.accept().await {
            tasks.spawn(async move {
                let (parts, mut body) = request.into_parts();
                if parts.uri.path() == "/reset" {
                    respond.send_reset(Reason::ENHANCE_YOUR_CALM);
                    return;
                }
                let mut response = Response::new(());
                let headers = response.headers_mut();
                headers.insert(
                    "x-uri",
                    HeaderValue::from_str(&parts.uri.to_string()).unwrap(),
                );
                for name in ["te", "authorization", "cookie"] {
                    for value in parts.headers.get_all(name) {
                        headers.append(
                            format!("x-{name}").parse::<http::HeaderName>().unwrap(),
                            value.clone(),
                        );
                    }
                }
                let mut down = respond.send_response(response, false).unwrap();
                while let Some(Ok(data)) = body.data().await {
                    let length = data.len();
                    send(&mut down, data, false).await.unwrap();
                    let _ = body.flow_control().release_capacity(length);
                }
                let mut trailers = body.trailers().await.unwrap().unwrap_or_default();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                let _ = down.send_trailers(trailers);
            });
        }
    })
    .await
}

pub(super) const H2: Speaks = Speaks::Tls(&["h2", "http/1.1"]);
const H1: Speaks = Speaks::Tls(&["http/1.1"]);

#[tokio::test]
async fn grpc_passes_with_its_trailers() {
    let origin = echo(H2).await;
    let door = TestDoor::new(&allow_all(&origin));
    let client = client(&door).await;
    let mut call = request(Method::POST, "/pkg.Service/%4dethod");
    call.headers_mut()
        .insert("te", HeaderValue::from_static("trailers"));
    call.headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut sender = client.sender.ready().await.unwrap();
    let (response, mut up) = sender.send_request(call, false).unwrap();
    up.send_data(Bytes::from_static(b"message"), false).unwrap();
    let trailers = HeaderMap::from_iter([("x-up".parse().unwrap(), HeaderValue::from_static("1"))]);
    up.send_trailers(trailers).unwrap();
    let (parts, body) = timeout(PATIENCE, response)
        .await
        .unwrap()
        .unwrap()
        .into_parts();
    let (bytes, trailers) = collect(body).await.unwrap();
    let trailers = trailers.unwrap();
    assert_eq!(bytes, b"message");
    assert_eq!(
        parts.headers["x-uri"],
        format!("https://{HOST}/pkg.Service/Method").as_str()
    );
    assert_eq!(parts.headers["x-te"], "trailers");
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-up"]),
        (
            &HeaderValue::from_static("0"),
            &HeaderValue::from_static("1")
        )
    );
    let event = &door.kind("request")[0];
    assert_eq!(
        (event["version"].as_str(), event["path"].as_str()),
        (Some("h2"), Some("/pkg.Service/Method"))
    );
    assert_eq!(door.wait_for("response", 1).await[0]["bytes_up"], 7);
}

#[tokio::test]
async fn many_streams_share_one_origin_connection() {
    let origin = echo(H2).await;
    let door = TestDoor::new(&rule(&origin, "paths = [\"/open/**\"]"));
    let client = client(&door).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..60 {
        let sender = client.sender.clone();
        let mut one = Client {
            sender,
            door: tokio::spawn(async { unreachable!() }),
            driver: tokio::spawn(async { Ok(()) }),
        };
        tasks.spawn(async move {
            let path = if number % 3 == 0 {
                format!("/closed/{number}")
            } else {
                format!("/open/{number}")
            };
            let (response, body, _) = one
                .ask(
                    request(Method::POST, &path),
                    format!("body {number}").as_bytes(),
                )
                .await;
            (number, response.status().as_u16(), body)
        });
    }
    for (number, status, body) in tasks.join_all().await {
        if number % 3 == 0 {
            assert_eq!(status, 403);
        } else {
            assert_eq!((status, body), (200, format!("body {number}").into_bytes()));
        }
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!(door.kind("request").len(), 60);
}

#[tokio::test]
async fn origins_of_http_1_1_are_bridged() {
    let origin = Origin::scripted(H1, |head, body| {
        if head.starts_with("HEAD") {
            return b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n".to_vec();
        }
        let seen = format!("{head}{}", String::from_utf8_lossy(body));
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n{:x}\r\n{seen}\r\n0\r\nX-Trailer: 1\r\n\r\n", seen.len()).into_bytes()
    })
    .await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut client = client(&door).await;
    let mut post = request(Method::POST, "/%41?q");
    for crumb in ["a=1", "b=2"] {
        post.headers_mut()
            .append("cookie", HeaderValue::from_str(crumb).unwrap());
    }
    let (response, body, trailers) = client.ask(post, b"hello").await;
    let seen = String::from_utf8(body).unwrap();
    assert_eq!(response.headers()["x-a"], "b");
    assert!(!response.headers().contains_key("transfer-encoding"));
    assert_eq!(trailers.unwrap()["x-trailer"], "1");
    assert!(
        seen.starts_with("POST /A?q HTTP/1.1\r\nHost: api.test.example\r\n"),
        "{seen}"
    );
    assert!(
        seen.contains("cookie: a=1; b=2\r\n") && seen.ends_with("5\r\nhello\r\n0\r\n\r\n"),
        "{seen}"
    );

    let (response, body, _) = client.ask(request(Method::HEAD, "/"), b"").await;
    assert_eq!(
        (
            response.headers()["content-length"].to_str().unwrap(),
            body.len()
        ),
        ("5", 0)
    );
    let (_, body, _) = client.ask(request(Method::GET, "/again"), b"").await;
    assert!(body.starts_with(b"GET /again HTTP/1.1\r\n"));
    assert_eq!(origin.connections(), 1, "kept alive");
}

#[tokio::test]
async fn refusals_speak_the_callers_language() {
    let origin = echo(H2).await;
    let door = TestDoor::new(&rule(&origin, "paths = [\"/open\"]"));
    let mut client = client(&door).await;
    let (response, body, _) = client.ask(request(Method::POST, "/closed"), b"body").await;
    assert_eq!(response.status(), 403);
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()["reason"],
        "no_rule_for_request"
    );
    let mut call = request(Method::POST, "/closed");
    call.headers_mut().insert(
        "content-type",
        HeaderValue::from_static("application/grpc+proto"),
    );
    let (response, body, _) = client.ask(call, b"body").await;
    assert_eq!((response.status().as_u16(), body.len()), (200, 0));
    assert_eq!(response.headers()["grpc-status"], "7");

    let elsewhere = |uri: &str| {
        Request::builder()
            .method(Method::GET)
            .uri(uri)
            .body(())
            .unwrap()
    };
    for (request, status, reason) in [
        (
            elsewhere("https://evil.example/open"),
            403,
            "authority_mismatch",
        ),
        (
            elsewhere(&format!("https://{HOST}:8443/open")),
            403,
            "authority_mismatch",
        ),
        (
            elsewhere(&format!("http://{HOST}/open")),
            403,
            "authority_mismatch",
        ),
        (
            elsewhere(&format!("https://user@{HOST}/open")),
            400,
            "bad_authority",
        ),
        (
            elsewhere(&format!("https://{HOST}/a/../open")),
            400,
            "bad_target",
        ),
        (
            elsewhere(&format!("https://{HOST}/a/%2e%2e/open")),
            400,
            "bad_target",
        ),
        (
            elsewhere(&format!("https://{HOST}//open")),
            400,
            "bad_target",
        ),
        (
            Request::builder()
                .method(Method::CONNECT)
                .uri(format!("{HOST}:443"))
                .body(())
                .unwrap(),
            403,
            "connect_method",
        ),
        (request(Method::TRACE, "/open"), 403, "trace_method"),
        (
            {
                let mut request = request(Method::POST, "/open");
                for length in ["0", "0"] {
                    let length = HeaderValue::from_static(length);
                    request.headers_mut().append("content-length", length);
                }
                request
            },
            400,
            "many_content_lengths",
        ),
        (
            {
                let mut request = request(Method::GET, "/open");
                request
                    .headers_mut()
                    .insert("host", HeaderValue::from_static("evil.example"));
                request
            },
            403,
            "authority_mismatch",
        ),
    ] {
        let before = door.denials().len();
        let shown = format!("{request:?}");
        let (response, body, _) = client.ask(request, b"").await;
        assert_eq!(response.status().as_u16(), status, "{shown}");
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&body).unwrap()["reason"],
            reason,
            "{shown}"
        );
        assert_eq!(door.denials()[before..], [reason], "{shown}");
    }
    assert_eq!((origin.connections(), origin.bytes()), (0, 0));
    // The control.
    assert_eq!(
        client
            .ask(request(Method::GET, "/open"), b"")
            .await
            .0
            .status(),
        200
    );
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

#[tokio::test]
async fn sixty_four_mebibytes_arrive_unchanged() {
    let body: Vec<u8> = (0..SIZE / 4)
        .flat_map(|number: usize| (number as u32).wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let bridged = Origin::start(H1, |mut io| async move {
        // Echoes the chunked body as it is.
        let mut held = Vec::new();
        while !held.windows(4).any(|window| window == b"\r\n\r\n") {
            io.read_buf(&mut held).await.unwrap();
        }
        let end = held
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap()
            + 4;
        io.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        let (mut reader, mut writer) = tokio::io::split(io);
        writer.write_all(&held[end..]).await.unwrap();
        let mut block = vec![0u8; 65536];
        while let Ok(read @ 1..) = reader.read(&mut block).await {
            if writer.write_all(&block[..read]).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    })
    .await;
    for origin in [echo(H2).await, bridged] {
        let door = TestDoor::new(&allow_all(&origin));
        let client = client(&door).await;
        let mut sender = client.sender.ready().await.unwrap();
        let (response, mut up) = sender
            .send_request(request(Method::PUT, "/"), false)
            .unwrap();
        let data = Bytes::from(body.clone());
        let sending = async { send(&mut up, data, true).await.unwrap() };
        let receiving = async {
            collect(response.await.unwrap().into_body())
                .await
                .unwrap()
                .0
        };
        let ((), received) = timeout(4 * PATIENCE, async { tokio::join!(sending, receiving) })
            .await
            .unwrap();
        assert_eq!(received.len(), SIZE);
        assert_eq!(digest(&received), digest(&body));
    }
}

/// Asks for a WebSocket on a stream of its own (RFC 8441).
async fn open_websocket(client: &Client) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let mut sender = client.sender.clone().ready().await.unwrap();
    // The setting that allows extended CONNECT arrives with the door's first frames.
    while !sender.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut open = request(Method::CONNECT, "/chat");
    open.extensions_mut()
        .insert(h2::ext::Protocol::from_static("websocket"));
    open.headers_mut()
        .insert("sec-websocket-version", HeaderValue::from_static("13"));
    sender.send_request(open, false).unwrap()
}

/// The program cannot check the answer to a key that it never saw.
#[tokio::test]
async fn the_door_checks_the_answer_to_its_own_key() {
    const OTHER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nbytes";
    let origin = shouting(H1, OTHER).await;
    let door = TestDoor::new(&allow_all(&origin));
    let client = client(&door).await;
    let (response, _up) = open_websocket(&client).await;
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 502);
    let (body, _) = collect(response.into_body()).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("unsolicited_upgrade"));
}

#[tokio::test]
async fn websockets_are_bridged() {
    for speaks in [H1, H2] {
        let origin = shouting(speaks, ACCEPTED).await;
        let door = TestDoor::new(&allow_all(&origin));
        let client = client(&door).await;
        let (response, mut up) = open_websocket(&client).await;
        let response = timeout(PATIENCE, response).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("sec-websocket-accept"));
        let mut body = response.into_body();
        up.send_data(Bytes::from_static(b"hello"), false).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "HELLO");
        up.send_data(Bytes::from_static(b""), true).unwrap();
        assert_eq!(collect(body).await.unwrap().0, b"BYE");
        let event = &door.kind("request")[0];
        assert_eq!(
            (event["upgrade"].as_str(), event["method"].as_str()),
            (Some("websocket"), Some("GET"))
        );
        assert_eq!(door.wait_for("response", 1).await[0]["outcome"], "complete");
    }
}

#[tokio::test]
async fn other_protocols_on_a_stream_are_refused() {
    let origin = echo(H2).await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut client = client(&door).await;
    client.ask(request(Method::GET, "/"), b"").await;
    let mut open = request(Method::CONNECT, "/");
    open.extensions_mut()
        .insert(h2::ext::Protocol::from_static("connect-udp"));
    let mut sender = client.sender.ready().await.unwrap();
    let (response, _up) = sender.send_request(open, false).unwrap();
    assert_eq!(
        timeout(PATIENCE, response).await.unwrap().unwrap().status(),
        403
    );
    assert_eq!(door.denials(), ["upgrade_not_allowed"]);
}

#[tokio::test]
async fn resets_of_the_origin_become_502() {
    let origin = echo(H2).await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut client = client(&door).await;
    let (response, body, _) = client.ask(request(Method::GET, "/reset"), b"").await;
    assert_eq!(response.status(), 502);
    assert!(String::from_utf8_lossy(&body).contains("upstream_reset"));
    assert_eq!(
        client.ask(request(Method::GET, "/"), b"").await.0.status(),
        200
    );
    assert_eq!(origin.connections(), 1);
}

/// As nginx does after some number of requests: the origin takes `n` streams of a connection and refuses the next.
#[tokio::test]
async fn streams_that_the_origin_refused_go_to_a_new_connection() {
    let origin = Origin::start(H2, |io| async move {
        let mut server = h2::server::handshake(io).await.unwrap();
        let mut taken = 0;
        while let Some(Ok((_, mut respond))) = server.accept().await {
            taken += 1;
            if taken > 2 {
                respond.send_reset(Reason::REFUSED_STREAM);
                server.graceful_shutdown();
                continue;
            }
            let mut down = respond.send_response(Response::new(()), false).unwrap();
            down.send_data(Bytes::from_static(b"fine"), true).unwrap();
        }
    })
    .await;
    let door = TestDoor::new(&allow_all(&origin));
    let mut client = client(&door).await;
    for _ in 0..7 {
        let (response, body, _) = client.ask(request(Method::GET, "/"), b"").await;
        assert_eq!((response.status().as_u16(), body), (200, b"fine".to_vec()));
    }
    assert!(origin.connections() > 2);
}

#[tokio::test]
async fn credentials_go_into_fields() {
    const PLACEHOLDER: &str = "wardian-placeholder-key-abcdefgh";
    let origin = echo(H2).await;
    let text = format!(
        "{}\n[credential.key]\nsource = {{ env = \"UNUSED\" }}\nhosts = [\"{HOST}\"]\n",
        rule(&origin, "credential = \"key\"")
    );
    let options = Options {
        secrets: vec![("key", PLACEHOLDER, "canary-value")],
        ..Options::default()
    };
    let door = TestDoor::with(&text, options);
    let mut client = client(&door).await;
    let mut get = request(Method::GET, &format!("/x?key={PLACEHOLDER}"));
    get.headers_mut().insert(
        "authorization",
        HeaderValue::from_str(&format!("Bearer {PLACEHOLDER}")).unwrap(),
    );
    let (response, _, _) = client.ask(get, b"").await;
    assert_eq!(response.headers()["x-authorization"], "Bearer canary-value");
    assert_eq!(
        response.headers()["x-uri"],
        format!("https://{HOST}/x?key=canary-value").as_str()
    );
    assert_eq!(door.kind("credential_used").len(), 1);
    assert!(!door.text().contains("canary"));
}

#[tokio::test]
async fn an_origin_that_cannot_be_trusted_is_refused_once_for_all_who_wait() {
    let origin = Origin::start(Speaks::UntrustedTls, |_| async {}).await;
    let door = TestDoor::new(&allow_all(&origin));
    let client = client(&door).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut one = Client {
            sender: client.sender.clone(),
            door: tokio::spawn(async { unreachable!() }),
            driver: tokio::spawn(async { Ok(()) }),
        };
        tasks.spawn(async move {
            one.ask(request(Method::GET, "/"), b"")
                .await
                .0
                .status()
                .as_u16()
        });
    }
    assert!(tasks.join_all().await.iter().all(|status| *status == 502));
    assert!(origin.connections() < 20);
}

/// Answers the first request of each connection with `frames`, as they are, and then only reads.
async fn scripted(frames: &'static [u8]) -> Origin {
    Origin::start(H2, move |mut io| async move {
        let mut held = [0; 24];
        io.read_exact(&mut held).await.unwrap();
        io.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut head = [0; 9];
        while io.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            if io.read_exact(&mut payload).await.is_err() {
                return;
            }
            if head[3] == 1 {
                let _ = io.write_all(frames).await;
                let _ = io.flush().await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn frames_that_no_answer_may_hold() {
    for (frames, reason) in [
        // GOAWAY with an error, for no stream.
        (
            &b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x02"[..],
            "upstream_closed",
        ),
        // 101, as a whole answer and as an interim one.
        (
            b"\0\0\x05\x01\x05\0\0\0\x01\x08\x03101",
            "unsolicited_upgrade",
        ),
        (
            b"\0\0\x05\x01\x04\0\0\0\x01\x08\x03101",
            "unsolicited_upgrade",
        ),
        // DATA before the head.
        (b"\0\0\x01\0\x01\0\0\0\x01x", "bad_upstream_response"),
    ] {
        let origin = scripted(frames).await;
        let door = TestDoor::new(&allow_all(&origin));
        let mut client = client(&door).await;
        let answer = client.ask(request(Method::GET, "/"), b"");
        let (response, body, _) = timeout(PATIENCE, answer).await.expect("an answer");
        assert_eq!(response.status(), 502);
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.contains(reason), "{reason}: {body}");
        let ended = &door.wait_for("response", 1).await[0];
        assert_eq!(ended["reason"], reason);
    }
}
