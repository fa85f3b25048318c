//! From what a request says to what the policy answers.
//!
//! Everything that both protocols must hold to is here: the authority names the connection's host and nothing else,
//! the target has one canonical spelling, methods that would hand a credential back are refused, and the policy of
//! this very moment decides. A refused request is on the record when [`judge`] returns; an allowed one once it is known
//! that its host may be reached where it is, and before anything goes there.

use std::sync::Arc;

use wardian_policy::{
    Authority, ConnectionPermit, Policy, RequestFacts, RequestPermit, RequestTarget, Scheme,
    TargetError, Upgrade,
};

use super::ServeError;
use super::record::{self, Line, Spoken};
use super::refusal::{About, Refusal};
use super::tap::Fields;
use super::{foreign, logins};
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
    pub(crate) fields: Fields<'a>,
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
    host: &str,
    asked: Asked<'_>,
) -> Result<Result<Permitted, Box<Refusal>>, ServeError> {
    let (authority, target) = match read(connection, asked, host) {
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
        Ok((policy, _, request))
            if logins::is_token_endpoint(&policy, &connection.destination.host, target.path()) =>
        {
            let rule = request.rule().to_string();
            let about = About {
                path: Some(target.path()),
                ..about(connection, asked, host)
            };
            let refusal = Refusal::denied("login_outside", Some(rule), logins::WHY, about);
            record::refused(connection, asked.line(target.as_str()), &refusal)?;
            Ok(Err(Box::new(refusal)))
        }
        Ok((policy, permit, request)) => {
            if let Some(place) = foreign::find(connection, &request, asked.fields, &target) {
                let rule = request.rule().to_string();
                let about = About {
                    path: Some(target.path()),
                    ..about(connection, asked, host)
                };
                let why = foreign::why(&place);
                let refusal = Refusal::denied("foreign_credential", Some(rule), &why, about);
                record::refused(connection, asked.line(target.as_str()), &refusal)?;
                return Ok(Err(Box::new(refusal)));
            }
            Ok(Ok(Permitted {
                policy,
                connection: permit,
                request,
                target,
            }))
        }
        Err(denial) => {
            let rule = denial.rule().map(ToString::to_string);
            let about = About {
                path: Some(target.path()),
                ..about(connection, asked, host)
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
    host: &str,
    asked: Asked<'_>,
    permitted: &Permitted,
    error: &DialError,
) -> Result<Refusal, ServeError> {
    let about = About {
        path: Some(permitted.target.path()),
        ..about(connection, asked, host)
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
    let bad_target = |error: TargetError| {
        Box::new(Refusal::bad_request(
            "bad_target",
            &error.to_string(),
            about,
        ))
    };
    if asked.target.starts_with('/') || asked.target == "*" {
        let target = RequestTarget::parse_for(asked.method, asked.target).map_err(bad_target)?;
        return Ok((authority, target));
    }
    let absolute = RequestTarget::parse_absolute(asked.target).map_err(bad_target)?;
    if absolute.scheme != connection.scheme {
        let why = "the target's scheme is not the connection's";
        return Err(Box::new(Refusal::misdirected(why, about)));
    }
    agrees(connection, &absolute.authority, asked.target, about)?;
    Ok((authority, absolute.target))
}

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
    agrees(connection, &authority, text, about)?;
    Ok(authority)
}

/// An authority must name the connection's host; a port, if it has one, the connection's port.
fn agrees(
    connection: &HttpConnection,
    authority: &Authority,
    text: &str,
    about: About<'_>,
) -> Result<(), Box<Refusal>> {
    let meant = &connection.destination;
    if authority.agrees_with(&meant.host, meant.port) {
        return Ok(());
    }
    let why = format!(
        "the request names {text}, the connection is for {}",
        about.host
    );
    Err(Box::new(Refusal::misdirected(&why, about)))
}
