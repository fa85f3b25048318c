//! Records as OpenTelemetry spans and logs, in the JSON form of OTLP.
//!
//! What has a beginning and an end is a span: the sandbox, commands, programs, requests, connections, calls of models.
//! All else is a log record. Names follow the semantic conventions for HTTP, processes and generative AI; what they
//! have no name for is under `wardian.`. Ids are made from the journal's own digests, so that exporting twice gives the
//! same spans.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>: ids in hex, enumerations as numbers, 64-bit
//! integers as decimal text.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wardian_events::{
    CommandStarted, Connection, ConnectionId, ConnectionMode, Digest, Entry, Event, Exit, HostFact,
    ModelCall, ProcessStarted, Record, Request, RequestId, Response, ResponseOutcome,
    SandboxStarted, Timestamp, Verdict,
};

/// `SPAN_KIND_INTERNAL`, `SPAN_KIND_CLIENT`.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;
/// `SEVERITY_NUMBER_INFO`, `_WARN`.
const INFO: u8 = 9;
const WARN: u8 = 13;
/// What has begun and not ended is forgotten beyond this many of a kind.
const MOST_OPEN: usize = 100_000;

/// Turns the records of one sandbox into what is to be sent, in their order.
#[derive(Debug)]
pub(super) struct Converter {
    sandbox: String,
    /// Of the present start.
    trace: String,
    root: String,
    started: Option<(Timestamp, SandboxStarted)>,
    command: Option<Open<CommandStarted>>,
    requests: BTreeMap<RequestId, Open<Request>>,
    connections: BTreeMap<ConnectionId, Open<Connection>>,
    processes: BTreeMap<u32, Open<ProcessStarted>>,
}

#[derive(Debug)]
struct Open<T> {
    time: Timestamp,
    span: String,
    what: T,
}

impl<T> Open<T> {
    fn new(time: Timestamp, own: &Digest, what: T) -> Self {
        let span = span_id(own);
        Self { time, span, what }
    }
}

/// What one record comes to.
#[derive(Debug, PartialEq)]
pub(super) enum Item {
    Span(Value),
    Log(Value),
}

impl Converter {
    pub(super) fn new(sandbox: &str) -> Self {
        let genesis = Digest::genesis(sandbox);
        Self {
            sandbox: sandbox.to_owned(),
            trace: trace_id(&genesis),
            root: span_id(&genesis),
            started: None,
            command: None,
            requests: BTreeMap::new(),
            connections: BTreeMap::new(),
            processes: BTreeMap::new(),
        }
    }

    pub(super) fn take(&mut self, entry: &Entry) -> Vec<Item> {
        let Record { time, event, .. } = &entry.record;
        let own = Digest::of(entry.raw.as_bytes());
        match event {
            Event::SandboxStarted(started) => {
                self.trace = trace_id(&own);
                self.root = span_id(&own);
                self.started = Some((*time, started.clone()));
                self.forget();
                vec![self.log(*time, event)]
            }
            Event::SandboxStopped(stopped) => {
                let mut items = vec![self.log(*time, event)];
                if let Some((begun, started)) = self.started.take() {
                    let mut attributes = vec![
                        text("wardian.cause", &word(&stopped.cause)),
                        number("wardian.allowed", stopped.allowed),
                        number("wardian.denied", stopped.denied),
                        texts("process.command_args", &started.command),
                        text("wardian.workspace", &started.workspace),
                    ];
                    attributes.extend(stopped.exit.map(exit_code));
                    let name = format!("sandbox {}", self.sandbox);
                    let span = Span {
                        name,
                        kind: INTERNAL,
                        id: self.root.clone(),
                        parent: None,
                        begun,
                        ended: *time,
                        attributes,
                        error: None,
                    };
                    items.push(self.span(span));
                }
                items
            }
            Event::CommandStarted(started) => {
                self.command = Some(Open::new(*time, &own, started.clone()));
                Vec::new()
            }
            Event::CommandExited(exited) => {
                let Some(Open {
                    time: begun,
                    span,
                    what,
                }) = self.command.take()
                else {
                    return vec![self.log(*time, event)];
                };
                let program = what.argv.first().cloned().unwrap_or_default();
                let failed = exited.exit != Exit::Status(0);
                vec![self.span(Span {
                    name: format!("command {program}"),
                    kind: INTERNAL,
                    id: span,
                    parent: Some(self.root.clone()),
                    begun,
                    ended: *time,
                    attributes: vec![
                        texts("process.command_args", &what.argv),
                        number("process.pid", what.pid.into()),
                        exit_code(exited.exit),
                    ],
                    error: failed.then(|| "exit".to_owned()),
                })]
            }
            Event::Request(request) => {
                let open = Open::new(*time, &own, request.clone());
                match &request.verdict {
                    Verdict::Denied { reason } => {
                        vec![self.request(open, *time, None, Some(reason.clone()))]
                    }
                    Verdict::Allowed => {
                        keep(&mut self.requests, request.id, open);
                        Vec::new()
                    }
                }
            }
            Event::Response(response) => match self.requests.remove(&response.request) {
                Some(open) => {
                    // The call of a model that it was follows, and has its place below it.
                    let parent = Open {
                        time: open.time,
                        span: open.span.clone(),
                        what: open.what.clone(),
                    };
                    keep(&mut self.requests, response.request, parent);
                    vec![self.request(open, *time, Some(response), None)]
                }
                None => vec![self.log(*time, event)],
            },
            Event::Connection(connection) => match (&connection.verdict, connection.mode) {
                (Verdict::Allowed, ConnectionMode::Inspect) => Vec::new(),
                (Verdict::Allowed, _) => {
                    let open = Open::new(*time, &own, connection.clone());
                    keep(&mut self.connections, connection.id, open);
                    Vec::new()
                }
                (Verdict::Denied { .. }, _) => vec![self.log(*time, event)],
            },
            Event::ConnectionClosed(closed) => match self.connections.remove(&closed.id) {
                None => Vec::new(),
                Some(open) => {
                    let mut attributes = vec![
                        number("wardian.bytes_up", closed.bytes_up),
                        number("wardian.bytes_down", closed.bytes_down),
                        number("server.port", open.what.destination.port().into()),
                    ];
                    let host = match &open.what.host {
                        HostFact::Known { host } => host.clone(),
                        HostFact::Absent { .. } => open.what.destination.ip().to_string(),
                    };
                    attributes.push(text("server.address", &host));
                    attributes.extend(open.what.rule.as_deref().map(|it| text("wardian.rule", it)));
                    vec![self.span(Span {
                        name: format!("connect {host}:{}", open.what.destination.port()),
                        kind: CLIENT,
                        id: open.span,
                        parent: Some(self.root.clone()),
                        begun: open.time,
                        ended: *time,
                        attributes,
                        error: closed.cut.clone(),
                    })]
                }
            },
            Event::ModelCall(call) => vec![self.model_call(call, *time, span_id(&own))],
            Event::ProcessStarted(started) => {
                // A pid becomes another program: what it was has ended.
                let ended = self.processes.remove(&started.pid);
                let items = ended.map(|open| self.process(open, *time, None));
                let open = Open::new(*time, &own, started.clone());
                keep(&mut self.processes, started.pid, open);
                items.into_iter().collect()
            }
            Event::ProcessExited(exited) => match self.processes.remove(&exited.pid) {
                Some(open) => vec![self.process(open, *time, exited.exit)],
                None => Vec::new(),
            },
            // Many, and each of no interest once it is allowed.
            Event::Dns(dns) if dns.verdict.is_allowed() => Vec::new(),
            event => vec![self.log(*time, event)],
        }
    }

    fn forget(&mut self) {
        self.command = None;
        self.requests.clear();
        self.connections.clear();
        self.processes.clear();
    }

    fn request(
        &self,
        open: Open<Request>,
        ended: Timestamp,
        response: Option<&Response>,
        denied: Option<String>,
    ) -> Item {
        let Request {
            method,
            scheme,
            host,
            port,
            path,
            version,
            rule,
            status,
            ..
        } = open.what;
        let version = match version.as_str() {
            "h2" => "2",
            _ => "1.1",
        };
        let mut attributes = vec![
            text("http.request.method", &method),
            text("url.full", &format!("{scheme}://{host}:{port}{path}")),
            text("server.address", &host),
            number("server.port", port.into()),
            text("network.protocol.name", "http"),
            text("network.protocol.version", version),
            text(
                "wardian.verdict",
                if denied.is_some() {
                    "denied"
                } else {
                    "allowed"
                },
            ),
        ];
        attributes.extend(rule.as_deref().map(|rule| text("wardian.rule", rule)));
        attributes.extend(denied.as_deref().map(|it| text("wardian.reason", it)));
        let mut error = denied;
        let mut answered = status;
        if let Some(response) = response {
            attributes.push(number("http.request.body.size", response.bytes_up));
            attributes.push(number("http.response.body.size", response.bytes_down));
            answered = response.status;
            error = match &response.outcome {
                ResponseOutcome::Complete => None,
                ResponseOutcome::ClientGone => Some("client_gone".to_owned()),
                ResponseOutcome::UpstreamFailed { reason } | ResponseOutcome::Cut { reason } => {
                    Some(reason.clone())
                }
            };
        }
        if let Some(status) = answered {
            attributes.push(number("http.response.status_code", status.into()));
            if status >= 400 && error.is_none() {
                error = Some(status.to_string());
            }
        }
        self.span(Span {
            // The path is not of low cardinality, so it is no part of the name.
            name: format!("{method} {host}"),
            kind: CLIENT,
            id: open.span,
            parent: Some(self.parent()),
            begun: open.time,
            ended,
            attributes,
            error,
        })
    }

    fn model_call(&self, call: &ModelCall, ended: Timestamp, id: String) -> Item {
        let request = self.requests.get(&call.request);
        let begun = ended.as_unix_ms() - i64::try_from(call.milliseconds).unwrap_or(0);
        let provider = match call.api.as_str() {
            "anthropic_messages" => "anthropic",
            "gemini_generate_content" => "gcp.gemini",
            _ => "openai",
        };
        let model = call.model.as_deref().or(call.answered_by.as_deref());
        let mut attributes = vec![
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.provider.name", provider),
            text("wardian.api", &call.api),
        ];
        let named = [
            ("gen_ai.request.model", &call.model),
            ("gen_ai.response.model", &call.answered_by),
            ("wardian.price", &call.price),
            ("wardian.undecoded", &call.undecoded),
        ];
        let named = named.into_iter();
        attributes.extend(named.filter_map(|(key, value)| Some(text(key, value.as_ref()?))));
        let counted = [
            ("gen_ai.usage.input_tokens", call.tokens.input),
            ("gen_ai.usage.output_tokens", call.tokens.output),
            (
                "gen_ai.usage.cache_read.input_tokens",
                call.tokens.cached_read,
            ),
            (
                "gen_ai.usage.cache_creation.input_tokens",
                call.tokens.cached_write,
            ),
            ("wardian.reasoning_tokens", call.tokens.reasoning),
            ("wardian.cost.micro_usd", call.cost_micro_usd),
            (
                "wardian.milliseconds_to_first_token",
                call.milliseconds_to_first_token,
            ),
        ];
        let counted = counted.into_iter();
        attributes.extend(counted.filter_map(|(key, value)| Some(number(key, value?))));
        if let Some(stop) = &call.stop {
            attributes.push(texts(
                "gen_ai.response.finish_reasons",
                std::slice::from_ref(stop),
            ));
        }
        if let Some(open) = request {
            attributes.push(text("server.address", &open.what.host));
            attributes.push(number("server.port", open.what.port.into()));
        }
        if !call.tool_calls.is_empty() {
            let names: Vec<_> = call
                .tool_calls
                .iter()
                .map(|call| call.name.clone())
                .collect();
            attributes.push(texts("wardian.tool_calls", &names));
        }
        self.span(Span {
            name: model.map_or("chat".to_owned(), |model| format!("chat {model}")),
            kind: CLIENT,
            id,
            parent: Some(request.map_or_else(|| self.parent(), |open| open.span.clone())),
            begun: Timestamp::from_unix_ms(begun),
            ended,
            attributes,
            error: call.error.clone(),
        })
    }

    fn process(&self, open: Open<ProcessStarted>, ended: Timestamp, exit: Option<Exit>) -> Item {
        let ProcessStarted {
            pid,
            parent,
            executable,
            arguments,
            directory,
            ..
        } = open.what;
        let name = executable.rsplit('/').next().unwrap_or_default();
        let mut attributes = vec![
            number("process.pid", pid.into()),
            number("process.parent_pid", parent.into()),
            text("process.executable.name", name),
            text("process.executable.path", &executable),
            texts("process.command_args", &arguments),
            text("process.working_directory", &directory),
        ];
        attributes.extend(exit.map(exit_code));
        self.span(Span {
            name: format!("exec {name}"),
            kind: INTERNAL,
            id: open.span,
            parent: Some(self.parent()),
            begun: open.time,
            ended,
            attributes,
            error: None,
        })
    }

    /// What happens inside happens on behalf of the command.
    fn parent(&self) -> String {
        match &self.command {
            Some(open) => open.span.clone(),
            None => self.root.clone(),
        }
    }

    fn span(&self, span: Span) -> Item {
        let Span {
            name,
            kind,
            id,
            parent,
            begun,
            ended,
            mut attributes,
            error,
        } = span;
        let mut status = json!({});
        if let Some(error) = error {
            attributes.push(text("error.type", &error));
            // `STATUS_CODE_ERROR`.
            status = json!({ "code": 2, "message": error });
        }
        let mut value = json!({
            "traceId": self.trace,
            "spanId": id,
            "name": name,
            "kind": kind,
            "startTimeUnixNano": nanos(begun),
            "endTimeUnixNano": nanos(ended.max(begun)),
            "attributes": attributes,
            "status": status,
        });
        if let Some(parent) = parent {
            value["parentSpanId"] = parent.into();
        }
        Item::Span(value)
    }

    fn log(&self, time: Timestamp, event: &Event) -> Item {
        let denied = event.denied();
        let (severity, severity_text) = match (denied, event) {
            (Some(_), _) | (_, Event::LimitReached(_) | Event::LimitNotEnforced(_)) => {
                (WARN, "WARN")
            }
            _ => (INFO, "INFO"),
        };
        let mut attributes = vec![text("wardian.kind", event.kind())];
        attributes.extend(event.place().map(|place| text("server.address", &place)));
        attributes.extend(denied.map(|reason| text("wardian.reason", reason)));
        let body = serde_json::to_string(event).unwrap_or_default();
        Item::Log(json!({
            "timeUnixNano": nanos(time),
            "observedTimeUnixNano": nanos(time),
            "severityNumber": severity,
            "severityText": severity_text,
            "eventName": format!("wardian.{}", event.kind()),
            "body": { "stringValue": body },
            "attributes": attributes,
            "traceId": self.trace,
            "spanId": self.parent(),
        }))
    }
}

struct Span {
    name: String,
    kind: u8,
    id: String,
    parent: Option<String>,
    begun: Timestamp,
    ended: Timestamp,
    attributes: Vec<Value>,
    error: Option<String>,
}

/// The body of a request to `/v1/traces`.
pub(super) fn traces(sandbox: &str, spans: &[Value]) -> Value {
    json!({ "resourceSpans": [{
        "resource": resource(sandbox),
        "scopeSpans": [{ "scope": scope(), "spans": spans }],
    }]})
}

/// The body of a request to `/v1/logs`.
pub(super) fn logs(sandbox: &str, records: &[Value]) -> Value {
    json!({ "resourceLogs": [{
        "resource": resource(sandbox),
        "scopeLogs": [{ "scope": scope(), "logRecords": records }],
    }]})
}

fn resource(sandbox: &str) -> Value {
    json!({ "attributes": [
        text("service.name", "wardian"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", sandbox),
        text("wardian.sandbox", sandbox),
    ]})
}

fn scope() -> Value {
    json!({ "name": "wardian", "version": env!("CARGO_PKG_VERSION") })
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn texts(key: &str, values: &[String]) -> Value {
    let values: Vec<_> = values
        .iter()
        .map(|value| json!({ "stringValue": value }))
        .collect();
    json!({ "key": key, "value": { "arrayValue": { "values": values } } })
}

fn number(key: &str, value: u64) -> Value {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

/// As a shell has it.
fn exit_code(exit: Exit) -> Value {
    let code = match exit {
        Exit::Status(status) => status,
        Exit::Signal(signal) => 128 + signal,
    };
    number("process.exit.code", u64::try_from(code).unwrap_or(0))
}

fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn nanos(time: Timestamp) -> String {
    (i128::from(time.as_unix_ms().max(0)) * 1_000_000).to_string()
}

fn trace_id(digest: &Digest) -> String {
    digest.to_string()[..32].to_owned()
}

fn span_id(digest: &Digest) -> String {
    digest.to_string()[32..48].to_owned()
}

fn keep<I: Ord, T>(all: &mut BTreeMap<I, T>, id: I, open: T) {
    all.insert(id, open);
    if all.len() > MOST_OPEN {
        all.pop_first();
    }
}
