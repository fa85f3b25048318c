//! What became of files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chain::Digest;

/// Files in one place differ from how they were at the start. Looked at when the program has ended, before anything is
/// removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilesChanged {
    /// A workspace or the home, as the sandbox sees it. Paths below are relative to it.
    pub place: String,
    pub of: FilesOf,
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
    /// Written, but nothing that could come out: device files, sockets, names that mean something to git, ...
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Files and directories that git ignores, which are not among the others; a directory counts once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ignored: u64,
    /// Directories that could not be looked into.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreadable: u64,
    /// By path; as many as a record has room for.
    pub files: Vec<FileChange>,
    /// Those that are not listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub further: u64,
    /// Why it cannot be told, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// What they are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilesOf {
    /// A session clone: with the commit that it started from, whether committed inside or not.
    Clone,
    /// A copy-on-write layer: with the directory below it. A file counts as changed as soon as it was written.
    Overlay,
    /// The sandbox's own home: what was written since the program started.
    Home,
}

/// A file that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileChange {
    /// With what is no text, or would not be seen, spelled out.
    pub path: String,
    pub change: ChangeKind,
    /// What it is now; what it was, if it is gone.
    pub file: FileType,
    /// Bytes, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Of its content now. None for what is no plain file, or too large to be read at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Added,
    Changed,
    Removed,
    LeftOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileType {
    File,
    Program,
    Symlink,
    Directory,
    Other,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
