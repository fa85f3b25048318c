//! The four protocols as their vendors document them, however their bytes are split.

mod hostile;
mod sockets;

use proptest::prelude::*;

use super::call::{Decoded, HttpCall};
use super::{Answer, Api, PartKind, Undecoded};
use wardian_events::ModelTokens;

const ANTHROPIC: &[u8] = include_bytes!("tests/anthropic.sse");
const RESPONSES: &[u8] = include_bytes!("tests/responses.sse");
const CHAT: &[u8] = include_bytes!("tests/chat.sse");
const GEMINI: &[u8] = include_bytes!("tests/gemini.sse");

struct Sample {
    path: &'static str,
    request: &'static str,
    stream: &'static [u8],
}

const SAMPLES: [Sample; 4] = [
    Sample {
        path: "/v1/messages?beta=true",
        request: r#"{"model":"claude-opus-4-6","max_tokens":256,"stream":true,"system":[{"type":"text","text":"Be brief."}],"tools":[{"name":"get_weather"}],"messages":[{"role":"user","content":"Weather?"}]}"#,
        stream: ANTHROPIC,
    },
    Sample {
        path: "/backend-api/codex/responses",
        request: r#"{"model":"gpt-5-codex","instructions":"Be brief.","input":[{"role":"user","content":"Hi"},{"type":"function_call_output","call_id":"a","output":"b"}],"stream":true}"#,
        stream: RESPONSES,
    },
    Sample {
        path: "/api/v1/chat/completions",
        request: r#"{"model":"gpt-4o-mini","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}],"stream":true}"#,
        stream: CHAT,
    },
    Sample {
        path: "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
        request: r#"{"contents":[{"role":"user","parts":[{"text":"A story"}]}],"systemInstruction":{"parts":[{"text":"Be brief."}]}}"#,
        stream: GEMINI,
    },
];

/// The call that a request and its response make, both in these pieces.
fn call<'a>(
    path: &str,
    request: impl IntoIterator<Item = &'a [u8]>,
    status: u16,
    response: impl IntoIterator<Item = &'a [u8]>,
) -> Option<Decoded> {
    let (api, _) = Api::of("POST", path).expect("a path of a model's");
    let mut call = HttpCall::new(api, path, std::iter::empty());
    for piece in request {
        call.request_data(piece);
    }
    call.response_head(status, std::iter::empty());
    for (number, piece) in response.into_iter().enumerate() {
        call.response_data(piece, number as u64);
    }
    call.end(1000)
}

fn whole(path: &str, request: &str, status: u16, response: &[u8]) -> Decoded {
    call(path, [request.as_bytes()], status, [response]).expect("a call")
}

fn sample(sample: &Sample) -> Decoded {
    whole(sample.path, sample.request, 200, sample.stream)
}

fn parts(answer: &Answer) -> Vec<(String, &str)> {
    let kind = |kind: &PartKind| match kind {
        PartKind::ToolCall { id, name } => format!("{name} {id}"),
        other => format!("{other:?}"),
    };
    answer
        .parts
        .iter()
        .map(|part| (kind(&part.kind), part.text.as_str()))
        .collect()
}

/// Input, output, read from a cache, written to one, for an hour, reasoning.
fn tokens(counts: [Option<u64>; 6]) -> ModelTokens {
    let [
        input,
        output,
        cached_read,
        cached_write,
        cached_write_hour,
        reasoning,
    ] = counts;
    ModelTokens {
        input,
        output,
        cached_read,
        cached_write,
        cached_write_hour,
        reasoning,
    }
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut from = 0;
    let mut pieces: Vec<&[u8]> = Vec::new();
    for cut in cuts.into_iter().chain([bytes.len()]) {
        pieces.push(&bytes[from..cut]);
        from = cut;
    }
    pieces
}

#[test]
fn anthropic() {
    let decoded = sample(&SAMPLES[0]);
    let asked = decoded.asked.unwrap();
    assert_eq!(asked.model.as_deref(), Some("claude-opus-4-6"));
    assert_eq!(asked.messages, [r#"{"role":"user","content":"Weather?"}"#]);
    assert_eq!(asked.tools.as_deref(), Some(r#"[{"name":"get_weather"}]"#));
    let answer = decoded.answer;
    assert_eq!(answer.model.as_deref(), Some("claude-opus-4-6-20260115"));
    assert_eq!(answer.stop.as_deref(), Some("tool_use"));
    assert_eq!(
        answer.tokens,
        tokens([Some(1772), Some(89), Some(1000), Some(300), Some(100), None])
    );
    assert_eq!(
        parts(&answer),
        [
            ("Reasoning".into(), "Weather, then."),
            (
                "Text".into(),
                "Okay, let's check the weather — für San Francisco:"
            ),
            (
                "get_weather toolu_01T1x1fJ34qAmk2tNTrN7Up6".into(),
                r#"{"location": "San Francisco, CA", "unit": "fahrenheit"}"#
            ),
        ]
    );
    assert_eq!(
        (decoded.undecoded, answer.tier, answer.error),
        (None, None, None)
    );
}

#[test]
fn responses() {
    let decoded = sample(&SAMPLES[1]);
    let asked = decoded.asked.unwrap();
    assert_eq!(asked.system.as_deref(), Some("\"Be brief.\""));
    assert_eq!(asked.messages.len(), 2);
    let answer = decoded.answer;
    assert_eq!(answer.stop.as_deref(), Some("completed"));
    assert_eq!(
        answer.tokens,
        tokens([Some(37), Some(11), Some(20), None, None, Some(4)])
    );
    assert_eq!(
        parts(&answer),
        [
            ("Reasoning".into(), "Looking around"),
            ("Text".into(), "Hi there!"),
            (
                "shell call_DdmO9pD3xa9XTPNJ32zg2hcA".into(),
                r#"{"cmd":"ls"}"#
            ),
        ]
    );
    assert_eq!(decoded.undecoded, None);
}

#[test]
fn chat() {
    let decoded = sample(&SAMPLES[2]);
    let answer = decoded.answer;
    assert_eq!(answer.stop.as_deref(), Some("tool_calls"));
    assert_eq!(
        answer.tokens,
        tokens([Some(19), Some(10), Some(8), None, None, Some(3)])
    );
    assert_eq!(
        parts(&answer),
        [
            ("Text".into(), "Hello"),
            ("get_time call_abc".into(), r#"{"zone":"UTC"}"#),
            ("beep call_def".into(), "{}"),
        ]
    );
    assert_eq!(decoded.undecoded, None);
}

#[test]
fn gemini() {
    let decoded = sample(&SAMPLES[3]);
    assert_eq!(
        decoded.asked.unwrap().model.as_deref(),
        Some("models/gemini-2.5-pro").map(|it| &it[7..])
    );
    let answer = decoded.answer;
    assert_eq!(answer.model.as_deref(), Some("gemini-2.5-pro"));
    assert_eq!(
        answer.tokens,
        tokens([Some(7), Some(43), Some(5), None, None, Some(13)])
    );
    assert_eq!(
        parts(&answer),
        [
            ("Reasoning".into(), "Thinking."),
            ("Text".into(), "Once upon a time"),
            (
                "set_light ".into(),
                r#"{"brightness": 25, "color": "warm"}"#
            ),
        ]
    );
    assert_eq!(decoded.undecoded, None);
}

/// The same answers in one piece.
#[test]
fn answers_that_are_not_streamed() {
    let anthropic = br#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"Hi"},
        {"type":"tool_use","id":"toolu_1","name":"Bash","input":{"command":"ls"}}],"stop_reason":"tool_use",
        "usage":{"input_tokens":3,"cache_read_input_tokens":0,"output_tokens":4,"service_tier":"batch"}}"#;
    let answer = whole(SAMPLES[0].path, SAMPLES[0].request, 200, anthropic).answer;
    assert_eq!(
        answer.tokens,
        tokens([Some(3), Some(4), Some(0), None, None, None])
    );
    assert_eq!(answer.tier.as_deref(), Some("batch"));
    assert_eq!(
        answer.tool_calls().collect::<Vec<_>>(),
        [("toolu_1", "Bash", r#"{"command":"ls"}"#)]
    );

    let responses = br#"{"id":"resp_1","object":"response","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},
        "model":"gpt-5","output":[{"type":"custom_tool_call","call_id":"c","name":"exec","namespace":"ns","input":"x = 1"},
        {"type":"local_shell_call","id":"l","call_id":"d","action":{"type":"exec","command":["ls"]}}],
        "usage":{"input_tokens":1,"output_tokens":2}}"#;
    let answer = whole(SAMPLES[1].path, SAMPLES[1].request, 200, responses).answer;
    assert_eq!(answer.stop.as_deref(), Some("max_output_tokens"));
    assert_eq!(
        answer.tool_calls().collect::<Vec<_>>(),
        [
            ("c", "ns.exec", "x = 1"),
            (
                "d",
                "local_shell_call",
                r#"{"type":"exec","command":["ls"]}"#
            )
        ]
    );

    let chat = br#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,
        "tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},
        {"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls"}],
        "usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let answer = whole(SAMPLES[2].path, SAMPLES[2].request, 200, chat).answer;
    assert_eq!(
        answer.tool_calls().collect::<Vec<_>>(),
        [("a", "f", "{}"), ("b", "g", "{}")]
    );

    // Without `alt=sse` Gemini streams a list.
    let chunks = std::str::from_utf8(GEMINI).unwrap().split("data: ");
    let list: Vec<_> = chunks.map(str::trim).filter(|it| !it.is_empty()).collect();
    let list = format!("[{}\n]", list.join("\n,\r\n"));
    let listed = whole(SAMPLES[3].path, SAMPLES[3].request, 200, list.as_bytes());
    assert_eq!(listed.answer, sample(&SAMPLES[3]).answer);
    // Gateways wrap both ways.
    let request = format!(
        r#"{{"model":"m","project":"p","request":{}}}"#,
        SAMPLES[3].request
    );
    let wrapped = format!(r#"{{"response":{}}}"#, &list[1..list.find("\n,").unwrap()]);
    let path = "/v1internal:generateContent";
    let decoded = whole(path, &request, 200, wrapped.as_bytes());
    assert_eq!(decoded.asked.unwrap().model.as_deref(), Some("m"));
    assert_eq!(decoded.answer.model.as_deref(), Some("gemini-2.5-pro"));
}

#[test]
fn errors_go_by_the_vendors_names() {
    let errors = [
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#,
        r#"{"error":{"message":"x","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
        r#"{"error":{"message":"x","type":null,"code":429}}"#,
        r#"{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}"#,
    ];
    let names = [
        "rate_limit_error",
        "insufficient_quota",
        "429",
        "UNAVAILABLE",
    ];
    for ((sample, error), name) in SAMPLES.iter().zip(errors).zip(names) {
        let decoded = whole(sample.path, sample.request, 429, error.as_bytes());
        assert_eq!(decoded.answer.error.as_deref(), Some(name));
        assert_eq!(decoded.undecoded, None);
    }
    let decoded = whole(
        SAMPLES[0].path,
        SAMPLES[0].request,
        502,
        b"<html>Bad Gateway</html>",
    );
    assert_eq!(decoded.answer.error.as_deref(), Some("status_502"));
    assert_eq!(decoded.undecoded, None);
    let stream = b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n";
    let decoded = whole(SAMPLES[0].path, SAMPLES[0].request, 200, stream);
    assert_eq!(decoded.answer.error.as_deref(), Some("overloaded_error"));
}

#[test]
fn what_is_no_call() {
    for (method, path) in [
        ("GET", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1beta/models/g:countTokens"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("POST", "/v1/embeddings"),
    ] {
        assert_eq!(Api::of(method, path), None, "{path}");
    }
    // The path alone does not make a call.
    for body in [
        r#"{"messages":[{"text":"a chat of people"}]}"#,
        r#"{"model":"x"}"#,
    ] {
        assert_eq!(
            call("/v1/messages", [body.as_bytes()], 200, [&b"{}"[..]]),
            None
        );
    }
}

#[test]
fn an_answer_that_breaks_off_tells_what_it_told() {
    let half = &ANTHROPIC[..ANTHROPIC.len() / 2];
    let decoded = whole(SAMPLES[0].path, SAMPLES[0].request, 200, half);
    assert_eq!(decoded.undecoded, Some(Undecoded::CutShort));
    assert_eq!(decoded.answer.tokens.input, Some(1772));
}

#[test]
fn the_first_token_is_that_of_the_first_word() {
    let [first, second, rest] = {
        let text = std::str::from_utf8(ANTHROPIC).unwrap();
        let at = text.find("Weather").unwrap();
        [
            &ANTHROPIC[..at],
            &ANTHROPIC[at..at + 10],
            &ANTHROPIC[at + 10..],
        ]
    };
    let request = SAMPLES[0].request.as_bytes();
    let decoded = call(SAMPLES[0].path, [request], 200, [first, second, rest]).unwrap();
    assert_eq!((decoded.first_token, decoded.ended), (Some(2), 1000));
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        which in 0..SAMPLES.len(),
        up in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        down in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let it = &SAMPLES[which];
        let split = call(it.path, pieces(it.request.as_bytes(), &up), 200, pieces(it.stream, &down));
        let split = Decoded { first_token: None, ..split.unwrap() };
        prop_assert_eq!(split, Decoded { first_token: None, ..sample(it) });
    }
}
