//! Field lines (RFC 9112 section 5), shared by request heads, response heads and trailers.
//!
//! Lines are split and judged on the raw bytes: `name ":" OWS value OWS CRLF`, nothing looser.

/// Where a piece of a head lies in the bytes it was parsed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Heads are at most [`super::limits::MAX_HEAD`] bytes, far below `u32::MAX`.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes of this span in the buffer that was parsed.
    pub fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    /// As text. Spans of names, methods and targets are ASCII by construction; others read as empty if not UTF-8.
    pub fn text<'a>(&self, bytes: &'a [u8]) -> &'a str {
        std::str::from_utf8(self.of(bytes)).unwrap_or_default()
    }
}

/// One field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Span,
    /// Without surrounding whitespace; may be empty.
    pub value: Span,
    pub known: Known,
}

/// Field names that the codec itself acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Authorization,
    Connection,
    ContentLength,
    ContentType,
    Cookie,
    Expect,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    SecWebSocketAccept,
    SecWebSocketKey,
    SecWebSocketVersion,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    Other,
}

impl Known {
    /// Compares without regard to case; `Other` for everything the codec only passes on.
    pub fn of(name: &[u8]) -> Self {
        // The length decides between at most three candidates, so most fields cost one comparison or none.
        let candidates: &[(&str, Known)] = match name.len() {
            2 => &[("te", Known::Te)],
            4 => &[("host", Known::Host)],
            6 => &[("expect", Known::Expect), ("cookie", Known::Cookie)],
            7 => &[("upgrade", Known::Upgrade), ("trailer", Known::Trailer)],
            10 => &[
                ("connection", Known::Connection),
                ("keep-alive", Known::KeepAlive),
            ],
            12 => &[("content-type", Known::ContentType)],
            13 => &[("authorization", Known::Authorization)],
            14 => &[
                ("content-length", Known::ContentLength),
                ("http2-settings", Known::Http2Settings),
            ],
            16 => &[("proxy-connection", Known::ProxyConnection)],
            17 => &[
                ("transfer-encoding", Known::TransferEncoding),
                ("sec-websocket-key", Known::SecWebSocketKey),
            ],
            18 => &[("proxy-authenticate", Known::ProxyAuthenticate)],
            19 => &[("proxy-authorization", Known::ProxyAuthorization)],
            20 => &[("sec-websocket-accept", Known::SecWebSocketAccept)],
            21 => &[("sec-websocket-version", Known::SecWebSocketVersion)],
            _ => &[],
        };
        candidates
            .iter()
            .find(|(text, _)| name.eq_ignore_ascii_case(text.as_bytes()))
            .map_or(Known::Other, |(_, known)| *known)
    }
}

/// Why a field line is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("a field line has no colon")]
    NoColon,
    #[error("a field name is not a token")]
    Name,
    #[error("a field line begins with whitespace (obsolete folding)")]
    Folded,
    #[error("a field value holds a control character")]
    Value,
    #[error("too many fields")]
    TooMany,
}

/// Parses one line, given without its CRLF; `offset` is where it begins in the whole head.
pub(crate) fn parse_line(line: &[u8], offset: usize) -> Result<Field, FieldError> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(FieldError::Folded);
    }
    let colon = line
        .iter()
        .position(|byte| !is_token_byte(*byte))
        .ok_or(FieldError::NoColon)?;
    if line[colon] != b':' || colon == 0 {
        return Err(FieldError::Name);
    }
    let (mut start, mut end) = (colon + 1, line.len());
    while start < end && is_blank(line[start]) {
        start += 1;
    }
    while start < end && is_blank(line[end - 1]) {
        end -= 1;
    }
    if !line[start..end].iter().all(|byte| is_value_byte(*byte)) {
        return Err(FieldError::Value);
    }
    Ok(Field {
        name: Span::new(offset, offset + colon),
        value: Span::new(offset + start, offset + end),
        known: Known::of(&line[..colon]),
    })
}

/// Parses the field lines between `start` and `end` of `bytes` (each with its CRLF) into `fields`.
pub(crate) fn parse_block(
    bytes: &[u8],
    start: usize,
    end: usize,
    most: usize,
    fields: &mut Vec<Field>,
) -> Result<(), FieldError> {
    let mut at = start;
    while at < end {
        let length = memchr::memchr(b'\n', &bytes[at..end]).ok_or(FieldError::Value)?;
        let line = bytes[at..at + length]
            .strip_suffix(b"\r")
            .ok_or(FieldError::Value)?;
        if fields.len() >= most {
            return Err(FieldError::TooMany);
        }
        fields.push(parse_line(line, at)?);
        at += length + 1;
    }
    Ok(())
}

/// The non-empty members of a comma-separated list field.
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// RFC 9110 `tchar`.
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Field content: visible characters, space, tab, and bytes over 127 (`obs-text`), which pass as they are.
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_a_line_and_trims_the_value() {
        let line = b"Host: \t example.com \t";
        let field = parse_line(line, 0).expect("a valid line");
        assert_eq!(field.name.text(line), "Host");
        assert_eq!(field.value.text(line), "example.com");
        assert_eq!(field.known, Known::Host);
    }

    #[test]
    fn rejects_what_other_parsers_repair() {
        for (line, error) in [
            (&b"Host : x"[..], FieldError::Name),
            (b" Host: x", FieldError::Folded),
            (b"\tHost: x", FieldError::Folded),
            (b": x", FieldError::Name),
            (b"Host", FieldError::NoColon),
            (b"", FieldError::NoColon),
            (b"Ho\x00st: x", FieldError::Name),
            (b"H\xc3\xb6st: x", FieldError::Name),
            (b"Host: a\rb", FieldError::Value),
            (b"Host: a\x00b", FieldError::Value),
            (b"Host: a\x7fb", FieldError::Value),
        ] {
            assert_eq!(
                parse_line(line, 0),
                Err(error),
                "{:?}",
                line.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn knows_names_in_any_case() {
        assert_eq!(Known::of(b"TRANSFER-encoding"), Known::TransferEncoding);
        assert_eq!(Known::of(b"x-transfer-encodi"), Known::Other);
        assert_eq!(Known::of(b""), Known::Other);
    }
}
