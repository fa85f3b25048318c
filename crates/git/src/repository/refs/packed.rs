use std::path::Path;

use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice};

use crate::repository::{RepositoryError, files};

/// Parsed text of a `packed-refs` file, see "packed-refs" in gitrepository-layout(5).
pub(super) struct Packed<'a> {
    pub(super) entries: Vec<Entry<'a>>,
    /// The file says that a tag without a `^` line has nothing to be peeled.
    fully_peeled: bool,
    peeled: bool,
}

pub(super) struct Entry<'a> {
    pub(super) name: &'a BStr,
    /// In hex.
    pub(super) id: &'a [u8],
    /// The line, and the `^` line that may follow it.
    pub(super) text: &'a [u8],
}

impl<'a> Packed<'a> {
    /// `None` if a line is no ref.
    pub(super) fn parse(text: &'a [u8], kind: gix::hash::Kind) -> Option<Self> {
        let header = text.strip_prefix(b"# pack-refs with:");
        let traits = header.and_then(|rest| rest.lines().next()).unwrap_or(b"");
        let has = |wanted: &str| traits.split_str(" ").any(|word| word == wanted.as_bytes());
        // An empty file says it as well as any other.
        let (peeled, fully_peeled) = match text.is_empty() {
            true => (true, true),
            false => (has("peeled"), has("fully-peeled")),
        };
        let mut entries = Vec::with_capacity(text.len() / 80);
        let mut at = 0;
        while at < text.len() {
            let end = line_end(text, at);
            let line = text[at..end].trim_end_with(|end| end == '\n');
            let mut following = end;
            match line.first() {
                Some(b'#') | None => {}
                Some(_) => {
                    let (id, name) = split(line, kind)?;
                    if text.get(end) == Some(&b'^') {
                        following = line_end(text, end);
                        let line = text[end + 1..following].trim_end_with(|end| end == '\n');
                        is_id(line, kind).then_some(())?;
                    }
                    entries.push(Entry {
                        name,
                        id,
                        text: &text[at..following],
                    });
                }
            }
            at = following;
        }
        // The last line may lack its end; what is put after it must not become part of it.
        if entries
            .last()
            .is_some_and(|entry| !entry.text.ends_with(b"\n"))
        {
            return None;
        }
        Some(Self {
            entries,
            fully_peeled,
            peeled,
        })
    }

    pub(super) fn sort(&mut self) {
        if !self.entries.is_sorted_by(|a, b| a.name < b.name) {
            self.entries.sort_by(|a, b| a.name.cmp(b.name));
            self.entries.dedup_by(|a, b| a.name == b.name);
        }
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        self.entries.iter().map(|entry| entry.text.len()).sum()
    }

    /// The first line for these refs; `peeled` tells whether the promise holds for those that are added.
    pub(super) fn header(&self, peeled: bool) -> &'static str {
        match (peeled && self.peeled, peeled && self.fully_peeled) {
            (_, true) => "# pack-refs with: peeled fully-peeled sorted \n",
            (true, false) => "# pack-refs with: peeled sorted \n",
            (false, false) => "# pack-refs with: sorted \n",
        }
    }
}

/// One ref of the file, or `None`. Ids that are none count as absent.
pub(super) fn find(
    common_dir: &Path,
    name: &BStr,
    kind: gix::hash::Kind,
) -> Result<Option<ObjectId>, RepositoryError> {
    let text = files::read(&common_dir.join("packed-refs"), files::LARGE)?.unwrap_or_default();
    let wanted = [b" ", name.as_bytes(), b"\n"].concat();
    let hex = kind.len_in_hex();
    let found = text.find_iter(&wanted).find_map(|at| {
        let start = at.checked_sub(hex)?;
        let is_line = start == 0 || text[start - 1] == b'\n';
        ObjectId::from_hex(&text[start..at])
            .ok()
            .filter(|_| is_line)
    });
    Ok(found)
}

fn line_end(text: &[u8], from: usize) -> usize {
    let rest = &text[from..];
    from + rest.find_byte(b'\n').map_or(rest.len(), |end| end + 1)
}

fn split(line: &[u8], kind: gix::hash::Kind) -> Option<(&[u8], &BStr)> {
    let (id, rest) = line.split_at_checked(kind.len_in_hex())?;
    let name = rest.strip_prefix(b" ")?;
    let is_plain = |byte: &u8| !byte.is_ascii_control() && *byte != b' ';
    let valid = is_id(id, kind) && name.starts_with(b"refs/") && name.iter().all(is_plain);
    valid.then(|| (id, name.as_bstr()))
}

fn is_id(id: &[u8], kind: gix::hash::Kind) -> bool {
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    id.len() == kind.len_in_hex() && id.iter().all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ce013625030ba8dba906f756967f9e9ca394464a";
    const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;

    #[test]
    fn lines_keep_what_they_peel_to() {
        let text = format!(
            "# pack-refs with: peeled fully-peeled sorted \n{A} refs/heads/a\n{A} refs/tags/t\n^{A}\n"
        );
        let packed = Packed::parse(text.as_bytes(), SHA1).unwrap();
        assert_eq!(packed.entries[0].name, "refs/heads/a");
        assert_eq!(
            packed.entries[1].text.as_bstr(),
            format!("{A} refs/tags/t\n^{A}\n")
        );
        assert!(packed.header(true).contains("fully-peeled"));
        assert!(!packed.header(false).contains("peeled"));
    }

    #[test]
    fn unsorted_files_of_long_ago_are_sorted() {
        let text = format!("{A} refs/tags/t\n{A} refs/heads/a\n");
        let mut packed = Packed::parse(text.as_bytes(), SHA1).unwrap();
        packed.sort();
        assert_eq!(packed.entries[0].name, "refs/heads/a");
        assert!(!packed.header(true).contains("peeled"));
    }

    #[test]
    fn what_is_no_ref_is_refused() {
        for text in [
            format!("{A}\n"),
            format!("{A} heads/a\n"),
            format!("{A} refs/heads/a b\n"),
            format!("{A} refs/heads/a\r\n"),
            format!("{A} refs/heads/a"),
            format!("{A} refs/heads/a\n^{A}0\n"),
            "root:x:0:0:root:/root:/bin/bash\n".to_owned(),
        ] {
            assert!(Packed::parse(text.as_bytes(), SHA1).is_none(), "{text:?}");
        }
    }
}
