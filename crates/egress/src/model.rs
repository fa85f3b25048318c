//! Calls of language models, read off the wire: which model, how many tokens, at what cost, to what end.
//!
//! ```text
//! relay ── copies of bytes ──▶ observer (one thread) ── call | socket ── event `model_call`
//!                                                        │                └─ conversation (with record = "full")
//!                encoding ▶ sse | whole JSON | frames ───┴─ anthropic | responses | chat | gemini ▶ answer ▶ prices
//! ```
//!
//! The relay hands over copies and goes on: nothing here delays or alters a byte. Everything but [`observer`] and
//! [`conversation`] is pure: state machines over bytes whose result does not depend on how the bytes were split. What
//! comes in is hostile (a program inside chooses its origin among those that its policy allows), so every buffer has a
//! bound, and a decoder that cannot go on gives up on its call, which the event says with a reason.
//!
//! Calls are recognised by the shape of the request alone, never by the host: gateways and models at home speak the same
//! four protocols.

mod answer;
mod anthropic;
pub mod call;
mod chat;
pub mod conversation;
mod encoding;
mod gemini;
pub(crate) mod observer;
pub mod prices;
mod redact;
mod request;
mod responses;
pub mod socket;
mod sse;
mod wire;

pub use self::answer::{Answer, Part, PartKind};
pub use self::observer::ModelRecord;
pub use self::request::Asked;
use self::wire::WireError;

/// One of the protocols that are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `POST .../v1/messages`.
    AnthropicMessages,
    /// `POST .../responses`, or a WebSocket there.
    OpenaiResponses,
    /// `POST .../chat/completions`.
    OpenaiChatCompletions,
    /// `POST ...:generateContent` and `...:streamGenerateContent`.
    GeminiGenerateContent,
}

/// How the bytes of an exchange have to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    Request,
    WebSocket,
}

impl Api {
    /// What a request for `path` would speak, if its body says so too.
    pub fn of(method: &str, path: &str) -> Option<(Self, Exchange)> {
        let path = path.split('?').next().unwrap_or_default();
        let last = path.rsplit('/').next().unwrap_or_default();
        let api = match method {
            // What the origin makes of it is seen from its answer.
            "GET" | "CONNECT" if last == "responses" => {
                return Some((Self::OpenaiResponses, Exchange::WebSocket));
            }
            "POST" if last == "responses" => Self::OpenaiResponses,
            "POST" if path.ends_with("/v1/messages") => Self::AnthropicMessages,
            "POST" if path.ends_with("/chat/completions") => Self::OpenaiChatCompletions,
            "POST" => match last.rsplit_once(':')?.1 {
                "generateContent" | "streamGenerateContent" => Self::GeminiGenerateContent,
                _ => return None,
            },
            _ => return None,
        };
        Some((api, Exchange::Request))
    }

    /// As events name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "anthropic_messages",
            Self::OpenaiResponses => "openai_responses",
            Self::OpenaiChatCompletions => "openai_chat_completions",
            Self::GeminiGenerateContent => "gemini_generate_content",
        }
    }

    /// Takes one event of a stream.
    fn take_event(self, answer: &mut Answer, event: &[u8]) -> Result<(), WireError> {
        match self {
            Self::AnthropicMessages => anthropic::take_event(answer, event),
            Self::OpenaiResponses => responses::take_event(answer, event),
            Self::OpenaiChatCompletions => chat::take_event(answer, event),
            Self::GeminiGenerateContent => gemini::take_event(answer, event),
        }
    }

    /// Takes an answer that came in one piece.
    fn take_whole(self, answer: &mut Answer, body: &[u8]) -> Result<(), WireError> {
        match self {
            Self::AnthropicMessages => anthropic::take_whole(answer, body),
            Self::OpenaiResponses => responses::take_whole(answer, body),
            Self::OpenaiChatCompletions => chat::take_whole(answer, body),
            Self::GeminiGenerateContent => gemini::take_whole(answer, body),
        }
    }
}

/// Why a call, or the rest of it, was not decoded. Its name is the `undecoded` of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecoded {
    /// The request's body is longer than is held.
    RequestTooLarge,
    /// The answer, or one event of it, is longer than is held.
    AnswerTooLarge,
    /// A content encoding that is not known, or several at once.
    UnknownEncoding,
    /// The bytes are not what their content encoding says.
    BadEncoding,
    /// Not the JSON that the protocol asks for.
    BadJson,
    /// The bytes on the WebSocket are no frames.
    BadFrames,
    /// The answer ended before its last event.
    CutShort,
    /// Calls came faster, or were longer, than what is held of all of them together.
    Overrun,
    /// A decoder has an error.
    DecoderFailed,
}

impl Undecoded {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestTooLarge => "request_too_large",
            Self::AnswerTooLarge => "answer_too_large",
            Self::UnknownEncoding => "unknown_encoding",
            Self::BadEncoding => "bad_encoding",
            Self::BadJson => "bad_json",
            Self::BadFrames => "bad_frames",
            Self::CutShort => "cut_short",
            Self::Overrun => "overrun",
            Self::DecoderFailed => "decoder_failed",
        }
    }
}

impl From<WireError> for Undecoded {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Json => Self::BadJson,
            WireError::TooLarge => Self::AnswerTooLarge,
        }
    }
}

/// Bounds on what one call can make the door hold.
pub(crate) mod limits {
    /// A request's body, as it is sent and decoded.
    pub(crate) const REQUEST: usize = 32 * 1024 * 1024;
    /// An answer in one piece, one event of a stream, or one message on a WebSocket.
    pub(crate) const EVENT: usize = 16 * 1024 * 1024;
    /// What a model said, all parts together.
    pub(crate) const ANSWER: usize = 16 * 1024 * 1024;
    /// All events of an answer together.
    pub(crate) const STREAM: u64 = 256 * 1024 * 1024;
    /// Parts of an answer, or elements of a list in a request.
    pub(crate) const ITEMS: usize = 20_000;
}

#[cfg(test)]
mod tests;
