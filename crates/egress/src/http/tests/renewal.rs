//! A host that no longer takes a value: it is renewed and the request repeated, and the program hears nothing of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Method, Request, Response, StatusCode};
use wardian_credentials::{Current, Value};
use wardian_policy::CredentialName;

use super::h2::{client, request, send};
use super::support::*;
use crate::credentials::{Renewal, Renewing};

const PLACEHOLDER: &str = "wardian-placeholder-key-abcdefgh";
const BODY: usize = 300_000;

/// Gives `fresh`, or nothing.
#[derive(Debug)]
struct Source {
    fresh: Option<&'static str>,
    asked: AtomicUsize,
}

impl Renewal for Source {
    fn renew(&self, _: &CredentialName, generation: u64) -> Renewing<'_> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let fresh = self.fresh.ok_or("gone")?;
            Ok(Current {
                value: Value::new(fresh).unwrap(),
                generation: generation + 1,
                expires: None,
            })
        })
    }
}

fn door(origin: &Origin, fresh: Option<&'static str>) -> (TestDoor, Arc<Source>) {
    let source = Arc::new(Source {
        fresh,
        asked: AtomicUsize::new(0),
    });
    let manifest = format!(
        "{}\n[credential.key]\nsource = {{ env = \"UNUSED\" }}\nhosts = [\"{HOST}\"]\n",
        rule(origin, "credential = \"key\"")
    );
    let options = Options {
        secrets: vec![("key", PLACEHOLDER, "value-0")],
        renewal: Some(source.clone()),
        ..Options::default()
    };
    (TestDoor::with(&manifest, options), source)
}

/// Takes nothing but `value-1`, and says how much came with it.
async fn picky_h1() -> Origin {
    Origin::scripted(Speaks::Tls(&["http/1.1"]), |head, body| {
        if head.contains("Bearer value-1\r\n") {
            return ok(&body.len().to_string());
        }
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 7\r\n\r\nexpired".to_vec()
    })
    .await
}

async fn picky_h2() -> Origin {
    Origin::start(Speaks::Tls(&["h2"]), |io| async move {
        let mut server = h2::server::handshake(io).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(Ok((request, respond))) = server.accept().await {
            tasks.spawn(picky_answer(request, respond));
        }
    })
    .await
}

async fn picky_answer(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, mut body) = request.into_parts();
    let is_fresh = parts.headers["authorization"] == "Bearer value-1";
    let mut length = 0;
    while let Some(Ok(data)) = body.data().await {
        length += data.len();
        let _ = body.flow_control().release_capacity(data.len());
    }
    let mut response = Response::new(());
    if !is_fresh {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    let mut down = respond.send_response(response, false).unwrap();
    send(&mut down, Bytes::from(length.to_string()), true)
        .await
        .unwrap();
}

fn post() -> Vec<u8> {
    let head = format!(
        "POST /x HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {PLACEHOLDER}\r\nContent-Length: {BODY}\r\n\r\n"
    );
    [head.into_bytes(), vec![b'y'; BODY]].concat()
}

fn post_h2() -> Request<()> {
    let mut request = request(Method::POST, "/x");
    let headers = request.headers_mut();
    let bearer = format!("Bearer {PLACEHOLDER}");
    headers.insert("authorization", bearer.parse().unwrap());
    headers.insert("content-length", BODY.into());
    request
}

#[tokio::test]
async fn a_refused_request_is_repeated_with_the_newer_value() {
    let origin = picky_h1().await;
    let (door, source) = door(&origin, Some("value-1"));
    let mut program = door.https().await;
    for _ in 0..2 {
        let (head, body) = program.ask(post()).await;
        assert_eq!((status(&head), body), (200, BODY.to_string().into_bytes()));
    }
    assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    door.wait_for("response", 2).await;
    for response in door.kind("response") {
        assert_eq!(
            (&response["status"], &response["bytes_up"]),
            (&200.into(), &BODY.into())
        );
    }
}

#[tokio::test]
async fn many_at_once_share_one_renewal() {
    let origin = picky_h1().await;
    let (door, source) = door(&origin, Some("value-1"));
    let ask = || async {
        let (head, _) = door.https().await.ask(post()).await;
        assert_eq!(status(&head), 200);
    };
    tokio::join!(ask(), ask(), ask(), ask(), ask(), ask());
    assert_eq!(source.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn streams_are_repeated_towards_origins_of_both_versions() {
    for origin in [picky_h1().await, picky_h2().await] {
        let (door, source) = door(&origin, Some("value-1"));
        let mut client = client(&door).await;
        for _ in 0..2 {
            let (response, body, _) = client.ask(post_h2(), &vec![b'y'; BODY]).await;
            assert_eq!(response.status(), 200);
            assert_eq!(body, BODY.to_string().into_bytes());
        }
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn without_a_newer_value_the_refusal_reaches_the_program() {
    for fresh in [None, Some("value-2")] {
        let origin = picky_h1().await;
        let (door, source) = door(&origin, fresh);
        let (head, body) = door.https().await.ask(post()).await;
        assert_eq!((status(&head), body), (401, b"expired".to_vec()));
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_body_of_untold_length_is_sent_once() {
    let origin = picky_h1().await;
    let (door, source) = door(&origin, Some("value-1"));
    let head = format!(
        "POST /x HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {PLACEHOLDER}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ny\r\n0\r\n\r\n"
    );
    let (head, _) = door.https().await.ask(head).await;
    assert_eq!(status(&head), 401);
    assert_eq!(source.asked.load(Ordering::SeqCst), 0);
}
