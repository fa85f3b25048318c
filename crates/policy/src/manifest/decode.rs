//! From the tree to the wire types, by serde, without losing the place of anything.

use std::fmt;
use std::ops::Range;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::{Deserialize, de, forward_to_deserialize_any};

use super::node::{Key, Node, Span, Value};

/// Decodes a whole document.
pub(super) fn decode<'de, T: Deserialize<'de>>(node: &'de Node) -> Result<T, DecodeError> {
    T::deserialize(NodeDeserializer(node))
}

/// A value and where it stands.
#[derive(Debug, Clone, Default)]
pub struct Spanned<T> {
    /// Byte offsets into the text; `0..0` if it was in none.
    pub span: Range<usize>,
    /// The value.
    pub value: T,
}

/// For documents that a program writes.
impl<T> From<T> for Spanned<T> {
    fn from(value: T) -> Self {
        Self { span: 0..0, value }
    }
}

impl From<&str> for Spanned<String> {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct DecodeError {
    pub(super) kind: DecodeErrorKind,
    /// The innermost place that is known.
    pub(super) span: Option<Span>,
    /// Keys from the inside out.
    pub(super) path: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum DecodeErrorKind {
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    UnknownWord {
        word: String,
        known: &'static [&'static str],
    },
    MissingKey(&'static str),
    Other(String),
}

impl DecodeError {
    fn new(kind: DecodeErrorKind) -> Self {
        Self {
            kind,
            span: None,
            path: Vec::new(),
        }
    }

    fn at(mut self, span: &Span) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }

    fn below(mut self, key: impl Into<String>) -> Self {
        self.path.push(key.into());
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(DecodeErrorKind::Other(message.to_string()))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(DecodeErrorKind::UnknownKey {
            key: key.to_owned(),
            known,
        })
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(DecodeErrorKind::UnknownWord {
            word: word.to_owned(),
            known,
        })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(DecodeErrorKind::MissingKey(key))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match unexpected {
            Unexpected::Bool(_) => "a boolean",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
            Unexpected::Float(_) => "a decimal number",
            Unexpected::Str(_) => "a string",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a table",
            Unexpected::Unit => "null",
            _ => "something else",
        };
        let expected = match expected.to_string() {
            sequence if sequence.starts_with("a sequence") => "a list".to_owned(),
            table if table.starts_with("struct ") || table.starts_with("a map") => {
                "a table".to_owned()
            }
            other => other,
        };
        Self::custom(format_args!("{expected} should stand here, not {found}"))
    }
}

#[derive(Clone, Copy)]
struct NodeDeserializer<'de>(&'de Node);

const SPANNED: &str = "$wardian::Spanned";

impl<'de> Deserializer<'de> for NodeDeserializer<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let Node { span, value } = self.0;
        match value {
            Value::Null => Err(DecodeError::new(DecodeErrorKind::Other(
                "null says nothing: leave the key out, or give it a value".to_owned(),
            ))),
            Value::Date => Err(DecodeError::new(DecodeErrorKind::Other(format!(
                "{} has no meaning here",
                value.kind()
            )))),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(ListAccess { items, next: 0 }),
            Value::Table(entries) => visitor.visit_map(TableAccess { entries, next: 0 }),
        }
        .map_err(|error: DecodeError| error.at(span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == SPANNED {
            return visitor.visit_seq(SpannedAccess {
                span: &self.0.span,
                value: Inner::Node(self.0),
                step: 0,
            });
        }
        // Derived code would also take a list of the fields' values, in their order: no manifest means that.
        match &self.0.value {
            Value::Table(_) | Value::Null | Value::Date => self.deserialize_any(visitor),
            other => Err(DecodeError::new(DecodeErrorKind::Other(format!(
                "a table should stand here, not {}",
                other.kind()
            )))
            .at(&self.0.span)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match &self.0.value {
            Value::String(text) => visitor.visit_enum(WordAccess(text)),
            other => Err(de::Error::custom(format_args!(
                "a string should stand here, not {}",
                other.kind()
            ))),
        }
        .map_err(|error: DecodeError| error.at(&self.0.span))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct KeyDeserializer<'de>(&'de Key);

impl<'de> Deserializer<'de> for KeyDeserializer<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor
            .visit_borrowed_str(&self.0.text)
            .map_err(|error: DecodeError| error.at(&self.0.span))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == SPANNED {
            return visitor.visit_seq(SpannedAccess {
                span: &self.0.span,
                value: Inner::Key(self.0),
                step: 0,
            });
        }
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct ListAccess<'de> {
    items: &'de [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for ListAccess<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(node) = self.items.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        seed.deserialize(NodeDeserializer(node))
            .map(Some)
            .map_err(|error| error.at(&node.span).below(format!("[{}]", self.next)))
    }
}

struct TableAccess<'de> {
    entries: &'de [(Key, Node)],
    next: usize,
}

impl<'de> MapAccess<'de> for TableAccess<'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        let Some((key, _)) = self.entries.get(self.next) else {
            return Ok(None);
        };
        seed.deserialize(KeyDeserializer(key))
            .map(Some)
            .map_err(|error| error.at(&key.span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, DecodeError> {
        let (key, node) = self
            .entries
            .get(self.next)
            .ok_or_else(|| de::Error::custom("a value was asked for without its key"))?;
        self.next += 1;
        seed.deserialize(NodeDeserializer(node))
            .map_err(|error| error.at(&node.span).below(&key.text))
    }
}

struct WordAccess<'de>(&'de str);

impl<'de> EnumAccess<'de> for WordAccess<'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), DecodeError> {
        let word: StrDeserializer<'_, DecodeError> = self.0.into_deserializer();
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for WordAccess<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, DecodeError> {
        Err(de::Error::custom("a table should stand here, not a string"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, DecodeError> {
        Err(de::Error::custom("a list should stand here, not a string"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, DecodeError> {
        Err(de::Error::custom("a table should stand here, not a string"))
    }
}

enum Inner<'de> {
    Node(&'de Node),
    Key(&'de Key),
}

/// Start, end, value: how [`Spanned`] asks for its place.
struct SpannedAccess<'de> {
    span: &'de Span,
    value: Inner<'de>,
    step: usize,
}

impl<'de> SeqAccess<'de> for SpannedAccess<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        self.step += 1;
        match (self.step, &self.value) {
            (1, _) => seed.deserialize(self.span.start.into_deserializer()),
            (2, _) => seed.deserialize(self.span.end.into_deserializer()),
            (3, Inner::Node(node)) => seed.deserialize(NodeDeserializer(node)),
            (3, Inner::Key(key)) => seed.deserialize(KeyDeserializer(key)),
            _ => return Ok(None),
        }
        .map(Some)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpannedVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for SpannedVisitor<T> {
            type Value = Spanned<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Spanned<T>, A::Error> {
                let missing = || de::Error::custom("a value has no place");
                let start = access.next_element()?.ok_or_else(missing)?;
                let end = access.next_element()?.ok_or_else(missing)?;
                let value = access.next_element()?.ok_or_else(missing)?;
                Ok(Spanned {
                    span: start..end,
                    value,
                })
            }
        }

        deserializer.deserialize_struct(
            SPANNED,
            &["start", "end", "value"],
            SpannedVisitor(std::marker::PhantomData),
        )
    }
}
