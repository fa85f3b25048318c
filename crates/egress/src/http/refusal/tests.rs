use super::*;

fn about() -> About<'static> {
    About {
        scheme: "https",
        host: "api.example.com",
        method: Some("POST"),
        path: Some("/v1/messages"),
    }
}

#[test]
fn a_denial_says_what_and_how() {
    let refusal = Refusal::denied("no_rule", None, "no rule allows this", about());
    let text = String::from_utf8(refusal.to_http1(false, false)).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    let body: serde_json::Value = serde_json::from_str(body).expect("json");
    assert_eq!(body["error"], "wardian_denied");
    assert_eq!(body["reason"], "no_rule");
    assert_eq!(body["host"], "api.example.com");
    assert_eq!(
        body["how_to_allow"],
        "wardian run --allow 'POST https://api.example.com/v1/messages'"
    );
}

#[test]
fn a_hostile_path_cannot_write_the_users_command() {
    for path in ["/x'; rm -rf ~ #", "/$(id)", "/a b", "/`id`", "/\u{1b}[2J"] {
        let refusal = Refusal::denied(
            "no_rule",
            None,
            "no",
            About {
                path: Some(path),
                ..about()
            },
        );
        assert_eq!(
            refusal.how_to_allow.as_deref(),
            Some("wardian run --allow api.example.com"),
            "{path}"
        );
        assert!(!refusal.to_http1(false, true).contains(&0x1b));
    }
}

#[test]
fn head_gets_no_body() {
    let text = String::from_utf8(Refusal::connect(about()).to_http1(true, true)).expect("text");
    assert!(text.ends_with("Connection: close\r\n\r\n"), "{text}");
}

#[test]
fn grpc_gets_a_status_of_its_own() {
    let refusal = Refusal::denied("no_rule", None, "100% denied\n", about());
    let (response, body) = refusal.to_http2(true);
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "7");
    assert!(
        response.headers()["grpc-message"]
            .to_str()
            .expect("text")
            .contains("100%25 denied")
    );
    assert!(body.is_none());
    let (response, body) = refusal.to_http2(false);
    assert_eq!(response.status(), 403);
    assert_eq!(
        response.headers()["content-length"],
        body.expect("a body").len().to_string().as_str()
    );
}

#[tokio::test]
async fn a_closed_connection_still_delivers_the_answer() {
    let (mut near, mut far) = tokio::io::duplex(1024);
    let refusal = Refusal::denied("no_rule", None, "no", about());
    let answering = answer_and_close(&mut near, &refusal, std::time::Duration::from_secs(5));
    let asking = async {
        far.write_all(&[b'x'; 4096]).await.expect("written");
        let mut text = Vec::new();
        far.read_to_end(&mut text).await.expect("read");
        drop(far);
        text
    };
    let (answered, text) = tokio::join!(answering, asking);
    answered.expect("answered");
    assert!(text.starts_with(b"HTTP/1.1 403"));
}

#[test]
fn a_refusal_stays_short_whatever_was_asked_for() {
    let path = format!("/{}", "x".repeat(60_000));
    let about = About {
        path: Some(&path),
        ..about()
    };
    let refusal = Refusal::denied("no_rule", None, &path, about);
    assert!(refusal.body().len() < 2_000);
    assert_eq!(
        refusal.how_to_allow.as_deref(),
        Some("wardian run --allow api.example.com")
    );
}
