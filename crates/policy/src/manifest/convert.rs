//! From the wire types to rules, limits and variables.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::convert_credential::{credential, credential_name};
use super::convert_manifest::located;
use super::convert_rule::rule;
use super::convert_workspace::workspaces;
use super::decode::Spanned;
use super::wire::{
    CacheWord, EnvEntry, EnvTable, LimitWord, LimitsTable, OneOrMany, PolicyDocument, RecordWord,
    SandboxTable, Scalar, Text,
};
use super::{ManifestError, Place, Source};
use crate::credential::CredentialSpec;
use crate::environment::{EnvName, EnvValue, EnvVar};
use crate::host::HostPattern;
use crate::limits::{Limit, LimitKind};
use crate::policy::Nested;
use crate::rule::{Origin, Rule, RuleId};
use crate::settings::{CacheKind, Recording, WorkspaceSpec};
use crate::visible::VisiblePath;

/// One document's share of a policy, or what several say together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fragment {
    pub(crate) extends: Vec<Located<String>>,
    pub(crate) presets: Vec<Located<String>>,
    pub(crate) workspaces: Option<Located<Workspaces>>,
    pub(crate) limits: BTreeMap<LimitKind, Located<Limit>>,
    pub(crate) require: Vec<Located<LimitKind>>,
    pub(crate) nested: Option<Located<Nested>>,
    pub(crate) visible: Vec<Located<VisiblePath>>,
    pub(crate) cache: Vec<Located<CacheKind>>,
    pub(crate) record: Option<Located<Recording>>,
    pub(crate) rules: Vec<RuleDraft>,
    pub(crate) environment: Vec<Located<EnvVar>>,
    pub(crate) credentials: Vec<Located<CredentialSpec>>,
}

/// Places to work on, the main one first, and who named them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workspaces {
    pub(crate) specs: Vec<WorkspaceSpec>,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

pub(crate) type RuleDraft = Located<Rule>;

/// The file of `--policy`, or the policy of a preset.
pub(super) fn policy_document(
    source: &Source<'_>,
    document: PolicyDocument,
    origin: &Origin,
) -> Result<Fragment, ManifestError> {
    let PolicyDocument {
        sandbox: table,
        credential: credentials,
    } = document;
    if let Some(OneOrMany(names)) = &table.extends {
        let start = names.first().map_or(0, |name| name.span.start);
        return Err(source.place(start).error(
            "`extends` is for the sandboxes of a wardian.toml; this file stands above the one that `--sandbox` names",
        ));
    }
    let mut fragment = sandbox(source, table, &source.rule_label(), origin)?;
    fragment.credentials = credentials
        .0
        .into_iter()
        .map(|(name, table)| credential(source, &name, table, origin))
        .collect::<Result<_, _>>()?;
    Ok(fragment)
}

/// One sandbox. Rules are called after `label`.
pub(super) fn sandbox(
    source: &Source<'_>,
    table: SandboxTable,
    label: &Arc<str>,
    origin: &Origin,
) -> Result<Fragment, ManifestError> {
    let SandboxTable {
        extends,
        presets,
        workspace,
        nested,
        visible,
        cache,
        record,
        limits: limits_table,
        env,
        egress,
    } = table;
    let rules = (1..)
        .zip(egress)
        .map(|(number, table)| rule(source, table.value, RuleId::new(label, number), origin))
        .collect::<Result<Vec<_>, _>>()?;
    refuse_conflicting_routes(&rules)?;
    let texts = |texts: Vec<Text>| texts.into_iter().map(|text| located(source, text));
    let require = limits_table.require.clone();
    Ok(Fragment {
        extends: texts(extends.map_or_else(Vec::new, |OneOrMany(names)| names)).collect(),
        presets: texts(presets).collect(),
        workspaces: workspace
            .map(|tables| {
                let start = tables.0.first().map(|table| table.span.start);
                let start = start.ok_or_else(|| {
                    source
                        .place(0)
                        .error("`workspace` is an empty list: leave it out or fill it")
                })?;
                Ok(Located {
                    place: source.place(start),
                    value: Workspaces {
                        specs: workspaces(source, tables)?,
                        origin: origin.clone(),
                    },
                })
            })
            .transpose()?,
        limits: limits(source, limits_table)?,
        require: require
            .iter()
            .map(|word| source.locate(word, limit_kind(word.value)))
            .collect(),
        nested: nested.map(|nested| {
            let value = match nested.value {
                true => Nested::Granted,
                false => Nested::Refused,
            };
            source.locate(&nested, value)
        }),
        visible: visible
            .iter()
            .map(|path| {
                let parsed = at(source, path, VisiblePath::parse(&path.value))?;
                Ok(source.locate(path, parsed))
            })
            .collect::<Result<_, ManifestError>>()?,
        cache: cache
            .iter()
            .map(|word| {
                let kind = match word.value {
                    CacheWord::Cargo => CacheKind::Cargo,
                    CacheWord::Npm => CacheKind::Npm,
                    CacheWord::Pip => CacheKind::Pip,
                    CacheWord::Go => CacheKind::Go,
                };
                source.locate(word, kind)
            })
            .collect(),
        record: record.map(|word| {
            let recording = match word.value {
                RecordWord::Metadata => Recording::Metadata,
                RecordWord::Full => Recording::Full,
            };
            source.locate(&word, recording)
        }),
        rules,
        environment: env
            .0
            .into_iter()
            .map(|(name, entry)| variable(source, &name, entry, origin))
            .collect::<Result<_, _>>()?,
        credentials: Vec::new(),
    })
}

/// Puts the place of `spanned` to an error.
pub(super) fn at<T, V, E: std::fmt::Display>(
    source: &Source<'_>,
    spanned: &Spanned<V>,
    result: Result<T, E>,
) -> Result<T, ManifestError> {
    result.map_err(|error| source.place(spanned.span.start).error(error))
}

fn limits(
    source: &Source<'_>,
    table: LimitsTable,
) -> Result<BTreeMap<LimitKind, Located<Limit>>, ManifestError> {
    let LimitsTable {
        memory,
        cpus,
        pids,
        files,
        disk,
        time,
        require: _,
    } = table;
    let given = [
        (LimitKind::Memory, memory),
        (LimitKind::Cpus, cpus),
        (LimitKind::Pids, pids),
        (LimitKind::Files, files),
        (LimitKind::Disk, disk),
        (LimitKind::Time, time),
    ];
    given
        .into_iter()
        .filter_map(|(kind, value)| Some((kind, value?)))
        .map(|(kind, value)| {
            let Scalar(text) = &value.value;
            let limit = at(source, &value, Limit::parse(kind, text))?;
            Ok((kind, source.locate(&value, limit)))
        })
        .collect()
}

fn limit_kind(word: LimitWord) -> LimitKind {
    match word {
        LimitWord::Memory => LimitKind::Memory,
        LimitWord::Cpus => LimitKind::Cpus,
        LimitWord::Pids => LimitKind::Pids,
        LimitWord::Files => LimitKind::Files,
        LimitWord::Disk => LimitKind::Disk,
        LimitWord::Time => LimitKind::Time,
    }
}

/// An empty list matches nothing: in an allow rule a puzzle, in a deny rule a hole.
pub(super) fn refuse_empty<T>(
    source: &Source<'_>,
    list: &Spanned<Vec<T>>,
    key: &str,
) -> Result<(), ManifestError> {
    if list.value.is_empty() {
        return Err(source.place(list.span.start).error(format_args!(
            "`{key}` is an empty list, which matches nothing: leave it out or fill it"
        )));
    }
    Ok(())
}

fn variable(
    source: &Source<'_>,
    name: &Spanned<String>,
    entry: EnvEntry,
    origin: &Origin,
) -> Result<Located<EnvVar>, ManifestError> {
    let place = source.place(name.span.start);
    let env_name = |text: &Spanned<String>| {
        EnvName::new(&text.value).ok_or_else(|| {
            source.place(text.span.start).error(format_args!(
                "`{}` is no name of an environment variable",
                text.value.escape_debug()
            ))
        })
    };
    let value = match entry {
        EnvEntry::Literal(text) if text.value.contains('\0') => {
            return Err(source
                .place(text.span.start)
                .error("an environment variable cannot hold a NUL byte"));
        }
        EnvEntry::Literal(text) => EnvValue::Literal(text.value),
        EnvEntry::Table(table) => {
            let EnvTable {
                from_env,
                credential,
                prompt,
            } = table.value;
            match (from_env, credential, prompt) {
                (Some(outside), None, None) => EnvValue::FromHost(env_name(&outside)?),
                (None, Some(credential), None) => {
                    EnvValue::Placeholder(credential_name(source, &credential)?)
                }
                (None, None, Some(question)) => EnvValue::Prompt(question.value),
                _ => {
                    return Err(source.place(table.span.start).error(
                        "exactly one of `from_env`, `credential` and `prompt` should stand here",
                    ));
                }
            }
        }
    };
    Ok(Located {
        value: EnvVar {
            name: env_name(name)?,
            value,
            origin: origin.clone(),
        },
        place,
    })
}

/// A connection is made in one way: two allow rules of one document for the same host and port must agree on it.
fn refuse_conflicting_routes(rules: &[RuleDraft]) -> Result<(), ManifestError> {
    let mut by_host: HashMap<&HostPattern, Vec<&RuleDraft>> = HashMap::new();
    for draft in rules.iter().filter(|draft| draft.value.allows()) {
        let earlier = by_host.entry(&draft.value.host).or_default();
        let conflict = earlier.iter().find(|other| {
            other.value.route != draft.value.route && other.value.ports.overlaps(&draft.value.ports)
        });
        if let Some(other) = conflict {
            return Err(draft.place.error(format_args!(
                "this rule reaches `{}` in another way (inspect, protocol, connect, ca, proxy, proxy_credential) than the rule in line {}",
                draft.value.host,
                other.place.line()
            )));
        }
        earlier.push(draft);
    }
    Ok(())
}
