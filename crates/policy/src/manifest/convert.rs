//! From the wire types to rules, limits and variables.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::convert_credential::{credential, credential_name};
use super::decode::Spanned;
use super::wire::{
    ActionWord, Document, EgressTable, EnvEntry, EnvTable, LimitWord, LimitsTable, PortEntry,
    ProtocolWord, SandboxTable, Scalar,
};
use super::{ManifestError, Place, Source};
use crate::address::{AddressClass, classify};
use crate::credential::CredentialSpec;
use crate::environment::{EnvName, EnvValue, EnvVar};
use crate::host::{Authority, HostPattern, Port};
use crate::limits::{LimitKind, Limits};
use crate::method::Methods;
use crate::path::PathPattern;
use crate::policy::Nested;
use crate::ports::Ports;
use crate::rule::{Action, Mode, Origin, Route, Rule, RuleId, Upstream};
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

fn rule(
    source: &Source<'_>,
    table: EgressTable,
    id: RuleId,
    origin: &Origin,
) -> Result<RuleDraft, ManifestError> {
    let EgressTable {
        host,
        ports: port_list,
        methods,
        paths,
        action,
        protocol,
        inspect,
        connect,
        ca,
        proxy,
        credential,
    } = table;
    let place = source.place(host.span.start);
    let action = match action {
        ActionWord::Allow => Action::Allow,
        ActionWord::Deny => Action::Deny,
    };
    // A broad denial is harmless; a broad permission is not.
    let pattern = match action {
        Action::Allow => HostPattern::parse(&host.value),
        Action::Deny => HostPattern::parse_any_width(&host.value),
    };
    let pattern = at(source, &host, pattern)?;
    if action == Action::Deny {
        let idle = [
            ("inspect", inspect.as_ref().map(|value| value.span.start)),
            ("connect", connect.as_ref().map(|value| value.span.start)),
            ("ca", ca.as_ref().map(|value| value.span.start)),
            ("proxy", proxy.as_ref().map(|value| value.span.start)),
            (
                "credential",
                credential.as_ref().map(|list| {
                    list.0
                        .first()
                        .map_or(host.span.start, |name| name.span.start)
                }),
            ),
            (
                "protocol",
                (protocol == ProtocolWord::Tcp).then_some(host.span.start),
            ),
        ];
        for (key, start) in idle {
            if let Some(start) = start {
                return Err(source
                    .place(start)
                    .error(format_args!("`{key}` has no meaning in a deny rule")));
            }
        }
    }
    let mode = match (protocol, &inspect) {
        (ProtocolWord::Tcp, Some(inspect)) if inspect.value => {
            return Err(source
                .place(inspect.span.start)
                .error("raw TCP cannot be inspected: leave out `inspect` or `protocol`"));
        }
        (ProtocolWord::Tcp, _) => Mode::Tcp,
        (ProtocolWord::Http, Some(inspect)) if !inspect.value => Mode::Passthrough,
        (ProtocolWord::Http, _) => Mode::Inspect,
    };
    if mode != Mode::Inspect {
        let unseen = [
            ("methods", methods.as_ref().map(|list| list.span.start)),
            ("paths", paths.as_ref().map(|list| list.span.start)),
            ("ca", ca.as_ref().map(|text| text.span.start)),
            (
                "credential",
                credential.as_ref().map(|list| {
                    list.0
                        .first()
                        .map_or(host.span.start, |name| name.span.start)
                }),
            ),
        ];
        for (key, start) in unseen {
            if let Some(start) = start {
                return Err(source.place(start).error(format_args!(
                    "`{key}` cannot work on connections that are not inspected"
                )));
            }
        }
    }
    let ports = match (port_list, action, mode) {
        (Some(list), ..) => ports(source, &list)?,
        (None, Action::Deny, _) => Ports::all(),
        (None, Action::Allow, Mode::Inspect) => Ports::web(),
        (None, Action::Allow, Mode::Passthrough) => Ports::one(Port::HTTPS),
        (None, Action::Allow, Mode::Tcp) => {
            return Err(place
                .error("a rule with `protocol = \"tcp\"` names its ports")
                .with_example("ports = [5432]"));
        }
    };
    let methods = match methods {
        None => Methods::Any,
        Some(list) => {
            refuse_empty(source, &list, "methods")?;
            for name in &list.value {
                at(source, name, Methods::only([name.value.as_str()]))?;
            }
            let names = list.value.iter().map(|name| name.value.as_str());
            at(source, &list, Methods::only(names))?
        }
    };
    let paths = match paths {
        None => None,
        Some(list) => {
            refuse_empty(source, &list, "paths")?;
            let patterns = list.value.iter().map(|path| {
                let parsed = PathPattern::parse(&path.value).map_err(|error| {
                    format!(
                        "`{}` is no path pattern: {error}",
                        path.value.escape_debug()
                    )
                });
                at(source, path, parsed)
            });
            Some(patterns.collect::<Result<Vec<_>, _>>()?)
        }
    };
    let upstream = match (connect, proxy) {
        (None, None) => Upstream::Direct,
        (Some(pin), None) => Upstream::Pinned(at(source, &pin, pinned(&pin.value))?),
        (None, Some(proxy)) => at(source, &proxy, http_proxy(&proxy.value))?,
        (Some(_), Some(proxy)) => {
            return Err(source
                .place(proxy.span.start)
                .error("`connect` and `proxy` exclude each other"));
        }
    };
    let extra_ca = match ca {
        None => None,
        Some(path) if path.value.is_empty() || path.value.chars().any(char::is_control) => {
            return Err(source
                .place(path.span.start)
                .error("`ca` is the path of a PEM file"));
        }
        Some(path) => Some(Arc::from(path.value)),
    };
    let credentials = match credential {
        None => Vec::new(),
        Some(list) if list.0.is_empty() => {
            return Err(place.error("`credential` is an empty list: leave it out"));
        }
        Some(list) => list
            .0
            .iter()
            .map(|name| credential_name(source, name))
            .collect::<Result<_, _>>()?,
    };
    Ok(Located {
        value: Rule {
            id,
            origin: origin.clone(),
            action,
            host: pattern,
            ports,
            route: Route {
                mode,
                upstream,
                extra_ca,
            },
            methods,
            paths,
            credentials,
        },
        place,
    })
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

fn ports(
    source: &Source<'_>,
    list: &Spanned<Vec<Spanned<PortEntry>>>,
) -> Result<Ports, ManifestError> {
    refuse_empty(source, list, "ports")?;
    let ranges = list.value.iter().map(|entry| {
        let range = match &entry.value {
            PortEntry::Number(number) => port_range(&number.to_string()),
            PortEntry::Range(text) => port_range(text),
        };
        range.ok_or_else(|| {
            source
                .place(entry.span.start)
                .error("a port is a number from 1 to 65535, or a range such as \"8000-8100\"")
        })
    });
    let ranges = ranges.collect::<Result<Vec<_>, _>>()?;
    Ports::from_ranges(ranges).ok_or_else(|| {
        source
            .place(list.span.start)
            .error("`ports` is an empty list")
    })
}

fn port_range(text: &str) -> Option<(Port, Port)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (Port::parse(low).ok()?, Port::parse(high).ok()?);
    (low <= high).then_some((low, high))
}

fn pinned(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| {
        format!(
            "`{}` is no ADDRESS:PORT such as \"127.0.0.1:8443\"",
            text.escape_debug()
        )
    })?;
    let ip = address.ip().to_canonical();
    match classify(ip) {
        _ if address.port() == 0 || text.contains('%') => {
            Err("a pinned address has a port from 1 to 65535 and no zone".to_owned())
        }
        class @ (AddressClass::Unspecified
        | AddressClass::Multicast
        | AddressClass::Broadcast
        | AddressClass::Synthetic) => Err(format!(
            "{ip} is a {class} address: nothing can be reached there"
        )),
        _ => Ok(SocketAddr::new(ip, address.port())),
    }
}

fn http_proxy(text: &str) -> Result<Upstream, String> {
    let wanted = "write \"http://HOST:PORT\"";
    let rest = text
        .strip_prefix("http://")
        .ok_or_else(|| format!("a proxy is reached over plain HTTP: {wanted}"))?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let authority = Authority::parse(rest)
        .map_err(|error| format!("the proxy is unusable, {error}: {wanted}"))?;
    match authority {
        Authority {
            host,
            port: Some(port),
        } => Ok(Upstream::HttpProxy { host, port }),
        Authority { port: None, .. } => Err(format!("the proxy's port is missing: {wanted}")),
    }
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
                "this rule reaches `{}` in another way (inspect, protocol, connect, ca, proxy) than the rule in line {}",
                draft.value.host,
                other.place.line()
            )));
        }
        earlier.push(draft);
    }
    Ok(())
}
