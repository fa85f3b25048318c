//! The head of an HTTP/1.1 response, parsed as strictly as a request's.
//!
//! An origin is allowed a little more than a program inside: a missing reason phrase, equal repeated lengths, odd
//! `Connection` options. It is allowed nothing that could make two readers see different bodies.

use super::field::{self, Field, Known, Span};
use super::head::{self, HeadError, Persistence, Version};

#[cfg(test)]
mod tests;

/// How a response's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    None,
    Fixed(u64),
    Chunked,
    UntilClose,
}

/// Which request a response answers, as far as it decides the body (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    Head,
    Other,
}

/// What the codec learnt from a response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// 100-999.
    pub status: u16,
    pub reason: Span,
    pub version: Version,
    pub body: ResponseBody,
    /// A `Content-Length` that describes no body: of a 304 or of the answer to HEAD.
    pub declared: Option<u64>,
    pub persistence: Persistence,
    /// `Upgrade` is present and `Connection` asks for it.
    pub upgrade: Option<Span>,
    pub names_fields: bool,
}

impl ResponseHead {
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }
}

/// Parses one complete head, as [`head::HeadEnd`] delimited it. `fields` is cleared first. Never panics.
pub fn parse(
    bytes: &[u8],
    answering: Answering,
    most_fields: usize,
    fields: &mut Vec<Field>,
) -> Result<ResponseHead, HeadError> {
    fields.clear();
    let line_end = memchr::memchr(b'\r', bytes).ok_or(HeadError::StatusLine)?;
    let (version, status, reason) = status_line(&bytes[..line_end])?;
    let (start, end) = (line_end + 2, bytes.len().saturating_sub(2));
    if bytes.get(line_end + 1) != Some(&b'\n') || start > end || !bytes.ends_with(b"\r\n") {
        return Err(HeadError::StatusLine);
    }
    field::parse_block(bytes, start, end, most_fields, fields)?;

    let (mut length, mut chunked, mut upgrade) = (None, false, None);
    let mut connection = head::ConnectionOptions::default();
    for field in fields.iter() {
        let value = field.value.of(bytes);
        match field.known {
            Known::ContentLength => {
                let this = head::content_length(value)?;
                if length.is_some_and(|length| length != this) {
                    return Err(HeadError::ManyLengths);
                }
                length = Some(this);
            }
            Known::TransferEncoding => {
                if chunked || version == Version::Http10 || !value.eq_ignore_ascii_case(b"chunked")
                {
                    return Err(HeadError::TransferEncoding);
                }
                chunked = true;
            }
            Known::Connection => connection.add_lenient(value),
            Known::Upgrade => upgrade = Some(field.value),
            _ => {}
        }
    }
    if chunked && length.is_some() {
        return Err(HeadError::BothLengths);
    }
    let bodiless = answering == Answering::Head || status < 200 || status == 204 || status == 304;
    let body = match (bodiless, chunked, length) {
        (true, _, _) => ResponseBody::None,
        (false, true, _) => ResponseBody::Chunked,
        (false, false, Some(length)) => ResponseBody::Fixed(length),
        (false, false, None) => ResponseBody::UntilClose,
    };
    let persistent = !connection.close
        && body != ResponseBody::UntilClose
        && (version == Version::Http11 || connection.keep_alive);
    Ok(ResponseHead {
        status,
        reason,
        version,
        body,
        // 1xx and 204 have no length to declare (RFC 9110 section 8.6).
        declared: length.filter(|_| bodiless && status != 204 && status >= 200),
        persistence: if persistent {
            Persistence::KeepAlive
        } else {
            Persistence::Close
        },
        upgrade: upgrade.filter(|_| connection.upgrade),
        names_fields: connection.names_fields,
    })
}

fn status_line(line: &[u8]) -> Result<(Version, u16, Span), HeadError> {
    let (version, rest) = line.split_at_checked(8).ok_or(HeadError::StatusLine)?;
    let version = Version::parse(version)?;
    let digits = rest
        .strip_prefix(b" ")
        .and_then(|rest| rest.get(..3))
        .ok_or(HeadError::StatusLine)?;
    if !digits.iter().all(u8::is_ascii_digit) || digits[0] == b'0' {
        return Err(HeadError::StatusLine);
    }
    let status = digits
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let reason = match &rest[4..] {
        [] => Span::new(12, 12),
        [b' ', reason @ ..] if reason.iter().all(|byte| field::is_value_byte(*byte)) => {
            Span::new(13, line.len())
        }
        _ => return Err(HeadError::StatusLine),
    };
    Ok((version, status, reason))
}

/// Parses a head from bytes that may hold less or more than one: the fuzz target's entry.
pub fn parse_bytes(
    bytes: &[u8],
    fields: &mut Vec<Field>,
) -> Result<Option<(usize, ResponseHead)>, HeadError> {
    match head::HeadEnd::default().find(bytes)? {
        Some(end) => {
            parse(&bytes[..end], Answering::Other, usize::MAX, fields).map(|head| Some((end, head)))
        }
        None => Ok(None),
    }
}
