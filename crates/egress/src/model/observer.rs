//! One thread beside the door, to which calls are shown and which writes them down.
//!
//! The relay pays for copies of what passes in exchanges that look like calls, and for nothing else: decoding, hashing
//! and writing are done here, in the order in which things happened. The thread starts with the first such exchange.
//! What it may hold is bounded; a call that would go beyond is given up, and never slowed down.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use wardian_events::{Digest, Event, Journal, ModelCall, ModelToolCall, RequestId, visible};

use super::call::{Decoded, HttpCall};
use super::conversation::Store;
use super::prices::Prices;
use super::redact::Redactor;
use super::socket::Socket;
use super::{Api, Exchange, Undecoded};
use crate::credentials::Credentials;
use crate::http::tap::{Answer, End, Question, Tap};

/// Bytes on their way to the thread.
const MAX_WAITING: usize = 64 * 1024 * 1024;
/// Bytes that it holds of calls which are not over.
const MAX_HELD: usize = 128 * 1024 * 1024;
/// What a call takes beside its bytes, about.
const OVERHEAD: usize = 4 * 1024;
/// Of the vendor's and the program's names in an event.
const MAX_NAME: usize = 128;
const MAX_TOOL_CALLS: usize = 24;
/// Of a tool's arguments, to be brought into one form.
const MAX_CANONICAL: usize = 1024 * 1024;

/// How calls are to be recorded.
#[derive(Debug)]
pub struct ModelRecord {
    pub prices: Prices,
    /// Where the text of conversations is kept, if it is.
    pub conversations: Option<Store>,
}

impl Default for ModelRecord {
    /// Everything but the text, at the prices that the program knows.
    fn default() -> Self {
        Self {
            prices: Prices::built_in(),
            conversations: None,
        }
    }
}

/// Shows exchanges to the thread.
#[derive(Debug)]
pub(crate) struct Observer {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// No call was seen yet.
    Idle(Box<Recorder>),
    Running {
        line: Line,
        thread: JoinHandle<()>,
        next: u64,
    },
    Closed,
}

/// The way to the thread.
#[derive(Debug, Clone)]
struct Line {
    sender: Sender<Note>,
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Note {
    Of { call: u64, at: Instant, what: What },
    Close,
}

/// What happened to an exchange.
#[derive(Debug)]
enum What {
    Begun(Box<Begun>),
    Request(Vec<u8>),
    Head {
        status: u16,
        encodings: Vec<Vec<u8>>,
        extensions: Vec<Vec<u8>>,
    },
    Response(Vec<u8>),
    /// Some of it went by unseen.
    Overrun,
    Ended,
}

#[derive(Debug)]
struct Begun {
    request: RequestId,
    api: Api,
    exchange: Exchange,
    path: String,
    encodings: Vec<Vec<u8>>,
}

impl Observer {
    pub(crate) fn new(
        record: ModelRecord,
        credentials: &Arc<Credentials>,
        journal: Journal,
    ) -> Self {
        let recorder = Recorder {
            journal,
            record,
            redactor: Redactor::new(Arc::clone(credentials)),
            live: HashMap::new(),
            held: 0,
        };
        Self {
            state: Mutex::new(State::Idle(Box::new(recorder))),
        }
    }

    /// A tap on an exchange that may turn out to be a call.
    pub(crate) fn tap(&self, question: &Question<'_>) -> Option<Box<dyn Tap>> {
        let path = question.permitted.target.path();
        let (api, exchange) = Api::of(question.method, path)?;
        let encodings = question.fields.all("content-encoding");
        let tap = self.begin(Begun {
            request: question.id,
            api,
            exchange,
            path: path.to_owned(),
            encodings: encodings.map(<[u8]>::to_vec).collect(),
        })?;
        Some(Box::new(tap))
    }

    fn begin(&self, begun: Begun) -> Option<CallTap> {
        let (line, call) = self.line()?;
        let tap = CallTap {
            line,
            call,
            overrun: false,
        };
        tap.tell(What::Begun(Box::new(begun)));
        Some(tap)
    }

    /// The way to the thread, which is started if there is none, and a number for a call.
    fn line(&self) -> Option<(Line, u64)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Idle(_) = &*state {
            let State::Idle(recorder) = std::mem::replace(&mut *state, State::Closed) else {
                return None;
            };
            let (sender, notes) = channel();
            let line = Line {
                sender,
                waiting: Arc::default(),
            };
            let waiting = Arc::clone(&line.waiting);
            let thread = std::thread::Builder::new()
                .name("models".to_owned())
                .spawn(move || recorder.run(&notes, &waiting));
            match thread {
                Ok(thread) => {
                    *state = State::Running {
                        line,
                        thread,
                        next: 0,
                    };
                }
                Err(error) => tracing::warn!(%error, "calls of models are not recorded"),
            }
        }
        match &mut *state {
            State::Running { line, next, .. } => {
                *next += 1;
                Some((line.clone(), *next))
            }
            _ => None,
        }
    }

    /// Waits until everything that was shown is written down. Nothing more is taken. Blocks.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = std::mem::replace(&mut *state, State::Closed);
        if let State::Running { line, thread, .. } = state {
            let _ = line.sender.send(Note::Close);
            if thread.join().is_err() {
                tracing::error!("the thread that records calls of models panicked");
            }
        }
    }
}

/// Hands over copies.
#[derive(Debug)]
struct CallTap {
    line: Line,
    call: u64,
    /// The thread could not keep up: it is told once, and nothing more.
    overrun: bool,
}

impl CallTap {
    fn tell(&self, what: What) {
        let (call, at) = (self.call, Instant::now());
        // A thread that is gone says so when it is closed.
        let _ = self.line.sender.send(Note::Of { call, at, what });
    }

    fn show(&mut self, data: &[u8], what: fn(Vec<u8>) -> What) {
        if self.overrun || data.is_empty() {
            return;
        }
        let waiting = &self.line.waiting;
        if waiting.fetch_add(data.len(), Ordering::Relaxed) + data.len() > MAX_WAITING {
            waiting.fetch_sub(data.len(), Ordering::Relaxed);
            self.overrun = true;
            self.tell(What::Overrun);
        } else {
            self.tell(what(data.to_vec()));
        }
    }
}

impl Tap for CallTap {
    fn request_data(&mut self, data: &[u8]) {
        self.show(data, What::Request);
    }

    fn response_head(&mut self, head: &Answer<'_>) {
        let all = |name| head.fields.all(name).map(<[u8]>::to_vec).collect();
        self.tell(What::Head {
            status: head.status,
            encodings: all("content-encoding"),
            extensions: all("sec-websocket-extensions"),
        });
    }

    fn response_data(&mut self, data: &[u8]) {
        self.show(data, What::Response);
    }

    fn ended(&mut self, _: End) {
        self.tell(What::Ended);
    }
}

/// What the thread works with.
#[derive(Debug)]
struct Recorder {
    journal: Journal,
    record: ModelRecord,
    redactor: Redactor,
    live: HashMap<u64, Live>,
    held: usize,
}

/// An exchange that is not over.
#[derive(Debug)]
struct Live {
    begun: Begun,
    since: Instant,
    reading: Reading,
    held: usize,
}

#[derive(Debug)]
enum Reading {
    Http(Box<HttpCall>),
    /// Before the origin has agreed.
    Handshake,
    Socket(Box<Socket>),
    /// The origin has refused.
    Nothing,
}

impl Recorder {
    fn run(mut self, notes: &Receiver<Note>, waiting: &AtomicUsize) {
        for note in notes {
            let Note::Of { call, at, what } = note else {
                break;
            };
            let shown = match &what {
                What::Request(data) | What::Response(data) => data.len(),
                _ => 0,
            };
            // A decoder that panics costs its call, and no other.
            if catch_unwind(AssertUnwindSafe(|| self.take(call, at, what))).is_err() {
                self.failed(call, at);
            }
            waiting.fetch_sub(shown, Ordering::Relaxed);
        }
    }

    fn take(&mut self, call: u64, at: Instant, what: What) {
        if let What::Begun(begun) = what {
            self.redactor.refresh();
            let live = Live::new(*begun, at);
            self.held += live.held;
            self.live.insert(call, live);
            return;
        }
        let Some(live) = self.live.get_mut(&call) else {
            return;
        };
        let mut done = Vec::new();
        let is_over = matches!(what, What::Ended);
        live.take(what, at, &mut |decoded| done.push(decoded));
        let held = live.reading.held() + OVERHEAD;
        self.held = self.held - live.held + held;
        live.held = held;
        if self.held > MAX_HELD {
            live.give_up(Undecoded::Overrun, at, &mut |decoded| done.push(decoded));
            let held = live.reading.held() + OVERHEAD;
            self.held = self.held - live.held + held;
            live.held = held;
        }
        let request = live.begun.request;
        if is_over && let Some(live) = self.live.remove(&call) {
            self.held -= live.held;
            done.extend(live.end(at));
        }
        for decoded in done {
            self.write(request, decoded);
        }
    }

    fn failed(&mut self, call: u64, at: Instant) {
        if let Some(live) = self.live.remove(&call) {
            self.held -= live.held;
            let ended = live.milliseconds(at);
            let decoded = Decoded::unread(live.begun.api, ended, Undecoded::DecoderFailed);
            self.write(live.begun.request, decoded);
        }
    }

    /// A journal that takes no more refuses every request, so that nothing is left to be said here.
    fn write(&mut self, request: RequestId, decoded: Decoded) {
        let event = self.event(request, decoded);
        if let Err(error) = self.journal.append(&Event::ModelCall(Box::new(event))) {
            tracing::error!(%error, "a call of a model is not on the record");
        }
    }

    fn event(&mut self, request: RequestId, decoded: Decoded) -> ModelCall {
        self.redactor.refresh();
        let Decoded {
            api,
            asked,
            answer,
            first_token,
            ended,
            undecoded,
        } = decoded;
        let model = asked.as_ref().and_then(|asked| asked.model.as_deref());
        // On other terms than the usual ones, tokens have other prices.
        let cost = match answer.tier {
            None => self
                .record
                .prices
                .cost(answer.model.as_deref(), model, &answer.tokens),
            Some(_) => None,
        };
        let (conversation, conversation_absent) = match (&mut self.record.conversations, &asked) {
            (None, _) => (None, None),
            (Some(_), None) => (None, Some("undecoded")),
            (Some(store), Some(asked)) => match store.keep(asked, &answer, &self.redactor) {
                Ok(kept) => (Some(kept), None),
                Err(error) => {
                    tracing::warn!(%error, "a conversation is not kept");
                    (None, Some(error.as_str()))
                }
            },
        };
        let redactor = &self.redactor;
        let name = |text: &str| name(&redactor.redact(text));
        let tool_call = |(id, tool, arguments): (&str, &str, &str)| ModelToolCall {
            name: name(tool),
            id: name(id),
            arguments: digest(&redactor.redact(arguments)),
        };
        let tool_calls = answer.tool_calls().count();
        ModelCall {
            request,
            api: api.as_str().to_owned(),
            model: model.map(name),
            answered_by: answer.model.as_deref().map(name),
            tokens: answer.tokens,
            cost_micro_usd: cost.as_ref().map(|cost| cost.micro_usd),
            price: cost.map(|cost| cost.price),
            milliseconds_to_first_token: first_token,
            milliseconds: ended,
            stop: answer.stop.as_deref().map(name),
            error: answer.error.as_deref().map(name),
            tool_calls: answer
                .tool_calls()
                .take(MAX_TOOL_CALLS)
                .map(tool_call)
                .collect(),
            further_tool_calls: tool_calls.saturating_sub(MAX_TOOL_CALLS) as u64,
            decoded: undecoded.is_none(),
            undecoded: undecoded.map(|why| why.as_str().to_owned()),
            conversation,
            conversation_absent: conversation_absent.map(str::to_owned),
        }
    }
}

impl Live {
    fn new(begun: Begun, since: Instant) -> Self {
        let encodings = begun.encodings.iter().map(Vec::as_slice);
        let reading = match begun.exchange {
            Exchange::Request => {
                Reading::Http(Box::new(HttpCall::new(begun.api, &begun.path, encodings)))
            }
            Exchange::WebSocket => Reading::Handshake,
        };
        Self {
            begun,
            since,
            reading,
            held: OVERHEAD,
        }
    }

    fn milliseconds(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.since).as_millis() as u64
    }

    fn take(&mut self, what: What, at: Instant, done: &mut impl FnMut(Decoded)) {
        let milliseconds = self.milliseconds(at);
        match (&mut self.reading, what) {
            (Reading::Http(call), What::Request(data)) => call.request_data(&data),
            (Reading::Http(call), What::Response(data)) => call.response_data(&data, milliseconds),
            (
                Reading::Http(call),
                What::Head {
                    status, encodings, ..
                },
            ) => call.response_head(status, encodings.iter().map(Vec::as_slice)),
            (
                Reading::Handshake,
                What::Head {
                    status, extensions, ..
                },
            ) => {
                let extensions = extensions.iter().map(Vec::as_slice);
                let socket = || Socket::new(self.begun.api, &self.begun.path, extensions);
                self.reading = match status {
                    101 => Reading::Socket(Box::new(socket())),
                    _ => Reading::Nothing,
                };
            }
            (Reading::Socket(socket), What::Request(data)) => {
                socket.sent(&data, milliseconds, done);
            }
            (Reading::Socket(socket), What::Response(data)) => {
                socket.received(&data, milliseconds, done);
            }
            (_, What::Overrun) => self.give_up(Undecoded::Overrun, at, done),
            _ => {}
        }
    }

    fn give_up(&mut self, why: Undecoded, at: Instant, done: &mut impl FnMut(Decoded)) {
        let milliseconds = self.milliseconds(at);
        match &mut self.reading {
            Reading::Http(call) => call.give_up(why),
            Reading::Socket(socket) => socket.give_up(why, milliseconds, done),
            Reading::Handshake | Reading::Nothing => {}
        }
    }

    fn end(self, at: Instant) -> Vec<Decoded> {
        let milliseconds = self.milliseconds(at);
        let mut done = Vec::new();
        match self.reading {
            Reading::Http(call) => done.extend(call.end(milliseconds)),
            Reading::Socket(socket) => socket.end(milliseconds, |decoded| done.push(decoded)),
            Reading::Handshake | Reading::Nothing => {}
        }
        done
    }
}

impl Reading {
    fn held(&self) -> usize {
        match self {
            Self::Http(call) => call.held(),
            Self::Socket(socket) => socket.held(),
            Self::Handshake | Self::Nothing => 0,
        }
    }
}

/// A name as it goes into an event: of bounded length, whatever it takes to escape it.
fn name(text: &str) -> String {
    let mut text = visible(text).into_owned();
    if text.len() > MAX_NAME {
        text.truncate(text.floor_char_boundary(MAX_NAME));
        text.push_str("[...]");
    }
    text
}

/// Of arguments: of compact JSON with sorted keys, so that it is the same however the vendor spaced them.
/// Very long ones, which as a tree would take many times their length, are taken as they are.
fn digest(arguments: &str) -> Digest {
    let parsed = match arguments.len() {
        0..MAX_CANONICAL => serde_json::from_str::<serde_json::Value>(arguments).ok(),
        _ => None,
    };
    let canonical = parsed.map(|value| value.to_string());
    Digest::of(canonical.as_deref().unwrap_or(arguments).as_bytes())
}

#[cfg(test)]
mod tests;
