use http::{HeaderMap, HeaderValue};
use wardian_credentials::{Current, Value};
use wardian_events::Event;
use wardian_policy::CredentialName;

use super::*;
use crate::credentials::Credential;
use crate::http::tap::{BodyEnds, Fields};
use crate::model::conversation::{Block, Said, listing, read};
use crate::testing::{self, Written};

const REQUEST: &[u8] =
    br#"{"model":"gpt-5","messages":[{"role":"user","content":"my key is sk-secret"}]}"#;

fn credentials() -> Credentials {
    let policy = testing::policy(
        "[[egress]]\nhost = \"a.test\"\ncredential = \"key\"\n\
         [credential.key]\nsource = { env = \"KEY\" }\nhosts = [\"a.test\"]",
    );
    let name = CredentialName::new("key").unwrap();
    let spec = policy.credential(&name).unwrap().clone();
    let current = Current {
        value: Value::new("sk-secret").unwrap(),
        generation: 1,
        expires: None,
    };
    let mut credentials = Credentials::new();
    credentials.insert(
        name,
        Credential::new("placeholder".into(), current, spec, None),
    );
    credentials
}

struct Setting {
    observer: Observer,
    written: Written,
}

impl Setting {
    fn new(record: ModelRecord) -> Self {
        let (journal, written) = Written::journal(1 << 20);
        Self {
            observer: Observer::new(record, &Arc::new(credentials()), journal),
            written,
        }
    }

    fn begin(&self, request: u64, exchange: Exchange) -> CallTap {
        let (api, path) = match exchange {
            Exchange::Request => (Api::OpenaiChatCompletions, "/v1/chat/completions"),
            Exchange::WebSocket => (Api::OpenaiResponses, "/v1/responses"),
        };
        let begun = Begun {
            request: RequestId(request),
            api,
            exchange,
            path: path.to_owned(),
            encodings: Vec::new(),
        };
        self.observer.begin(begun).unwrap()
    }

    fn calls(self) -> Vec<ModelCall> {
        self.observer.close();
        let events = self.written.events().into_iter();
        events
            .map(|event| match serde_json::from_value(event).unwrap() {
                Event::ModelCall(call) => *call,
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

fn head(tap: &mut CallTap, status: u16, fields: &[(&'static str, &'static str)]) {
    let fields = fields.iter().map(|&(name, value)| {
        let value = HeaderValue::from_static(value);
        (http::HeaderName::from_static(name), value)
    });
    let fields = HeaderMap::from_iter(fields);
    tap.response_head(&Answer {
        status,
        fields: Fields::Http2(&fields),
        ends: BodyEnds::Marked,
    });
}

fn answer(text: &str, arguments: &str) -> String {
    let call = serde_json::json!({"id": "call_1", "function": {"name": "sk-secret", "arguments": arguments}});
    serde_json::json!({
        "model": "gpt-5-2025-08-07",
        "choices": [{"index": 0, "message": {"content": text, "tool_calls": [call]}, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20},
    })
    .to_string()
}

#[test]
fn calls_that_are_mixed_up_are_kept_apart() {
    let setting = Setting::new(ModelRecord::default());
    let mut taps: Vec<CallTap> = (1..=3)
        .map(|number| setting.begin(number, Exchange::Request))
        .collect();
    for half in REQUEST.chunks(20) {
        for tap in &mut taps {
            tap.request_data(half);
        }
    }
    for (number, tap) in taps.iter_mut().enumerate().rev() {
        head(tap, if number == 1 { 429 } else { 200 }, &[]);
        tap.response_data(answer("Hi", r#"{"b":1, "a":2}"#).as_bytes());
        tap.ended(End::Complete);
    }
    let calls = setting.calls();
    let requests: Vec<_> = calls.iter().map(|call| call.request.0).collect();
    assert_eq!(requests, [3, 2, 1]);
    let first = &calls[0];
    assert_eq!(first.model.as_deref(), Some("gpt-5"));
    assert_eq!(first.answered_by.as_deref(), Some("gpt-5-2025-08-07"));
    assert_eq!(first.cost_micro_usd, Some(325));
    assert!(first.price.as_deref().unwrap().starts_with("built-in "));
    assert_eq!(
        first.tool_calls[0].arguments,
        Digest::of(br#"{"a":2,"b":1}"#)
    );
    assert!(first.decoded && first.conversation.is_none());
    assert_eq!(calls[1].error.as_deref(), Some("status_429"));
}

#[test]
fn conversations_are_kept_without_credentials() {
    let sandbox = tempfile::tempdir().unwrap();
    let setting = Setting::new(ModelRecord {
        conversations: Some(Store::open(sandbox.path()).unwrap()),
        ..ModelRecord::default()
    });
    let mut tap = setting.begin(1, Exchange::Request);
    tap.request_data(REQUEST);
    head(&mut tap, 200, &[]);
    let arguments = r#"{"key":"sk-secret"}"#;
    tap.response_data(answer("Your key is sk-secret.", arguments).as_bytes());
    tap.ended(End::Complete);
    let calls = setting.calls();
    assert_eq!(calls[0].tool_calls[0].name, "placeholder");
    assert_eq!(
        calls[0].tool_calls[0].arguments,
        Digest::of(br#"{"key":"placeholder"}"#)
    );
    let listing = listing(
        sandbox.path(),
        &calls[0].conversation.as_ref().unwrap().sha256,
    )
    .unwrap();
    let text = |digest| String::from_utf8(read(sandbox.path(), digest).unwrap()).unwrap();
    assert_eq!(
        text(&listing.messages[0]),
        r#"{"role":"user","content":"my key is placeholder"}"#
    );
    let said: Said = serde_json::from_str(&text(&listing.answer)).unwrap();
    assert_eq!(
        said.content,
        [
            Block::Text {
                text: "Your key is placeholder.".into()
            },
            Block::ToolCall {
                id: "call_1".into(),
                name: "placeholder".into(),
                arguments: r#"{"key":"placeholder"}"#.into()
            },
        ]
    );
}

#[test]
fn an_exchange_that_is_no_call_leaves_nothing() {
    let setting = Setting::new(ModelRecord::default());
    let mut chat_of_people = setting.begin(1, Exchange::Request);
    chat_of_people.request_data(br#"{"messages":["Hi"]}"#);
    head(&mut chat_of_people, 200, &[]);
    chat_of_people.ended(End::Complete);
    let mut unanswered = setting.begin(2, Exchange::Request);
    unanswered.request_data(REQUEST);
    unanswered.ended(End::Broken);
    let mut refused = setting.begin(3, Exchange::WebSocket);
    head(&mut refused, 404, &[]);
    refused.response_data(b"not found");
    refused.ended(End::Complete);
    assert_eq!(setting.calls(), []);
}

#[test]
fn what_is_too_much_is_given_up_and_said() {
    let setting = Setting::new(ModelRecord::default());
    // Each holds all but what one may, so that together they hold more than all may.
    let mut taps: Vec<CallTap> = (1..=6)
        .map(|number| setting.begin(number, Exchange::Request))
        .collect();
    let piece = vec![b' '; 1 << 20];
    for tap in &mut taps {
        for _ in 0..30 {
            tap.request_data(&piece);
            // As fast as it is read, so that nothing goes by unseen.
            while tap.line.waiting.load(Ordering::Relaxed) > MAX_WAITING / 2 {
                std::thread::yield_now();
            }
        }
    }
    for tap in &mut taps {
        tap.request_data(REQUEST);
        head(tap, 200, &[]);
        tap.response_data(answer("Hi", "{}").as_bytes());
        tap.ended(End::Complete);
    }
    let calls = setting.calls();
    let given_up = |call: &&ModelCall| call.undecoded.as_deref() == Some("overrun");
    let (given_up, read) = calls.iter().partition::<Vec<_>, _>(given_up);
    assert_eq!(given_up.len() + read.len(), 6);
    assert!(!given_up.is_empty() && !read.is_empty(), "{calls:#?}");
    assert!(given_up.iter().all(|call| !call.decoded));
    assert!(read.iter().all(|call| call.decoded));
}

#[test]
fn names_are_bounded_and_visible() {
    assert_eq!(name("gpt-5"), "gpt-5");
    assert_eq!(name("a\x1b[2J"), r"a\x1b[2J");
    assert_eq!(name(&"é".repeat(100)).len(), MAX_NAME + "[...]".len());
}
