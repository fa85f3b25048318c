//! Origin servers: what programs inside reach, or must not reach.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::certificates::Leaf;
use crate::server::{Body, Peer, Server, Service, Transport, channel, full};

/// A request as an origin saw it. The body is summed up once it is complete.
#[derive(Debug, Clone)]
pub struct Seen {
    pub connection: usize,
    pub server_name: Option<String>,
    pub method: String,
    /// The `Host` header, or `:authority`.
    pub host: String,
    /// Path and query exactly as received.
    pub path: String,
    pub version: &'static str,
    pub headers: HeaderMap,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("<not text>"))
    }

    pub(crate) fn of(request: &Request<Incoming>, peer: &Peer) -> Self {
        let host = request
            .uri()
            .authority()
            .map(|authority| authority.to_string());
        let host = host.or_else(|| {
            request
                .headers()
                .get(header::HOST)?
                .to_str()
                .ok()
                .map(str::to_owned)
        });
        Self {
            connection: peer.connection,
            server_name: peer.server_name.clone(),
            method: request.method().to_string(),
            host: host.unwrap_or_default(),
            path: request
                .uri()
                .path_and_query()
                .map_or_else(|| request.uri().to_string(), ToString::to_string),
            version: if request.version() == http::Version::HTTP_2 {
                "h2"
            } else {
                "http/1.1"
            },
            headers: request.headers().clone(),
        }
    }
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// An HTTP server that logs each request and answers by its path; see [`answer`].
#[derive(Debug)]
pub struct Origin {
    server: Server,
    log: Log,
}

impl Origin {
    /// TLS with a good certificate, HTTP/2 or HTTP/1.1.
    pub fn https() -> Self {
        Self::start(Transport::TLS)
    }

    pub fn https_http1() -> Self {
        Self::start(Transport::TLS_HTTP1)
    }

    /// HTTP/1.1 in the clear.
    pub fn http() -> Self {
        Self::start(Transport::Plain)
    }

    pub fn with_leaf(leaf: Leaf) -> Self {
        Self::start(Transport::Tls {
            leaf,
            alpn: &["h2", "http/1.1"],
        })
    }

    pub fn start(transport: Transport) -> Self {
        let log = Log::default();
        let to = log.clone();
        let handler = move |request: Request<Incoming>, peer: Peer| -> crate::server::Answer {
            to.lock().unwrap().push(Seen::of(&request, &peer));
            Box::pin(answer(request))
        };
        Self {
            server: Server::start(transport, Service::Http(Arc::new(handler))),
            log,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    /// The one request that arrived.
    pub fn only_request(&self) -> Seen {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "requests at the origin: {requests:?}");
        requests.into_iter().next().unwrap()
    }

    pub fn assert_untouched(&self) {
        self.server.assert_untouched();
    }
}

/// `/` and anything unknown: `200` and `hello from the origin\n`. Others by the first segment:
/// `/echo` what was received, as JSON; `/status/N`; `/bytes/N`; `/endless`; `/sha256` of the request's body;
/// `/events/N` server-sent, 20 ms apart; `/slow/MS`; `/redirect/URL`; `/websocket` echo;
/// `/grpc` body echo with trailers; `/page` HTML that opens a WebSocket and shows what comes back.
async fn answer(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let mut segments: VecDeque<&str> = path.trim_start_matches('/').splitn(2, '/').collect();
    let first = segments.pop_front().unwrap_or_default();
    let rest = segments.pop_front().unwrap_or_default();
    let number = || rest.parse::<u64>().unwrap_or(0);
    match first {
        "echo" => echo(request).await,
        "status" if matches!(rest, "204" | "304") => {
            let mut response = Response::new(full(""));
            *response.status_mut() = StatusCode::from_u16(number() as u16).unwrap();
            response
        }
        "status" => respond(
            StatusCode::from_u16(number() as u16).unwrap_or(StatusCode::OK),
            "text/plain",
            "as asked\n",
        ),
        "bytes" => download(Some(number())),
        "endless" => download(None),
        "sha256" => {
            let (length, digest) = sum(request).await;
            respond(StatusCode::OK, "text/plain", format!("{length} {digest}\n"))
        }
        "events" => server_sent(number()),
        "slow" => {
            tokio::time::sleep(Duration::from_millis(number())).await;
            respond(StatusCode::OK, "text/plain", "at last\n")
        }
        "redirect" => {
            let query = request.uri().query().unwrap_or_default();
            let to = query.strip_prefix("to=").unwrap_or("/");
            let mut response = respond(StatusCode::FOUND, "text/plain", "elsewhere\n");
            response
                .headers_mut()
                .insert(header::LOCATION, to.parse().unwrap());
            response
        }
        "websocket" => websocket(request),
        "grpc" => grpc(request).await,
        "page" => respond(StatusCode::OK, "text/html", PAGE),
        // As the APIs of model vendors do, which answer when they have heard everything.
        "v1" | "chat" => {
            sum(request).await;
            respond(StatusCode::OK, "text/plain", GREETING)
        }
        _ => respond(StatusCode::OK, "text/plain", GREETING),
    }
}

const GREETING: &str = "hello from the origin\n";

const PAGE: &str = r#"<!doctype html><title>page</title><p id=out>waiting</p><script>
const socket = new WebSocket(location.origin.replace('http', 'ws') + '/websocket');
socket.onopen = () => socket.send('over a websocket');
let done = false;
socket.onmessage = e => { out.textContent = 'echoed: ' + e.data; done = true; };
socket.onerror = () => { out.textContent = 'websocket failed'; done = true; };
// A browser that runs on virtual time waits for these, but not for a WebSocket.
const wait = n => n && !done && fetch('/slow/50').then(() => wait(n - 1));
wait(100);
</script>
"#;

pub(crate) fn respond(status: StatusCode, kind: &str, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .body(full(body))
        .unwrap()
}

async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let headers: serde_json::Map<String, serde_json::Value> = head
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into(),
            )
        })
        .collect();
    let seen = serde_json::json!({
        "method": head.method.as_str(), "target": head.uri.to_string(), "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    respond(StatusCode::OK, "application/json", seen.to_string())
}

async fn sum(request: Request<Incoming>) -> (u64, String) {
    let mut body = request.into_body();
    let (mut hash, mut length) = (Sha256::new(), 0);
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            hash.update(data);
            length += data.len() as u64;
        }
    }
    (length, hex::encode(hash.finalize()))
}

/// `length` zero bytes, with a Content-Length; or zeros until the client goes away.
fn download(length: Option<u64>) -> Response<Body> {
    let (sender, body) = channel();
    tokio::spawn(async move {
        let block = Bytes::from(vec![0; 64 * 1024]);
        let mut left = length.unwrap_or(u64::MAX);
        while left > 0 {
            let part = block.slice(..block.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            left -= part.len() as u64;
            if sender.send(Frame::data(part)).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::builder().header(header::CONTENT_TYPE, "application/octet-stream");
    if let Some(length) = length {
        response = response.header(header::CONTENT_LENGTH, length);
    }
    response.body(body).unwrap()
}

fn server_sent(count: u64) -> Response<Body> {
    let (sender, body) = channel();
    tokio::spawn(async move {
        for number in 0..count {
            let event = format!("event: tick\ndata: {{\"number\":{number}}}\n\n");
            if sender.send(Frame::data(event.into())).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .body(body)
        .unwrap()
}

async fn grpc(request: Request<Incoming>) -> Response<Body> {
    let body = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let (sender, answer) = channel();
    tokio::spawn(async move {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("grpc-message", "fine".parse().unwrap());
        let _ = sender.send(Frame::data(body)).await;
        let _ = sender.send(Frame::trailers(trailers)).await;
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "application/grpc")
        .body(answer)
        .unwrap()
}

/// Accepts RFC 6455 over HTTP/1.1 and RFC 8441 over HTTP/2, and echoes each message.
fn websocket(request: Request<Incoming>) -> Response<Body> {
    accept_websocket(request, |mut socket| async move {
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
        // In order: closed with unread bytes, a connection is reset, and that overtakes the goodbye.
        let mut connection = socket.into_inner();
        let _ = connection.shutdown().await;
        let mut nowhere = tokio::io::sink();
        let end = tokio::io::copy(&mut connection, &mut nowhere);
        let _ = tokio::time::timeout(Duration::from_secs(5), end).await;
    })
}

pub(crate) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

pub(crate) fn accept_websocket<F>(
    mut request: Request<Incoming>,
    talk: impl FnOnce(Socket) -> F + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut response = if request.method() == Method::CONNECT {
        Response::new(full(""))
    } else {
        let Some(key) = request.headers().get("sec-websocket-key") else {
            return respond(
                StatusCode::UPGRADE_REQUIRED,
                "text/plain",
                "a WebSocket, please\n",
            );
        };
        let accept = derive_accept_key(key.as_bytes());
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::UPGRADE, "websocket")
            .header(header::CONNECTION, "Upgrade")
            .header("sec-websocket-accept", accept)
            .body(full(""))
            .unwrap()
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            talk(
                WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await,
            )
            .await;
        }
    });
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// Says `hello\n` to each connection, then echoes bytes.
pub fn tcp_echo() -> Server {
    raw(Transport::Plain, |mut stream| async move {
        let _ = stream.write_all(b"hello\n").await;
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    })
}

/// Reads one request head, answers with these bytes as they are, and keeps reading until the client closes.
pub fn scripted(transport: Transport, answer: &'static [u8]) -> Server {
    raw(transport, move |mut stream| async move {
        let mut head = Vec::new();
        let mut buffer = [0; 4096];
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(read @ 1..) => head.extend_from_slice(&buffer[..read]),
                _ => return,
            }
        }
        let _ = stream.write_all(answer).await;
        while let Ok(1..) = stream.read(&mut buffer).await {}
    })
}

pub fn raw<F>(
    transport: Transport,
    talk: impl Fn(Box<dyn crate::server::Stream>) -> F + Send + Sync + 'static,
) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    Server::start(
        transport,
        Service::Raw(Arc::new(move |stream| Box::pin(talk(stream)))),
    )
}
