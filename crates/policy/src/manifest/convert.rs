//! From the wire types to rules, limits and variables.

use std::collections::HashMap;

use super::convert_credential::{credential, credential_name};
use super::convert_rule::rule;
use super::decode::Spanned;
use super::wire::{Document, EnvEntry, EnvTable, LimitWord, LimitsTable, SandboxTable, Scalar};
use super::{ManifestError, Place, Source};
use crate::credential::CredentialSpec;
use crate::environment::{EnvName, EnvValue, EnvVar};
use crate::host::HostPattern;
use crate::limits::{LimitKind, Limits};
use crate::policy::Nested;
use crate::rule::{Origin, Rule, RuleId};
use crate::visible::VisiblePath;

/// One document's share of a policy.
#[derive(Debug, Clone)]
pub(crate) struct Fragment {
    pub(crate) presets: Vec<Located<String>>,
    pub(crate) limits: Limits,
    pub(crate) nested: Nested,
    pub(crate) visible: Vec<VisiblePath>,
    pub(crate) rules: Vec<RuleDraft>,
    pub(crate) environment: Vec<Located<EnvVar>>,
    pub(crate) credentials: Vec<Located<CredentialSpec>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

pub(crate) type RuleDraft = Located<Rule>;

pub(super) fn document(
    source: &Source<'_>,
    document: Document,
    origin: &Origin,
) -> Result<Fragment, ManifestError> {
    let Document {
        presets,
        limits: limits_table,
        sandbox,
        egress,
        env,
        credential: credentials,
    } = document;
    let SandboxTable { nested, visible } = sandbox;
    let label = source.rule_label();
    let rules = (1..)
        .zip(egress)
        .map(|(number, table)| rule(source, table.value, RuleId::new(&label, number), origin))
        .collect::<Result<Vec<_>, _>>()?;
    refuse_conflicting_routes(&rules)?;
    Ok(Fragment {
        presets: presets
            .into_iter()
            .map(|Spanned { span, value }| Located {
                value,
                place: source.place(span.start),
            })
            .collect(),
        limits: limits(source, limits_table)?,
        nested: match nested {
            true => Nested::Granted,
            false => Nested::Refused,
        },
        visible: visible
            .iter()
            .map(|path| at(source, path, VisiblePath::parse(&path.value)))
            .collect::<Result<_, _>>()?,
        rules,
        environment: env
            .0
            .into_iter()
            .map(|(name, entry)| variable(source, &name, entry, origin))
            .collect::<Result<_, _>>()?,
        credentials: credentials
            .0
            .into_iter()
            .map(|(name, table)| credential(source, &name, table, origin))
            .collect::<Result<_, _>>()?,
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

fn limits(source: &Source<'_>, table: LimitsTable) -> Result<Limits, ManifestError> {
    let LimitsTable {
        memory,
        cpus,
        pids,
        files,
        disk,
        time,
        require,
    } = table;
    let mut limits = Limits::default();
    let given = [
        (LimitKind::Memory, memory),
        (LimitKind::Cpus, cpus),
        (LimitKind::Pids, pids),
        (LimitKind::Files, files),
        (LimitKind::Disk, disk),
        (LimitKind::Time, time),
    ];
    for (kind, value) in given {
        if let Some(value) = value {
            let Scalar(text) = &value.value;
            at(source, &value, limits.set(kind, text))?;
        }
    }
    limits.require = require
        .into_iter()
        .map(|word| match word.value {
            LimitWord::Memory => LimitKind::Memory,
            LimitWord::Cpus => LimitKind::Cpus,
            LimitWord::Pids => LimitKind::Pids,
            LimitWord::Files => LimitKind::Files,
            LimitWord::Disk => LimitKind::Disk,
            LimitWord::Time => LimitKind::Time,
        })
        .collect();
    limits.require.sort_unstable();
    limits.require.dedup();
    Ok(limits)
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
            } = table.value;
            match (from_env, credential) {
                (Some(outside), None) => EnvValue::FromHost(env_name(&outside)?),
                (None, Some(credential)) => {
                    EnvValue::Placeholder(credential_name(source, &credential)?)
                }
                _ => {
                    return Err(source
                        .place(table.span.start)
                        .error("either `from_env` or `credential` should stand here"));
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
