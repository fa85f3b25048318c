//! What a program asks of a model: the one document that all four protocols send, each with its own keys.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Api;
use super::wire::{List, WireError, parse};

/// A request as far as it is of interest. Texts are JSON as the program wrote it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub model: Option<String>,
    /// The answer that this one goes on from, where the vendor keeps it.
    pub previous: Option<String>,
    pub system: Option<String>,
    pub tools: Option<String>,
    pub messages: Vec<String>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    previous_response_id: Option<String>,
    #[serde(borrow, default)]
    messages: Option<List<&'a RawValue>>,
    #[serde(borrow, default)]
    contents: Option<List<&'a RawValue>>,
    /// A text or a list.
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    system: Option<&'a RawValue>,
    #[serde(borrow, default)]
    instructions: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "systemInstruction")]
    system_instruction: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
    /// In some gateways to Gemini the request proper is in here.
    #[serde(borrow, default)]
    request: Option<&'a RawValue>,
}

impl Asked {
    /// Bytes that are held of it, about.
    pub(crate) fn held(&self) -> usize {
        let texts = [&self.system, &self.tools].into_iter().flatten();
        let all = texts.chain(&self.messages);
        all.map(|text| text.len() + size_of::<String>()).sum()
    }

    /// None: whatever it is, it is not a call by this protocol.
    pub(crate) fn read(api: Api, path: &str, body: &[u8]) -> Result<Option<Self>, WireError> {
        let outer: Body<'_> = parse(body)?;
        let wrapped = match (api, outer.request) {
            (Api::GeminiGenerateContent, Some(inner)) => {
                Some(parse::<Body<'_>>(inner.get().as_bytes())?)
            }
            _ => None,
        };
        let model = outer.model.as_deref().map(str::to_owned);
        let body = wrapped.unwrap_or(outer);
        let text = |value: Option<&RawValue>| value.map(|value| value.get().to_owned());
        let (system, messages) = match api {
            Api::AnthropicMessages => (body.system, body.messages),
            Api::OpenaiChatCompletions => (None, body.messages),
            Api::OpenaiResponses => (
                body.instructions,
                body.input.map(|input| {
                    let listed = serde_json::from_str::<List<&RawValue>>(input.get());
                    listed.unwrap_or_else(|_| List(vec![input]))
                }),
            ),
            Api::GeminiGenerateContent => (body.system_instruction, body.contents),
        };
        let Some(List(messages)) = messages else {
            return Ok(None);
        };
        let model = model.or_else(|| model_in_path(api, path));
        // A document with `messages` may be anything; with a model it is a call.
        if model.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            model,
            previous: body.previous_response_id,
            system: text(system),
            tools: text(body.tools),
            messages: messages.iter().map(|it| it.get().to_owned()).collect(),
        }))
    }
}

/// `models/NAME:generateContent`, or `deployments/NAME/chat/completions`.
fn model_in_path(api: Api, path: &str) -> Option<String> {
    let path = path.split('?').next().unwrap_or_default();
    let name = match api {
        Api::GeminiGenerateContent => path.rsplit('/').next()?.rsplit_once(':')?.0,
        _ => path.split_once("/deployments/")?.1.split('/').next()?,
    };
    (!name.is_empty()).then(|| name.to_owned())
}
