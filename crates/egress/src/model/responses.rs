//! The Responses API of OpenAI: <https://platform.openai.com/docs/api-reference/responses-streaming>. The same events come
//! server-sent and as messages of a WebSocket.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{Answer, PartKind, newer};
use super::wire::{ErrorBody, Failure, List, Scalar, WireError, parse};

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    output_index: u64,
    #[serde(default)]
    delta: Scalar,
    #[serde(borrow, default)]
    item: Option<Item<'a>>,
    #[serde(borrow, default)]
    response: Option<Response<'a>>,
    #[serde(default)]
    error: Option<Failure>,
    #[serde(default)]
    code: Scalar,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(borrow, default)]
    output: List<Item<'a>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    service_tier: Scalar,
    #[serde(default)]
    incomplete_details: Option<Incomplete>,
    #[serde(default)]
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Incomplete {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    call_id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
    #[serde(default)]
    input: Option<String>,
    #[serde(borrow, default)]
    action: Option<&'a RawValue>,
    #[serde(default)]
    content: Option<List<Content>>,
    #[serde(default)]
    summary: Option<List<Content>>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    input_tokens_details: Option<InputDetails>,
    #[serde(default)]
    output_tokens_details: Option<OutputDetails>,
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
    // Chat's mark, which some gateways send here too.
    if event.trim_ascii() == b"[DONE]" {
        return Ok(());
    }
    let event: Event<'_> = parse(event)?;
    let place = event.output_index;
    match event.kind.as_str() {
        "response.output_text.delta" | "response.refusal.delta" => {
            answer.append(place, PartKind::Text, &event.delta.0.unwrap_or_default())?;
        }
        "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
            let text = event.delta.0.unwrap_or_default();
            answer.append(place, PartKind::Reasoning, &text)?;
        }
        "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
            let kind = PartKind::Other("function_call".into());
            answer.append(place, kind, &event.delta.0.unwrap_or_default())?;
        }
        "response.output_item.added" | "response.output_item.done" => {
            if let Some(item) = event.item {
                let (kind, text) = part(item);
                answer.set(place, kind, text)?;
            }
        }
        "response.created" | "response.in_progress" => {
            newer(&mut answer.model, event.response.and_then(|it| it.model));
        }
        "response.completed" | "response.incomplete" | "response.failed" => {
            if let Some(response) = event.response {
                take_response(answer, response)?;
            }
            answer.complete = true;
        }
        "error" => {
            let named = event.error.and_then(|error| error.0).or(event.code.0);
            answer.error = Some(named.unwrap_or_else(|| ErrorBody::default().name()));
            answer.complete = true;
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn take_whole(answer: &mut Answer, body: &[u8]) -> Result<(), WireError> {
    take_response(answer, parse(body)?)?;
    answer.complete = true;
    Ok(())
}

fn take_response(answer: &mut Answer, response: Response<'_>) -> Result<(), WireError> {
    newer(&mut answer.model, response.model);
    newer(&mut answer.error, response.error.and_then(|error| error.0));
    let why = response.incomplete_details.and_then(|it| it.reason);
    newer(&mut answer.stop, why.or(response.status));
    if let Some(usage) = response.usage {
        let tokens = &mut answer.tokens;
        newer(&mut tokens.input, usage.input_tokens);
        newer(&mut tokens.output, usage.output_tokens);
        if let Some(details) = usage.input_tokens_details {
            newer(&mut tokens.cached_read, details.cached_tokens);
            newer(&mut tokens.cached_write, details.cache_write_tokens);
        }
        let details = usage.output_tokens_details;
        newer(
            &mut tokens.reasoning,
            details.and_then(|it| it.reasoning_tokens),
        );
    }
    if let Some(tier) = response.service_tier.0 {
        answer.tier = (tier != "default" && tier != "auto").then_some(tier);
    }
    for (index, item) in response.output.0.into_iter().enumerate() {
        let (kind, text) = part(item);
        answer.set(index as u64, kind, text)?;
    }
    Ok(())
}

fn part(item: Item<'_>) -> (PartKind, String) {
    let joined = |list: Option<List<Content>>| {
        let pieces = list.map_or(Vec::new(), |it| it.0).into_iter();
        let texts: Vec<_> = pieces.filter_map(|it| it.text.or(it.refusal)).collect();
        texts.join("\n")
    };
    match item.kind.as_str() {
        "message" => (PartKind::Text, joined(item.content)),
        "reasoning" => {
            let summary = joined(item.summary);
            let text = match summary.is_empty() {
                true => joined(item.content),
                false => summary,
            };
            (PartKind::Reasoning, text)
        }
        kind if kind.ends_with("_call") => {
            let name = item.name.unwrap_or_else(|| kind.to_owned());
            let action = item.action.map(|action| action.get().to_owned());
            (
                PartKind::ToolCall {
                    id: item.call_id.or(item.id).unwrap_or_default(),
                    name: match item.namespace {
                        Some(space) if space != "functions" => format!("{space}.{name}"),
                        _ => name,
                    },
                },
                item.arguments.or(item.input).or(action).unwrap_or_default(),
            )
        }
        other => (PartKind::Other(other.to_owned()), String::new()),
    }
}
