//! The values of `--allow`.
//!
//! | form | meaning |
//! |---|---|
//! | `HOST`, `*.SUFFIX`, `ADDRESS`, `NETWORK/LENGTH`, `*` | HTTP on ports 80 and 443 |
//! | `HOST:PORT` | HTTP on that port |
//! | `https://HOST/PATH` | HTTP on the scheme's port, that path pattern only; without any path: every path |
//! | `tcp://HOST:PORT` | any bytes |
//! | `GET,HEAD https://...` | these methods only, before any form but `tcp://` |

use std::sync::Arc;

use crate::host::{HostError, HostPattern, PatternError, Port};
use crate::method::{MethodError, Methods};
use crate::path::{PathPattern, PathPatternError};
use crate::ports::Ports;
use crate::rule::{Action, Mode, Origin, Route, Rule, RuleId, Upstream};

/// Why a value of `--allow` was refused. The value itself is in [`PolicyError`](crate::PolicyError).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllowError {
    /// Nothing, or nothing but blanks.
    #[error("it is empty")]
    Empty,
    /// More than `METHODS WHERE`.
    #[error("it has more than two words; write \"GET https://HOST/PATH\"")]
    Words,
    /// Something before `://` that is none of http, https and tcp.
    #[error("`{0}` is none of http, https and tcp")]
    Scheme(String),
    /// `host/path`.
    #[error("a path needs its scheme: write \"https://{0}\"")]
    PathWithoutScheme(String),
    /// `user@host`.
    #[error("it carries user information")]
    UserInfo,
    /// A host pattern that is none.
    #[error(transparent)]
    Host(#[from] PatternError),
    /// A port that is none.
    #[error(transparent)]
    Port(HostError),
    /// `tcp://host`.
    #[error("raw TCP needs a port: write \"tcp://HOST:PORT\"")]
    TcpPort,
    /// `GET tcp://...` or `tcp://host:1/path`.
    #[error("raw TCP has neither methods nor paths")]
    TcpRequest,
    /// A method that is none.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// A path pattern that is none.
    #[error("`{text}` is no path pattern: {source}")]
    Path {
        /// As written.
        text: String,
        /// What is wrong with it.
        source: PathPatternError,
    },
}

pub(crate) fn parse(text: &str, number: u32) -> Result<Rule, AllowError> {
    let mut words = text.split_whitespace();
    let (methods, place) = match (words.next(), words.next(), words.next()) {
        (None, ..) => return Err(AllowError::Empty),
        (Some(place), None, _) => (Methods::Any, place),
        (Some(methods), Some(place), None) => (Methods::only(methods.split(','))?, place),
        _ => return Err(AllowError::Words),
    };
    if place.contains('@') && !place.contains("/@") {
        return Err(AllowError::UserInfo);
    }
    let (mode, host, ports, path) = match place.split_once("://") {
        None => {
            let (host, port) = host_and_port(place)?;
            let ports = port.map_or_else(Ports::web, Ports::one);
            (Mode::Inspect, host, ports, None)
        }
        Some((scheme, rest)) => {
            let (authority, path) = match rest.find('/') {
                Some(slash) => (&rest[..slash], Some(&rest[slash..])),
                None => (rest, None),
            };
            let (host, port) = host_and_port(authority)?;
            match scheme.to_ascii_lowercase().as_str() {
                "https" => (
                    Mode::Inspect,
                    host,
                    Ports::one(port.unwrap_or(Port::HTTPS)),
                    path,
                ),
                "http" => (
                    Mode::Inspect,
                    host,
                    Ports::one(port.unwrap_or(Port::HTTP)),
                    path,
                ),
                "tcp" if path.is_some() || !methods.is_any() => return Err(AllowError::TcpRequest),
                "tcp" => (
                    Mode::Tcp,
                    host,
                    Ports::one(port.ok_or(AllowError::TcpPort)?),
                    None,
                ),
                _ => return Err(AllowError::Scheme(scheme.to_owned())),
            }
        }
    };
    let paths = match path {
        None => None,
        Some(path) => {
            let pattern = PathPattern::parse(path).map_err(|source| AllowError::Path {
                text: path.to_owned(),
                source,
            })?;
            Some(vec![pattern])
        }
    };
    Ok(Rule {
        id: RuleId::new(&Arc::from("--allow"), number),
        origin: Origin::CommandLine,
        action: Action::Allow,
        host,
        ports,
        route: Route {
            mode,
            upstream: Upstream::Direct,
            extra_ca: None,
        },
        methods,
        paths,
        credentials: Vec::new(),
    })
}

fn host_and_port(text: &str) -> Result<(HostPattern, Option<Port>), AllowError> {
    if let Some((host, length)) = text.split_once('/') {
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let address = host.contains(':') || host.parse::<std::net::IpAddr>().is_ok();
        if !(digits && address) {
            return Err(AllowError::PathWithoutScheme(text.to_owned()));
        }
        return Ok((HostPattern::parse(text)?, None));
    }
    let (host, port) = match text.rsplit_once(':') {
        // An IPv6 address in brackets, or bare.
        Some((_, tail)) if tail.contains(']') => (text, None),
        Some((head, _)) if head.contains(':') && !head.ends_with(']') => (text, None),
        Some((head, port)) => (head, Some(port)),
        None => (text, None),
    };
    let port = port
        .map(Port::parse)
        .transpose()
        .map_err(AllowError::Port)?;
    Ok((HostPattern::parse(host)?, port))
}
