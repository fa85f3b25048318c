//! The Messages API of Anthropic: <https://docs.anthropic.com/en/api/messages-streaming>.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{Answer, PartKind, newer};
use super::wire::{Failure, List, Scalar, WireError, parse};

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    index: u64,
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
    #[serde(borrow, default)]
    content_block: Option<Block<'a>>,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    model: Option<String>,
    #[serde(borrow, default)]
    content: List<Block<'a>>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    partial_json: Option<String>,
    #[serde(default)]
    stop_reason: Option<String>,
}

/// What is cached is not in `input_tokens` here.
#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation: Option<CacheCreation>,
    #[serde(default)]
    service_tier: Scalar,
}

#[derive(Deserialize)]
struct CacheCreation {
    #[serde(default)]
    ephemeral_1h_input_tokens: Option<u64>,
}

pub(super) fn take_event(answer: &mut Answer, event: &[u8]) -> Result<(), WireError> {
    let event: Event<'_> = parse(event)?;
    match event.kind.as_str() {
        "message_start" => {
            if let Some(message) = event.message {
                take_message(answer, message)?;
            }
        }
        "content_block_start" => {
            if let Some(block) = event.content_block {
                // The input of a tool follows in pieces; what stands here is a placeholder.
                let (kind, text) = part(&block);
                let text = match kind {
                    PartKind::ToolCall { .. } => String::new(),
                    _ => text,
                };
                answer.set(event.index, kind, text)?;
            }
        }
        "content_block_delta" => {
            if let Some(delta) = event.delta {
                let (kind, text) = match delta {
                    Delta { text: Some(it), .. } => (PartKind::Text, it),
                    Delta {
                        thinking: Some(it), ..
                    } => (PartKind::Reasoning, it),
                    Delta {
                        partial_json: Some(it),
                        ..
                    } => (PartKind::Other("tool_use".into()), it),
                    _ => return Ok(()),
                };
                answer.append(event.index, kind, &text)?;
            }
        }
        "message_delta" => {
            if let Some(usage) = event.usage {
                take_usage(answer, usage);
            }
            newer(
                &mut answer.stop,
                event.delta.and_then(|delta| delta.stop_reason),
            );
        }
        "message_stop" => answer.complete = true,
        "error" => {
            newer(&mut answer.error, event.error.and_then(|error| error.0));
            answer.complete = true;
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn take_whole(answer: &mut Answer, body: &[u8]) -> Result<(), WireError> {
    take_message(answer, parse(body)?)?;
    answer.complete = true;
    Ok(())
}

fn take_message(answer: &mut Answer, message: Message<'_>) -> Result<(), WireError> {
    newer(&mut answer.model, message.model);
    newer(&mut answer.stop, message.stop_reason);
    newer(&mut answer.error, message.error.and_then(|error| error.0));
    if let Some(usage) = message.usage {
        take_usage(answer, usage);
    }
    for (index, block) in message.content.0.iter().enumerate() {
        let (kind, text) = part(block);
        answer.set(index as u64, kind, text)?;
    }
    Ok(())
}

/// Later counts stand for all that came before them, and may leave out what has not changed.
fn take_usage(answer: &mut Answer, usage: Usage) {
    let tokens = &mut answer.tokens;
    let cached = |read: Option<u64>, write: Option<u64>| read.unwrap_or(0) + write.unwrap_or(0);
    let uncached = tokens
        .input
        .map(|input| input.saturating_sub(cached(tokens.cached_read, tokens.cached_write)));
    newer(
        &mut tokens.cached_read,
        usage.cache_read_input_tokens.map(bounded),
    );
    newer(
        &mut tokens.cached_write,
        usage.cache_creation_input_tokens.map(bounded),
    );
    let hour = usage
        .cache_creation
        .and_then(|it| it.ephemeral_1h_input_tokens);
    newer(&mut tokens.cached_write_hour, hour.filter(|&it| it > 0));
    newer(&mut tokens.output, usage.output_tokens);
    tokens.input = usage
        .input_tokens
        .map(bounded)
        .or(uncached)
        .map(|input| input + cached(tokens.cached_read, tokens.cached_write));
    if let Some(tier) = usage.service_tier.0 {
        answer.tier = (tier != "standard").then_some(tier);
    }
}

/// So that sums of a few do not overflow.
fn bounded(tokens: u64) -> u64 {
    tokens.min(1 << 60)
}

fn part(block: &Block<'_>) -> (PartKind, String) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match block.kind.as_str() {
        "text" => (PartKind::Text, text(&block.text)),
        "thinking" => (PartKind::Reasoning, text(&block.thinking)),
        "tool_use" | "server_tool_use" | "mcp_tool_use" => (
            PartKind::ToolCall {
                id: text(&block.id),
                name: text(&block.name),
            },
            block
                .input
                .map_or(String::new(), |input| input.get().to_owned()),
        ),
        other => (PartKind::Other(other.to_owned()), String::new()),
    }
}
