//! Heads written for the next hop: what belongs to this hop goes, framing is our own, all else is copied as it came.

use super::super::cached::Asking;
use super::super::field::{self, Field, Known};
use super::super::head::{self, BodyLength, RequestHead};
use super::super::inject::Injection;
use super::super::response::{ResponseBody, ResponseHead};
use super::super::stream::BodyWriter;

/// How the connection to the program goes on after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Downstream {
    /// HTTP/1.1, and it stays open.
    KeepAlive,
    /// HTTP/1.0, and it stays open because both sides said so.
    KeepAlive10,
    /// It is closed after this response.
    Close,
    /// HTTP/1.0, and it is closed.
    Close10,
}

impl Downstream {
    pub(crate) fn speaks_11(self) -> bool {
        matches!(self, Self::KeepAlive | Self::Close)
    }

    pub(crate) fn closes(self) -> bool {
        matches!(self, Self::Close | Self::Close10)
    }

    pub(crate) fn closing(self) -> Self {
        if self.speaks_11() {
            Self::Close
        } else {
            Self::Close10
        }
    }
}

/// A parsed request head with its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a, H> {
    pub(crate) bytes: &'a [u8],
    pub(crate) head: &'a H,
    pub(crate) fields: &'a [Field],
}

/// Is this request one that goes upstream as a WebSocket handshake?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    No,
    WebSocket,
}

/// Appends the head of the request as the origin gets it. `target` is the canonical one that was judged, `host` the
/// authority that the connection is for, `asking` what changes if the answer may be kept.
pub(crate) fn request(
    out: &mut Vec<u8>,
    received: Received<'_, RequestHead>,
    target: &str,
    host: &str,
    handshake: Handshake,
    asking: Option<&Asking>,
    injection: &mut Injection<'_>,
) {
    let Received {
        bytes,
        head,
        fields,
    } = received;
    out.reserve(bytes.len() + 128 + injection.growth(bytes.len()));
    out.extend_from_slice(head.method.of(bytes));
    out.push(b' ');
    match injection.target(target) {
        Some(changed) => out.extend_from_slice(&changed),
        None => out.extend_from_slice(target.as_bytes()),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    line(out, b"Host", host.as_bytes());
    let mut trailers_wanted = false;
    for field in fields {
        let (name, value) = (field.name.of(bytes), field.value.of(bytes));
        match field.known {
            Known::Host
            | Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::ProxyAuthorization
            | Known::TransferEncoding
            | Known::Upgrade
            | Known::Http2Settings => continue,
            Known::Te => {
                trailers_wanted |=
                    field::members(value).any(|member| member.eq_ignore_ascii_case(b"trailers"));
                continue;
            }
            Known::Expect if !head.expects_continue => continue,
            Known::ContentLength | Known::Expect => {
                line(out, name, value);
                continue;
            }
            _ => {}
        }
        if head.names_fields && head::is_named_by_connection(bytes, fields, name) {
            continue;
        }
        if asking.is_some_and(|asking| asking.leaves_out(field.name.text(bytes))) {
            continue;
        }
        if injection.is_empty() {
            line(out, name, value);
        } else if !injection.replaces(name) {
            match injection.value(value) {
                Some(changed) => line(out, name, &changed),
                None => line(out, name, value),
            }
        }
    }
    if !injection.is_empty() {
        for (name, value) in injection.fields() {
            line(out, name.as_bytes(), &value);
        }
    }
    if let Some((name, value)) = asking.and_then(Asking::condition) {
        line(out, name.as_bytes(), value.as_bytes());
    }
    if head.body == BodyLength::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    match handshake {
        Handshake::WebSocket => {
            out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
        }
        Handshake::No if trailers_wanted => {
            out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n")
        }
        Handshake::No => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of the response as the program gets it, and says how its body must be written.
pub(crate) fn response(
    out: &mut Vec<u8>,
    received: Received<'_, ResponseHead>,
    downstream: Downstream,
    handshake: Handshake,
) -> BodyWriter {
    let Received {
        bytes,
        head,
        fields,
    } = received;
    out.reserve(bytes.len() + 64);
    out.extend_from_slice(b"HTTP/1.1 ");
    number(out, u64::from(head.status));
    out.push(b' ');
    out.extend_from_slice(head.reason.of(bytes));
    out.extend_from_slice(b"\r\n");
    for field in fields {
        let name = field.name.of(bytes);
        match field.known {
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::ProxyAuthenticate
            | Known::TransferEncoding
            | Known::ContentLength
            | Known::Upgrade => {}
            _ if head.names_fields && head::is_named_by_connection(bytes, fields, name) => {}
            _ => line(out, name, field.value.of(bytes)),
        }
    }
    let mut writer = BodyWriter::Plain;
    match head.body {
        ResponseBody::None => {
            if let Some(declared) = head.declared {
                content_length(out, declared);
            }
        }
        ResponseBody::Fixed(length) => content_length(out, length),
        ResponseBody::Chunked | ResponseBody::UntilClose if downstream.speaks_11() => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            writer = BodyWriter::Chunked;
        }
        ResponseBody::Chunked | ResponseBody::UntilClose => {}
    }
    match downstream {
        _ if handshake == Handshake::WebSocket => {
            out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
        }
        _ if head.is_interim() => {}
        Downstream::KeepAlive => {}
        Downstream::KeepAlive10 => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Downstream::Close | Downstream::Close10 => out.extend_from_slice(b"Connection: close\r\n"),
    }
    out.extend_from_slice(b"\r\n");
    writer
}

pub(crate) fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    number(out, length);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response as codec;

    fn sent(text: &str, handshake: Handshake) -> String {
        let mut fields = Vec::new();
        let (end, head) = head::parse_bytes(text.as_bytes(), &mut fields)
            .expect("valid")
            .expect("whole");
        let received = Received {
            bytes: &text.as_bytes()[..end],
            head: &head,
            fields: &fields,
        };
        let mut out = Vec::new();
        request(
            &mut out,
            received,
            "/canonical",
            "example.com",
            handshake,
            None,
            &mut Injection::none(),
        );
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_request_loses_what_belongs_to_this_hop() {
        let text = "POST /x HTTP/1.1\r\nhOST: EXAMPLE.com\r\nX-Keep: 1\r\nKeep-Alive: 5\r\nConnection: close, X-Drop\r\nX-Drop: 2\r\n\
                    Proxy-Authorization: secret\r\nTransfer-Encoding: CHUNKED\r\nTE: trailers, deflate\r\nUpgrade: foo\r\n\r\n";
        assert_eq!(
            sent(text, Handshake::No),
            "POST /canonical HTTP/1.1\r\nHost: example.com\r\nX-Keep: 1\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
        );
    }

    #[test]
    fn nothing_of_an_offer_of_http2_is_passed_on() {
        let text = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                    HTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Keep: 1\r\n\r\n";
        assert_eq!(
            sent(text, Handshake::No),
            "GET /canonical HTTP/1.1\r\nHost: example.com\r\nX-Keep: 1\r\n\r\n"
        );
    }

    #[test]
    fn a_handshake_keeps_its_upgrade() {
        let text = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\r\n";
        assert_eq!(
            sent(text, Handshake::WebSocket),
            "GET /canonical HTTP/1.1\r\nHost: example.com\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
    }

    fn answered(text: &str, downstream: Downstream) -> (String, BodyWriter) {
        let mut fields = Vec::new();
        let (end, head) = codec::parse_bytes(text.as_bytes(), &mut fields)
            .expect("valid")
            .expect("whole");
        let received = Received {
            bytes: &text.as_bytes()[..end],
            head: &head,
            fields: &fields,
        };
        let mut out = Vec::new();
        let writer = response(&mut out, received, downstream, Handshake::No);
        (String::from_utf8(out).expect("text"), writer)
    }

    #[test]
    fn responses_are_framed_for_the_program() {
        let fixed = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\nX: y\r\n\r\n";
        assert_eq!(
            answered(fixed, Downstream::KeepAlive),
            (
                "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\n".to_owned(),
                BodyWriter::Plain
            )
        );
        let endless = "HTTP/1.0 200 OK\r\n\r\n";
        assert_eq!(
            answered(endless, Downstream::KeepAlive),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
                BodyWriter::Chunked
            )
        );
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(
            answered(chunked, Downstream::Close10),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned(),
                BodyWriter::Plain
            )
        );
    }

    #[test]
    fn numbers_are_decimal() {
        for (value, text) in [(0, "0"), (10, "10"), (u64::MAX, "18446744073709551615")] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, text.as_bytes());
        }
    }
}
