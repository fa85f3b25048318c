//! Real values go where the policy sends them, over TLS that was verified, and nowhere else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::support::*;

const PLACEHOLDER: &str = "wardian-placeholder-key-abcdefgh";
const SECRET: &str = "canary/+s3cr3t-value";

fn manifest(origin: &Origin, inject: &str, hosts: &str) -> String {
    format!(
        "{}\n[credential.key]\nsource = {{ env = \"UNUSED\" }}\nhosts = [{hosts}]\ninject = {inject}\n",
        rule(origin, "credential = \"key\"")
    )
}

fn options() -> Options {
    Options {
        secrets: vec![("key", PLACEHOLDER, SECRET)],
        ..Options::default()
    }
}

async fn mirror(speaks: Speaks) -> Origin {
    Origin::scripted(speaks, |head, _| ok(head)).await
}

/// What the origin sees of a request that carries the placeholder everywhere.
async fn seen(inject: &str) -> (String, TestDoor) {
    let origin = mirror(Speaks::Tls(&["http/1.1"])).await;
    let door = TestDoor::with(
        &manifest(&origin, inject, &format!("\"{HOST}\"")),
        options(),
    );
    let basic = STANDARD.encode(format!("x-access-token:{PLACEHOLDER}"));
    let (head, body) = door
        .https()
        .await
        .ask(format!(
            "GET /{PLACEHOLDER}/x?key={PLACEHOLDER} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {PLACEHOLDER}\r\n\
             X-Api-Key: {PLACEHOLDER}\r\nX-Basic: Basic {basic}\r\n\r\n"
        ))
        .await;
    assert_eq!(status(&head), 200);
    door.wait_for("response", 1).await;
    (String::from_utf8(body).unwrap(), door)
}

#[tokio::test]
async fn the_placeholder_is_replaced_where_it_stands() {
    let (head, door) = seen("\"placeholder\"").await;
    let basic = STANDARD.encode(format!("x-access-token:{SECRET}"));
    assert!(
        head.starts_with(&format!(
            "GET /{PLACEHOLDER}/x?key=canary%2F%2Bs3cr3t-value HTTP/1.1\r\n"
        )),
        "{head}"
    );
    assert!(
        head.contains(&format!("Authorization: Bearer {SECRET}\r\n")),
        "{head}"
    );
    assert!(head.contains(&format!("X-Api-Key: {SECRET}\r\n")), "{head}");
    assert!(
        head.contains(&format!("X-Basic: Basic {basic}\r\n")),
        "{head}"
    );
    let used = door.kind("credential_used");
    assert_eq!(used.len(), 1);
    assert_eq!(
        (used[0]["credential"].as_str(), used[0]["host"].as_str()),
        (Some("key"), Some(HOST))
    );
    let journal = door.text();
    assert!(
        !journal.contains("canary") && !journal.contains("s3cr3t") && !journal.contains(&basic)
    );
    assert!(journal.contains(PLACEHOLDER));
}

#[tokio::test]
async fn a_field_or_basic_is_set_whatever_the_program_sent() {
    let (head, _) = seen("{ header = \"authorization\", format = \"Token {}\" }").await;
    assert_eq!(
        head.to_lowercase().matches("authorization:").count(),
        1,
        "{head}"
    );
    assert!(
        head.contains(&format!("authorization: Token {SECRET}\r\n")),
        "{head}"
    );
    assert!(
        head.contains(&format!("X-Api-Key: {PLACEHOLDER}\r\n")),
        "{head}"
    );
    let (head, _) = seen("{ basic = \"x-access-token\" }").await;
    let basic = STANDARD.encode(format!("x-access-token:{SECRET}"));
    assert_eq!(
        head.to_lowercase().matches("authorization:").count(),
        1,
        "{head}"
    );
    assert!(
        head.contains(&format!("authorization: Basic {basic}\r\n")),
        "{head}"
    );
}

fn with_placeholder() -> String {
    format!(
        "GET /?k={PLACEHOLDER} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {PLACEHOLDER}\r\n\r\n"
    )
}

#[tokio::test]
async fn plain_http_and_other_hosts_get_the_placeholder() {
    let plain = mirror(Speaks::Plain).await;
    let door = TestDoor::with(
        &manifest(&plain, "\"placeholder\"", &format!("\"{HOST}\"")),
        options(),
    );
    let (_, body) = door.http().await.ask(with_placeholder()).await;
    let head = String::from_utf8(body).unwrap();
    assert!(
        head.contains(&format!("Authorization: Bearer {PLACEHOLDER}\r\n"))
            && !head.contains("canary"),
        "{head}"
    );

    // Another rule's credential: the host is allowed, the credential belongs elsewhere.
    let origin = mirror(Speaks::Tls(&["http/1.1"])).await;
    let text = format!(
        "{}\n[[egress]]\nhost = \"other.test.example\"\ncredential = \"key\"\n[credential.key]\nsource = {{ env = \"UNUSED\" }}\n\
         hosts = [\"other.test.example\"]\n",
        allow_all(&origin)
    );
    let door = TestDoor::with(&text, options());
    let (_, body) = door.https().await.ask(with_placeholder()).await;
    let head = String::from_utf8(body).unwrap();
    assert!(
        head.contains(&format!("Authorization: Bearer {PLACEHOLDER}\r\n"))
            && !head.contains("canary"),
        "{head}"
    );
    assert!(door.kind("credential_used").is_empty());
}

#[tokio::test]
async fn an_unverified_origin_gets_nothing_at_all() {
    let origin = Origin::start(Speaks::UntrustedTls, |_| async {
        panic!("the handshake must not complete")
    })
    .await;
    let door = TestDoor::with(
        &manifest(&origin, "\"placeholder\"", &format!("\"{HOST}\"")),
        options(),
    );
    let (head, body) = door.https().await.ask(with_placeholder()).await;
    assert_eq!(status(&head), 502);
    let body = String::from_utf8(body).unwrap();
    assert!(body.contains("upstream_certificate_untrusted"), "{body}");
    assert!(door.kind("credential_used").is_empty());
    assert!(!door.text().contains("canary") && !body.contains("canary"));
}

#[tokio::test]
async fn a_websocket_handshake_carries_the_credential() {
    let origin = Origin::start(Speaks::Tls(&["http/1.1"]), |mut io| async move {
        use tokio::io::AsyncWriteExt;
        let (head, _) = read_message(&mut io, &mut Vec::new()).await.unwrap();
        let told = if head.contains(&format!("Authorization: Bearer {SECRET}\r\n")) {
            "real"
        } else {
            "placeholder"
        };
        io.write_all(format!("{}{told}", super::websocket::ACCEPTED).as_bytes())
            .await
            .unwrap();
        io.flush().await.unwrap();
    })
    .await;
    let door = TestDoor::with(
        &manifest(&origin, "\"placeholder\"", &format!("\"{HOST}\"")),
        options(),
    );
    let mut program = door.https().await;
    program
        .send(format!(
            "GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {PLACEHOLDER}\r\n{}\r\n",
            super::websocket::HANDSHAKE
        ))
        .await;
    program.until("real").await;
}

#[tokio::test]
async fn what_is_somebody_elses_goes_nowhere_unless_allowed() {
    let origin = mirror(Speaks::Tls(&["http/1.1"])).await;
    let text = manifest(&origin, "\"placeholder\"", &format!("\"{HOST}\""));
    let door = TestDoor::with(&text, options());
    let basic = STANDARD.encode("x-access-token:of-somebody");
    for (target, field) in [
        ("/", "Authorization: Bearer of-somebody\r\n".to_owned()),
        ("/", format!("Authorization: Basic {basic}\r\n")),
        ("/", "PRIVATE-TOKEN: of-somebody\r\n".to_owned()),
        (
            "/",
            format!("X-Api-Key: {PLACEHOLDER}\r\nAuthorization: Bearer of-somebody\r\n"),
        ),
        ("/x?a=1&Access_Token=of-somebody", String::new()),
    ] {
        let asked = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{field}\r\n");
        let (head, body) = door.https().await.ask(&asked).await;
        assert_eq!(status(&head), 403, "{asked}");
        assert!(String::from_utf8_lossy(&body).contains("foreign_credential"));
    }
    assert_eq!(origin.connections(), 0);
    for (target, field) in [
        ("/", String::new()),
        ("/", "Authorization: \r\n".to_owned()),
        (
            "/x?page_token=2",
            format!("Authorization: Bearer {PLACEHOLDER}\r\n"),
        ),
    ] {
        let asked = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{field}\r\n");
        let (head, _) = door.https().await.ask(&asked).await;
        assert_eq!(status(&head), 200, "{asked}");
    }
    let door = TestDoor::with(&format!("{text}foreign = \"allow\"\n"), options());
    let asked =
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer of-somebody\r\n\r\n");
    let (head, body) = door.https().await.ask(asked).await;
    assert_eq!(status(&head), 200);
    assert!(String::from_utf8_lossy(&body).contains("of-somebody"));
}

#[tokio::test]
async fn an_empty_value_is_refused() {
    let origin = mirror(Speaks::Tls(&["http/1.1"])).await;
    let options = Options {
        secrets: vec![("key", PLACEHOLDER, "")],
        ..Options::default()
    };
    let door = TestDoor::with(
        &manifest(&origin, "\"placeholder\"", &format!("\"{HOST}\"")),
        options,
    );
    let (head, body) = door.https().await.ask(with_placeholder()).await;
    assert_eq!(status(&head), 502);
    assert!(String::from_utf8_lossy(&body).contains("credential_unusable"));
}
