//! What serde cannot derive: keys that take a word or a table, and tables whose keys are names.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{
    CacheWord, CredentialTable, EgressTable, Entries, EnvEntry, EnvTable, InjectEntry, LimitsTable,
    OneOrMany, PolicyDocument, PortEntry, RecordWord, SandboxTable, Scalar, Spanned, Text,
    WorkspaceTable, Workspaces,
};

/// All keys at one level: serde's `flatten` would lose places and let unknown keys pass.
impl<'de> Deserialize<'de> for PolicyDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Flat {
            presets: Vec<Text>,
            limits: LimitsTable,
            egress: Vec<Spanned<EgressTable>>,
            env: Entries<EnvEntry>,
            credential: Entries<Spanned<CredentialTable>>,
            workspace: Option<Workspaces>,
            nested: Option<Spanned<bool>>,
            visible: Vec<Text>,
            cache: Vec<Spanned<CacheWord>>,
            record: Option<Spanned<RecordWord>>,
            extends: Option<OneOrMany>,
        }

        let Flat {
            presets,
            limits,
            egress,
            env,
            credential,
            workspace,
            nested,
            visible,
            cache,
            record,
            extends,
        } = Flat::deserialize(deserializer)?;
        Ok(Self {
            sandbox: SandboxTable {
                extends,
                presets,
                workspace,
                nested,
                visible,
                cache,
                record,
                limits,
                env,
                egress,
            },
            credential,
        })
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
                f.write_str("a string, { from_env = \"NAME\" }, { credential = \"name\" } or { prompt = \"text\" }")
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

impl<'de> Deserialize<'de> for Workspaces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        enum Either {
            One(Box<WorkspaceTable>),
            Many(Vec<Spanned<WorkspaceTable>>),
        }

        struct EitherVisitor;

        impl<'de> Visitor<'de> for EitherVisitor {
            type Value = Either;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table such as { clone = \".\" }, or a list of such tables")
            }

            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Either, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(access)).map(Either::One)
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
            Either::One(value) => vec![Spanned {
                span,
                value: *value,
            }],
            Either::Many(items) => items,
        }))
    }
}
