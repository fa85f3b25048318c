//! A document as a tree in which each value and key knows where it stands.

use std::ops::Range;

/// Byte offsets into the text.
pub(super) type Span = Range<usize>;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    Array(Vec<Node>),
    /// In the order of the text or of the alphabet; keys are unique.
    Table(Vec<(Key, Node)>),
    /// A TOML date or time: nothing in a manifest is one.
    Date,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) span: Span,
    pub(super) text: String,
}

/// Why a text is no document at all.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SyntaxError {
    pub(super) offset: usize,
    pub(super) message: String,
}

impl Value {
    /// For "expected this, found that".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a decimal number",
            Self::String(_) => "a string",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Date => "a date",
        }
    }
}
