//! Lists of commits.

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};

use super::objects::lines;
use super::{Confined, ConfinedError};

/// A commit as its writer described it; all text is theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub id: ObjectId,
    pub parents: Vec<ObjectId>,
    pub author_name: BString,
    pub author_email: BString,
    /// Seconds since 1970.
    pub author_time: i64,
    pub subject: BString,
}

const COMMAND: &str = "log";
const FORMAT: &str = "--format=%H%x00%P%x00%an%x00%ae%x00%at%x00%s";
const FIELDS: usize = 6;

/// Of one list.
const MAX_OUTPUT: usize = 64 << 20;

impl Confined<'_> {
    /// At most `limit` commits that `tips` lead to and `known` do not, newest first. Ids of no object count as
    /// nothing.
    pub fn log(
        &self,
        tips: &[ObjectId],
        known: &[ObjectId],
        limit: u32,
    ) -> Result<Vec<Commit>, ConfinedError> {
        if tips.is_empty() {
            return Ok(Vec::new());
        }
        let count = format!("--max-count={limit}");
        let mut arguments = vec![
            COMMAND,
            "-z",
            FORMAT,
            &count,
            "--topo-order",
            "--no-color",
            "--no-decorate",
            "--no-notes",
            "--no-mailmap",
            "--no-show-signature",
            "--encoding=UTF-8",
            "--no-patch",
            "--ignore-missing",
            "--stdin",
        ];
        if self.view.partial {
            arguments.push("--exclude-promisor-objects");
        }
        let input = [lines(tips, ""), lines(known, "^")].concat();
        let output = self.answer(arguments, &mut input.as_slice(), MAX_OUTPUT)?;
        parse(&output).ok_or_else(|| self.unexpected(COMMAND, &output))
    }
}

fn parse(output: &[u8]) -> Option<Vec<Commit>> {
    let fields: Vec<&[u8]> = output
        .strip_suffix(&[0])
        .unwrap_or(output)
        .split_str(&[0])
        .collect();
    if output.is_empty() {
        return Some(Vec::new());
    }
    if !fields.len().is_multiple_of(FIELDS) {
        return None;
    }
    fields.chunks_exact(FIELDS).map(commit).collect()
}

fn commit(fields: &[&[u8]]) -> Option<Commit> {
    let [id, parents, name, email, time, subject] = fields else {
        return None;
    };
    let parents = parents.split_str(" ").filter(|id| !id.is_empty());
    Some(Commit {
        id: ObjectId::from_hex(id).ok()?,
        parents: parents
            .map(|id| ObjectId::from_hex(id).ok())
            .collect::<Option<_>>()?,
        author_name: (*name).into(),
        author_email: (*email).into(),
        // Empty where the header is no date.
        author_time: time.to_str().ok()?.parse().unwrap_or(0),
        subject: (*subject).into(),
    })
}
