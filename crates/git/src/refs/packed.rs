//! `packed-refs`: a line for each ref, `<id> <name>`, some followed by `^<id>`. See git-pack-refs(1).

use gix::bstr::ByteSlice;
use gix::hash::Kind;

use super::{Oddities, Oddity, Tips, full_name, object_id};

/// What [`parse`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    pub tips: Tips,
    pub oddities: Vec<Oddity>,
}

/// Takes any bytes. Lines that are none of git's are left out and named.
pub fn parse(text: &[u8], format: Kind) -> Packed {
    let mut tips = Tips::new();
    let mut oddities = Oddities::default();
    for (number, line) in text.lines().enumerate() {
        // Comments, and what the tag of the line before points to.
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b"^") {
            continue;
        }
        let entry = line
            .split_once_str(" ")
            .ok_or("not an id and a name")
            .and_then(|(id, name)| Ok((full_name(name.as_bstr())?, object_id(id, format)?)));
        match entry {
            Ok((name, id)) => {
                tips.insert(name, id);
            }
            Err(why) => oddities.add(|| format!("packed-refs:{}", number + 1), why),
        }
    }
    Packed {
        tips,
        oddities: oddities.0,
    }
}
