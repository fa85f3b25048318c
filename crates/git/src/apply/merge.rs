//! Two changes to one text.

use gix::diff::blob::InternedInput;
use gix::merge::blob::Resolution;
use gix::merge::blob::builtin_driver::text;

/// Longer files are not merged: there are hardly any that a person wrote. Bytes.
pub(super) const LONGEST: usize = 16 << 20;
/// Git looks for NUL in as much to tell text from other data. Bytes.
const HEAD: usize = 8000;

pub(super) enum Merged {
    Text(Vec<u8>),
    Conflict,
    NotText,
}

/// `git merge-file`, with nothing written for a conflict.
pub(super) fn texts(base: &[u8], ours: &[u8], theirs: &[u8]) -> Merged {
    if [base, ours, theirs].iter().any(|data| !is_text(data)) {
        return Merged::NotText;
    }
    let mut out = Vec::new();
    let mut input = InternedInput::default();
    let merge = text::Merge::new(
        &mut input,
        ours,
        base,
        theirs,
        gix::diff::blob::Algorithm::Histogram,
    );
    let conflict = text::Conflict::default();
    match merge.run(&mut out, text::Labels::default(), conflict) {
        Resolution::Complete | Resolution::CompleteWithAutoResolvedConflict => Merged::Text(out),
        Resolution::Conflict => Merged::Conflict,
    }
}

fn is_text(data: &[u8]) -> bool {
    data.len() <= LONGEST && !data[..data.len().min(HEAD)].contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apart_both_are_kept() {
        let base = b"1\n2\n3\n4\n5\n6\n";
        let Merged::Text(text) = texts(base, b"one\n2\n3\n4\n5\n6\n", b"1\n2\n3\n4\n5\nsix\n")
        else {
            panic!("a conflict");
        };
        assert_eq!(text, b"one\n2\n3\n4\n5\nsix\n");
    }

    #[test]
    fn the_same_lines_conflict() {
        assert!(matches!(texts(b"1\n", b"a\n", b"b\n"), Merged::Conflict));
        assert!(matches!(texts(b"1\n", b"a\0\n", b"b\n"), Merged::NotText));
    }
}
