//! The Chat Completions API: <https://platform.openai.com/docs/api-reference/chat>, and what others add to it.

use serde::Deserialize;

use super::answer::{Answer, PartKind, newer};
use super::wire::{Failure, List, Scalar, WireError, parse};

/// A chunk of a stream, or all of an answer: they differ in `delta` and `message`.
#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: List<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    service_tier: Scalar,
    #[serde(default)]
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    #[serde(default, alias = "message")]
    delta: Option<Message>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Scalar,
    #[serde(default)]
    refusal: Option<String>,
    /// Not of OpenAI's: the two names that others use.
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Scalar,
    #[serde(default)]
    tool_calls: List<ToolCall>,
}

#[derive(Deserialize)]
struct ToolCall {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<Function>,
    #[serde(default)]
    custom: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, alias = "input")]
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<InputDetails>,
    #[serde(default)]
    completion_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize)]
struct InputDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OutputDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

pub(super) fn take_event(answer: &mut Answer, event: &[u8]) -> Result<(), WireError> {
    if event.trim_ascii() == b"[DONE]" {
        answer.complete = true;
        return Ok(());
    }
    let chunk: Completion = parse(event)?;
    let failed = matches!(chunk.error, Some(Failure(Some(_))));
    take(answer, chunk)?;
    answer.complete |= failed;
    Ok(())
}

pub(super) fn take_whole(answer: &mut Answer, body: &[u8]) -> Result<(), WireError> {
    take(answer, parse(body)?)?;
    answer.complete = true;
    Ok(())
}

fn take(answer: &mut Answer, chunk: Completion) -> Result<(), WireError> {
    newer(&mut answer.model, chunk.model.filter(|it| !it.is_empty()));
    newer(&mut answer.error, chunk.error.and_then(|error| error.0));
    if let Some(usage) = chunk.usage {
        let tokens = &mut answer.tokens;
        newer(&mut tokens.input, usage.prompt_tokens);
        newer(&mut tokens.output, usage.completion_tokens);
        if let Some(details) = usage.prompt_tokens_details {
            newer(&mut tokens.cached_read, details.cached_tokens);
            newer(&mut tokens.cached_write, details.cache_write_tokens);
        }
        let details = usage.completion_tokens_details;
        newer(
            &mut tokens.reasoning,
            details.and_then(|it| it.reasoning_tokens),
        );
    }
    if let Some(tier) = chunk.service_tier.0 {
        answer.tier = (tier != "default").then_some(tier);
    }
    for choice in chunk.choices.0 {
        if choice.index == 0 {
            // The mark behind all chunks is left out by some.
            answer.complete |= choice.finish_reason.is_some();
            newer(&mut answer.stop, choice.finish_reason);
        }
        if let Some(message) = choice.delta {
            take_message(answer, choice.index, message)?;
        }
    }
    Ok(())
}

/// Of each choice: what it reasons, what it says, then its tool calls by their index.
fn take_message(answer: &mut Answer, choice: u32, message: Message) -> Result<(), WireError> {
    let place = |slot: u64| (u64::from(choice) << 33) + slot;
    for text in [message.reasoning_content, message.reasoning.0] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            answer.append(place(0), PartKind::Reasoning, &text)?;
        }
    }
    for text in [message.content.0, message.refusal] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            answer.append(place(1), PartKind::Text, &text)?;
        }
    }
    for (position, call) in message.tool_calls.0.into_iter().enumerate() {
        let index = call.index.map_or(position as u64, u64::from);
        let function = call.function.or(call.custom);
        let (name, arguments) = function.map_or((None, None), |it| (it.name, it.arguments));
        let kind = PartKind::ToolCall {
            id: String::new(),
            name: String::new(),
        };
        answer.append(place(2 + index), kind, &arguments.unwrap_or_default())?;
        answer.name_tool(place(2 + index), call.id, name)?;
    }
    Ok(())
}
