//! One path segment, between two slashes.

use super::TargetError;

/// Appends the canonical spelling of `segment` (raw, ASCII, without control bytes) to `out`.
pub(super) fn canonicalise(segment: &str, out: &mut String) -> Result<(), TargetError> {
    let decoded = decode(segment)?;
    refuse_hidden_meaning(&decoded)?;
    let bytes = segment.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let value = escape_at(bytes, at).ok_or(TargetError::BadEscape)?;
                match value {
                    value if is_unreserved(value) => out.push(char::from(value)),
                    value => push_escape(value, out),
                }
                at += 3;
                continue;
            }
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => push_escape(byte, out),
            other => out.push(char::from(other)),
        }
        at += 1;
    }
    Ok(())
}

/// The canonical spelling of one segment that may hold anything a rule's author writes.
pub(crate) fn canonical_segment(segment: &str) -> Result<String, TargetError> {
    super::refuse_bytes(segment)?;
    let mut out = String::with_capacity(segment.len());
    canonicalise(segment, &mut out)?;
    Ok(out)
}

/// A canonical segment as the laxest server would read it: decoded until nothing is left to decode, split where an escaped
/// slash separates, in lower case, without parameters and empty pieces.
pub(crate) fn lax_pieces(segment: &str) -> impl Iterator<Item = String> {
    let mut text = segment.to_owned();
    while let Ok(decoded) = decode(&text) {
        if decoded == text {
            break;
        }
        text = decoded;
    }
    let pieces: Vec<String> = text
        .to_lowercase()
        .split('/')
        .map(|piece| piece.split(';').next().unwrap_or(piece).to_owned())
        .filter(|piece| !piece.is_empty())
        .collect();
    pieces.into_iter()
}

pub(super) fn push_escape(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn escape_at(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |index: usize| {
        bytes
            .get(index)
            .and_then(|byte| char::from(*byte).to_digit(16))
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit(at + 1)? << 4 | digit(at + 2)?)
}

/// Everything decoded once, as the most eager server would.
fn decode(segment: &str) -> Result<String, TargetError> {
    let bytes = segment.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let value = escape_at(bytes, at).ok_or(TargetError::BadEscape)?;
            if value < 0x20 || value == 0x7f {
                return Err(TargetError::ControlCharacter);
            }
            decoded.push(value);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    String::from_utf8(decoded).map_err(|_| TargetError::NotUtf8)
}

fn refuse_hidden_meaning(decoded: &str) -> Result<(), TargetError> {
    if decoded.contains('\\') {
        return Err(TargetError::Backslash);
    }
    let bytes = decoded.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'%' {
            continue;
        }
        // What a server that decodes twice would see.
        if let Some(inner) = escape_at(bytes, at) {
            let harmful = !(0x20..0x7f).contains(&inner)
                || matches!(inner, b'%' | b'.' | b'/' | b'\\' | b';' | b'?' | b'#');
            if harmful {
                return Err(TargetError::DoubleEscape);
            }
        }
    }
    // A decoded `/` or `;` may be read as a separator, also in the full-width form that normalisation folds; each piece
    // must still be no dot segment.
    let separator = ['/', ';', '\u{ff0f}', '\u{ff3c}', '\u{fe68}'];
    if decoded.split(separator).any(is_dot_segment) {
        return Err(TargetError::DotSegment);
    }
    Ok(())
}

/// `.`, `..`, longer runs (`...` climbs on some systems), runs with blanks around (dropped on Windows), and the Unicode
/// characters that are folded to dots by compatibility normalisation.
fn is_dot_segment(piece: &str) -> bool {
    let blank = |c: char| c.is_whitespace() || c.is_control();
    let dot = |c: char| {
        matches!(
            c,
            '.' | '\u{ff0e}' | '\u{2024}' | '\u{2025}' | '\u{2026}' | '\u{fe52}'
        )
    };
    let trimmed = piece.trim_matches(blank);
    !trimmed.is_empty() && trimmed.chars().all(|c| dot(c) || blank(c))
}
