//! What was said to a language model, and what that took.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RequestId;
use crate::chain::Digest;

/// A call of a language model is over: read off the wire, as the vendor reported it. One for each answer: a request
/// makes one, a WebSocket any number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelCall {
    pub request: RequestId,
    /// `anthropic_messages`, `openai_responses`, `openai_chat_completions`, `gemini_generate_content`.
    pub api: String,
    /// The model that was asked for. None: the request did not say, or was not decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model that answered, as it names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<String>,
    pub tokens: ModelTokens,
    /// Millionths of a US dollar, at list prices: a subscription is charged otherwise. None: no price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micro_usd: Option<u64>,
    /// The table that the prices are from, and its entry: `built-in 2026-10: claude-opus-4-6*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// To the first of what the model says. None: it said nothing, or that moment could not be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds_to_first_token: Option<u64>,
    /// From the request's head (or, on a WebSocket, from the program's message) to the end of the answer.
    pub milliseconds: u64,
    /// Why the model stopped, in the vendor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
    /// What went wrong instead, in the vendor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ModelToolCall>,
    /// Tool calls beyond those listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub further_tool_calls: u64,
    /// Whether all of the call could be read.
    pub decoded: bool,
    /// Why not: `answer_too_large`, `cut_short`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecoded: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ModelConversation>,
    /// Why there is no conversation although it was to be kept: `store_full`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_absent: Option<String>,
}

/// Tokens as the vendor counted them, in one vocabulary: vendors differ in whether `input` holds what was cached.
/// None: the vendor did not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelTokens {
    /// All of the input, cached or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<u64>,
    /// All of the output, reasoning included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    /// Of the input: read from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_read: Option<u64>,
    /// Of the input: written to a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_write: Option<u64>,
    /// Of those written to a cache: to be kept for an hour, which costs more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_write_hour: Option<u64>,
    /// Of the output: reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
}

/// A tool that the model asked the program to call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelToolCall {
    pub name: String,
    /// By which the next request names its result.
    pub id: String,
    /// SHA-256 of the arguments: as compact JSON with sorted keys, or as they came if they are no JSON.
    pub arguments: Digest,
}

/// Where the text of a call is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelConversation {
    /// Names the list of the request's messages and the answer, each by its own SHA-256, so that a journal that
    /// verifies vouches for every word.
    pub sha256: Digest,
    /// Messages of the request.
    pub messages: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
