//! What is written down about a sandbox for whoever comes after: `ls`, `gc`, a clean-up after a crash.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ids::Privilege;
use crate::spec::{Persistence, Workspaces};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxRecord {
    /// Shown to people; the program and its arguments, lossily decoded.
    pub command: Vec<String>,
    pub workspaces: Workspaces,
    pub persistence: Persistence,
    pub privilege: Privilege,
    /// When it was started last; Unix time in seconds.
    pub started: u64,
    /// Process id of the supervisor; means something only while the lock is held.
    pub supervisor: u32,
    /// Directories to remove in the cgroup hierarchies.
    pub cgroups: Vec<PathBuf>,
    /// Set at the end.
    pub ended: Option<Ended>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// Unix time in seconds.
    pub at: u64,
    /// What a shell would report, or `None` if the sandbox was cut off.
    pub status: Option<i32>,
    /// Names of the limits that it ran into.
    #[serde(default)]
    pub limits: Vec<String>,
    /// Why it was cut off, if a supervisor lived to say so.
    #[serde(default)]
    pub why: Option<String>,
    /// What would be missed.
    pub kept: Vec<KeptWorkspace>,
    /// Files and directories that git ignores, and that went with the layers.
    #[serde(default)]
    pub dropped: usize,
}

/// A workspace that holds work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptWorkspace {
    /// The user's directory.
    pub path: PathBuf,
    /// The layer that has what was written.
    pub upper: PathBuf,
    pub work: Work,
    /// All of it has been brought home.
    #[serde(default)]
    pub applied: bool,
}

/// What was done in a workspace, as far as it can be told at once. `Display` is a few words for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// In a session clone.
    Session {
        /// Branches, tags and stashes that were made, moved or deleted.
        refs: usize,
        /// Files that differ from the commit that it started from.
        files: usize,
        /// Things that were written and cannot come back.
        left_out: usize,
    },
    /// In an overlay: something was written.
    Changes,
    /// It cannot be told, so there may be some.
    Unknown { why: String },
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (refs, files, left_out) = match self {
            Self::Session {
                refs,
                files,
                left_out,
            } => (*refs, *files, *left_out),
            Self::Changes => return f.write_str("changed files"),
            Self::Unknown { why } => return write!(f, "perhaps work: {why}"),
        };
        let counted = |count, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            count => Some(format!("{count} {many}")),
        };
        let parts = [
            (refs > 0).then(|| "commits".to_owned()),
            counted(files, "file", "files"),
            counted(left_out, "thing left out", "things left out"),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_told_in_a_few_words() {
        let told = |refs, files, left_out| {
            let work = Work::Session {
                refs,
                files,
                left_out,
            };
            work.to_string()
        };
        assert_eq!(told(2, 1, 0), "commits, 1 file");
        assert_eq!(told(0, 3, 1), "3 files, 1 thing left out");
        assert_eq!(told(0, 0, 2), "2 things left out");
        assert_eq!(Work::Changes.to_string(), "changed files");
    }

    #[test]
    fn work_is_written_down_by_its_kind() {
        let work = Work::Session {
            refs: 1,
            files: 0,
            left_out: 0,
        };
        let text = serde_json::to_string(&work).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"session","refs":1,"files":0,"left_out":0}"#
        );
        assert_eq!(serde_json::from_str::<Work>(&text).unwrap(), work);
    }
}
