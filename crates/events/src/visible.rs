//! Making text from inside a sandbox safe to look at.
//!
//! A terminal obeys some bytes and hides others. [`visible`] leaves what a person can see as it is and spells out the
//! rest: control characters (C0, DEL, C1, so every escape sequence), line and paragraph separators, bidirectional
//! overrides and isolates, zero-width and other invisible characters, private-use and unassigned code points, and
//! spaces that are not the space. Byte-sized characters become `\x1b`, others `\u{202e}`. Backslashes stay single, so
//! the result is for eyes and cannot be turned back.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with everything that a terminal would obey or hide spelled out. Borrowed if there is nothing of the kind.
///
/// ```
/// # use wardian_events::visible;
/// assert_eq!(visible("/repos/grün/日本"), "/repos/grün/日本");
/// assert_eq!(visible("a\x1b[2Jb\r\n\u{202e}c"), r"a\x1b[2Jb\x0d\x0a\u{202e}c");
/// ```
pub fn visible(text: &str) -> Cow<'_, str> {
    let Some(first) = text
        .char_indices()
        .find(|(_, c)| is_hidden(*c))
        .map(|(at, _)| at)
    else {
        return Cow::Borrowed(text);
    };
    let mut shown = String::with_capacity(text.len() + 16);
    shown.push_str(&text[..first]);
    for c in text[first..].chars() {
        push_visible(&mut shown, c);
    }
    Cow::Owned(shown)
}

/// As [`visible`], for bytes; what is not UTF-8 becomes `\xff`.
pub fn visible_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return visible(text);
    }
    let mut shown = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        chunk
            .valid()
            .chars()
            .for_each(|c| push_visible(&mut shown, c));
        for byte in chunk.invalid() {
            push_hex(&mut shown, u32::from(*byte));
        }
    }
    Cow::Owned(shown)
}

fn push_visible(shown: &mut String, c: char) {
    if !is_hidden(c) {
        shown.push(c);
    } else if u32::from(c) <= 0xff {
        push_hex(shown, u32::from(c));
    } else {
        // Writing to a String cannot fail.
        let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
    }
}

fn push_hex(shown: &mut String, byte: u32) {
    let _ = write!(shown, "\\x{byte:02x}");
}

/// Is `c` something that a terminal obeys, or that a person does not see?
pub(crate) fn is_hidden(c: char) -> bool {
    match c {
        ' '..='~' => false,
        c if c.is_ascii() => true,
        // Printable by category, and yet nothing to see: fillers, joiners, variation selectors, the blank braille cell.
        '\u{034f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{2800}' => true,
        '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}' => true,
        c => !is_printable(c),
    }
}

/// By Unicode's general category: false for Cc, Cf, Cs, Co, Cn, Zl, Zp, and Zs but the space.
///
/// The standard library has this table and shows it only through `str::escape_debug`, which spells such characters out.
/// It also spells out combining marks, but only at the start of a string; so `c` is asked about behind a letter.
fn is_printable(c: char) -> bool {
    let mut buffer = [b'a'; 5];
    let length = 1 + c.encode_utf8(&mut buffer[1..]).len();
    match std::str::from_utf8(&buffer[..length]) {
        Ok(text) => text.escape_debug().nth(1) == Some(c),
        Err(_) => false,
    }
}

/// Escapes the hidden characters that a JSON text has inside its strings, as JSON does: `\\u202e`. Line
/// breaks are left alone, for they can only stand between tokens. `text` must be JSON.
pub fn visible_json(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| c != '\n' && is_hidden(c);
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text_is_borrowed() {
        for text in [
            "",
            "GET /a?b=c",
            "grün",
            "日本語",
            "e\u{301}",
            "हिन्दी",
            "🦀",
            r"\x1b",
            "\"'",
        ] {
            assert!(
                matches!(visible(text), Cow::Borrowed(same) if same == text),
                "{text}"
            );
            assert!(
                matches!(visible_bytes(text.as_bytes()), Cow::Borrowed(same) if same == text),
                "{text}"
            );
        }
    }

    #[test]
    fn what_terminals_obey_or_hide_is_spelled_out() {
        for (text, shown) in [
            ("\0\x07\t\n\r\x1b\x7f", r"\x00\x07\x09\x0a\x0d\x1b\x7f"),
            ("\u{80}\u{85}\u{9b}31m\u{9f}", r"\x80\x85\x9b31m\x9f"),
            ("\u{a0}\u{ad}", r"\xa0\xad"),
            (
                "\u{202a}\u{202e}\u{2066}\u{2069}\u{61c}",
                r"\u{202a}\u{202e}\u{2066}\u{2069}\u{61c}",
            ),
            (
                "\u{200b}\u{200c}\u{200d}\u{200e}\u{feff}\u{2060}",
                r"\u{200b}\u{200c}\u{200d}\u{200e}\u{feff}\u{2060}",
            ),
            (
                "\u{2028}\u{2029}\u{2003}\u{3000}",
                r"\u{2028}\u{2029}\u{2003}\u{3000}",
            ),
            (
                "\u{e000}\u{f8ff}\u{10fffd}\u{378}",
                r"\u{e000}\u{f8ff}\u{10fffd}\u{378}",
            ),
            (
                "\u{e0041}\u{fe0f}\u{3164}\u{2800}",
                r"\u{e0041}\u{fe0f}\u{3164}\u{2800}",
            ),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_spelled_out() {
        assert_eq!(
            visible_bytes(b"a\xff\xc2\x1b\xe2\x80"),
            r"a\xff\xc2\x1b\xe2\x80"
        );
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left(text in any::<String>()) {
            let shown = visible(&text);
            prop_assert!(!shown.chars().any(is_hidden));
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert_eq!(visible(&shown), &shown[..]);
        }

        #[test]
        fn any_bytes_do(bytes in any::<Vec<u8>>()) {
            prop_assert!(!visible_bytes(&bytes).chars().any(is_hidden));
        }
    }
}
