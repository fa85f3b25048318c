//! The record in the forms of other systems, judged by those systems' own definitions.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Response;
use http_body_util::BodyExt;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;
use wardian_tests::server::{Server, Service, Transport, full};

wardian_tests::both_modes!(
    a_collector_gets_spans_and_logs,
    a_collector_gets_them_as_they_come,
    a_slow_collector_holds_nothing_up,
    a_collector_that_is_gone_is_told_of,
    events_of_the_open_security_schema,
);

/// What a collector was sent: path, the header `x-team`, body.
type Sent = Arc<Mutex<Vec<(String, Option<String>, Value)>>>;

/// Refuses the first `busy` requests as a collector does that is.
fn collector(busy: usize, slow: Duration) -> (Server, Sent) {
    let sent = Sent::default();
    let log = sent.clone();
    let refused = Arc::new(Mutex::new(busy));
    let handler = move |request: http::Request<hyper::body::Incoming>,
                        _: wardian_tests::server::Peer|
          -> wardian_tests::server::Answer {
        let (log, refused) = (log.clone(), refused.clone());
        Box::pin(async move {
            tokio::time::sleep(slow).await;
            let path = request.uri().path().to_owned();
            let team = request.headers().get("x-team");
            let team = team.map(|it| it.to_str().unwrap().to_owned());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let is_busy = {
                let mut left = refused.lock().unwrap();
                let is_busy = *left > 0;
                *left = left.saturating_sub(1);
                is_busy
            };
            let status = if is_busy { 503 } else { 200 };
            if !is_busy {
                let body = serde_json::from_slice(&body).unwrap();
                log.lock().unwrap().push((path, team, body));
            }
            Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .body(full("{}"))
                .unwrap()
        })
    };
    (
        Server::start(Transport::Plain, Service::Http(Arc::new(handler))),
        sent,
    )
}

fn url(server: &Server) -> String {
    format!("http://{}", server.address())
}

/// All spans, after it was shown that the published definitions know each field that was sent, by that name.
fn spans(sent: &Sent) -> Vec<Span> {
    let sent = sent.lock().unwrap();
    let mut spans = Vec::new();
    for (_, _, body) in sent.iter().filter(|(path, ..)| path == "/v1/traces") {
        let request: ExportTraceServiceRequest = serde_json::from_value(body.clone()).unwrap();
        assert_known(body, &serde_json::to_value(&request).unwrap(), "");
        for resource in request.resource_spans {
            spans.extend(
                resource
                    .scope_spans
                    .into_iter()
                    .flat_map(|scope| scope.spans),
            );
        }
    }
    for (_, _, body) in sent.iter().filter(|(path, ..)| path == "/v1/logs") {
        let request: ExportLogsServiceRequest = serde_json::from_value(body.clone()).unwrap();
        assert_known(body, &serde_json::to_value(&request).unwrap(), "");
    }
    spans
}

/// `known` is what the definitions made of `sent`: nothing is lost, and nothing means something else.
#[track_caller]
fn assert_known(sent: &Value, known: &Value, at: &str) {
    match (sent, known) {
        (Value::Object(sent), Value::Object(known)) => {
            for (key, value) in sent {
                let known = known
                    .get(key)
                    .unwrap_or_else(|| panic!("{at}.{key} is not known"));
                assert_known(value, known, &format!("{at}.{key}"));
            }
        }
        (Value::Array(sent), Value::Array(known)) => {
            assert_eq!(sent.len(), known.len(), "{at}");
            for (sent, known) in sent.iter().zip(known) {
                assert_known(sent, known, at);
            }
        }
        // 64-bit numbers may be text or not.
        (sent, known) => {
            let text = |value: &Value| value.to_string().replace('"', "");
            assert_eq!(text(sent), text(known), "{at}");
        }
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let value = span
        .attributes
        .iter()
        .find(|it| it.key == key)?
        .value
        .clone()?;
    let value = serde_json::to_value(value).unwrap();
    let one = value.as_object().unwrap().values().next().unwrap().clone();
    Some(one.to_string().replace('"', ""))
}

fn busy<'a>(host: &'a Host, origin: &Origin) -> (Policy, wardian_tests::run::Run<'a>) {
    let policy = Policy::new().pin_plain("origin.test", origin.address());
    let script = "curl -s http://origin.test/ok?q=1 >/dev/null; curl -s https://denied.test/; \
        printf 'GET /x HTTP/1.1\\r\\nHost: origin.test\\r\\n\\r\\n' > 'f\"<\\033'; exit 3";
    let run = host.shell(script).policy(&policy);
    (policy, run)
}

fn a_collector_gets_spans_and_logs(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let (_policy, run) = busy(&host, &origin);
    let outcome = run.finish().exited(3);
    let (server, sent) = collector(1, Duration::ZERO);
    let (name, to) = (outcome.name.as_str(), url(&server));
    let export = || {
        let words = ["export", name, "--otlp", &to, "--header", "x-team=web"];
        host.wardian(&words).success()
    };
    export();
    let spans = spans(&sent);
    let named = |name: &str| {
        let found = spans.iter().find(|span| span.name == name);
        found.unwrap_or_else(|| panic!("no {name}: {spans:?}"))
    };
    let root = named(&format!("sandbox {name}"));
    assert!(root.parent_span_id.is_empty());
    let command = spans
        .iter()
        .find(|span| span.name.starts_with("command "))
        .unwrap();
    assert_eq!(command.parent_span_id, root.span_id);
    assert_eq!(
        attribute(command, "process.exit.code").as_deref(),
        Some("3")
    );
    let request = named("GET origin.test");
    assert_eq!(request.parent_span_id, command.span_id);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("server.address", "origin.test"),
        ("url.full", "http://origin.test:80/ok?q=1"),
        ("wardian.verdict", "allowed"),
    ] {
        assert_eq!(attribute(request, key).as_deref(), Some(value), "{key}");
    }
    for span in &spans {
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert_eq!(span.trace_id, root.trace_id);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        let has_parent = |other: &Span| other.span_id == span.parent_span_id;
        assert!(
            span.span_id == root.span_id || spans.iter().any(has_parent),
            "{span:?}"
        );
    }
    let first = sent.lock().unwrap().clone();
    assert!(
        first
            .iter()
            .all(|(_, team, _)| team.as_deref() == Some("web"))
    );
    let logs = serde_json::to_string(&first).unwrap();
    assert!(logs.contains("wardian.dns") && logs.contains("denied.test"));
    // The same again: ids are not made up.
    sent.lock().unwrap().clear();
    export();
    assert_eq!(*sent.lock().unwrap(), first);
}

fn a_collector_gets_them_as_they_come(mode: Mode) {
    let host = Host::new(mode);
    let (server, sent) = collector(0, Duration::ZERO);
    let started = host
        .shell("curl -s https://denied.test/; sleep 8; exit 0")
        .option(&["--otlp", &url(&server)])
        .start();
    let begun = Instant::now();
    let seen = |text: &str| {
        sent.lock()
            .unwrap()
            .iter()
            .any(|(.., body)| body.to_string().contains(text))
    };
    crate::support::wait_until(|| seen("denied.test"));
    assert!(begun.elapsed() < Duration::from_secs(7), "only at the end");
    assert!(!seen("sandbox_stopped"));
    started.finish().success();
    assert!(seen("sandbox_stopped"), "what came last was not sent");
}

fn a_slow_collector_holds_nothing_up(mode: Mode) {
    let host = Host::new(mode);
    let (server, sent) = collector(0, Duration::from_secs(2));
    let outcome = host
        .shell("for i in 1 2 3; do curl -s https://denied.test/; done; exit 0")
        .option(&["--otlp", &url(&server)])
        .finish()
        .success();
    let events = outcome.events();
    let took = events.of_kind("command_exited")[0]["milliseconds"]
        .as_u64()
        .unwrap();
    assert!(took < 2000, "{took}");
    assert!(!sent.lock().unwrap().is_empty());
}

fn a_collector_that_is_gone_is_told_of(mode: Mode) {
    let host = Host::new(mode);
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let outcome = host
        .shell("exit 3")
        .option(&["--otlp", &format!("http://{closed}")])
        .finish()
        .exited(3);
    let told = outcome.errors();
    assert!(
        told.contains("cannot reach") && told.contains("export"),
        "{told}"
    );
}

fn events_of_the_open_security_schema(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let (_policy, run) = busy(&host, &origin);
    let outcome = run.finish().exited(3);
    let told = host
        .wardian(&["export", &outcome.name, "--ocsf"])
        .success()
        .text();
    assert!(told.bytes().all(|byte| byte >= b' ' || byte == b'\n'));
    let events: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for event in &events {
        let number = |key: &str| {
            event[key]
                .as_u64()
                .unwrap_or_else(|| panic!("{key}: {event}"))
        };
        assert_eq!(
            number("type_uid"),
            number("class_uid") * 100 + number("activity_id")
        );
        assert_eq!(number("category_uid"), number("class_uid") / 1000);
        assert!(number("time") > 1_700_000_000_000 && number("severity_id") >= 1);
        assert_eq!(event["metadata"]["version"], "1.5.0");
    }
    let of = |class: u64| {
        events
            .iter()
            .filter(move |event| event["class_uid"] == class)
    };
    let http = of(4002).next().unwrap();
    assert_eq!(http["http_request"]["url"]["hostname"], "origin.test");
    assert_eq!(http["activity_id"], 3);
    let refused = |event: &&Value| event["query"]["hostname"] == "denied.test";
    let dns = of(4003).find(refused).unwrap();
    assert_eq!(
        (&dns["disposition_id"], &dns["status_detail"]),
        (&2.into(), &"no_rule".into())
    );
    assert!(of(1007).count() >= 1 && of(1001).count() >= 1);
}
