//! The shape of a manifest as people write it, in TOML or JSON. `convert` gives it meaning.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::decode::Spanned;

type Text = Spanned<String>;
type List<T> = Spanned<Vec<Spanned<T>>>;

/// What one sandbox may do. Later also the body of `[sandbox.NAME]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    pub(super) presets: Vec<Text>,
    pub(super) limits: LimitsTable,
    pub(super) sandbox: SandboxTable,
    pub(super) egress: Vec<Spanned<EgressTable>>,
    pub(super) env: Entries<EnvEntry>,
    pub(super) credential: Entries<Spanned<CredentialTable>>,
}

/// A built-in preset: what it is for, how its program is started, and a document.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PresetDocument {
    pub(super) description: String,
    #[serde(default)]
    pub(super) programs: Vec<String>,
    #[serde(default)]
    pub(super) command: Vec<String>,
    #[serde(default)]
    pub(super) autonomy_args: Vec<String>,
    pub(super) briefing: Option<Text>,
    #[serde(default)]
    pub(super) copies: Vec<Text>,
    #[serde(default)]
    pub(super) settings: Vec<SettingsTable>,
    #[serde(default)]
    pub(super) policy: Document,
}

/// A file of settings, and what of it is carried over.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsTable {
    pub(super) path: Text,
    pub(super) keys: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsTable {
    pub(super) memory: Option<Spanned<Scalar>>,
    pub(super) cpus: Option<Spanned<Scalar>>,
    pub(super) pids: Option<Spanned<Scalar>>,
    pub(super) files: Option<Spanned<Scalar>>,
    pub(super) disk: Option<Spanned<Scalar>>,
    pub(super) time: Option<Spanned<Scalar>>,
    pub(super) require: Vec<Spanned<LimitWord>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LimitWord {
    Memory,
    Cpus,
    Pids,
    Files,
    Disk,
    Time,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SandboxTable {
    pub(super) nested: bool,
    pub(super) visible: Vec<Text>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EgressTable {
    pub(super) host: Text,
    pub(super) ports: Option<List<PortEntry>>,
    pub(super) methods: Option<List<String>>,
    pub(super) paths: Option<List<String>>,
    #[serde(default)]
    pub(super) action: ActionWord,
    #[serde(default)]
    pub(super) protocol: ProtocolWord,
    pub(super) inspect: Option<Spanned<bool>>,
    pub(super) connect: Option<Text>,
    pub(super) ca: Option<Text>,
    pub(super) proxy: Option<Text>,
    pub(super) proxy_credential: Option<Text>,
    pub(super) credential: Option<OneOrMany>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ActionWord {
    #[default]
    Allow,
    Deny,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ProtocolWord {
    #[default]
    Http,
    Tcp,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CredentialTable {
    pub(super) source: Spanned<SourceTable>,
    pub(super) hosts: List<String>,
    pub(super) inject: Option<Spanned<InjectEntry>>,
    pub(super) placeholder: Option<Text>,
    #[serde(default)]
    pub(super) optional: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceTable {
    pub(super) env: Option<OneOrMany>,
    pub(super) file: Option<Text>,
    pub(super) command: Option<List<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InjectTable {
    pub(super) header: Option<Text>,
    pub(super) format: Option<Text>,
    pub(super) basic: Option<Text>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvTable {
    pub(super) from_env: Option<Text>,
    pub(super) credential: Option<Text>,
}

/// `"placeholder"` or a table.
#[derive(Debug, Clone)]
pub(super) enum InjectEntry {
    Word(String),
    Table(InjectTable),
}

/// `"text"` or a table.
#[derive(Debug, Clone)]
pub(super) enum EnvEntry {
    Literal(Text),
    Table(Spanned<EnvTable>),
}

/// `443` or `"8000-8100"`.
#[derive(Debug, Clone)]
pub(super) enum PortEntry {
    Number(i64),
    Range(String),
}

/// `"a"` or `["a", "b"]`.
#[derive(Debug, Clone)]
pub(super) struct OneOrMany(pub(super) Vec<Text>);

/// A string or a number, as text.
#[derive(Debug, Clone)]
pub(super) struct Scalar(pub(super) String);

/// A table whose keys are names.
#[derive(Debug, Clone)]
pub(super) struct Entries<T>(pub(super) Vec<(Text, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for InjectEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InjectVisitor;

        impl<'de> Visitor<'de> for InjectVisitor {
            type Value = InjectEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"placeholder\", { header, format } or { basic }")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<InjectEntry, E> {
                Ok(InjectEntry::Word(word.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<InjectEntry, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(access)).map(InjectEntry::Table)
            }
        }

        deserializer.deserialize_any(InjectVisitor)
    }
}

impl<'de> Deserialize<'de> for EnvEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        enum Either {
            Literal(String),
            Table(EnvTable),
        }

        struct EnvVisitor;

        impl<'de> Visitor<'de> for EnvVisitor {
            type Value = Either;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, { from_env = \"NAME\" } or { credential = \"name\" }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Either, E> {
                Ok(Either::Literal(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Either, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(access)).map(Either::Table)
            }
        }

        impl<'de> Deserialize<'de> for Either {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(EnvVisitor)
            }
        }

        let Spanned { span, value } = Spanned::<Either>::deserialize(deserializer)?;
        Ok(match value {
            Either::Literal(value) => Self::Literal(Spanned { span, value }),
            Either::Table(value) => Self::Table(Spanned { span, value }),
        })
    }
}

impl<'de> Deserialize<'de> for PortEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortVisitor;

        impl Visitor<'_> for PortVisitor {
            type Value = PortEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port such as 443, or a range such as \"8000-8100\"")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<PortEntry, E> {
                Ok(PortEntry::Number(number))
            }

            fn visit_str<E: Error>(self, range: &str) -> Result<PortEntry, E> {
                Ok(PortEntry::Range(range.to_owned()))
            }
        }

        deserializer.deserialize_any(PortVisitor)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;

        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a string")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }
        }

        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        enum Either {
            One(String),
            Many(Vec<Text>),
        }

        struct EitherVisitor;

        impl<'de> Visitor<'de> for EitherVisitor {
            type Value = Either;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Either, E> {
                Ok(Either::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Either, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(Either::Many(items))
            }
        }

        impl<'de> Deserialize<'de> for Either {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(EitherVisitor)
            }
        }

        let Spanned { span, value } = Spanned::<Either>::deserialize(deserializer)?;
        Ok(Self(match value {
            Either::One(value) => vec![Spanned { span, value }],
            Either::Many(items) => items,
        }))
    }
}
