//! What the attributes of a file ask for.

use gix::attrs::State;
use gix::bstr::{BString, ByteSlice};
use gix::filter::plumbing::eol::{AttributesDigest, Configuration, Mode};

/// In the order in which [`Wanted::new`] gets their states.
pub(super) const ATTRIBUTES: [&str; 6] = [
    "filter",
    "ident",
    "text",
    "crlf",
    "eol",
    "working-tree-encoding",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) filter: Filter,
    /// Whether keywords are replaced.
    pub(super) ident: bool,
    pub(super) digest: AttributesDigest,
    /// As the attribute names it.
    pub(super) encoding: Option<BString>,
}

/// A program that the content would go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    None,
    Lfs,
    Other,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            filter: Filter::None,
            ident: false,
            digest: AttributesDigest::Binary,
            encoding: None,
        }
    }
}

impl Wanted {
    pub(super) fn new(states: &[State], settings: Configuration) -> Self {
        let [filter, ident, text, crlf, eol, encoding] = states else {
            return Self::default();
        };
        let filter = match filter {
            State::Value(name) if name.as_ref().as_bstr() == "lfs" => Filter::Lfs,
            State::Value(_) => Filter::Other,
            _ => Filter::None,
        };
        let encoding = match encoding {
            State::Value(name) => Some(name.as_ref().as_bstr().to_owned()),
            _ => None,
        };
        Self {
            filter,
            ident: matches!(ident, State::Set),
            digest: digest(text, crlf, eol, settings),
            encoding,
        }
    }
}

/// `convert_attrs` of git.
fn digest(text: &State, crlf: &State, eol: &State, settings: Configuration) -> AttributesDigest {
    let said = is_text(text).or_else(|| is_text(crlf));
    if said == Some(AttributesDigest::Binary) {
        return AttributesDigest::Binary;
    }
    match (said, endings(eol)) {
        (Some(AttributesDigest::TextAuto), Some(Mode::Lf)) => AttributesDigest::TextAutoInput,
        (Some(AttributesDigest::TextAuto), Some(Mode::CrLf)) => AttributesDigest::TextAutoCrlf,
        (_, Some(mode)) => mode.into(),
        (Some(AttributesDigest::Text), None) => settings.to_eol().into(),
        (Some(digest), None) => digest,
        (None, None) => settings.auto_crlf.into(),
    }
}

fn is_text(state: &State) -> Option<AttributesDigest> {
    match state {
        State::Set => Some(AttributesDigest::Text),
        State::Unset => Some(AttributesDigest::Binary),
        State::Value(value) => match value.as_ref().as_bstr().as_bytes() {
            b"input" => Some(AttributesDigest::TextInput),
            b"auto" => Some(AttributesDigest::TextAuto),
            _ => None,
        },
        State::Unspecified => None,
    }
}

fn endings(state: &State) -> Option<Mode> {
    match state {
        State::Value(value) => match value.as_ref().as_bstr().as_bytes() {
            b"lf" => Some(Mode::Lf),
            b"crlf" => Some(Mode::CrLf),
            _ => None,
        },
        _ => None,
    }
}
