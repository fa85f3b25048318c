//! The attribute `ident`: `$Id$` becomes `$Id: <the blob's id> $`.

use gix::ObjectId;
use gix::bstr::ByteSlice;

/// `ident_to_worktree` of git.
pub(super) fn expand(text: &[u8], id: &ObjectId) -> Vec<u8> {
    let mut expanded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find_byte(b'$') {
        let (before, after) = rest.split_at(dollar + 1);
        expanded.extend_from_slice(before);
        rest = after;
        let keyword = match after.strip_prefix(b"Id") {
            Some([b'$', left @ ..]) => Some(left),
            Some([b':', value @ ..]) => match value.find_byte(b'$') {
                Some(end) if is_ours(&value[..end]) => Some(&value[end + 1..]),
                Some(_) => None,
                None => break,
            },
            _ => None,
        };
        if let Some(left) = keyword {
            expanded.extend_from_slice(format!("Id: {} $", id.to_hex()).as_bytes());
            rest = left;
        }
    }
    expanded.extend_from_slice(rest);
    expanded
}

/// Whether this is what git wrote once. With more spaces in it, it is another system's.
fn is_ours(value: &[u8]) -> bool {
    let space = value.iter().skip(1).position(|byte| *byte == b' ');
    !value.contains(&b'\n') && space.is_none_or(|space| space + 2 >= value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_replaced_as_git_replaces_them() {
        let id = ObjectId::null(gix::hash::Kind::Sha1);
        let ours = format!("$Id: {} $", id.to_hex());
        for text in [
            "$Id$",
            "$Id:$",
            "$Id: $",
            "$Id:x$",
            "$Id: 0123 $",
            "$Id: abc$",
        ] {
            let around = format!("a {text}$Id$ b");
            let expanded = expand(around.as_bytes(), &id);
            assert_eq!(
                expanded.as_bstr(),
                format!("a {ours}{ours} b").as_str(),
                "{text}"
            );
        }
        for text in [
            "",
            "$",
            "$I",
            "$Id",
            "$Id:",
            "$Id: ",
            "$Idea$",
            "$id$",
            "$Id: a b $",
            "$Id: a\nb $",
            "$Id:a file,v 1.2 me$",
        ] {
            assert_eq!(expand(text.as_bytes(), &id).as_bstr(), text);
        }
        assert_eq!(expand(b"$$Id$", &id).as_bstr(), format!("${ours}").as_str());
    }
}
