//! Downloads that come from the cache, and what must never get into it or out of it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use tokio::io::AsyncWriteExt;
use wardian_policy::{CacheKind, Scheme};

use super::support::*;
use crate::cache::Cache;
use crate::dial::Alpn;

/// A registry whose answers are numbered, with these fields. It confirms the ETag "a".
async fn registry(speaks: Speaks, fields: &'static str) -> Origin {
    let number = AtomicUsize::new(0);
    Origin::scripted(speaks, move |head, _| {
        let number = 1 + number.fetch_add(1, Ordering::SeqCst);
        if head.to_ascii_lowercase().contains("if-none-match: \"a\"") {
            return b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nX-Confirmed: 1\r\n\r\n".to_vec();
        }
        let body = format!("answer {number} to {}", head.split(' ').nth(1).unwrap());
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}").into_bytes()
    })
    .await
}

/// The same over HTTP/2.
async fn registry_h2() -> Origin {
    Origin::start(Speaks::Tls(&["h2"]), |io| async move {
        let mut server = h2::server::handshake(io).await.unwrap();
        let mut number = 0;
        while let Some(Ok((request, mut respond))) = server.accept().await {
            number += 1;
            let mut response = Response::new(());
            let fields: &mut HeaderMap = response.headers_mut();
            fields.insert(header::ETAG, HeaderValue::from_static("\"a\""));
            if request.headers().contains_key(header::IF_NONE_MATCH) {
                *response.status_mut() = http::StatusCode::NOT_MODIFIED;
                respond.send_response(response, true).unwrap();
                continue;
            }
            let mut body = respond.send_response(response, false).unwrap();
            body.send_data(Bytes::from(format!("answer {number}")), true)
                .unwrap();
        }
    })
    .await
}

fn door_on(manifest: &str, directory: &Path) -> TestDoor {
    let cache = Cache::open(directory, &CacheKind::ALL).unwrap();
    TestDoor::with(
        manifest,
        Options {
            cache: Some(cache),
            ..Options::default()
        },
    )
}

async fn ask(door: &TestDoor, path: &str, fields: &str) -> (String, String) {
    let mut program = door.https().await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n");
    let (head, body) = program.ask(request).await;
    program.ended().await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// The body of a 200, once the record of it is there: with it, the answer is kept if it ever is.
async fn fetch(door: &TestDoor, alpn: Alpn, fields: &str) -> String {
    let before = door.kind("response").len();
    let body = match alpn {
        Alpn::H2 => super::h2::get(door, CRATE).await,
        _ => {
            let (head, body) = ask(door, CRATE, fields).await;
            assert_eq!(status(&head), 200, "{head}");
            body
        }
    };
    door.wait_for("response", before + 1).await;
    body
}

async fn uses(door: &TestDoor, count: usize) -> Vec<String> {
    let responses = door.wait_for("response", count).await;
    let uses = responses.iter().map(|response| response["cache"].as_str());
    uses.map(|it| it.unwrap_or("-").to_owned()).collect()
}

const TLS: Speaks = Speaks::Tls(&["http/1.1"]);
const CRATE: &str = "/crates/a-1.0.0.crate";
const LASTING: &str = "Cache-Control: max-age=600\r\nETag: \"b\"\r\n";

#[tokio::test]
async fn a_second_sandbox_needs_no_origin() {
    let base = tempfile::tempdir().unwrap();
    let directory = base.path().join("downloads");
    let origin = registry(TLS, LASTING).await;
    let manifest = allow_all(&origin);
    let first = door_on(&manifest, &directory);
    let (_, body) = ask(&first, CRATE, "").await;
    assert_eq!(uses(&first, 1).await, ["stored"]);
    drop(origin);

    let second = door_on(&manifest, &directory);
    let (head, again) = ask(&second, CRATE, "npm-session: 1\r\n").await;
    assert_eq!((status(&head), again), (200, body));
    assert!(head.contains("\r\netag: \"b\"\r\nage: "), "{head}");
    assert_eq!(uses(&second, 1).await, ["hit"]);
    assert_eq!(second.kind("request").len(), 1, "a hit is on record");

    // The control: what is not there cannot be had.
    let (head, _) = ask(&second, "/crates/b-1.0.0.crate", "").await;
    assert_eq!(status(&head), 502);
}

#[tokio::test]
async fn both_protocols_share_what_either_got() {
    for first_alpn in [Alpn::H1, Alpn::H2] {
        let base = tempfile::tempdir().unwrap();
        let origin = registry(TLS, LASTING).await;
        let door = door_on(&allow_all(&origin), &base.path().join("downloads"));
        let mut bodies = Vec::new();
        for alpn in [first_alpn, Alpn::H1, Alpn::H2] {
            bodies.push(fetch(&door, alpn, "").await);
        }
        assert_eq!(origin.connections(), 1);
        assert_eq!(bodies[0], bodies[1]);
        assert_eq!(bodies[0], bodies[2]);
        assert_eq!(uses(&door, 3).await, ["stored", "hit", "hit"]);
    }
}

#[tokio::test]
async fn the_policy_is_asked_first() {
    let base = tempfile::tempdir().unwrap();
    let directory = base.path().join("downloads");
    let origin = registry(TLS, LASTING).await;
    let open = door_on(&allow_all(&origin), &directory);
    ask(&open, CRATE, "").await;
    assert_eq!(uses(&open, 1).await, ["stored"]);

    let path = door_on(&rule(&origin, "paths = [\"/other/**\"]"), &directory);
    assert_eq!(status(&ask(&path, CRATE, "").await.0), 403);
    assert_eq!(path.kind("response").len(), 0);

    // The same host, but only where its name leads: to an address that is not public.
    let direct = format!("[[egress]]\nhost = \"{HOST}\"\nca = \"test-ca.pem\"\n");
    let address = door_on(&direct, &directory);
    assert_eq!(status(&ask(&address, CRATE, "").await.0), 403);

    // The same host, with nobody but the usual roots to vouch for it.
    let pinned = format!(
        "[[egress]]\nhost = \"{HOST}\"\nconnect = \"127.0.0.1:{}\"\n",
        origin.port
    );
    let untrusting = door_on(&pinned, &directory);
    assert_eq!(status(&ask(&untrusting, CRATE, "").await.0), 502);
    assert_eq!(uses(&untrusting, 1).await, ["-"]);
}

#[tokio::test]
async fn what_is_stale_is_confirmed_or_fetched_again() {
    for (fields, second, body) in [
        (
            "Cache-Control: max-age=0\r\nETag: \"a\"\r\n",
            "revalidated",
            "answer 1",
        ),
        (
            "Cache-Control: no-cache\r\nETag: \"a\"\r\n",
            "revalidated",
            "answer 1",
        ),
        (
            "Cache-Control: max-age=0\r\nETag: \"b\"\r\n",
            "stored",
            "answer 2",
        ),
        ("ETag: \"a\"\r\n", "revalidated", "answer 1"),
    ] {
        for alpn in [Alpn::H1, Alpn::H2] {
            let base = tempfile::tempdir().unwrap();
            let origin = registry(TLS, fields).await;
            let door = door_on(&allow_all(&origin), &base.path().join("downloads"));
            fetch(&door, alpn, "").await;
            let last = fetch(&door, alpn, "").await;
            assert!(last.starts_with(body), "{fields}: {last}");
            assert_eq!(
                uses(&door, 2).await,
                ["stored", second],
                "{fields}, {alpn:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_http2_origin_confirms_too() {
    let base = tempfile::tempdir().unwrap();
    let origin = registry_h2().await;
    let door = door_on(&allow_all(&origin), &base.path().join("downloads"));
    for _ in 0..2 {
        assert_eq!(fetch(&door, Alpn::H2, "").await, "answer 1");
    }
    assert_eq!(uses(&door, 2).await, ["stored", "revalidated"]);
}

#[tokio::test]
async fn what_is_not_for_everybody_is_never_kept() {
    let session = "Cache-Control: max-age=600\r\nSet-Cookie: a=b\r\n";
    for (answer, asks) in [
        (LASTING, "Authorization: Basic eDp5\r\n"),
        (LASTING, "Cookie: a=b\r\n"),
        (LASTING, "Range: bytes=0-3\r\n"),
        (LASTING, "If-None-Match: \"x\"\r\n"),
        (LASTING, "Cache-Control: no-cache\r\n"),
        (session, ""),
        ("Cache-Control: private, max-age=600\r\n", ""),
        ("Cache-Control: no-store\r\n", ""),
        ("Cache-Control: max-age=600\r\nVary: *\r\n", ""),
        ("", ""),
    ] {
        let base = tempfile::tempdir().unwrap();
        let origin = registry(TLS, answer).await;
        let door = door_on(&allow_all(&origin), &base.path().join("downloads"));
        let (_, first) = ask(&door, CRATE, asks).await;
        let (_, second) = ask(&door, CRATE, asks).await;
        assert_ne!(first, second, "{answer}{asks}");
        assert_eq!(uses(&door, 2).await, ["-", "-"], "{answer}{asks}");
    }
}

#[tokio::test]
async fn an_odd_request_changes_nobody_elses_answer() {
    let base = tempfile::tempdir().unwrap();
    let origin = Origin::scripted(TLS, |head, _| {
        // As a careless registry does: it looks at a field, and does not say so.
        let evil = head.contains("evil.example");
        let body = if evil { "from evil.example" } else { "good" };
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    })
    .await;
    let door = door_on(&allow_all(&origin), &base.path().join("downloads"));
    let odd = fetch(&door, Alpn::H1, "X-Forwarded-Host: evil.example\r\n").await;
    assert_eq!(
        odd, "from evil.example",
        "the control: it works on who asks so"
    );
    // In fields that are in no key, nothing reaches the registry.
    let noise = fetch(&door, Alpn::H1, "npm-session: evil.example\r\n").await;
    assert_eq!(noise, "good");
    assert_eq!(fetch(&door, Alpn::H1, "").await, "good");
    assert_eq!(uses(&door, 3).await, ["stored", "stored", "hit"]);
}

#[tokio::test]
async fn a_short_body_is_not_kept() {
    for short in [
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n\r\nhalf",
    ] {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("downloads");
        let origin = Origin::start(TLS, move |mut io| async move {
            let _ = read_message(&mut io, &mut Vec::new()).await;
            let _ = io.write_all(short.as_bytes()).await;
            let _ = io.shutdown().await;
        })
        .await;
        let door = door_on(&allow_all(&origin), &directory);
        let mut program = door.https().await;
        let request = format!("GET {CRATE} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        program.send(request).await;
        assert!(program.rest().await.contains("half"));
        assert_eq!(uses(&door, 1).await, ["-"], "{short}");
        drop((program, door));
        wait_until_empty(&directory).await;
    }
}

#[tokio::test]
async fn plain_http_and_other_paths_are_not_kept() {
    let base = tempfile::tempdir().unwrap();
    let origin = registry(Speaks::Plain, LASTING).await;
    let door = door_on(&allow_all(&origin), &base.path().join("downloads"));
    let mut program = door.connect(Scheme::Http, Alpn::None).await;
    let (_, first) = program.ask(get(CRATE)).await;
    assert_ne!(first, program.ask(get(CRATE)).await.1);
    let origin = registry(TLS, LASTING).await;
    let door = door_on(&allow_all(&origin), &base.path().join("downloads"));
    let (_, first) = ask(&door, "/v1/messages", "").await;
    assert_ne!(first, ask(&door, "/v1/messages", "").await.1);
}

#[tokio::test]
async fn a_large_body_streams_and_comes_back_whole() {
    let base = tempfile::tempdir().unwrap();
    let body: String = (0..400_000).map(|number| format!("{number:>7} ")).collect();
    let sent = body.clone();
    let origin = Origin::scripted(TLS, move |_, _| {
        let length = sent.len();
        format!("HTTP/1.1 200 OK\r\n{LASTING}Content-Length: {length}\r\n\r\n{sent}").into_bytes()
    })
    .await;
    let door = door_on(&allow_all(&origin), &base.path().join("downloads"));
    for alpn in [Alpn::H1, Alpn::H1, Alpn::H2] {
        assert!(fetch(&door, alpn, "").await == body);
    }
    assert_eq!(uses(&door, 3).await, ["stored", "hit", "hit"]);
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_costs_nothing_else() {
    let base = tempfile::tempdir().unwrap();
    let directory = base.path().join("downloads");
    let origin = registry(TLS, LASTING).await;
    let door = door_on(&allow_all(&origin), &directory);
    std::fs::remove_dir(&directory).unwrap();
    assert_eq!(status(&ask(&door, CRATE, "").await.0), 200);
    assert_eq!(uses(&door, 1).await, ["-"]);
}

async fn wait_until_empty(directory: &Path) {
    for _ in 0..500 {
        if std::fs::read_dir(directory).unwrap().count() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("something is left in {}", directory.display());
}
