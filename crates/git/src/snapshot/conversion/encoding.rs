//! The attribute `working-tree-encoding`: UTF-8 in the repository, something else on disk.

use gix::bstr::BStr;
use gix::filter::plumbing::worktree;

/// `None` if the encoding is not known or lacks some character: then git leaves the file as it is, too.
pub(super) fn encode(text: &[u8], name: &BStr) -> Option<Vec<u8>> {
    let characters = std::str::from_utf8(text).ok()?;
    let name = std::str::from_utf8(name).ok()?.to_ascii_uppercase();
    let little = |unit: u16| unit.to_le_bytes();
    let big = |unit: u16| unit.to_be_bytes();
    let wide = |order: fn(u16) -> [u8; 2], marked: &str| {
        let units = marked.encode_utf16().chain(characters.encode_utf16());
        units.flat_map(order).collect()
    };
    match name.as_str() {
        "UTF-8" | "UTF8" => None,
        // With a mark in front, as the C library writes it on the processors that there are.
        "UTF-16" | "UTF16" | "UTF-16LE-BOM" | "UTF16LE-BOM" => Some(wide(little, MARK)),
        "UTF-16BE-BOM" | "UTF16BE-BOM" => Some(wide(big, MARK)),
        "UTF-16LE" | "UTF16LE" => Some(wide(little, "")),
        "UTF-16BE" | "UTF16BE" => Some(wide(big, "")),
        "ISO-8859-1" | "ISO8859-1" | "LATIN1" | "LATIN-1" => characters
            .chars()
            .map(|character| u8::try_from(u32::from(character)).ok())
            .collect(),
        other => {
            let encoding = worktree::encoding::for_label(other).ok()?;
            let mut encoded = Vec::new();
            worktree::encode_to_worktree(text, encoding, &mut encoded).ok()?;
            Some(encoded)
        }
    }
}

const MARK: &str = "\u{feff}";
