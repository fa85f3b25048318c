//! From what a request says to what the policy answers.
//!
//! Everything that both protocols must hold to is here: the authority names the connection's host and nothing else,
//! the target has one canonical spelling, methods that would hand a credential back are refused, and the policy of
//! this very moment decides. A refused request is on the record when [`judge`] returns; an allowed one once it is known
//! that its host may be reached where it is, and before anything goes there.

use std::sync::Arc;

use wardian_policy::{
    Authority, ConnectionPermit, Policy, RequestFacts, RequestPermit, RequestTarget, Scheme,
    Upgrade,
};

use super::ServeError;
use super::record::{self, Line, Spoken};
use super::refusal::{About, Refusal};
use crate::context::HttpConnection;
use crate::dial::DialError;

/// A request as its protocol delivers it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) spoken: Spoken,
    pub(crate) method: &'a str,
    /// `:authority` or the `Host` field. None: HTTP/1.0 without one; the connection's own host is meant.
    pub(crate) authority: Option<&'a str>,
    /// HTTP/2: a `Host` field beside `:authority`. It must name the same.
    pub(crate) host_field: Option<&'a str>,
    /// Origin form, or absolute form in HTTP/1.1, or `*`.
    pub(crate) target: &'a str,
    pub(crate) upgrade: Option<Upgrade>,
}

impl<'a> Asked<'a> {
    /// What its event says, with `target` as it was judged (or, if it never was, as it came).
    pub(crate) fn line(self, target: &'a str) -> Line<'a> {
        Line {
            spoken: self.spoken,
            method: self.method,
            target,
            upgrade: self.upgrade.map(|_| "websocket"),
        }
    }
}

/// A request that may go to its host. It is not on the record yet: see [`record::allowed`].
#[derive(Debug)]
pub(crate) struct Permitted {
    pub(crate) policy: Arc<Policy>,
    pub(crate) connection: ConnectionPermit,
    pub(crate) request: RequestPermit,
    pub(crate) target: RequestTarget,
}

/// Judges. The inner error is a refusal, already recorded; the outer one means that there is no record.
pub(crate) fn judge(
    connection: &HttpConnection,
    asked: Asked<'_>,
) -> Result<Result<Permitted, Box<Refusal>>, ServeError> {
    let host = host_text(connection);
    let (authority, target) = match read(connection, asked, &host) {
        Ok(read) => read,
        Err(refusal) => {
            record::refused(connection, asked.line(asked.target), &refusal)?;
            return Ok(Err(refusal));
        }
    };
    let decided = connection
        .current()
        .map_err(|denial| *denial)
        .and_then(|(policy, permit)| {
            let facts = RequestFacts {
                scheme: connection.scheme,
                method: asked.method,
                authority: &authority,
                target: &target,
                upgrade: asked.upgrade,
            };
            let request = policy.check_request(&permit, &facts)?;
            Ok((policy, permit, request))
        });
    match decided {
        Ok((policy, permit, request)) => Ok(Ok(Permitted {
            policy,
            connection: permit,
            request,
            target,
        })),
        Err(denial) => {
            let rule = denial.rule().map(ToString::to_string);
            let about = About {
                path: Some(target.path()),
                ..about(connection, asked, &host)
            };
            let refusal = Box::new(Refusal::denied(
                denial.reason(),
                rule,
                &denial.to_string(),
                about,
            ));
            record::refused(connection, asked.line(target.as_str()), &refusal)?;
            Ok(Err(refusal))
        }
    }
}

/// Refuses and records a permitted request whose host may not be reached where it is.
pub(crate) fn refuse_address(
    connection: &HttpConnection,
    asked: Asked<'_>,
    permitted: &Permitted,
    error: &DialError,
) -> Result<Refusal, ServeError> {
    let host = host_text(connection);
    let about = About {
        path: Some(permitted.target.path()),
        ..about(connection, asked, &host)
    };
    let refusal = Refusal::dial(error, about);
    record::refused(connection, asked.line(permitted.target.as_str()), &refusal)?;
    Ok(refusal)
}

/// The connection's host as a `Host` field says it: brackets around an IPv6 address, a port unless it is the scheme's.
pub(crate) fn host_text(connection: &HttpConnection) -> String {
    let host = &connection.destination.host;
    let port = connection.destination.port.get();
    let usual = match connection.scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    let host = match host {
        wardian_policy::Host::Ip(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        other => other.to_string(),
    };
    if port == usual {
        host
    } else {
        format!("{host}:{port}")
    }
}

pub(crate) fn about<'a>(connection: &HttpConnection, asked: Asked<'a>, host: &'a str) -> About<'a> {
    About {
        scheme: record::scheme_str(connection.scheme),
        host,
        method: Some(asked.method),
        path: None,
    }
}

fn read(
    connection: &HttpConnection,
    asked: Asked<'_>,
    host: &str,
) -> Result<(Authority, RequestTarget), Box<Refusal>> {
    let about = about(connection, asked, host);
    if asked.method == "CONNECT" {
        return Err(Box::new(Refusal::connect(about)));
    }
    if asked.method.eq_ignore_ascii_case("TRACE") || asked.method.eq_ignore_ascii_case("TRACK") {
        return Err(Box::new(Refusal::trace(about)));
    }
    let authority = match asked.authority {
        Some(text) => authority(connection, text, about)?,
        None => Authority {
            host: connection.destination.host.clone(),
            port: Some(connection.destination.port),
        },
    };
    if let Some(text) = asked.host_field {
        self::authority(connection, text, about)?;
    }
    let target = match absolute(asked.target) {
        None => asked.target.to_owned(),
        Some((scheme, named, rest)) => {
            if !scheme.eq_ignore_ascii_case(record::scheme_str(connection.scheme)) {
                return Err(Box::new(Refusal::misdirected(
                    "the target's scheme is not the connection's",
                    about,
                )));
            }
            self::authority(connection, named, about)?;
            if rest.starts_with('/') {
                rest.to_owned()
            } else {
                format!("/{rest}")
            }
        }
    };
    if target == "*" && asked.method != "OPTIONS" {
        return Err(Box::new(Refusal::bad_request(
            "bad_target",
            "`*` is a target for OPTIONS only",
            about,
        )));
    }
    let target = RequestTarget::parse(&target).map_err(|error| {
        Box::new(Refusal::bad_request(
            "bad_target",
            &error.to_string(),
            about,
        ))
    })?;
    Ok((authority, target))
}

/// The authority must name the connection's host; a port, if it has one, the connection's port.
fn authority(
    connection: &HttpConnection,
    text: &str,
    about: About<'_>,
) -> Result<Authority, Box<Refusal>> {
    let authority = Authority::parse(text).map_err(|error| {
        Box::new(Refusal::bad_request(
            "bad_authority",
            &error.to_string(),
            about,
        ))
    })?;
    let Authority { host, port } = &authority;
    if *host != connection.destination.host
        || port.is_some_and(|port| port != connection.destination.port)
    {
        let why = format!(
            "the request names {text}, the connection is for {}",
            about.host
        );
        return Err(Box::new(Refusal::misdirected(&why, about)));
    }
    Ok(authority)
}

/// Splits `scheme://authority/rest`; None for every other form.
fn absolute(target: &str) -> Option<(&str, &str, &str)> {
    if target.starts_with('/') {
        return None;
    }
    let (scheme, after) = target.split_once("://")?;
    let end = after.find(['/', '?']).unwrap_or(after.len());
    Some((scheme, &after[..end], &after[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_targets_split() {
        assert_eq!(
            absolute("http://a.com:80/x?y"),
            Some(("http", "a.com:80", "/x?y"))
        );
        assert_eq!(absolute("http://a.com"), Some(("http", "a.com", "")));
        assert_eq!(
            absolute("http://a.com?x=/"),
            Some(("http", "a.com", "?x=/"))
        );
        assert_eq!(absolute("/http://a.com"), None);
        assert_eq!(absolute("*"), None);
        assert_eq!(absolute("a.com:443"), None);
    }
}
