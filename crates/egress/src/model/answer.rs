//! What a model answered, whichever protocol it came by.

use wardian_events::ModelTokens;

use super::limits;
use super::wire::WireError;

/// The answer as far as it has come.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The model that answered, as it names itself.
    pub model: Option<String>,
    pub tokens: ModelTokens,
    /// As the vendor calls it: `end_turn`, `tool_use`, `stop`, `max_output_tokens`, ...
    pub stop: Option<String>,
    /// The vendor's name of what went wrong.
    pub error: Option<String>,
    /// Anything but the vendor's usual terms, which have other prices: `priority`, `batch`, ...
    pub tier: Option<String>,
    pub parts: Vec<Part>,
    /// The event that ends an answer was there.
    pub(crate) complete: bool,
    held: usize,
    begun: bool,
}

/// One piece of what a model said.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// Where the protocol places it. Unique among the parts.
    place: u64,
    pub kind: PartKind,
    /// A tool's arguments as the model wrote them, mostly JSON.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartKind {
    Text,
    Reasoning,
    ToolCall {
        id: String,
        name: String,
    },
    /// By the vendor's name for it.
    Other(String),
}

impl Answer {
    /// Has the model said anything yet? What it said may have been replaced since.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Bytes that are held of it, about.
    pub(crate) fn held(&self) -> usize {
        self.held + self.parts.capacity() * size_of::<Part>()
    }

    pub fn tool_calls(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.parts.iter().filter_map(|part| match &part.kind {
            PartKind::ToolCall { id, name } => {
                Some((id.as_str(), name.as_str(), part.text.as_str()))
            }
            _ => None,
        })
    }

    /// The part at `place`, made if there is none.
    pub(super) fn part(&mut self, place: u64, kind: PartKind) -> Result<&mut Part, WireError> {
        // What is streamed is appended to the last part, nearly always.
        let found = self.parts.iter().rposition(|part| part.place == place);
        let at = match found {
            Some(at) => at,
            None => {
                if self.parts.len() == limits::ITEMS {
                    return Err(WireError::TooLarge);
                }
                let text = String::new();
                self.parts.push(Part { place, kind, text });
                self.parts.len() - 1
            }
        };
        Ok(&mut self.parts[at])
    }

    /// Appends to the part at `place`.
    pub(super) fn append(
        &mut self,
        place: u64,
        kind: PartKind,
        text: &str,
    ) -> Result<(), WireError> {
        self.hold(text.len())?;
        self.begin(&kind, text);
        self.part(place, kind)?.text.push_str(text);
        Ok(())
    }

    /// Puts a part in the place of what is there.
    pub(super) fn set(
        &mut self,
        place: u64,
        kind: PartKind,
        text: String,
    ) -> Result<(), WireError> {
        self.hold(text.len())?;
        self.begin(&kind, &text);
        let part = self.part(place, kind.clone())?;
        part.kind = kind;
        let before = std::mem::replace(&mut part.text, text).len();
        self.held -= before;
        Ok(())
    }

    /// Says what the tool call at `place` is called, as far as is known.
    pub(super) fn name_tool(
        &mut self,
        place: u64,
        id: Option<String>,
        name: Option<String>,
    ) -> Result<(), WireError> {
        let named = id.as_ref().map_or(0, String::len) + name.as_ref().map_or(0, String::len);
        self.hold(named)?;
        let part = self.part(place, PartKind::Other(String::new()))?;
        if let PartKind::ToolCall {
            id: known_id,
            name: known_name,
        } = &mut part.kind
        {
            *known_id = id
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| std::mem::take(known_id));
            *known_name = name
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| std::mem::take(known_name));
        }
        Ok(())
    }

    /// The place of the last part if it is of this kind, else a new one.
    pub(super) fn last_or_new(&self, kind: &PartKind) -> u64 {
        match self.parts.last() {
            Some(part) if part.kind == *kind => part.place,
            Some(part) => part.place + 1,
            None => 0,
        }
    }

    pub(super) fn next_place(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.place + 1)
    }

    fn begin(&mut self, kind: &PartKind, text: &str) {
        self.begun |= !text.is_empty() || matches!(kind, PartKind::ToolCall { .. });
    }

    fn hold(&mut self, bytes: usize) -> Result<(), WireError> {
        self.held += bytes;
        match self.held <= limits::ANSWER {
            true => Ok(()),
            false => Err(WireError::TooLarge),
        }
    }
}

/// Takes what a later message says over what an earlier one said.
pub(super) fn newer<T>(known: &mut Option<T>, said: Option<T>) {
    if said.is_some() {
        *known = said;
    }
}
