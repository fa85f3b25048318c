use std::net::IpAddr;

use super::*;
use crate::denial::Denial;
use crate::environment::EnvValue;
use crate::host::HostName;
use crate::limits::LimitKind;
use crate::manifest::{Manifest, PolicyFile};
use crate::permit::{ConnectionPermit, RequestPermit, Spelled};
use crate::rule::{Mode, Upstream};

mod attenuation;
mod build;
mod connections;
mod layers;
mod requests;

pub(super) fn build_from(
    text: &str,
    allow: &[&str],
    presets: &[&str],
) -> Result<Policy, PolicyError> {
    Policy::build(&PolicyInputs {
        file: Some(PolicyFile::parse("policy.toml", text).unwrap()),
        presets: presets.iter().map(|name| (*name).to_owned()).collect(),
        allow: allow.iter().map(|text| (*text).to_owned()).collect(),
        ..PolicyInputs::default()
    })
}

pub(super) fn build(text: &str) -> Result<Policy, PolicyError> {
    build_from(text, &[], &[])
}

pub(super) fn policy(text: &str) -> Policy {
    build(text).unwrap()
}

pub(super) fn allowing(allow: &[&str]) -> Policy {
    build_from("", allow, &[]).unwrap()
}

pub(super) fn to(host: &str, port: u16) -> Destination {
    Destination {
        host: Host::parse(host).unwrap(),
        port: Port::new(port).unwrap(),
    }
}

pub(super) fn connect(policy: &Policy, host: &str, port: u16) -> Result<ConnectionPermit, Denial> {
    policy.check_connection(&to(host, port))
}

pub(super) fn lookup(policy: &Policy, name: &str) -> Result<String, Denial> {
    policy
        .check_name(&HostName::parse(name).unwrap())
        .map(|permit| permit.rule().to_string())
}

/// `GET host/path` over TLS on a fresh connection.
pub(super) fn request(
    policy: &Policy,
    method: &str,
    host: &str,
    path: &str,
) -> Result<RequestPermit, Denial> {
    let on = connect(policy, host, 443)?;
    request_on(policy, &on, Scheme::Https, method, host, path, None)
}

pub(super) fn request_on(
    policy: &Policy,
    on: &ConnectionPermit,
    scheme: Scheme,
    method: &str,
    authority: &str,
    path: &str,
    upgrade: Option<Upgrade>,
) -> Result<RequestPermit, Denial> {
    policy.check_request(
        on,
        &RequestFacts {
            scheme,
            method,
            authority: &Authority::parse(authority).unwrap(),
            target: &RequestTarget::parse_for(method, path).unwrap(),
            upgrade,
        },
    )
}

pub(super) fn credentials(permit: &RequestPermit) -> Vec<&str> {
    permit
        .credentials()
        .iter()
        .map(|name| name.as_str())
        .collect()
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
