//! Answers that the door gives itself: what happened, why, and how to allow it, for a person and for an agent.
//!
//! The one place where a denial becomes a status. The body is JSON, short, and holds nothing but what the request
//! itself said and what the policy answered.

use bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wardian_events::visible;

use super::chunked::ChunkError;
use super::h1::write;
use super::head::HeadError;
use super::inject::Unusable;
use super::websocket::UpgradeError;
use crate::dial::DialError;

#[cfg(test)]
mod tests;

/// What sort of refusal it is: the `error` of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Class {
    /// The policy, or a promise of the door, says no.
    #[serde(rename = "wardian_denied")]
    Denied,
    /// What came is not valid HTTP.
    #[serde(rename = "wardian_bad_request")]
    BadRequest,
    /// The policy says yes, the origin could not be reached or spoke nonsense.
    #[serde(rename = "wardian_upstream_failed")]
    UpstreamFailed,
    /// The door itself cannot act, for example because the record cannot be written.
    #[serde(rename = "wardian_unavailable")]
    Unavailable,
}

/// One refusal, protocol-neutral.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    pub error: Class,
    /// snake_case, the same as in the journal.
    pub reason: &'static str,
    /// The rule that decided, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how_to_allow: Option<String>,
    #[serde(skip)]
    pub status: u16,
}

/// What a refusal is about, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// With the port, if it is not the scheme's own.
    pub host: &'a str,
    pub method: Option<&'a str>,
    /// Without the query.
    pub path: Option<&'a str>,
}

impl Refusal {
    /// The policy denies a request or, before any request was read, a whole connection.
    pub fn denied(reason: &'static str, rule: Option<String>, why: &str, about: About<'_>) -> Self {
        Self {
            rule,
            how_to_allow: how_to_allow(reason, about),
            ..Self::new(Class::Denied, 403, reason, why).about(about)
        }
    }

    /// The request is not one that the door can judge.
    pub fn malformed(error: &HeadError) -> Self {
        let class = if error.status() == 403 {
            Class::Denied
        } else {
            Class::BadRequest
        };
        Self::new(class, error.status(), error.reason(), &error.to_string())
    }

    /// The body's framing is wrong.
    pub fn bad_body(error: &ChunkError) -> Self {
        let status = if *error == ChunkError::TooLarge {
            413
        } else {
            400
        };
        Self::new(
            Class::BadRequest,
            status,
            error.reason(),
            &error.to_string(),
        )
    }

    /// The body is longer than one transfer may be.
    pub fn too_much() -> Self {
        Self::new(
            Class::BadRequest,
            413,
            "byte_limit",
            "the request body is longer than the door's limit",
        )
    }

    /// A credential that the request needs cannot be put into it.
    pub fn unusable(error: &Unusable, about: About<'_>) -> Self {
        Self::new(
            Class::UpstreamFailed,
            502,
            "credential_unusable",
            &error.to_string(),
        )
        .about(about)
    }

    pub fn upgrade(error: &UpgradeError, about: About<'_>) -> Self {
        let class = if error.status() == 403 {
            Class::Denied
        } else {
            Class::BadRequest
        };
        Self::new(class, error.status(), error.reason(), &error.to_string()).about(about)
    }

    /// `CONNECT`: a program that believes to need a proxy.
    pub fn connect(about: About<'_>) -> Self {
        let message = "CONNECT is not needed here: this sandbox is transparent. Connect to the host itself, without a \
                       proxy (unset HTTP_PROXY, HTTPS_PROXY and ALL_PROXY)";
        Self::new(Class::Denied, 403, "connect_method", message).about(about)
    }

    /// An origin that answers TRACE sends the request back, and with it the credential that was put in.
    pub fn trace(about: About<'_>) -> Self {
        let message = "TRACE would send credentials back; it is never forwarded";
        Self::new(Class::Denied, 403, "trace_method", message).about(about)
    }

    pub fn bad_request(reason: &'static str, why: &str, about: About<'_>) -> Self {
        Self::new(Class::BadRequest, 400, reason, why).about(about)
    }

    /// The authority of a request is not what its connection is for.
    pub fn misdirected(why: &str, about: About<'_>) -> Self {
        Self::new(Class::Denied, 403, "authority_mismatch", why).about(about)
    }

    pub fn dial(error: &DialError, about: About<'_>) -> Self {
        match error {
            DialError::Denied(denial) => {
                Self::denied(denial.reason(), None, &error.to_string(), about)
            }
            _ => Self::upstream(error.reason(), &error.to_string(), about),
        }
    }

    pub fn upstream(reason: &'static str, why: &str, about: About<'_>) -> Self {
        let status = if reason.ends_with("timeout") {
            504
        } else {
            502
        };
        Self::new(Class::UpstreamFailed, status, reason, why).about(about)
    }

    pub fn timeout(reason: &'static str, why: &str) -> Self {
        Self::new(Class::BadRequest, 408, reason, why)
    }

    pub fn upstream_timeout() -> Self {
        Self::new(
            Class::UpstreamFailed,
            504,
            "upstream_timeout",
            "the origin did not answer in time",
        )
    }

    pub fn no_record() -> Self {
        Self::new(
            Class::Unavailable,
            503,
            "journal_unavailable",
            "the record of this request could not be written",
        )
    }

    fn new(error: Class, status: u16, reason: &'static str, message: &str) -> Self {
        Self {
            error,
            status,
            reason,
            rule: None,
            host: None,
            method: None,
            path: None,
            message: shown(message),
            how_to_allow: None,
        }
    }

    fn about(mut self, about: About<'_>) -> Self {
        self.host = Some(shown(about.host));
        self.method = about.method.map(shown);
        self.path = about.path.map(shown);
        self
    }

    /// The JSON body, with a line feed at its end.
    pub fn body(&self) -> Vec<u8> {
        // Strings and string enums only: serialising them cannot fail.
        let mut body =
            serde_json::to_vec(self).unwrap_or_else(|_| b"{\"error\":\"wardian_denied\"}".to_vec());
        body.push(b'\n');
        body
    }

    /// The whole HTTP/1.1 response.
    pub fn to_http1(&self, head_only: bool, closes: bool) -> Vec<u8> {
        let body = self.body();
        let mut out = Vec::with_capacity(body.len() + 200);
        out.extend_from_slice(b"HTTP/1.1 ");
        write::number(&mut out, u64::from(self.status));
        out.push(b' ');
        out.extend_from_slice(phrase(self.status).as_bytes());
        out.extend_from_slice(
            b"\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: ",
        );
        write::number(&mut out, body.len() as u64);
        out.extend_from_slice(if closes {
            b"\r\nConnection: close\r\n\r\n"
        } else {
            b"\r\n\r\n"
        });
        if !head_only {
            out.extend_from_slice(&body);
        }
        out
    }

    /// Head and body for HTTP/2; the body is None where the head says all (gRPC, RFC 7540 trailers-only).
    pub fn to_http2(&self, is_grpc: bool) -> (http::Response<()>, Option<Bytes>) {
        let mut response = http::Response::new(());
        let headers = response.headers_mut();
        if is_grpc {
            headers.insert(
                http::header::CONTENT_TYPE,
                http::HeaderValue::from_static("application/grpc"),
            );
            let status = if self.error == Class::UpstreamFailed {
                "14"
            } else {
                "7"
            };
            headers.insert("grpc-status", http::HeaderValue::from_static(status));
            let message: String = self
                .message
                .chars()
                .map(|c| {
                    if c.is_ascii_graphic() || c == ' ' {
                        c
                    } else {
                        '?'
                    }
                })
                .collect();
            let message = message.replace('%', "%25");
            if let Ok(message) =
                http::HeaderValue::from_str(&format!("wardian: {}: {message}", self.reason))
            {
                headers.insert("grpc-message", message);
            }
            return (response, None);
        }
        headers.insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json"),
        );
        headers.insert(
            http::header::CACHE_CONTROL,
            http::HeaderValue::from_static("no-store"),
        );
        let body = Bytes::from(self.body());
        headers.insert(
            http::header::CONTENT_LENGTH,
            http::HeaderValue::from(body.len()),
        );
        *response.status_mut() =
            http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::FORBIDDEN);
        (response, Some(body))
    }
}

/// Writes a refusal as HTTP/1.1 on a connection that is not served further, and closes it so that the program gets to
/// read the answer: what it still sends is read and dropped, up to `linger`.
pub async fn answer_and_close<IO>(
    io: &mut IO,
    refusal: &Refusal,
    linger: std::time::Duration,
) -> std::io::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = tokio::io::split(io);
    tokio::time::timeout(linger, async {
        writer.write_all(&refusal.to_http1(false, true)).await?;
        writer.shutdown().await?;
        drain(&mut reader).await
    })
    .await
    .unwrap_or(Ok(()))
}

/// Reads to the end and drops it, up to 16 MiB.
pub(crate) async fn drain<R: AsyncRead + Unpin>(reader: &mut R) -> std::io::Result<()> {
    let mut block = vec![0u8; 16 * 1024];
    for _ in 0..1024 {
        if reader.read(&mut block).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Text from inside, safe to look at and short.
fn shown(text: &str) -> String {
    const MOST: usize = 300;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", visible(&text[..end])),
        None => visible(text).into_owned(),
    }
}

/// A command to paste, or nothing where a rule would not help. Text from inside goes in only if no shell would read
/// anything into it.
fn how_to_allow(reason: &'static str, about: About<'_>) -> Option<String> {
    let plain = |text: &str| {
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"/._~%@:+=,-[]".contains(&byte);
        text.len() <= 300 && text.bytes().all(harmless)
    };
    if !plain(about.host) {
        return None;
    }
    let method = match reason {
        "denied_by_rule" | "uninspected_deny" => {
            return Some("a rule of the policy denies this; change that rule".to_owned());
        }
        "private_address" => {
            return Some(
                "let a rule for this host say where it is: connect = \"ADDRESS:PORT\"".to_owned(),
            );
        }
        "websocket_not_allowed" => Some("WEBSOCKET"),
        "no_rule" | "no_rule_for_request" => about.method,
        _ => return None,
    };
    Some(match (method, about.path) {
        (Some(method), Some(path)) if plain(method) && plain(path) => {
            format!(
                "wardian run --allow '{method} {}://{}{path}'",
                about.scheme, about.host
            )
        }
        _ => format!("wardian run --allow {}", about.host),
    })
}

fn phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Refused")
}
