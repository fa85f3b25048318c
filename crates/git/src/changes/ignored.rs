//! `.gitignore`, directory by directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix::bstr::{BStr, ByteSlice};
use gix::glob::pattern::Case;
use gix::ignore::search::Ignore;
use gix::ignore::{Kind, Search};

/// The largest `.gitignore` that is read, in bytes; of a larger one nothing is.
pub(crate) const LARGEST: u64 = 1 << 20;

const RULES: Ignore = Ignore {
    support_precious: false,
};

/// Patterns from the top of the work tree down to the directory that is being looked at.
pub(crate) struct IgnoreStack(Search);

impl IgnoreStack {
    pub(crate) fn new(excludes: &[u8]) -> Self {
        let mut stack = Self(Search::default());
        stack.push(b"".as_bstr(), excludes);
        stack
    }

    /// Adds what the `.gitignore` of `directory` says.
    pub(crate) fn push(&mut self, directory: &BStr, text: &[u8]) {
        // Patterns only care about where the file lies below the root; neither path exists.
        let root = Path::new("/");
        let source: PathBuf = root.join(OsStr::from_bytes(directory)).join(".gitignore");
        // Fails only for a source outside of its root.
        let _ = self.0.add_patterns_buffer(text, source, Some(root), RULES);
    }

    /// How many files' patterns there are, to go back to by [`truncate`](Self::truncate).
    pub(crate) fn depth(&self) -> usize {
        self.0.patterns.len()
    }

    pub(crate) fn truncate(&mut self, depth: usize) {
        self.0.patterns.truncate(depth);
    }

    /// Whether `path` itself is covered. That its directory is, is for the caller to know.
    pub(crate) fn covers(&self, path: &BStr, is_directory: bool) -> bool {
        self.0
            .pattern_matching_relative_path(path, Some(is_directory), Case::Sensitive)
            .is_some_and(|found| !found.pattern.is_negative() && found.kind == Kind::Expendable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeper_files_win_and_end_with_their_directory() {
        let mut stack = IgnoreStack::new(b"*.swp\n");
        stack.push(b"".as_bstr(), b"/target/\n*.log\n");
        let outer = stack.depth();
        stack.push(b"src".as_bstr(), b"!keep.log\n/gen\n");
        assert!(stack.covers(b"target".as_bstr(), true));
        assert!(!stack.covers(b"target".as_bstr(), false));
        assert!(!stack.covers(b"src/target".as_bstr(), true));
        assert!(stack.covers(b"a.swp".as_bstr(), false));
        assert!(stack.covers(b"src/a.log".as_bstr(), false));
        assert!(!stack.covers(b"src/keep.log".as_bstr(), false));
        assert!(stack.covers(b"src/gen".as_bstr(), false));
        stack.truncate(outer);
        assert!(stack.covers(b"keep.log".as_bstr(), false));
        assert!(!stack.covers(b"gen".as_bstr(), false));
    }
}
