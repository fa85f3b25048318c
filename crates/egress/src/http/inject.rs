//! Credentials in place of placeholders, in a request's head only.
//!
//! Where a value goes: into field values (plain, or inside `Basic` credentials, which are decoded and encoded again),
//! into the query, or into the field that the credential's specification names. Never into the path: the path that was
//! judged is the path that is sent, and many servers repeat the path of what they do not find, so that any program could
//! have a secret told to it. The query is the one part of the head that is sent other than it was judged, and only where
//! the placeholder stood, percent-encoded.
//!
//! An [`Injection`] knows only the credentials of one request's permit, and is empty unless the upstream's TLS was
//! verified. So a placeholder on its way to any other host stays a placeholder.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use wardian_credentials::{Current, Value};
use wardian_policy::{self as policy, RequestPermit, Scheme};
use zeroize::Zeroizing;

use super::field;
use super::origin::Identity;
use crate::context::HttpConnection;
use crate::credentials::Credential;

#[cfg(test)]
mod tests;

/// A credential's value may not go into a head: it is empty or holds control characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the credential {0} has a value that cannot stand in a request")]
pub struct Unusable(pub String);

/// How one credential is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way<'a> {
    /// Wherever the placeholder stands.
    Placeholder(&'a str),
    /// As this field, the value between the two.
    Field {
        name: &'a str,
        prefix: &'a str,
        suffix: &'a str,
    },
    /// As `Authorization: Basic` for this user.
    Basic { user: &'a str },
}

#[derive(Debug)]
struct Use<'a> {
    name: &'a str,
    secret: Value,
    way: Way<'a>,
    used: bool,
    /// A credential that another value may be had of, and which one this is.
    renewable: Option<(&'a Credential, u64)>,
}

/// What may be put into one request.
#[derive(Debug, Default)]
pub(crate) struct Injection<'a> {
    uses: Vec<Use<'a>>,
}

impl<'a> Injection<'a> {
    /// Nothing at all; allocates nothing.
    pub(crate) fn none() -> Self {
        Self { uses: Vec::new() }
    }

    pub(crate) fn add(
        &mut self,
        name: &'a str,
        secret: Value,
        way: Way<'a>,
    ) -> Result<(), Unusable> {
        let text = secret.expose();
        if text.is_empty() || !text.bytes().all(field::is_value_byte) {
            return Err(Unusable(name.to_owned()));
        }
        // A placeholder this short would stand in half of all requests by chance.
        if matches!(way, Way::Placeholder(placeholder) if placeholder.len() < 8) {
            return Err(Unusable(name.to_owned()));
        }
        self.uses.push(Use {
            name,
            secret,
            way,
            used: false,
            renewable: None,
        });
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// Names of the credentials that were put in, once all of the head went through here.
    pub(crate) fn used(&self) -> impl Iterator<Item = &'a str> {
        self.uses.iter().filter(|one| one.used).map(|one| one.name)
    }

    /// Of those that were put in, the ones that can be renewed.
    pub(crate) fn renewables(&self) -> Renewables<'a> {
        let used = self.uses.iter().filter(|one| one.used);
        Renewables(used.filter_map(|one| one.renewable).collect())
    }

    /// The target with values in its query, if that changes it.
    pub(crate) fn target(&mut self, target: &str) -> Option<Zeroizing<Vec<u8>>> {
        let query = target.find('?')? + 1;
        let mut changed: Option<Zeroizing<Vec<u8>>> = None;
        for one in &mut self.uses {
            let Way::Placeholder(placeholder) = one.way else {
                continue;
            };
            let current = changed.as_ref().map_or(target.as_bytes(), |bytes| bytes);
            if memmem::find(&current[query..], placeholder.as_bytes()).is_some() {
                let encoded = percent_encoded(one.secret.expose());
                let mut next =
                    Zeroizing::new(Vec::with_capacity(current.len() + 2 * encoded.len()));
                next.extend_from_slice(&current[..query]);
                replace_into(
                    &current[query..],
                    placeholder.as_bytes(),
                    &encoded,
                    &mut next,
                );
                one.used = true;
                changed = Some(next);
            }
        }
        changed
    }

    /// Is the field set by a credential, so that the client's own is dropped?
    pub(crate) fn replaces(&self, name: &[u8]) -> bool {
        self.uses.iter().any(|one| match one.way {
            Way::Placeholder(_) => false,
            Way::Field { name: set, .. } => name.eq_ignore_ascii_case(set.as_bytes()),
            Way::Basic { .. } => name.eq_ignore_ascii_case(b"authorization"),
        })
    }

    /// A field's value with the credential's values in it, if that changes it.
    pub(crate) fn value(&mut self, value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut changed: Option<Zeroizing<Vec<u8>>> = None;
        for one in &mut self.uses {
            let Way::Placeholder(placeholder) = one.way else {
                continue;
            };
            let current = changed.as_ref().map_or(value, |bytes| bytes);
            let next = replaced(
                current,
                placeholder.as_bytes(),
                one.secret.expose().as_bytes(),
            )
            .or_else(|| {
                replaced_in_basic(
                    current,
                    placeholder.as_bytes(),
                    one.secret.expose().as_bytes(),
                )
            });
            if next.is_some() {
                one.used = true;
                changed = next;
            }
        }
        changed
    }

    /// Fields to add: lower-case name and value.
    pub(crate) fn fields(&mut self) -> Vec<(&'a str, Zeroizing<Vec<u8>>)> {
        let mut fields = Vec::new();
        for one in &mut self.uses {
            match one.way {
                Way::Placeholder(_) => continue,
                Way::Field {
                    name,
                    prefix,
                    suffix,
                } => {
                    let length = prefix.len() + one.secret.expose().len() + suffix.len();
                    let mut value = Zeroizing::new(Vec::with_capacity(length));
                    for part in [prefix, one.secret.expose(), suffix] {
                        value.extend_from_slice(part.as_bytes());
                    }
                    fields.push((name, value));
                }
                Way::Basic { user } => {
                    let mut pair = Zeroizing::new(Vec::with_capacity(
                        user.len() + 1 + one.secret.expose().len(),
                    ));
                    for part in [user, ":", one.secret.expose()] {
                        pair.extend_from_slice(part.as_bytes());
                    }
                    fields.push(("authorization", basic(&pair)));
                }
            }
            one.used = true;
        }
        fields
    }

    /// At most this many bytes more than the head had: so that a buffer with secrets never moves while it grows.
    pub(crate) fn growth(&self, head: usize) -> usize {
        self.uses
            .iter()
            .map(|one| match one.way {
                Way::Placeholder(placeholder) => {
                    (head / placeholder.len() + 1) * 3 * one.secret.expose().len() + head / 2
                }
                Way::Field {
                    name,
                    prefix,
                    suffix,
                } => name.len() + prefix.len() + one.secret.expose().len() + suffix.len() + 8,
                Way::Basic { user } => 2 * (user.len() + one.secret.expose().len()) + 64,
            })
            .fold(0, usize::saturating_add)
            .min(256 * 1024)
    }
}

/// What may be put into a request that `permit` allows, on a connection whose other end is `identity`: nothing, unless
/// TLS has proven that.
pub(crate) fn for_request<'a>(
    connection: &'a HttpConnection,
    permit: &'a RequestPermit,
    identity: Identity,
) -> Result<Injection<'a>, Unusable> {
    let mut injection = Injection::none();
    if identity == Identity::Unknown || connection.scheme != Scheme::Https {
        return Ok(injection);
    }
    for name in permit.credentials() {
        // A credential without a value was optional; its placeholder stands in for nothing.
        let Some(credential) = connection.shared.credentials.get(name) else {
            continue;
        };
        let way = match credential.spec().injection() {
            policy::Injection::Placeholder => Way::Placeholder(credential.placeholder()),
            policy::Injection::Header { name, format } => Way::Field {
                name,
                prefix: format.prefix(),
                suffix: format.suffix(),
            },
            policy::Injection::Basic { username } => Way::Basic { user: username },
        };
        let Current {
            value, generation, ..
        } = credential.current();
        injection.add(name.as_str(), value, way)?;
        if credential.is_renewable()
            && let Some(added) = injection.uses.last_mut()
        {
            added.renewable = Some((credential, generation));
        }
    }
    Ok(injection)
}

/// Renews what is about to expire among the credentials that may be put into a request.
pub(crate) async fn freshen(connection: &HttpConnection, permit: &RequestPermit) {
    for name in permit.credentials() {
        if let Some(credential) = connection.shared.credentials.get(name) {
            credential.freshen().await;
        }
    }
}

/// Values that a host may refuse for being old, and what it takes to have newer ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Renewables<'a>(Vec<(&'a Credential, u64)>);

impl Renewables<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them has another value now.
    pub(crate) async fn renew(&self) -> bool {
        let mut renewed = false;
        for (credential, generation) in &self.0 {
            renewed |= credential.renew(*generation).await;
        }
        renewed
    }
}

fn replaced(value: &[u8], placeholder: &[u8], secret: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    memmem::find(value, placeholder)?;
    let mut out = Zeroizing::new(Vec::with_capacity(value.len() + 2 * secret.len()));
    replace_into(value, placeholder, secret, &mut out);
    Some(out)
}

/// `Basic` credentials carry the placeholder inside base64 (git and pip send tokens so).
fn replaced_in_basic(
    value: &[u8],
    placeholder: &[u8],
    secret: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = Zeroizing::new(STANDARD.decode(encoded.trim_ascii()).ok()?);
    Some(basic(&replaced(&pair, placeholder, secret)?))
}

fn basic(pair: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut value = Zeroizing::new(Vec::with_capacity(6 + pair.len().div_ceil(3) * 4));
    value.extend_from_slice(b"Basic ");
    let encoded = Zeroizing::new(STANDARD.encode(pair));
    value.extend_from_slice(encoded.as_bytes());
    value
}

fn replace_into(value: &[u8], placeholder: &[u8], secret: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some(at) = memmem::find(rest, placeholder) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(secret);
        rest = &rest[at + placeholder.len()..];
    }
    out.extend_from_slice(rest);
}

fn percent_encoded(secret: &str) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(secret.len() * 3));
    for byte in secret.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            out.extend_from_slice(&[
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        }
    }
    out
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";
