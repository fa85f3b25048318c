//! Records as OCSF events (Open Cybersecurity Schema Framework, version 1.5).
//!
//! | record | class |
//! |---|---|
//! | `connection`, `connection_closed` | 4001 Network Activity |
//! | `request`, `response` | 4002 HTTP Activity |
//! | `dns` | 4003 DNS Activity |
//! | `command_*`, `process_*` | 1007 Process Activity |
//! | `model_call` | 6003 API Activity |
//! | `files_changed`, a file at a time | 1001 File System Activity |
//! | all else | 6002 Application Lifecycle, the record under `unmapped` |
//!
//! <https://schema.ocsf.io/1.5.0>. `type_uid` is `class_uid * 100 + activity_id`; times are in milliseconds.

use serde_json::{Value, json};
use wardian_events::{
    ChangeKind, Connection, Dns, Entry, Event, Exit, FilesChanged, HostFact, ModelCall,
    ProcessStarted, Request,
};

/// `activity_id` of "Other".
const OTHER: u32 = 99;

pub(super) fn events(sandbox: &str, entry: &Entry) -> Vec<Value> {
    let event = &entry.record.event;
    let made = match event {
        Event::Request(request) => vec![http(request)],
        Event::Dns(dns) => vec![name(dns)],
        Event::Connection(connection) => vec![network(connection)],
        Event::CommandStarted(started) => {
            let executable = started.argv.first().map_or("", String::as_str);
            vec![process(1, started.pid, executable, &started.argv, None)]
        }
        Event::ProcessStarted(started) => {
            let ProcessStarted {
                pid,
                executable,
                arguments,
                parent,
                ..
            } = started;
            let mut made = process(1, *pid, executable, arguments, None);
            made["process"]["parent_process"] = json!({ "pid": parent });
            vec![made]
        }
        Event::ProcessExited(exited) => vec![process(2, exited.pid, "", &[], exited.exit)],
        Event::ModelCall(call) => vec![api(call)],
        Event::FilesChanged(changed) => files(changed),
        _ => vec![class(6002, 6, OTHER)],
    };
    let denied = event.denied();
    made.into_iter()
        .map(|made| finished(made, sandbox, entry, denied))
        .collect()
}

/// What every event has.
fn finished(mut made: Value, sandbox: &str, entry: &Entry, denied: Option<&str>) -> Value {
    let (severity, status) = match denied {
        Some(_) => (2, 2),
        None => (1, 1),
    };
    let fields = json!({
        "time": entry.record.time.as_unix_ms(),
        "severity_id": severity,
        "status_id": status,
        "metadata": {
            "version": "1.5.0",
            "product": {
                "name": "Wardian",
                "vendor_name": "Wardian",
                "version": env!("CARGO_PKG_VERSION"),
            },
            "uid": format!("{sandbox}:{}", entry.record.seq),
            "sequence": entry.record.seq,
            "event_code": entry.record.event.kind(),
        },
        "unmapped": { "sandbox": sandbox, "event": entry.record.event },
    });
    if let (Value::Object(made), Value::Object(fields)) = (&mut made, fields) {
        made.extend(fields);
        if let Some(reason) = denied {
            // `action_id` and `disposition_id` of the security control profile: denied, blocked.
            made.insert("action_id".into(), 2.into());
            made.insert("disposition_id".into(), 2.into());
            made.insert("status_detail".into(), reason.into());
        }
    }
    made
}

fn class(class: u32, category: u32, activity: u32) -> Value {
    json!({
        "class_uid": class,
        "category_uid": category,
        "activity_id": activity,
        "type_uid": class * 100 + activity,
    })
}

fn with(mut event: Value, fields: Value) -> Value {
    if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
        event.extend(fields);
    }
    event
}

fn http(request: &Request) -> Value {
    let activity = match request.method.as_str() {
        "CONNECT" => 1,
        "DELETE" => 2,
        "GET" => 3,
        "HEAD" => 4,
        "OPTIONS" => 5,
        "POST" => 6,
        "PUT" => 7,
        "TRACE" => 8,
        "PATCH" => 9,
        _ => OTHER,
    };
    let Request {
        method,
        scheme,
        host,
        port,
        path,
        version,
        status,
        ..
    } = request;
    let (bare, query) = path.split_once('?').unwrap_or((path, ""));
    with(
        class(4002, 4, activity),
        json!({
            "http_request": {
                "http_method": method,
                "version": version,
                "url": {
                    "scheme": scheme,
                    "hostname": host,
                    "port": port,
                    "path": bare,
                    "query_string": query,
                    "url_string": format!("{scheme}://{host}:{port}{path}"),
                },
            },
            "http_response": status.map(|code| json!({ "code": code })),
            "dst_endpoint": { "hostname": host, "port": port },
        }),
    )
}

fn name(dns: &Dns) -> Value {
    let answers = dns
        .answer
        .map(|answer| json!([{ "rdata": answer.to_string() }]));
    with(
        class(4003, 4, 1),
        json!({
            "query": {
                "hostname": dns.question.trim_end_matches('.'),
                "type": dns.record_type,
                "class": "IN",
            },
            "answers": answers,
            "rcode_id": if dns.verdict.is_allowed() { 0 } else { 5 },
        }),
    )
}

fn network(connection: &Connection) -> Value {
    let activity = match connection.verdict.is_allowed() {
        true => 1,
        // Refused.
        false => 5,
    };
    let host = match &connection.host {
        HostFact::Known { host } => Some(host),
        HostFact::Absent { .. } => None,
    };
    with(
        class(4001, 4, activity),
        json!({
            "dst_endpoint": {
                "hostname": host,
                "ip": connection.destination.ip().to_string(),
                "port": connection.destination.port(),
            },
            "connection_info": { "protocol_name": "tcp", "direction_id": 2 },
        }),
    )
}

fn process(
    activity: u32,
    pid: u32,
    executable: &str,
    arguments: &[String],
    exit: Option<Exit>,
) -> Value {
    let name = executable.rsplit('/').next().unwrap_or_default();
    let code = exit.map(|exit| match exit {
        Exit::Status(status) => status,
        Exit::Signal(signal) => 128 + signal,
    });
    with(
        class(1007, 1, activity),
        json!({
            "process": {
                "pid": pid,
                "name": name,
                "cmd_line": crate::units::command(arguments),
                "file": { "name": name, "path": executable, "type_id": 1 },
            },
            "exit_code": code,
            "actor": { "process": { "name": "wardian" } },
            "device": { "type_id": 0, "hostname": "sandbox" },
        }),
    )
}

fn api(call: &ModelCall) -> Value {
    // "Create": a completion is made.
    with(
        class(6003, 6, 1),
        json!({
            "api": {
                "operation": "chat",
                "service": { "name": call.api },
                "response": { "error": call.error },
            },
            "resources": [{ "type": "model", "name": call.model }],
            "actor": { "app_name": "wardian" },
            "src_endpoint": { "name": "sandbox" },
        }),
    )
}

fn files(changed: &FilesChanged) -> Vec<Value> {
    let files = changed.files.iter().map(|file| {
        let activity = match file.change {
            ChangeKind::Added => 1,
            ChangeKind::Changed => 3,
            ChangeKind::Removed => 4,
            ChangeKind::LeftOut => OTHER,
        };
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let hashes = file
            .sha256
            .map(|sha256| json!([{ "algorithm_id": 3, "value": sha256 }]));
        with(
            class(1001, 1, activity),
            json!({
                "file": {
                    "name": name,
                    "path": format!("{}/{}", changed.place, file.path),
                    "size": file.after,
                    "hashes": hashes,
                    "type_id": 1,
                },
                "actor": { "app_name": "wardian" },
                "device": { "type_id": 0, "hostname": "sandbox" },
            }),
        )
    });
    files.collect()
}
