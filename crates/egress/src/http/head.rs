//! The head of an HTTP/1.1 request, parsed strictly from its raw bytes (RFC 9112).
//!
//! Two steps, so that a slow sender costs no more than a fast one. [`HeadEnd`] looks at each byte once as it arrives,
//! refuses what no head may hold, and finds the blank line; [`parse`] then splits the finished head. Nothing is
//! repaired: a bare LF, a folded line, a space before a colon or a second `Content-Length` ends the connection.

use super::field::{self, Field, FieldError, Known, Span, is_token_byte};
use super::limits::{MAX_BODY, MAX_METHOD};

#[cfg(test)]
mod tests;

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("a line ends with a line feed alone")]
    BareLf,
    #[error("a carriage return stands alone")]
    BareCr,
    #[error("a control character stands in the head")]
    Control,
    #[error("this is not HTTP/1.1")]
    NotHttp,
    #[error("HTTP/2 begun without negotiation")]
    Http2Preface,
    #[error("the request line is not METHOD SP TARGET SP VERSION")]
    RequestLine,
    #[error("the version is not HTTP/1.1 or HTTP/1.0")]
    Version,
    #[error("the status line is not VERSION SP STATUS SP REASON")]
    StatusLine,
    #[error("the head is too large")]
    TooLarge,
    #[error("{0}")]
    Field(#[from] FieldError),
    #[error("the Host field is missing")]
    NoHost,
    #[error("there is more than one Host field")]
    ManyHosts,
    #[error("Content-Length and Transfer-Encoding stand together")]
    BothLengths,
    #[error("there is more than one Content-Length")]
    ManyLengths,
    #[error("Content-Length is not a number")]
    Length,
    #[error("the body is too large")]
    BodyTooLarge,
    #[error("Transfer-Encoding is not exactly `chunked`")]
    TransferEncoding,
    #[error("Connection names a field that must not be removed")]
    Connection,
    #[error("Expect asks for something other than `100-continue`")]
    Expect,
}

impl HeadError {
    /// The name for the journal and for the refusal.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::Control => "control_character",
            Self::NotHttp => "not_http",
            Self::Http2Preface => "h2c_prior_knowledge",
            Self::RequestLine => "bad_request_line",
            Self::StatusLine => "bad_status_line",
            Self::Version => "bad_version",
            Self::TooLarge => "head_too_large",
            Self::Field(FieldError::NoColon) => "field_without_colon",
            Self::Field(FieldError::Name) => "bad_field_name",
            Self::Field(FieldError::Folded) => "folded_field",
            Self::Field(FieldError::Value) => "bad_field_value",
            Self::Field(FieldError::TooMany) => "too_many_fields",
            Self::NoHost => "no_host",
            Self::ManyHosts => "many_hosts",
            Self::BothLengths => "conflicting_lengths",
            Self::ManyLengths => "many_content_lengths",
            Self::Length => "bad_content_length",
            Self::BodyTooLarge => "body_too_large",
            Self::TransferEncoding => "bad_transfer_encoding",
            Self::Connection => "bad_connection_field",
            Self::Expect => "bad_expect",
        }
    }

    /// The status that the door answers a request with.
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLarge | Self::Field(FieldError::TooMany) => 431,
            Self::BodyTooLarge => 413,
            Self::Version => 505,
            Self::Expect => 417,
            Self::Http2Preface => 403,
            _ => 400,
        }
    }
}

/// Finds the end of a head (request or response) in bytes that arrive piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadEnd {
    seen: usize,
    line_start: usize,
}

impl HeadEnd {
    /// `bytes` is everything received so far, from the head's first byte on. Returns the head's length once its blank
    /// line is there.
    pub fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, HeadError> {
        while let Some(&byte) = bytes.get(self.seen) {
            match byte {
                b'\n' => {
                    if self.seen == 0 || bytes[self.seen - 1] != b'\r' {
                        return Err(HeadError::BareLf);
                    }
                    let blank = self.seen == self.line_start + 1;
                    self.seen += 1;
                    self.line_start = self.seen;
                    if blank {
                        return Ok(Some(self.seen));
                    }
                    continue;
                }
                b'\r' => {}
                _ if !field::is_value_byte(byte) => return Err(HeadError::Control),
                _ => {}
            }
            if self.seen > 0 && bytes[self.seen - 1] == b'\r' {
                return Err(HeadError::BareCr);
            }
            self.seen += 1;
        }
        Ok(None)
    }
}

/// The HTTP version of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

impl Version {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        match bytes {
            b"HTTP/1.1" => Ok(Self::Http11),
            b"HTTP/1.0" => Ok(Self::Http10),
            _ => Err(HeadError::Version),
        }
    }
}

/// How a request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    None,
    /// Exactly so many bytes; never 0 without a `Content-Length` field.
    Fixed(u64),
    Chunked,
}

/// Whether the connection may be used again after this message, as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    KeepAlive,
    Close,
}

/// What the codec learnt from a request head. The field lines go into a vector that the caller keeps and lends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    pub method: Span,
    /// As it stands in the request line; not yet canonical.
    pub target: Span,
    pub version: Version,
    /// None only for HTTP/1.0.
    pub host: Option<Span>,
    pub body: BodyLength,
    pub persistence: Persistence,
    pub expects_continue: bool,
    /// `Upgrade` is present and `Connection` asks for it.
    pub upgrade: Option<Span>,
    /// The `Connection` field names options beyond the ones that the codec knows: fields to be removed.
    pub names_fields: bool,
}

/// Parses one complete head, as [`HeadEnd`] delimited it. `fields` is cleared first.
///
/// Never panics, whatever the bytes.
pub fn parse(
    bytes: &[u8],
    most_fields: usize,
    fields: &mut Vec<Field>,
) -> Result<RequestHead, HeadError> {
    fields.clear();
    let line_end = memchr::memchr(b'\r', bytes).ok_or(HeadError::RequestLine)?;
    let (method, target, version) = request_line(&bytes[..line_end])?;
    let (start, end) = (line_end + 2, bytes.len().saturating_sub(2));
    if bytes.get(line_end + 1) != Some(&b'\n') || start > end || !bytes.ends_with(b"\r\n") {
        return Err(HeadError::RequestLine);
    }
    field::parse_block(bytes, start, end, most_fields, fields)?;

    let mut head = RequestHead {
        method,
        target,
        version,
        host: None,
        body: BodyLength::None,
        persistence: match version {
            Version::Http11 => Persistence::KeepAlive,
            Version::Http10 => Persistence::Close,
        },
        expects_continue: false,
        upgrade: None,
        names_fields: false,
    };
    let (mut chunked, mut upgrade, mut connection) = (false, None, ConnectionOptions::default());
    for field in fields.iter() {
        let value = field.value.of(bytes);
        match field.known {
            Known::Host if head.host.is_some() => return Err(HeadError::ManyHosts),
            Known::Host => head.host = Some(field.value),
            Known::ContentLength if head.body != BodyLength::None => {
                return Err(HeadError::ManyLengths);
            }
            Known::ContentLength => head.body = BodyLength::Fixed(content_length(value)?),
            Known::TransferEncoding => {
                // A second field would make the list `chunked, chunked`; HTTP/1.0 has no transfer codings.
                if chunked || version == Version::Http10 || !value.eq_ignore_ascii_case(b"chunked")
                {
                    return Err(HeadError::TransferEncoding);
                }
                chunked = true;
            }
            Known::Connection => connection.add(value)?,
            Known::Upgrade if upgrade.is_some() => return Err(HeadError::RequestLine),
            Known::Upgrade => upgrade = Some(field.value),
            Known::Expect if version == Version::Http10 => {}
            Known::Expect if value.eq_ignore_ascii_case(b"100-continue") => {
                head.expects_continue = true
            }
            Known::Expect => return Err(HeadError::Expect),
            _ => {}
        }
    }
    if chunked {
        if head.body != BodyLength::None {
            return Err(HeadError::BothLengths);
        }
        head.body = BodyLength::Chunked;
    }
    if head.host.is_none() && version == Version::Http11 {
        return Err(HeadError::NoHost);
    }
    if connection.close {
        head.persistence = Persistence::Close;
    } else if connection.keep_alive && version == Version::Http10 {
        head.persistence = Persistence::KeepAlive;
    }
    head.expects_continue &= head.body != BodyLength::None;
    head.names_fields = connection.names_fields;
    // An Upgrade field that Connection does not name was meant for another hop, and is not passed on.
    head.upgrade = upgrade.filter(|_| connection.upgrade);
    Ok(head)
}

/// Parses a head from bytes that may hold less or more than one: the fuzz target's entry.
pub fn parse_bytes(
    bytes: &[u8],
    fields: &mut Vec<Field>,
) -> Result<Option<(usize, RequestHead)>, HeadError> {
    check_start(bytes)?;
    match HeadEnd::default().find(bytes)? {
        Some(end) => parse(&bytes[..end], usize::MAX, fields).map(|head| Some((end, head))),
        None => Ok(None),
    }
}

/// Refuses at the first bytes what cannot become a request line, rather than waiting for its end.
pub fn check_start(bytes: &[u8]) -> Result<(), HeadError> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0";
    if bytes.len() >= PREFACE.len() && bytes.starts_with(PREFACE) {
        return Err(HeadError::Http2Preface);
    }
    let method = bytes
        .iter()
        .take(MAX_METHOD + 1)
        .take_while(|byte| is_token_byte(**byte))
        .count();
    match bytes.get(method) {
        None => Ok(()),
        Some(b' ') if method > 0 && method <= MAX_METHOD => Ok(()),
        Some(b'\n') if method == 0 => Err(HeadError::BareLf),
        _ => Err(HeadError::NotHttp),
    }
}

fn request_line(line: &[u8]) -> Result<(Span, Span, Version), HeadError> {
    let method = memchr::memchr(b' ', line).ok_or(HeadError::RequestLine)?;
    if method > MAX_METHOD || !field::is_token(&line[..method]) {
        return Err(HeadError::RequestLine);
    }
    let target =
        memchr::memchr(b' ', &line[method + 1..]).ok_or(HeadError::RequestLine)? + method + 1;
    if target == method + 1
        || !line[method + 1..target]
            .iter()
            .all(|byte| matches!(byte, 0x21..=0x7e))
    {
        return Err(HeadError::RequestLine);
    }
    let version = &line[target + 1..];
    if !version.starts_with(b"HTTP/") || version.contains(&b' ') {
        return Err(HeadError::RequestLine);
    }
    Ok((
        Span::new(0, method),
        Span::new(method + 1, target),
        Version::parse(version)?,
    ))
}

/// Digits only, so neither a sign, a list, a blank nor a hexadecimal form passes.
pub(crate) fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::Length);
    }
    let length = value
        .iter()
        .try_fold(0u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .ok_or(HeadError::BodyTooLarge)?;
    if length > MAX_BODY {
        return Err(HeadError::BodyTooLarge);
    }
    Ok(length)
}

/// The options of all `Connection` fields of a head.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    pub(crate) names_fields: bool,
}

impl ConnectionOptions {
    pub(crate) fn add(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for option in field::members(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if !field::is_token(option) {
                return Err(HeadError::Connection);
            } else {
                match Known::of(option) {
                    // Fields that always end at a hop need no further treatment.
                    Known::Te
                    | Known::Http2Settings
                    | Known::ProxyConnection
                    | Known::KeepAlive => {}
                    Known::Other
                    | Known::Trailer
                    | Known::ProxyAuthenticate
                    | Known::ProxyAuthorization => {
                        self.names_fields = true;
                    }
                    // A request to have Host, Authorization or a length removed on the way is an attack (RFC 9110 7.6.1).
                    _ => return Err(HeadError::Connection),
                }
            }
        }
        Ok(())
    }
}

impl ConnectionOptions {
    /// For responses: what is not understood is ignored.
    pub(crate) fn add_lenient(&mut self, value: &[u8]) {
        for option in field::members(value) {
            if self.add(option).is_err() {
                continue;
            }
        }
    }
}

/// Is `name` among the options of the head's `Connection` fields?
pub(crate) fn is_named_by_connection(bytes: &[u8], fields: &[Field], name: &[u8]) -> bool {
    fields
        .iter()
        .filter(|field| field.known == Known::Connection)
        .flat_map(|field| field::members(field.value.of(bytes)))
        .any(|option| option.eq_ignore_ascii_case(name))
}
