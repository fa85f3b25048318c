//! What differs between two trees, by object, and the objects themselves.

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};

use super::{Confined, ConfinedError, View};

/// A path of which two trees say different things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub path: BString,
    pub old: Option<Side>,
    pub new: Option<Side>,
}

impl Difference {
    /// Whether it is about a commit of another repository, and not about a file.
    pub fn is_submodule(&self) -> bool {
        let sides = [self.old, self.new];
        sides.iter().flatten().any(|side| side.mode == 0o160_000)
    }
}

/// What one of the trees has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side {
    /// As git writes it: `100644`, `100755`, `120000`, `160000`, in octal.
    pub mode: u32,
    pub id: ObjectId,
}

const DIFF: &str = "diff-tree";
const MAX_OUTPUT: usize = 256 << 20;
/// Of one file, in bytes.
const LARGEST: u64 = 1 << 30;

impl Confined<'_> {
    /// Each path that differs; a rename is two of them. `None` is the empty tree.
    pub fn differences(
        &self,
        from: Option<ObjectId>,
        to: ObjectId,
    ) -> Result<Vec<Difference>, ConfinedError> {
        let from = from.unwrap_or_else(|| ObjectId::empty_tree(self.format()));
        let (from, to) = (from.to_string(), to.to_string());
        let output = self.output(
            [
                DIFF,
                "-r",
                "--raw",
                "-z",
                "--no-renames",
                "--no-abbrev",
                "--ignore-submodules=none",
                &from,
                &to,
                "--",
            ],
            MAX_OUTPUT,
        )?;
        parse(&output).ok_or_else(|| self.unexpected(DIFF, &output))
    }

    /// The content of a blob in view.
    pub fn blob(&self, id: &ObjectId) -> Result<Vec<u8>, ConfinedError> {
        let mut contents = self.contents(&[*id], LARGEST)?;
        match contents.pop() {
            Some(content) => Ok(content),
            None => Err(self.unexpected("cat-file", b"")),
        }
    }
}

impl View {
    /// No object at all yet.
    pub fn of_nothing() -> Self {
        Self::empty()
    }
}

/// `:<mode> <mode> <id> <id> <status> NUL <path> NUL`; see git-diff(1), "RAW OUTPUT FORMAT".
fn parse(output: &[u8]) -> Option<Vec<Difference>> {
    let mut fields = output.split_str(&[0]);
    let mut found = Vec::new();
    while let Some(facts) = fields.next().filter(|facts| !facts.is_empty()) {
        let mut parts = facts.strip_prefix(b":")?.split_str(" ");
        let mut mode = || u32::from_str_radix(parts.next()?.to_str().ok()?, 8).ok();
        let (old_mode, new_mode) = (mode()?, mode()?);
        let mut id = || ObjectId::from_hex(parts.next()?).ok();
        let (old, new) = (id()?, id()?);
        let side = |mode, id| (mode != 0).then_some(Side { mode, id });
        found.push(Difference {
            path: fields.next()?.into(),
            old: side(old_mode, old),
            new: side(new_mode, new),
        });
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_output_is_understood() {
        let (zero, id) = ("0".repeat(40), "1".repeat(40));
        let text =
            format!(":000000 100755 {zero} {id} A\0a b\0:100644 000000 {id} {zero} D\0gone\0");
        let found = parse(text.as_bytes()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].old, found[0].new.unwrap().mode), (None, 0o100755));
        assert_eq!(
            (found[1].path.as_slice(), found[1].new),
            (&b"gone"[..], None)
        );
        assert_eq!(parse(b""), Some(Vec::new()));
        assert_eq!(parse(b"nonsense\0x\0"), None);
    }
}
