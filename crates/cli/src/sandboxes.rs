//! The sandboxes on this machine that belong to the user, as the reading verbs need them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::failure::Failure;
use crate::home::home;

/// One sandbox's directory.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    name: String,
    directory: PathBuf,
}

impl Sandbox {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.directory.join("journal.jsonl")
    }

    /// Does somebody hold its lock? Asks for a shared one, so that two who ask do not take each other for the sandbox.
    pub(crate) fn is_alive(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(lock) = rustix::fs::open(self.directory.join("lock"), flags, Mode::empty()) else {
            return false;
        };
        let locked = rustix::fs::flock(File::from(lock), FlockOperation::NonBlockingLockShared);
        locked == Err(rustix::io::Errno::WOULDBLOCK)
    }
}

/// All of them, by name.
pub(crate) fn all() -> Result<Vec<Sandbox>, Failure> {
    let root = root()?;
    let entries = match std::fs::read_dir(&root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list {}", root.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", root.display()))?;
        let directory = entry.path();
        // Not followed: what stands here is a directory or it is not ours.
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let (true, Ok(name)) = (is_directory, entry.file_name().into_string()) {
            found.push(Sandbox { name, directory });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The one named `name`. The failure offers names that are close.
pub(crate) fn find(name: &str) -> Result<Sandbox, Failure> {
    let all = all()?;
    if let Some(found) = all.iter().find(|sandbox| sandbox.name == name) {
        return Ok(found.clone());
    }
    let failure = Failure::from(anyhow!("there is no sandbox named `{name}`"));
    let near = nearest(name, &all);
    Err(match near[..] {
        [] if all.is_empty() => {
            failure.hint("there is no sandbox at all yet; `wardian run` makes one")
        }
        [] => failure.hint("`wardian ls` lists them"),
        _ => failure.hint(format!("did you mean {}?", near.join(", "))),
    })
}

/// At most three names that could have been meant, the likeliest first.
fn nearest<'a>(name: &str, all: &'a [Sandbox]) -> Vec<&'a str> {
    let mut near: Vec<(usize, &str)> = all
        .iter()
        .map(|sandbox| sandbox.name.as_str())
        .filter_map(|candidate| {
            let begins = !name.is_empty() && candidate.starts_with(name);
            let edits = if begins { 0 } else { edits(name, candidate) };
            (edits <= candidate.len().max(name.len()) / 3).then_some((edits, candidate))
        })
        .collect();
    near.sort();
    near.into_iter()
        .map(|(_, candidate)| candidate)
        .take(3)
        .collect()
}

/// How many characters to insert, remove, replace or swap with their neighbour to get from `a` to `b`.
fn edits(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The directory that holds one directory for each sandbox. The one place that knows; nothing in the working directory
/// has a say in it.
fn root() -> Result<PathBuf, Failure> {
    let data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let data = match data {
        Some(data) => data,
        None => home()
            .ok_or_else(|| anyhow!("the user has no home directory"))?
            .join(".local/share"),
    };
    Ok(data.join("wardian/sandboxes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_what_could_have_been_meant() {
        let all: Vec<_> = ["claude", "claude-2", "codex", "gitea"]
            .map(|name| Sandbox {
                name: name.into(),
                directory: PathBuf::new(),
            })
            .into();
        assert_eq!(nearest("cluade", &all), ["claude"]);
        assert_eq!(nearest("cl", &all), ["claude", "claude-2"]);
        assert_eq!(
            (
                edits("", "abc"),
                edits("ab", "ba"),
                edits("kitten", "sitting")
            ),
            (3, 1, 3)
        );
        assert_eq!(nearest("codx", &all), ["codex"]);
        assert!(nearest("", &all).is_empty() && nearest("zebra", &all).is_empty());
    }
}
