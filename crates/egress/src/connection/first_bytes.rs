//! Which protocol the first bytes of a connection speak.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::client::ClientStream;

/// Bytes that tell every protocol known here apart.
const ENOUGH: usize = 32;

/// What a program began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstBytes {
    Tls,
    /// A request line of HTTP/1.x, other than CONNECT.
    Http,
    /// `CONNECT`: the program believes to talk to a proxy.
    Connect,
    /// HTTP/2 in the clear, without asking (RFC 9113 section 3.3).
    Http2Preface,
    Socks4,
    Socks5,
    Other,
}

/// What was heard within the time that the program had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    Protocol(FirstBytes),
    /// Nothing, or too little to tell.
    Silence,
    /// The program closed, or the connection broke, before anything could be told.
    Closed,
}

/// Judges the beginning of a stream; `None` if more bytes could change the answer.
pub(super) fn classify(bytes: &[u8]) -> Option<FirstBytes> {
    match bytes {
        [] => None,
        [22, ..] => Some(FirstBytes::Tls),
        // SOCKS: version, then command or the number of methods.
        [4, 1 | 2, ..] => Some(FirstBytes::Socks4),
        [5, 1..=9, ..] => Some(FirstBytes::Socks5),
        [4 | 5] => None,
        _ => classify_text(&bytes[..bytes.len().min(ENOUGH)]),
    }
}

/// A method is letters (and hyphens) in upper case, and then a space.
fn classify_text(bytes: &[u8]) -> Option<FirstBytes> {
    let method = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-')
        .count();
    match (&bytes[..method], bytes.get(method)) {
        (_, None) if bytes.len() < ENOUGH => None,
        (b"PRI", Some(b' ')) => Some(FirstBytes::Http2Preface),
        (b"CONNECT", Some(b' ')) => Some(FirstBytes::Connect),
        ([b'A'..=b'Z', ..], Some(b' ')) => Some(FirstBytes::Http),
        _ => Some(FirstBytes::Other),
    }
}

/// Reads ahead until the protocol is known or `limit` has passed. What was read stays in the stream.
pub(super) async fn hear(client: &mut ClientStream, limit: Duration) -> Heard {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(protocol) = classify(client.ahead()) {
            return Heard::Protocol(protocol);
        }
        match timeout_at(deadline, client.read_ahead(4096)).await {
            Err(_) => return Heard::Silence,
            Ok(Ok(0) | Err(_)) => return Heard::Closed,
            Ok(Ok(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_protocol_is_known_by_its_beginning() {
        for (bytes, expected) in [
            (&b"\x16\x03\x01"[..], FirstBytes::Tls),
            (b"GET / HTTP/1.1\r\n", FirstBytes::Http),
            (b"VERSION-CONTROL /x HTTP/1.1", FirstBytes::Http),
            (b"CONNECT a:443 HTTP/1.1\r\n", FirstBytes::Connect),
            (
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                FirstBytes::Http2Preface,
            ),
            (b"\x05\x01\x00", FirstBytes::Socks5),
            (b"\x05\x03\x00\x01\x02", FirstBytes::Socks5),
            (b"\x04\x01\x01\xbb\x01\x02\x03\x04\0", FirstBytes::Socks4),
            (b"SSH-2.0-OpenSSH_9.2p1 Debian", FirstBytes::Other),
            (b"\x80\x2e\x01\x03\x01", FirstBytes::Other),
            (b"\x05\xff", FirstBytes::Other),
            (b"\r\nGET / HTTP/1.1", FirstBytes::Other),
            (b" GET / HTTP/1.1", FirstBytes::Other),
            (b"- / HTTP/1.1", FirstBytes::Other),
            (b"get / HTTP/1.1", FirstBytes::Other),
            (
                b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA ",
                FirstBytes::Other,
            ),
        ] {
            assert_eq!(classify(bytes), Some(expected), "{bytes:?}");
        }
        for partial in [&b""[..], b"G", b"CONNECT", b"PRI", b"\x05", b"\x04"] {
            assert_eq!(classify(partial), None, "{partial:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_never_changes_its_mind(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let whole = classify(&bytes);
            for end in 0..bytes.len() {
                if let Some(early) = classify(&bytes[..end]) {
                    prop_assert_eq!(Some(early), whole);
                }
            }
            prop_assert!(whole.is_some() || bytes.len() < ENOUGH);
        }
    }
}
