//! One event to one bounded line of JSON.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::chain::Digest;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::visible::is_hidden;

/// The longest line, in bytes and without its newline, of any event but the policy.
pub const MAX_RECORD: usize = 16 * 1024;
/// The longest line of a `policy_in_force` event, which carries the whole text of a policy.
pub const MAX_POLICY_RECORD: usize = 1024 * 1024;

/// Appends the line of one record to `out`, without the newline.
pub(super) fn line(
    seq: u64,
    time: Timestamp,
    prev: &Digest,
    event: &Event,
    out: &mut Vec<u8>,
) -> serde_json::Result<()> {
    let limit = match event {
        Event::PolicyInForce(_) => MAX_POLICY_RECORD,
        _ => MAX_RECORD,
    };
    let start = out.len();
    write!(
        out,
        r#"{{"seq":{seq},"time":"{time}","prev":"{prev}","event":"#
    )
    .map_err(serde_json::Error::io)?;
    let header = out.len();
    write_json(event, out)?;
    if out.len() - start >= limit {
        let whole = serde_json::to_value(event)?;
        // Each round leaves less; the last, at most some KiB of any event, since none has many fields.
        for shift in 2.. {
            let text = limit >> shift;
            if text < MIN_TEXT {
                return Err(serde_json::Error::io(io::ErrorKind::FileTooLarge.into()));
            }
            let mut value = whole.clone();
            shorten(&mut value, text, text / MIN_TEXT);
            out.truncate(header);
            write_json(&value, out)?;
            if out.len() - start < limit {
                break;
            }
        }
    }
    out.push(b'}');
    Ok(())
}

/// No text is cut to less than this, so that addresses, digests and names of variants stay whole.
const MIN_TEXT: usize = 64;

/// Cuts texts to about `text` bytes and lists of texts to `items` entries, and marks what was cut.
fn shorten(value: &mut Value, text: usize, items: usize) {
    match value {
        Value::String(string) if string.len() > text => {
            let length = string.len();
            string.truncate(
                string.floor_char_boundary(text.saturating_sub(MIN_TEXT / 2).max(MIN_TEXT / 2)),
            );
            string.push_str(&format!("[... of {length} bytes]"));
        }
        Value::Array(list) => {
            if list.len() > items.max(1) {
                let length = list.len();
                list.truncate(items.max(1));
                if list.iter().all(Value::is_string) {
                    list.push(Value::String(format!("[... of {length} items]")));
                }
            }
            list.iter_mut()
                .for_each(|value| shorten(value, text, items));
        }
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|value| shorten(value, text, items)),
        _ => {}
    }
}

fn write_json(value: &impl Serialize, out: &mut Vec<u8>) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, SafeToLookAt))
}

/// Writes compact JSON in which hidden characters are escaped, beyond the few that JSON asks for.
struct SafeToLookAt;

impl Formatter for SafeToLookAt {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = 0;
        if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return CompactFormatter.write_string_fragment(writer, fragment);
        }
        for (at, c) in fragment.char_indices().filter(|(_, c)| is_hidden(*c)) {
            writer.write_all(&fragment.as_bytes()[plain..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain..])
    }
}
