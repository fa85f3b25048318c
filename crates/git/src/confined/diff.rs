//! Differences between two trees.
//!
//! No attribute is read, not even those of the tree: with them an agent could have its changes shown as
//! "binary files differ".

use std::io::Write;

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};

use super::run::Input;
use super::{Confined, ConfinedError};

/// What is written of files that are no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// That they differ.
    Named,
    /// Their content, for `git apply`.
    Whole,
}

/// How much of one file changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    pub path: BString,
    /// Where it was, if it was renamed.
    pub old_path: Option<BString>,
    /// Lines that came and went; `None` for files that are no text.
    pub lines: Option<(u64, u64)>,
}

const COMMAND: &str = "diff-tree";
const PLAIN: [&str; 8] = [
    COMMAND,
    "-r",
    "--find-renames",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-relative",
    "--ignore-submodules=none",
];
const MAX_OUTPUT: usize = 256 << 20;

impl Confined<'_> {
    /// Writes the patch that leads from one tree to another; each may be named by a commit. `None` is the
    /// empty tree. What is written is the agent's, byte for byte.
    pub fn patch(
        &self,
        from: Option<ObjectId>,
        to: ObjectId,
        binary: Binary,
        out: &mut dyn Write,
    ) -> Result<(), ConfinedError> {
        let mut arguments = PLAIN.map(str::to_owned).to_vec();
        arguments.extend(["-p", "--full-index"].map(str::to_owned));
        if binary == Binary::Whole {
            arguments.push("--binary".to_owned());
        }
        arguments.extend(self.both(from, to));
        self.run(arguments, Input::Nothing, out)
    }

    /// One entry for each file that differs, in the order of paths.
    pub fn stat(
        &self,
        from: Option<ObjectId>,
        to: ObjectId,
    ) -> Result<Vec<FileStat>, ConfinedError> {
        let mut arguments = PLAIN.map(str::to_owned).to_vec();
        arguments.extend(["--numstat", "-z"].map(str::to_owned));
        arguments.extend(self.both(from, to));
        let output = self.output(arguments, MAX_OUTPUT)?;
        parse(&output).ok_or_else(|| self.unexpected(COMMAND, &output))
    }

    fn both(&self, from: Option<ObjectId>, to: ObjectId) -> [String; 3] {
        let from = from.unwrap_or_else(|| ObjectId::empty_tree(self.view.format));
        [from.to_string(), to.to_string(), "--".to_owned()]
    }
}

/// `added TAB removed TAB path NUL`, or with a rename `added TAB removed TAB NUL old NUL new NUL`. See
/// git-diff(1), "OTHER DIFF FORMATS".
fn parse(output: &[u8]) -> Option<Vec<FileStat>> {
    let mut fields = output.strip_suffix(&[0]).unwrap_or(output).split_str(&[0]);
    let mut stats = Vec::new();
    if output.is_empty() {
        return Some(stats);
    }
    while let Some(field) = fields.next() {
        let mut parts = field.splitn(3, |byte| *byte == b'\t');
        let (added, removed, path) = (parts.next()?, parts.next()?, parts.next()?);
        let lines = match (added, removed) {
            (b"-", b"-") => None,
            (added, removed) => Some((number(added)?, number(removed)?)),
        };
        let (path, old_path) = match path {
            b"" => {
                let old = fields.next()?;
                (fields.next()?, Some(old.into()))
            }
            path => (path, None),
        };
        stats.push(FileStat {
            path: path.into(),
            old_path,
            lines,
        });
    }
    Some(stats)
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_renames_and_odd_names() {
        let stats = parse(b"1\t2\ta\tb\n\0-\t-\t\0old\0new\0").unwrap();
        assert_eq!(stats[0].path, "a\tb\n");
        assert_eq!(stats[0].lines, Some((1, 2)));
        assert_eq!(stats[1].old_path, Some("old".into()));
        assert_eq!(
            (stats[1].path.as_bstr(), stats[1].lines),
            (b"new".as_bstr(), None)
        );
        assert_eq!(parse(b""), Some(Vec::new()));
        for broken in [&b"1\t2\0"[..], b"x\t1\tp\0", b"1\t1\t\0old\0"] {
            assert_eq!(parse(broken), None);
        }
    }
}
