//! A model vendor on loopback: answers the APIs of Anthropic and OpenAI with a script instead of a model.
//!
//! Step N of the [`Script`] is played when the conversation holds N tool results, so that retries and parallel
//! requests do no harm. A request that offers no tools (a title, a quota probe) gets a short text.

mod anthropic;
mod chat;
mod responses;
mod shell;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::account::Account;
use crate::origin::{Seen, Socket, accept_websocket, respond};
use crate::server::{Body, Peer, Server, Service, Transport, channel};

/// What the model does: one shell command a turn, then a text.
#[derive(Debug, Clone)]
pub struct Script {
    pub shell: Vec<String>,
    pub last: String,
}

impl Script {
    pub fn new(shell: &[&str], last: &str) -> Self {
        Self {
            shell: shell.iter().map(|&command| command.to_owned()).collect(),
            last: last.to_owned(),
        }
    }

    fn turn(&self, results: usize, offers_tools: bool) -> Turn<'_> {
        match self.shell.get(results) {
            _ if !offers_tools => Turn::Say("A scripted title"),
            Some(command) => Turn::Run(command),
            None => Turn::Say(&self.last),
        }
    }
}

enum Turn<'a> {
    Run(&'a str),
    Say(&'a str),
}

#[derive(Debug, Clone)]
pub struct Options {
    pub script: Script,
    /// Any other credential gets the vendor's 401.
    pub require_key: Option<String>,
    /// Whether the Responses API may be spoken over WebSocket.
    pub websocket: bool,
}

/// One call as the server saw it.
#[derive(Debug, Clone)]
pub struct Call {
    pub request: Seen,
    /// The header that held a credential, and its value without `Bearer`.
    pub credential: Option<(&'static str, String)>,
    /// `anthropic`, `responses`, `chat`, `models`, or none for a path that is not served.
    pub api: Option<&'static str>,
    pub over_websocket: bool,
    pub status: u16,
    pub body: Bytes,
}

#[derive(Debug)]
pub struct ModelServer {
    server: Server,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    options: Options,
    calls: Mutex<Vec<Call>>,
    /// Conversations of the Responses API that go on by `previous_response_id`.
    conversations: Mutex<HashMap<String, responses::Conversation>>,
    /// Whose access token is the credential that is required.
    account: Option<Arc<Account>>,
}

impl ModelServer {
    pub fn start(options: Options) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), Transport::TLS, options)
    }

    pub fn start_at(at: SocketAddr, transport: Transport, options: Options) -> Self {
        Self::serve(at, transport, options, None)
    }

    /// For subscribers: with a token endpoint at `/v1/oauth/token` and `/oauth/token`.
    pub fn for_account(options: Options, account: Arc<Account>) -> Self {
        let at = "127.0.0.1:0".parse().unwrap();
        Self::serve(at, Transport::TLS, options, Some(account))
    }

    fn serve(
        at: SocketAddr,
        transport: Transport,
        options: Options,
        account: Option<Arc<Account>>,
    ) -> Self {
        let state = Arc::new(State {
            options,
            calls: Mutex::default(),
            conversations: Mutex::default(),
            account,
        });
        let serving = state.clone();
        let handler = move |request: Request<Incoming>, peer: Peer| -> crate::server::Answer {
            Box::pin(handle(serving.clone(), request, peer))
        };
        Self {
            server: Server::start_at(at, transport, Service::Http(Arc::new(handler))),
            state,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state.calls.lock().unwrap().clone()
    }

    /// All credentials that any call carried, in any header.
    pub fn credentials_seen(&self) -> Vec<String> {
        let mut seen: Vec<String> = self
            .calls()
            .into_iter()
            .filter_map(|call| call.credential.map(|(_, value)| value))
            .collect();
        seen.sort();
        seen.dedup();
        seen
    }
}

async fn handle(state: Arc<State>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
    let seen = Seen::of(&request, &peer);
    let credential = credential(request.headers());
    let path = request.uri().path().to_owned();
    let asks_for_websocket = request.method() == Method::CONNECT
        || request
            .headers()
            .get(header::UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let record = |api, status: StatusCode, body: Bytes| {
        let call = Call {
            request: seen.clone(),
            credential: credential.clone(),
            api,
            over_websocket: asks_for_websocket,
            status: status.as_u16(),
            body,
        };
        state.calls.lock().unwrap().push(call);
    };
    let api = api_of(&path);
    let refused = state
        .options
        .require_key
        .as_ref()
        .is_some_and(|key| credential.as_ref().map(|(_, value)| value) != Some(key))
        || state.account.as_ref().is_some_and(|account| {
            !account.accepts(credential.as_ref().map(|(_, value)| value.as_str()))
        });

    if asks_for_websocket {
        let serves = state.options.websocket && api == Some("responses");
        let status = match (serves, refused) {
            (false, _) => StatusCode::NOT_FOUND,
            (true, true) => StatusCode::UNAUTHORIZED,
            (true, false) => StatusCode::SWITCHING_PROTOCOLS,
        };
        record(api, status, Bytes::new());
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return json_response(
                status,
                &json!({"error": {"message": "no WebSocket for you", "code": "invalid_api_key"}}),
            );
        }
        let call = Call {
            request: seen.clone(),
            credential: credential.clone(),
            api,
            over_websocket: true,
            status: 101,
            body: Bytes::new(),
        };
        return accept_websocket(request, move |socket| {
            responses_over_websocket(state, socket, call)
        });
    }

    let method = request.method().clone();
    let body = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    if let Some(account) = &state.account
        && path.ends_with("/oauth/token")
    {
        let asked = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let (status, answer) = account.renew(&asked);
        let status = StatusCode::from_u16(status).unwrap();
        record(Some("token"), status, body);
        return json_response(status, &answer);
    }
    if state.account.is_some() && !refused && path.ends_with("/accounts/check") {
        record(Some("account"), StatusCode::OK, body);
        return json_response(StatusCode::OK, &crate::account::workspaces());
    }
    let status = match api {
        None => StatusCode::NOT_FOUND,
        Some(_) if refused => StatusCode::UNAUTHORIZED,
        Some(_) => StatusCode::OK,
    };
    record(api, status, body.clone());
    if status == StatusCode::NOT_FOUND {
        let status = if path == "/" && method == Method::HEAD {
            StatusCode::OK
        } else {
            status
        };
        return json_response(
            status,
            &json!({"error": {"type": "not_found_error", "message": path}}),
        );
    }
    if status == StatusCode::UNAUTHORIZED {
        let message = json!({"type": "error", "error": {"type": "authentication_error", "code": "invalid_api_key", "message": "invalid x-api-key"}});
        return json_response(status, &message);
    }
    let asked: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let script = &state.options.script;
    match api {
        Some("anthropic") if path.ends_with("/count_tokens") => {
            json_response(status, &json!({"input_tokens": body.len() / 4 + 1}))
        }
        Some("anthropic") => anthropic::answer(&asked, script),
        Some("chat") => chat::answer(&asked, script),
        Some("responses") => {
            let (events, whole) = state.respond(&asked);
            if asked["stream"] == true {
                server_sent(named(events))
            } else {
                json_response(status, &whole)
            }
        }
        _ => json_response(status, &models()),
    }
}

fn api_of(path: &str) -> Option<&'static str> {
    let ends = |end: &str| path.ends_with(end);
    if ends("/v1/messages") || ends("/v1/messages/count_tokens") {
        Some("anthropic")
    } else if ends("/responses") {
        Some("responses")
    } else if ends("/chat/completions") {
        Some("chat")
    } else if ends("/models") {
        Some("models")
    } else {
        None
    }
}

fn credential(headers: &HeaderMap) -> Option<(&'static str, String)> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    for name in ["x-api-key", "api-key", "x-goog-api-key"] {
        if let Some(value) = text(name) {
            return Some((name, value.to_owned()));
        }
    }
    let value = text("authorization")?;
    Some((
        "authorization",
        value.strip_prefix("Bearer ").unwrap_or(value).to_owned(),
    ))
}

impl State {
    fn respond(&self, asked: &Value) -> (Vec<Value>, Value) {
        responses::answer(
            asked,
            &self.options.script,
            &mut self.conversations.lock().unwrap(),
        )
    }
}

async fn responses_over_websocket(state: Arc<State>, mut socket: Socket, upgrade: Call) {
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        let asked: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        state.calls.lock().unwrap().push(Call {
            body: Bytes::copy_from_slice(text.as_bytes()),
            ..upgrade.clone()
        });
        if asked["type"] != "response.create" {
            continue;
        }
        for event in state.respond(&asked).0 {
            if socket.send(Message::text(event.to_string())).await.is_err() {
                return;
            }
        }
    }
}

fn models() -> Value {
    let ids = [
        "claude-opus-4-1",
        "claude-sonnet-4-5",
        "gpt-5",
        "gpt-5-codex",
    ];
    let data: Vec<Value> = ids
        .iter()
        .map(|id| json!({"id": id, "type": "model", "object": "model", "display_name": id, "created": 0, "created_at": "2026-01-01T00:00:00Z", "owned_by": "test"}))
        .collect();
    json!({"object": "list", "has_more": false, "first_id": ids[0], "last_id": ids[3], "data": data, "models": []})
}

fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    respond(status, "application/json", value.to_string())
}

/// Events with `type` as their name.
fn named(events: Vec<Value>) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            format!(
                "event: {}\ndata: {event}\n\n",
                event["type"].as_str().unwrap_or("message")
            )
        })
        .collect()
}

fn server_sent(events: Vec<String>) -> Response<Body> {
    let (sender, body) = channel();
    tokio::spawn(async move {
        for event in events {
            if sender.send(Frame::data(event.into())).await.is_err() {
                return;
            }
        }
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")
        .header(header::CACHE_CONTROL, "no-cache")
        .body(body)
        .unwrap()
}

/// An identifier as vendors make them.
fn identifier(prefix: &str) -> String {
    let mut random = [0; 12];
    getrandom::fill(&mut random).expect("the kernel has random bytes");
    format!("{prefix}{}", hex::encode(random))
}

/// Pieces of a text, as a model streams it.
fn pieces(text: &str) -> impl Iterator<Item = String> + use<> {
    let characters: Vec<char> = text.chars().collect();
    characters
        .chunks(24)
        .map(|piece| piece.iter().collect())
        .collect::<Vec<String>>()
        .into_iter()
}
