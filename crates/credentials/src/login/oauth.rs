//! What is said to a token endpoint, and what it answers (RFC 6749 sections 5 and 6).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value as Json, json};
use wardian_policy::Login;
use wardian_policy::login::{Expiry, Form};
use zeroize::Zeroizing;

use super::document::{Document, wipe};
use super::{LoginError, Transport};

/// Asks for new tokens. On success the old refresh token is worth nothing any more.
pub(super) fn renew(
    login: &Login,
    document: &Document,
    transport: &dyn Transport,
) -> Result<Renewed, LoginError> {
    let endpoint = &login.endpoint;
    let refresh = document.text(&login.refresh).unwrap_or_default();
    if refresh.is_empty() {
        return Err(LoginError::NotRenewable);
    }
    let scope = endpoint
        .scope
        .as_ref()
        .and_then(|pointer| document.get(pointer))
        .and_then(scope_text);
    let mut fields = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh),
        ("client_id", &endpoint.client_id),
    ];
    if let Some(scope) = &scope {
        fields.push(("scope", scope));
    }
    let (content_type, body) = match endpoint.form {
        Form::Json => ("application/json", as_json(&fields)),
        Form::Urlencoded => ("application/x-www-form-urlencoded", as_form(&fields)),
    };
    let host = endpoint.host.to_string();
    let answer = transport
        .post(endpoint, content_type, &body)
        .map_err(|source| LoginError::Transport {
            host: host.clone(),
            source,
        })?;
    let read = Tokens::read(&answer.body);
    match (answer.status, read) {
        (200, Some(tokens)) => Ok(Renewed(tokens)),
        (200, None) => Err(LoginError::NoTokens { host }),
        (400 | 401 | 403, _) => Err(LoginError::Refused {
            host,
            why: refusal(&answer.body),
        }),
        (status, _) => Err(LoginError::Answered { host, status }),
    }
}

/// What an endpoint gave.
pub(super) struct Renewed(Tokens);

struct Tokens(Json);

impl Drop for Tokens {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl Tokens {
    fn read(body: &[u8]) -> Option<Self> {
        let tokens = Self(serde_json::from_slice(body).ok()?);
        let has_access = tokens.text("access_token").is_some_and(|it| !it.is_empty());
        has_access.then_some(tokens)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }
}

impl Renewed {
    pub(super) fn put_into(&self, login: &Login, document: &mut Document, now: SystemTime) {
        let Self(tokens) = self;
        let places = [
            ("access_token", Some(&login.access)),
            ("refresh_token", Some(&login.refresh)),
            ("id_token", login.identity.as_ref()),
        ];
        for (key, pointer) in places {
            if let (Some(token), Some(pointer)) = (tokens.text(key), pointer) {
                document.set(pointer, Json::String(token.to_owned()));
            }
        }
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Expiry::Milliseconds(pointer) = &login.expiry
            && let Some(seconds) = tokens.0.get("expires_in").and_then(Json::as_u64)
        {
            let expires = since + Duration::from_secs(seconds.min(1 << 32));
            document.set(pointer, json!(expires.as_millis() as u64));
        }
        if let Some(pointer) = &login.renewed {
            document.set(pointer, Json::String(rfc3339(since.as_secs())));
        }
    }
}

/// The error code of the endpoint, if it is one (RFC 6749 section 5.2): never a text that could repeat what was sent.
fn refusal(body: &[u8]) -> String {
    let json: Json = serde_json::from_slice(body).unwrap_or(Json::Null);
    let code = ["/error", "/error/code", "/error/type"]
        .iter()
        .find_map(|pointer| json.pointer(pointer)?.as_str());
    let is_code = |code: &&str| {
        code.len() <= 40 && code.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')
    };
    match code.filter(is_code) {
        Some(code) => code.to_owned(),
        None => "it gives no reason".to_owned(),
    }
}

fn scope_text(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Array(items) => {
            let words: Vec<_> = items.iter().filter_map(Json::as_str).collect();
            Some(words.join(" "))
        }
        _ => None,
    }
}

fn as_json(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let map: Map<String, Json> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Json::String((*value).to_owned())))
        .collect();
    let mut json = Json::Object(map);
    let mut body = Zeroizing::new(Vec::with_capacity(length(fields)));
    serde_json::to_writer(&mut *body, &json).expect("texts are JSON");
    wipe(&mut json);
    body
}

fn as_form(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let mut body = Zeroizing::new(Vec::with_capacity(length(fields)));
    for (name, value) in fields {
        if !body.is_empty() {
            body.push(b'&');
        }
        body.extend_from_slice(name.as_bytes());
        body.push(b'=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    body.push(byte);
                }
                _ => body.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            }
        }
    }
    body
}

/// So that the buffer never moves and leaves a copy behind.
fn length(fields: &[(&str, &str)]) -> usize {
    let each = |(name, value): &(&str, &str)| name.len() + 6 * value.len() + 8;
    fields.iter().map(each).sum::<usize>() + 16
}

/// The claims of a JWT (RFC 7519), unverified.
pub(crate) fn claims_of(token: &str) -> Option<Map<String, Json>> {
    let mut parts = token.split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// `2026-11-21T10:43:06Z`
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil from days, as Howard Hinnant has it, for days since 1970.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_rfc_3339_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_257_786, "2026-11-21T10:43:06Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn forms_are_encoded_and_reasons_are_codes() {
        let fields = [("refresh_token", "a b+&ü"), ("x", "1")];
        let form = as_form(&fields);
        assert_eq!(&**form, b"refresh_token=a%20b%2B%26%C3%BC&x=1");
        assert_eq!(refusal(br#"{"error":"invalid_grant"}"#), "invalid_grant");
        let nested = br#"{"error":{"code":"refresh_token_reused","message":"rt-1"}}"#;
        assert_eq!(refusal(nested), "refresh_token_reused");
        assert!(!refusal(br#"{"error":"Bad rt-1"}"#).contains("rt-1"));
    }
}
