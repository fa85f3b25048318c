//! WebSocket handshakes (RFC 6455 over HTTP/1.1, RFC 8441 over HTTP/2).
//!
//! The only upgrade that passes. An offer to go on in HTTP/2 (`h2c`, which some clients make with every request in clear
//! text) is ignored, as RFC 9110 section 7.8 allows: the request is served as the HTTP/1.1 that it is, and nothing of the
//! offer is passed on. Everything else that asks for another protocol on the same connection is refused, because the
//! door could not judge what follows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::field::{self, Field, Known};
use super::head::{BodyLength, RequestHead, Version};

/// What a request asks its connection to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Nothing,
    WebSocket,
}

/// Why an upgrade is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    #[error("the only upgrade that passes is websocket")]
    NotWebSocket,
    #[error("this is not a valid WebSocket handshake")]
    BadHandshake,
}

impl UpgradeError {
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotWebSocket => "upgrade_not_allowed",
            Self::BadHandshake => "bad_websocket_handshake",
        }
    }

    pub fn status(&self) -> u16 {
        match self {
            Self::BadHandshake => 400,
            Self::NotWebSocket => 403,
        }
    }
}

/// Judges the upgrade that an HTTP/1.1 request asks for. An `Upgrade` field that `Connection` does not name is ignored
/// (and not passed on), and so is one that offers `h2c` and nothing else.
pub fn asked(bytes: &[u8], head: &RequestHead, fields: &[Field]) -> Result<Asked, UpgradeError> {
    let mut keys = Count::default();
    let mut versions = Count::default();
    for field in fields {
        let value = field.value.of(bytes);
        match field.known {
            Known::SecWebSocketKey => {
                keys.add(STANDARD.decode(value).is_ok_and(|key| key.len() == 16))
            }
            Known::SecWebSocketVersion => versions.add(value == b"13"),
            _ => {}
        }
    }
    let Some(token) = head.upgrade else {
        return Ok(Asked::Nothing);
    };
    let token = token.of(bytes);
    if token.eq_ignore_ascii_case(b"h2c") {
        return Ok(Asked::Nothing);
    }
    if !token.eq_ignore_ascii_case(b"websocket") {
        return Err(UpgradeError::NotWebSocket);
    }
    let valid = head.method.of(bytes) == b"GET"
        && head.version == Version::Http11
        && matches!(head.body, BodyLength::None | BodyLength::Fixed(0))
        && keys.is_one_good()
        && versions.is_one_good();
    if valid {
        Ok(Asked::WebSocket)
    } else {
        Err(UpgradeError::BadHandshake)
    }
}

#[derive(Default)]
struct Count {
    all: usize,
    good: usize,
}

impl Count {
    fn add(&mut self, good: bool) {
        self.all += 1;
        self.good += usize::from(good);
    }

    fn is_one_good(&self) -> bool {
        self.all == 1 && self.good == 1
    }
}

/// Who chose the key of a handshake, and so has to check the answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOf<'a> {
    /// The program inside; the door only demands that there is one answer.
    Program,
    /// The door, on behalf of an HTTP/2 stream.
    Door(&'a str),
}

/// Is a 101 the answer to a WebSocket handshake?
pub fn is_accepted(
    bytes: &[u8],
    upgrade: Option<field::Span>,
    fields: &[Field],
    key: KeyOf<'_>,
) -> bool {
    let mut accepts = fields
        .iter()
        .filter(|field| field.known == Known::SecWebSocketAccept)
        .map(|field| field.value.of(bytes));
    let (Some(accept), None) = (accepts.next(), accepts.next()) else {
        return false;
    };
    let answers = match key {
        KeyOf::Program => true,
        KeyOf::Door(key) => accept == answer_to(key).as_bytes(),
    };
    answers && upgrade.is_some_and(|token| token.of(bytes).eq_ignore_ascii_case(b"websocket"))
}

/// RFC 6455 section 4.2.2: SHA-1 proves nothing here but that the origin meant a WebSocket.
pub(crate) fn answer_to(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// A key for a handshake that the door makes on behalf of an HTTP/2 stream, which has none.
pub(crate) fn new_key() -> Result<String, getrandom::Error> {
    let mut key = [0u8; 16];
    getrandom::fill(&mut key)?;
    Ok(STANDARD.encode(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head;

    fn judged(fields: &str) -> Result<Asked, UpgradeError> {
        let text = format!("GET /chat HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut parsed = Vec::new();
        let (_, head) = head::parse_bytes(text.as_bytes(), &mut parsed)
            .expect("valid")
            .expect("whole");
        asked(text.as_bytes(), &head, &parsed)
    }

    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    #[test]
    fn a_whole_handshake_passes() {
        let fields = format!(
            "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n{KEY}Sec-WebSocket-Version: 13\r\n"
        );
        assert_eq!(judged(&fields), Ok(Asked::WebSocket));
        assert_eq!(judged("X: y\r\n"), Ok(Asked::Nothing));
        assert_eq!(judged("Upgrade: websocket\r\n"), Ok(Asked::Nothing));
    }

    #[test]
    fn an_answer_fits_its_key() {
        // The example of RFC 6455 section 1.3.
        let (key, accept) = ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer_to(key), accept);
        let accepted = |fields: &str, key| {
            let text =
                format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{fields}\r\n");
            let mut parsed = Vec::new();
            let (_, head) = crate::http::response::parse_bytes(text.as_bytes(), &mut parsed)
                .expect("valid")
                .expect("whole");
            is_accepted(text.as_bytes(), head.upgrade, &parsed, key)
        };
        let whole = format!("Upgrade: WebSocket\r\nSec-WebSocket-Accept: {accept}\r\n");
        assert!(accepted(&whole, KeyOf::Program) && accepted(&whole, KeyOf::Door(key)));
        let other = "Upgrade: websocket\r\nSec-WebSocket-Accept: AAAA\r\n";
        assert!(accepted(other, KeyOf::Program) && !accepted(other, KeyOf::Door(key)));
        for fields in [
            "Upgrade: websocket\r\n".to_owned(),
            format!("Sec-WebSocket-Accept: {accept}\r\n"),
            format!("{whole}Sec-WebSocket-Accept: {accept}\r\n"),
            whole.replace("WebSocket\r", "h2c\r"),
        ] {
            assert!(!accepted(&fields, KeyOf::Program), "{fields}");
            assert!(!accepted(&fields, KeyOf::Door(key)), "{fields}");
        }
    }

    #[test]
    fn an_offer_of_http2_is_ignored() {
        for fields in [
            "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            "Connection: HTTP2-Settings, upgrade\r\nUpgrade: H2C\r\n",
            "Upgrade: h2c\r\n",
            "HTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        ] {
            assert_eq!(judged(fields), Ok(Asked::Nothing), "{fields:?}");
        }
    }

    #[test]
    fn everything_else_that_would_change_the_protocol_is_refused() {
        use UpgradeError as E;
        for (fields, error) in [
            ("Upgrade: websocket, H2C\r\nConnection: Upgrade\r\n".to_owned(), E::NotWebSocket),
            ("Upgrade: h2c, foo\r\nConnection: Upgrade\r\n".to_owned(), E::NotWebSocket),
            ("Upgrade: h2c/1\r\nConnection: Upgrade\r\n".to_owned(), E::NotWebSocket),
            ("Upgrade: h2\r\nConnection: Upgrade\r\n".to_owned(), E::NotWebSocket),
            ("Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n".to_owned(), E::NotWebSocket),
            ("Upgrade: websocket, foo\r\nConnection: Upgrade\r\n".to_owned(), E::NotWebSocket),
            ("Upgrade: foo\r\nConnection: Upgrade\r\n".to_owned(), E::NotWebSocket),
            ("Upgrade: websocket\r\nConnection: Upgrade\r\n".to_owned(), E::BadHandshake),
            (format!("Upgrade: websocket\r\nConnection: Upgrade\r\n{KEY}"), E::BadHandshake),
            (format!("Upgrade: websocket\r\nConnection: Upgrade\r\n{KEY}Sec-WebSocket-Version: 12\r\n"), E::BadHandshake),
            (format!("Upgrade: websocket\r\nConnection: Upgrade\r\n{KEY}{KEY}Sec-WebSocket-Version: 13\r\n"), E::BadHandshake),
            (
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: c2hvcnQ=\r\nSec-WebSocket-Version: 13\r\n".to_owned(),
                E::BadHandshake,
            ),
            (
                format!("Upgrade: websocket\r\nConnection: Upgrade\r\n{KEY}Sec-WebSocket-Version: 13\r\nContent-Length: 4\r\n"),
                E::BadHandshake,
            ),
        ] {
            assert_eq!(judged(&fields), Err(error), "{fields:?}");
        }
    }
}
