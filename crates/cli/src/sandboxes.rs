//! The sandboxes on this machine that belong to the user, as the reading verbs need them.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use wardian_sandbox::state::{SandboxDirectory, StateRoot};

use crate::failure::Failure;
use crate::home::home;

/// One sandbox's directory.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox(SandboxDirectory);

impl Sandbox {
    pub(crate) fn name(&self) -> &str {
        self.0.name().as_str()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn state(&self) -> &SandboxDirectory {
        &self.0
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.0.journal()
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.0.is_alive()
    }
}

/// All of them, by name.
pub(crate) fn all() -> Result<Vec<Sandbox>, Failure> {
    let all = state_root()?.sandboxes()?;
    Ok(all.into_iter().map(Sandbox).collect())
}

/// The one named `name`. The failure offers names that are close.
pub(crate) fn find(name: &str) -> Result<Sandbox, Failure> {
    let all = all()?;
    if let Some(found) = all.iter().find(|sandbox| sandbox.name() == name) {
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
        .map(Sandbox::name)
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

/// The directory that holds one directory for each sandbox.
pub(crate) fn state_root() -> Result<StateRoot, Failure> {
    let home = home().unwrap_or_default();
    Ok(StateRoot::discover(&home)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardian_sandbox::SandboxName;

    #[test]
    fn offers_what_could_have_been_meant() {
        let all: Vec<_> = ["claude", "claude-2", "codex", "gitea"]
            .map(|name| {
                let name = SandboxName::parse(name).unwrap();
                Sandbox(SandboxDirectory::at(PathBuf::new(), name))
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
