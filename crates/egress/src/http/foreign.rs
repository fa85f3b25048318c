//! Somebody else's credentials, where the user's own belong.
//!
//! A host that a credential is bound to is reached as the user, or not at all: with an account of somebody else's, a
//! program could hand to that account whatever it reads, at a host that it is allowed to reach.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use wardian_policy::{ForeignLogins, Injection, RequestPermit, RequestTarget, Scheme};

use super::tap::Fields;
use crate::context::HttpConnection;
use crate::credentials::Credential;

/// Fields that say who asks.
const FIELDS: [&str; 9] = [
    "api-key",
    "authorization",
    "job-token",
    "private-token",
    "x-access-token",
    "x-api-key",
    "x-auth-token",
    "x-goog-api-key",
    "x-vault-token",
];
/// Parameters of queries that do.
const PARAMETERS: [&str; 6] = [
    "access_token",
    "api_key",
    "apikey",
    "auth_token",
    "private_token",
    "token",
];

/// Where a request carries a credential that is none of those bound to its host.
pub(crate) fn find(
    connection: &HttpConnection,
    permit: &RequestPermit,
    fields: Fields<'_>,
    target: &RequestTarget,
) -> Option<String> {
    if connection.scheme != Scheme::Https {
        return None;
    }
    let bound: Vec<&Credential> = permit
        .credentials()
        .iter()
        .filter_map(|name| connection.shared.credentials.get(name))
        .collect();
    let allows = |credential: &&Credential| credential.spec().foreign() == ForeignLogins::Allowed;
    if bound.is_empty() || bound.iter().any(allows) {
        return None;
    }
    let in_field = fields.iter().find(|(name, value)| {
        FIELDS.iter().any(|known| name.eq_ignore_ascii_case(known))
            && !value.trim_ascii().is_empty()
            && !is_replaced(&bound, name)
            && !has_placeholder(&bound, value)
    });
    if let Some((name, _)) = in_field {
        return Some(format!("the field {}", name.to_ascii_lowercase()));
    }
    let pairs = target.query()?.split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, value)| {
            PARAMETERS
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
                && !value.is_empty()
                && !has_placeholder(&bound, value.as_bytes())
        })
        .map(|(name, _)| format!("the parameter {}", name.to_ascii_lowercase()))
}

/// For whoever sent it.
pub(crate) fn why(place: &str) -> String {
    format!(
        "{place} carries a credential, and not the one that is bound to this host: use the placeholder, \
         or set `foreign = \"allow\"` for the credential"
    )
}

/// The door sets this field, whatever the program sent there.
fn is_replaced(bound: &[&Credential], name: &str) -> bool {
    bound
        .iter()
        .any(|credential| match credential.spec().injection() {
            Injection::Placeholder => false,
            Injection::Header { name: set, .. } => name.eq_ignore_ascii_case(set),
            Injection::Basic { .. } => name.eq_ignore_ascii_case("authorization"),
        })
}

fn has_placeholder(bound: &[&Credential], value: &[u8]) -> bool {
    let decoded = value
        .split_at_checked(6)
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"basic "))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim_ascii()).ok())
        .unwrap_or_default();
    bound.iter().any(|credential| {
        let placeholder = credential.placeholder().as_bytes();
        [value, &decoded]
            .iter()
            .any(|text| memmem::find(text, placeholder).is_some())
    })
}
