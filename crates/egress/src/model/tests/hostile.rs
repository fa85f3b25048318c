//! What is made to do harm is given up, and says so.

use proptest::prelude::*;

use super::super::call::HttpCall;
use super::super::{Api, Undecoded, limits};
use super::{SAMPLES, call, whole};

#[test]
fn bodies_beyond_all_measure() {
    let api = Api::AnthropicMessages;
    let mut endless = HttpCall::new(api, "/v1/messages", std::iter::empty());
    let piece = vec![b' '; 1 << 20];
    for _ in 0..40 {
        endless.request_data(&piece);
    }
    endless.response_head(200, std::iter::empty());
    let decoded = endless.end(0).unwrap();
    assert_eq!(decoded.undecoded, Some(Undecoded::RequestTooLarge));

    let request = SAMPLES[0].request.as_bytes();
    for start in [&b"{\"x\":\""[..], b"data: "] {
        let pieces = std::iter::once(start).chain((0..20).map(|_| piece.as_slice()));
        let decoded = call("/v1/messages", [request], 200, pieces).unwrap();
        assert_eq!(decoded.undecoded, Some(Undecoded::AnswerTooLarge));
    }
}

#[test]
fn lists_beyond_all_measure() {
    let many = format!(
        r#"{{"model":"m","messages":[{}0]}}"#,
        "0,".repeat(limits::ITEMS)
    );
    let decoded = whole("/v1/messages", &many, 200, b"{}");
    assert_eq!(decoded.undecoded, Some(Undecoded::BadJson));
    assert_eq!(decoded.asked, None);

    let deep = format!(r#"{{"model":"m","messages":{}"#, "[".repeat(1 << 20));
    let decoded = whole("/v1/messages", &deep, 200, b"{}");
    assert_eq!(decoded.undecoded, Some(Undecoded::BadJson));

    let blocks: String = (0..=limits::ITEMS)
        .map(|index| {
            format!("data: {{\"type\":\"content_block_start\",\"index\":{index},\"content_block\":{{\"type\":\"text\"}}}}\n\n")
        })
        .collect();
    let decoded = whole("/v1/messages", SAMPLES[0].request, 200, blocks.as_bytes());
    assert_eq!(decoded.undecoded, Some(Undecoded::AnswerTooLarge));
}

#[test]
fn numbers_beyond_all_measure() {
    let usage = format!(
        r#"{{"content":[],"usage":{{"input_tokens":{0},"cache_read_input_tokens":{0},"cache_creation_input_tokens":{0}}}}}"#,
        u64::MAX
    );
    let decoded = whole("/v1/messages", SAMPLES[0].request, 200, usage.as_bytes());
    assert!(decoded.answer.tokens.input.is_some());
    let usage = format!(
        r#"{{"usageMetadata":{{"promptTokenCount":{0},"toolUsePromptTokenCount":{0}}}}}"#,
        u64::MAX
    );
    let decoded = whole(SAMPLES[3].path, SAMPLES[3].request, 200, usage.as_bytes());
    assert_eq!(decoded.answer.tokens.input, Some(u64::MAX));
}

proptest! {
    /// Damaged streams give an answer or a reason, and never a panic.
    #[test]
    fn damage_does_no_harm(
        which in 0..SAMPLES.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        step in 1_usize..400,
    ) {
        let it = &SAMPLES[which];
        let mut stream = it.stream.to_vec();
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        prop_assert!(call(it.path, [it.request.as_bytes()], 200, stream.chunks(step)).is_some());
    }
}
