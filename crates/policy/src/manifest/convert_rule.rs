//! One `[[egress]]` table to a rule.

use std::net::SocketAddr;
use std::sync::Arc;

use super::convert::{Located, RuleDraft, at, refuse_empty};
use super::convert_credential::credential_name;
use super::decode::Spanned;
use super::wire::{ActionWord, EgressTable, OneOrMany, PortEntry, ProtocolWord};
use super::{ManifestError, Place, Source};
use crate::address::{AddressClass, classify};
use crate::credential::CredentialName;
use crate::host::{Authority, Host, HostPattern, Port};
use crate::method::Methods;
use crate::path::PathPattern;
use crate::ports::Ports;
use crate::rule::{Action, Mode, Origin, Route, Rule, RuleId, Upstream};

type TextList = Spanned<Vec<Spanned<String>>>;

pub(super) fn rule(
    source: &Source<'_>,
    table: EgressTable,
    id: RuleId,
    origin: &Origin,
) -> Result<RuleDraft, ManifestError> {
    let place = source.place(table.host.span.start);
    let mode = mode(source, &table)?;
    refuse_idle_keys(source, &table, mode)?;
    let EgressTable {
        host,
        ports,
        methods,
        paths,
        action,
        protocol: _,
        inspect: _,
        connect,
        ca,
        proxy,
        proxy_credential,
        credential,
    } = table;
    let (action, pattern) = match action {
        ActionWord::Allow => (Action::Allow, HostPattern::parse(&host.value)),
        // A broad denial is harmless; a broad permission is not.
        ActionWord::Deny => (Action::Deny, HostPattern::parse_any_width(&host.value)),
    };
    let ports = match (ports, action, mode) {
        (Some(list), ..) => port_set(source, &list)?,
        (None, Action::Deny, _) => Ports::all(),
        (None, Action::Allow, Mode::Inspect) => Ports::web(),
        (None, Action::Allow, Mode::Passthrough) => Ports::one(Port::HTTPS),
        (None, Action::Allow, Mode::Tcp) => {
            return Err(place
                .error("a rule with `protocol = \"tcp\"` names its ports")
                .with_example("ports = [5432]"));
        }
    };
    Ok(Located {
        value: Rule {
            id,
            origin: origin.clone(),
            action,
            host: at(source, &host, pattern)?,
            ports,
            route: Route {
                mode,
                upstream: upstream(source, connect, proxy, proxy_credential)?,
                extra_ca: extra_ca(source, ca)?,
            },
            methods: methods.map_or(Ok(Methods::Any), |list| method_set(source, &list))?,
            paths: paths.map(|list| path_patterns(source, &list)).transpose()?,
            credentials: credential.map_or(Ok(Vec::new()), |list| {
                credential_names(source, &place, &list)
            })?,
        },
        place,
    })
}

fn mode(source: &Source<'_>, table: &EgressTable) -> Result<Mode, ManifestError> {
    match (table.protocol, &table.inspect) {
        (ProtocolWord::Tcp, Some(inspect)) if inspect.value => Err(source
            .place(inspect.span.start)
            .error("raw TCP cannot be inspected: leave out `inspect` or `protocol`")),
        (ProtocolWord::Tcp, _) => Ok(Mode::Tcp),
        (ProtocolWord::Http, Some(inspect)) if !inspect.value => Ok(Mode::Passthrough),
        (ProtocolWord::Http, _) => Ok(Mode::Inspect),
    }
}

/// A key that cannot do what it says would let its writer believe in a protection that is not there.
fn refuse_idle_keys(
    source: &Source<'_>,
    table: &EgressTable,
    mode: Mode,
) -> Result<(), ManifestError> {
    let EgressTable {
        host,
        ports: _,
        methods,
        paths,
        action,
        protocol,
        inspect,
        connect,
        ca,
        proxy,
        proxy_credential,
        credential,
    } = table;
    let own = host.span.start;
    let start = |text: &Option<Spanned<String>>| text.as_ref().map(|text| text.span.start);
    let list_start = |list: &Option<TextList>| list.as_ref().map(|list| list.span.start);
    let credential = credential
        .as_ref()
        .map(|OneOrMany(names)| names.first().map_or(own, |name| name.span.start));
    let refused = |keys: &[(&str, Option<usize>)], why: &str| match keys
        .iter()
        .find_map(|(key, start)| start.map(|start| (key, start)))
    {
        Some((key, start)) => Err(source.place(start).error(format_args!("`{key}` {why}"))),
        None => Ok(()),
    };
    if *action == ActionWord::Deny {
        let protocol = (*protocol == ProtocolWord::Tcp).then_some(own);
        let idle = [
            (
                "inspect",
                inspect.as_ref().map(|inspect| inspect.span.start),
            ),
            ("connect", start(connect)),
            ("ca", start(ca)),
            ("proxy", start(proxy)),
            ("proxy_credential", start(proxy_credential)),
            ("credential", credential),
            ("protocol", protocol),
        ];
        refused(&idle, "has no meaning in a deny rule")?;
    }
    if mode != Mode::Inspect {
        let unseen = [
            ("methods", list_start(methods)),
            ("paths", list_start(paths)),
            ("ca", start(ca)),
            ("credential", credential),
        ];
        refused(&unseen, "cannot work on connections that are not inspected")?;
    }
    Ok(())
}

fn method_set(source: &Source<'_>, list: &TextList) -> Result<Methods, ManifestError> {
    refuse_empty(source, list, "methods")?;
    for name in &list.value {
        at(source, name, Methods::only([name.value.as_str()]))?;
    }
    let names = list.value.iter().map(|name| name.value.as_str());
    at(source, list, Methods::only(names))
}

fn path_patterns(source: &Source<'_>, list: &TextList) -> Result<Vec<PathPattern>, ManifestError> {
    refuse_empty(source, list, "paths")?;
    let patterns = list.value.iter().map(|path| {
        let parsed = PathPattern::parse(&path.value)
            .map_err(|error| format!("`{}` is no path pattern: {error}", path.value));
        at(source, path, parsed)
    });
    patterns.collect()
}

fn credential_names(
    source: &Source<'_>,
    rule: &Place,
    OneOrMany(names): &OneOrMany,
) -> Result<Vec<CredentialName>, ManifestError> {
    if names.is_empty() {
        return Err(rule.error("`credential` is an empty list: leave it out"));
    }
    names
        .iter()
        .map(|name| credential_name(source, name))
        .collect()
}

fn upstream(
    source: &Source<'_>,
    connect: Option<Spanned<String>>,
    proxy: Option<Spanned<String>>,
    proxy_credential: Option<Spanned<String>>,
) -> Result<Upstream, ManifestError> {
    if let (None, Some(credential)) = (&proxy, &proxy_credential) {
        return Err(source
            .place(credential.span.start)
            .error("`proxy_credential` is for the proxy that `proxy` names, and there is none"));
    }
    match (connect, proxy) {
        (None, None) => Ok(Upstream::Direct),
        (Some(pin), None) => at(source, &pin, pinned(&pin.value)).map(Upstream::Pinned),
        (None, Some(proxy)) => {
            let (host, port) = at(source, &proxy, http_proxy(&proxy.value))?;
            let credential = proxy_credential
                .map(|name| credential_name(source, &name))
                .transpose()?;
            Ok(Upstream::HttpProxy {
                host,
                port,
                credential,
            })
        }
        (Some(_), Some(proxy)) => Err(source
            .place(proxy.span.start)
            .error("`connect` and `proxy` exclude each other")),
    }
}

fn extra_ca(
    source: &Source<'_>,
    path: Option<Spanned<String>>,
) -> Result<Option<Arc<str>>, ManifestError> {
    match path {
        None => Ok(None),
        Some(path) if path.value.is_empty() || path.value.chars().any(char::is_control) => {
            Err(source
                .place(path.span.start)
                .error("`ca` is the path of a PEM file"))
        }
        Some(path) => Ok(Some(Arc::from(path.value))),
    }
}

fn port_set(
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
    let address: SocketAddr = text
        .parse()
        .map_err(|_| format!("`{}` is no ADDRESS:PORT such as \"127.0.0.1:8443\"", text))?;
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

fn http_proxy(text: &str) -> Result<(Host, Port), String> {
    let wanted = "write \"http://HOST:PORT\", and a login as `proxy_credential`";
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
        } => Ok((host, port)),
        Authority { port: None, .. } => Err(format!("the proxy's port is missing: {wanted}")),
    }
}
