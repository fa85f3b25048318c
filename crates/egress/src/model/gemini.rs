//! Gemini's `generateContent` and `streamGenerateContent`: <https://ai.google.dev/api/generate-content>.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{Answer, PartKind, newer};
use super::wire::{Failure, List, WireError, parse};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow, default)]
    candidates: List<Candidate<'a>>,
    #[serde(default)]
    usage_metadata: Option<Usage>,
    #[serde(default)]
    model_version: Option<String>,
    #[serde(default)]
    prompt_feedback: Option<Feedback>,
    #[serde(default)]
    error: Option<Failure>,
    /// In some gateways the chunk proper is in here.
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: List<Part<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thought: Option<bool>,
    #[serde(borrow, default)]
    function_call: Option<FunctionCall<'a>>,
}

#[derive(Deserialize)]
struct FunctionCall<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
}

/// What is thought is not in `candidatesTokenCount` here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    #[serde(default)]
    prompt_token_count: Option<u64>,
    #[serde(default)]
    tool_use_prompt_token_count: Option<u64>,
    #[serde(default)]
    cached_content_token_count: Option<u64>,
    #[serde(default)]
    candidates_token_count: Option<u64>,
    #[serde(default)]
    thoughts_token_count: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    #[serde(default)]
    block_reason: Option<String>,
}

/// There is no last event: an answer is complete once a candidate has finished.
pub(super) fn take_event(answer: &mut Answer, event: &[u8]) -> Result<(), WireError> {
    take(answer, parse(event)?)
}

/// One chunk, or a list of them.
pub(super) fn take_whole(answer: &mut Answer, body: &[u8]) -> Result<(), WireError> {
    let chunks = match body.trim_ascii_start().first() {
        Some(b'[') => parse::<List<Chunk<'_>>>(body)?.0,
        _ => vec![parse(body)?],
    };
    for chunk in chunks {
        take(answer, chunk)?;
    }
    answer.complete = true;
    Ok(())
}

fn take(answer: &mut Answer, chunk: Chunk<'_>) -> Result<(), WireError> {
    let chunk = match chunk.response {
        Some(inner) => parse(inner.get().as_bytes())?,
        None => chunk,
    };
    newer(&mut answer.model, chunk.model_version);
    if let Some(Failure(Some(error))) = chunk.error {
        answer.error = Some(error);
        answer.complete = true;
    }
    if let Some(reason) = chunk.prompt_feedback.and_then(|it| it.block_reason) {
        answer.stop = Some(reason);
        answer.complete = true;
    }
    if let Some(usage) = chunk.usage_metadata {
        take_usage(answer, &usage);
    }
    for candidate in chunk.candidates.0 {
        for part in candidate.content.map_or(Vec::new(), |it| it.parts.0) {
            take_part(answer, part)?;
        }
        if candidate.finish_reason.is_some() {
            answer.complete = true;
        }
        newer(&mut answer.stop, candidate.finish_reason);
    }
    Ok(())
}

fn take_usage(answer: &mut Answer, usage: &Usage) {
    let tokens = &mut answer.tokens;
    let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
    };
    let input = sum(usage.prompt_token_count, usage.tool_use_prompt_token_count);
    newer(&mut tokens.input, input);
    newer(&mut tokens.cached_read, usage.cached_content_token_count);
    let output = sum(usage.candidates_token_count, usage.thoughts_token_count);
    newer(&mut tokens.output, output);
    newer(&mut tokens.reasoning, usage.thoughts_token_count);
}

/// Texts that follow each other are pieces of one.
fn take_part(answer: &mut Answer, part: Part<'_>) -> Result<(), WireError> {
    if let Some(call) = part.function_call {
        let kind = PartKind::ToolCall {
            id: call.id.unwrap_or_default(),
            name: call.name.unwrap_or_default(),
        };
        let arguments = call.args.map_or("{}", RawValue::get).to_owned();
        return answer.set(answer.next_place(), kind, arguments);
    }
    let Some(text) = part.text else { return Ok(()) };
    let kind = match part.thought {
        Some(true) => PartKind::Reasoning,
        _ => PartKind::Text,
    };
    answer.append(answer.last_or_new(&kind), kind, &text)
}
