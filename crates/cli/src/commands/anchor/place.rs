//! Where anchors are kept.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use wardian_events::{Digest, Timestamp};
use wardian_sandbox::spec::WorkspaceMode;

use crate::commands::export::client::{Client, headers_from};
use crate::failure::Failure;
use crate::sandboxes::Sandbox;

/// The ref, unless another is given.
const REFERENCE: &str = "refs/wardian/anchors";
/// The one file in each commit of it.
const FILE: &str = "anchors.jsonl";
/// No file of anchors is larger: a hundred years, one every ten seconds, is.
const MOST: u64 = 1 << 30;
/// Headers for a URL, where a token is not seen in the list of processes.
const HEADERS: &str = "WARDIAN_ANCHOR_HEADERS";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) enum Place {
    File(PathBuf),
    Url(String),
    Git {
        repository: PathBuf,
        reference: String,
    },
}

/// One anchor, as it is kept: a line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::commands) struct Kept {
    pub(in crate::commands) sandbox: String,
    /// SHA-256 of the first record, which no other journal has, whatever its sandbox is named.
    pub(in crate::commands) journal: Digest,
    pub(in crate::commands) anchor: String,
    pub(super) time: Timestamp,
    pub(super) stopped: bool,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("git:") {
            let (repository, reference) = rest.split_once('#').unwrap_or((rest, REFERENCE));
            let reference = match reference.starts_with("refs/") {
                true => reference.to_owned(),
                false => format!("refs/heads/{reference}"),
            };
            if repository.is_empty() || reference.contains("..") || reference.contains(' ') {
                return Err("write git:DIR or git:DIR#REF".to_owned());
            }
            return Ok(Self::Git {
                repository: repository.into(),
                reference,
            });
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Self::Url(text.to_owned()));
        }
        match text {
            "" => Err("write a file, a URL or git:DIR#REF".to_owned()),
            text => Ok(Self::File(text.into())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(url),
            Self::Git {
                repository,
                reference,
            } => write!(f, "git:{}#{reference}", repository.display()),
        }
    }
}

impl Place {
    pub(super) fn keep(&self, kept: &Kept) -> anyhow::Result<()> {
        let line = serde_json::to_string(kept)? + "\n";
        match self {
            Self::File(path) => append(path, &line)
                .with_context(|| format!("cannot keep an anchor in {}", path.display())),
            Self::Url(url) => Client::new(headers_from(HEADERS)?)?
                .post(url, line.trim_end().as_bytes())
                .map(drop)
                .context("cannot keep an anchor"),
            Self::Git {
                repository,
                reference,
            } => commit(repository, reference, kept, &line)
                .with_context(|| format!("cannot keep an anchor in {}", repository.display())),
        }
    }

    /// All that is kept there.
    pub(in crate::commands) fn read(&self) -> anyhow::Result<Vec<Kept>> {
        let text = match self {
            Self::File(path) => {
                let mut text = String::new();
                let file = File::open(path).with_context(|| path.display().to_string())?;
                file.take(MOST).read_to_string(&mut text)?;
                text
            }
            Self::Url(url) => {
                bail!("{url} keeps anchors, but how to ask for them is its own matter")
            }
            Self::Git {
                repository,
                reference,
            } => git(repository, &["show", &format!("{reference}:{FILE}")], "")?,
        };
        text.lines()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).context("not an anchor"))
            .collect()
    }
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_data()
}

/// A commit more on the ref, which fails if somebody else moved it meanwhile.
fn commit(repository: &Path, reference: &str, kept: &Kept, line: &str) -> anyhow::Result<()> {
    let words = [
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        reference,
    ];
    let old = git(repository, &words, "").unwrap_or_default();
    let old = old.trim();
    let before = match old {
        "" => String::new(),
        old => git(repository, &["show", &format!("{old}:{FILE}")], "")?,
    };
    let blob = git(
        repository,
        &["hash-object", "-w", "--stdin"],
        &(before + line),
    )?;
    let entry = format!("100644 blob {}\t{FILE}\n", blob.trim());
    let tree = git(repository, &["mktree"], &entry)?;
    let message = format!("{} {}", kept.sandbox, kept.anchor);
    let mut words = vec!["commit-tree", tree.trim(), "-m", &message];
    if !old.is_empty() {
        words.extend(["-p", old]);
    }
    let new = git(repository, &words, "")?;
    // Of a ref that is to be new, the old value is all zeros.
    let zeros = "0".repeat(new.trim().len());
    let old = if old.is_empty() { &zeros } else { old };
    git(
        repository,
        &["update-ref", "--end-of-options", reference, new.trim(), old],
        "",
    )
    .map(drop)
}

/// The user's git, in a repository that no sandbox writes to, and without the hooks of it.
fn git(repository: &Path, words: &[&str], input: &str) -> anyhow::Result<String> {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(repository)
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
        ])
        .args([
            "-c",
            "user.name=wardian",
            "-c",
            "user.email=wardian@localhost",
        ])
        .args(["-c", "commit.gpgSign=false"])
        .args(words)
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("git")?;
    let mut stdin = child.stdin.take().context("git takes no input")?;
    let input = input.to_owned();
    // Both ends at once: git may answer before it has read all.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().context("git")?;
    let _ = writer.join();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(anyhow!(
            "git {}: {why}",
            words.first().copied().unwrap_or("")
        ));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// What the sandbox can write to is no place to keep what it must not change, nor one in which to run git.
pub(in crate::commands) fn refuse_within_reach(
    place: &Place,
    sandbox: &Sandbox,
) -> Result<(), Failure> {
    let path = match place {
        Place::File(path) => path,
        Place::Git { repository, .. } => repository,
        Place::Url(_) => return Ok(()),
    };
    let path = resolved(path);
    let mut within = vec![resolved(sandbox.directory())];
    if let Some(record) = sandbox.state().read_record()? {
        let bound = record
            .workspaces
            .iter()
            .filter(|(_, workspace)| workspace.mode == WorkspaceMode::Bind);
        within.extend(bound.map(|(_, workspace)| resolved(&workspace.path)));
    }
    match within.iter().find(|root| path.starts_with(root)) {
        None => Ok(()),
        Some(root) => Err(Failure::from(anyhow!(
            "{} is within {}, which the sandbox writes to",
            path.display(),
            root.display()
        ))
        .hint("keep anchors where the sandbox, and better yet this machine, cannot change them")),
    }
}

/// As far as the path is there, without links.
fn resolved(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    fs::canonicalize(&whole).unwrap_or_else(|_| {
        let parent = whole.parent().unwrap_or(&whole);
        let name = whole.file_name().unwrap_or(OsStr::new(""));
        fs::canonicalize(parent).map_or(whole.clone(), |parent| parent.join(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let git = |repository: &str, reference: &str| Place::Git {
            repository: repository.into(),
            reference: reference.into(),
        };
        for (text, expected) in [
            ("anchors", Ok(Place::File("anchors".into()))),
            (
                "https://log.example/a",
                Ok(Place::Url("https://log.example/a".into())),
            ),
            ("git:../audit", Ok(git("../audit", REFERENCE))),
            ("git:/audit#main", Ok(git("/audit", "refs/heads/main"))),
            ("git:/audit#refs/x/y", Ok(git("/audit", "refs/x/y"))),
        ] {
            assert_eq!(text.parse(), expected.clone());
            let again = expected.unwrap().to_string();
            assert_eq!(again.parse::<Place>().unwrap().to_string(), again);
        }
        for text in ["", "git:", "git:#x", "git:x#a b"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
