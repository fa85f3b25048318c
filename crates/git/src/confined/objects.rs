//! Questions about objects.

use std::io::Write;

use gix::ObjectId;
use gix::bstr::ByteSlice;

use super::{Confined, ConfinedError};

const CAT_FILE: &str = "cat-file";
/// A line for each object of a repository.
const MAX_LIST: usize = 1 << 30;

impl Confined<'_> {
    /// Those of `ids` that exist.
    pub fn existing(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, ConfinedError> {
        self.of_kinds(ids, &["commit", "tag", "tree", "blob"])
    }

    /// Those of `ids` that are commits.
    pub fn commits(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, ConfinedError> {
        self.of_kinds(ids, &["commit"])
    }

    fn of_kinds(&self, ids: &[ObjectId], kinds: &[&str]) -> Result<Vec<ObjectId>, ConfinedError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let input = lines(ids, "");
        let answer = self.answer(
            [CAT_FILE, "--batch-check=%(objecttype)", "--buffer"],
            &mut input.as_slice(),
            // "<id> missing\n" is the longest answer.
            ids.len() * 80 + 1,
        )?;
        let answers: Vec<_> = answer.lines().collect();
        if answers.len() != ids.len() {
            return Err(self.unexpected(CAT_FILE, &answer));
        }
        let is_one = |answer: &[u8]| kinds.iter().any(|kind| kind.as_bytes() == answer);
        let found = ids.iter().zip(answers).filter(|(_, answer)| is_one(answer));
        Ok(found.map(|(id, _)| *id).collect())
    }

    /// All blobs in view of fewer than `limit` bytes.
    pub(crate) fn blobs_below(&self, limit: u64) -> Result<Vec<ObjectId>, ConfinedError> {
        let arguments = [
            CAT_FILE,
            "--batch-all-objects",
            "--unordered",
            "--batch-check=%(objecttype) %(objectsize) %(objectname)",
        ];
        let answer = self.output(arguments, MAX_LIST)?;
        let mut ids = Vec::new();
        for line in answer.lines() {
            let Some(line) = line.strip_prefix(b"blob ") else {
                continue;
            };
            let parsed = line.split_once_str(" ").and_then(|(size, id)| {
                let size: u64 = size.to_str().ok()?.parse().ok()?;
                Some((size, ObjectId::from_hex(id).ok()?))
            });
            match parsed {
                Some((size, id)) if size < limit => ids.push(id),
                Some(_) => {}
                None => return Err(self.unexpected(CAT_FILE, line)),
            }
        }
        Ok(ids)
    }

    /// The content of each of `ids`, none of which has more than `limit` bytes.
    pub(crate) fn contents(
        &self,
        ids: &[ObjectId],
        limit: u64,
    ) -> Result<Vec<Vec<u8>>, ConfinedError> {
        let input = lines(ids, "");
        let most = usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .saturating_add(100);
        let arguments = [CAT_FILE, "--batch=%(objectsize)", "--buffer"];
        let answer = self.answer(arguments, &mut input.as_slice(), ids.len() * most)?;
        let mut rest = answer.as_slice();
        let mut contents = Vec::new();
        while !rest.is_empty() {
            let content = rest.split_once_str("\n").and_then(|(size, after)| {
                let size = size.to_str().ok()?.parse().ok()?;
                let (content, after) = after.split_at_checked(size)?;
                rest = after.strip_prefix(b"\n")?;
                Some(content.to_owned())
            });
            contents.push(content.ok_or_else(|| self.unexpected(CAT_FILE, &answer))?);
        }
        Ok(contents)
    }

    /// Whether everything that `tips` lead to exists, where what `complete` lead to is known to.
    pub fn are_complete(
        &self,
        tips: &[ObjectId],
        complete: &[ObjectId],
    ) -> Result<Completeness, ConfinedError> {
        let mut arguments = vec!["rev-list", "--objects", "--stdin", "--quiet"];
        if self.view.partial {
            arguments.push("--exclude-promisor-objects");
        }
        let input = [lines(tips, ""), lines(complete, "^")].concat();
        match self.answer(arguments, &mut input.as_slice(), 1 << 10) {
            Ok(_) => Ok(Completeness::Complete),
            Err(ConfinedError::Failed { said, .. }) => Ok(Completeness::Missing(said)),
            Err(error) => Err(error),
        }
    }

    /// How many commits `tips` lead to that `known` do not. Ids of no object count as nothing.
    pub fn count_commits(
        &self,
        tips: &[ObjectId],
        known: &[ObjectId],
    ) -> Result<u64, ConfinedError> {
        const COMMAND: &str = "rev-list";
        let mut arguments = vec![COMMAND, "--count", "--ignore-missing", "--stdin"];
        if self.view.partial {
            arguments.push("--exclude-promisor-objects");
        }
        let input = [lines(tips, ""), lines(known, "^")].concat();
        let answer = self.answer(arguments, &mut input.as_slice(), 64)?;
        let count = answer
            .trim()
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok());
        count.ok_or_else(|| self.unexpected(COMMAND, &answer))
    }
}

/// What [`Confined::are_complete`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completeness {
    Complete,
    /// What git said about it.
    Missing(String),
}

/// An id a line, each after `prefix`.
pub(crate) fn lines(ids: &[ObjectId], prefix: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(ids.len() * 42);
    for id in ids {
        writeln!(text, "{prefix}{id}").expect("memory takes everything");
    }
    text
}
