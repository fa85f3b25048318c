//! What a client (the CLI) and a sandbox's supervisor say to each other.
//!
//! ```text
//! client ── Start (lock, streams) ──▶ supervisor      before it forks pid 1: holds no secret
//!        ── Credentials (custodian, parcels) ──▶       after
//!        ◀── Noted / Ready (terminal) / Started ──
//!        ── Signal ─────────────────▶
//!        ◀── Suspended / Ended / Failed ──
//! ```
//!
//! A client that goes away takes an ephemeral sandbox with it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wardian_events::LimitReached;
use wardian_policy::{
    CacheKind, Level, LimitKind, Manifest, ManifestError, Manifests, Policy, PolicyError,
    PolicyFile, PolicyInputs, Project, Trust,
};
use wardian_sandbox::SandboxSpec;
use wardian_sandbox::builtin::Ended;
use wardian_sandbox::record::KeptWorkspace;

use crate::custody::Held;
use crate::log::LogLevel;

/// From the client.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// Descriptors: the sandbox's lock, then either the caller's terminal (to restore its mode, should
    /// the client die) or stdin, stdout and stderr for the program.
    Start(Box<Start>),
    /// Descriptors: the custodian's socket if there are any of these, then
    /// [`Parcel`](wardian_sandbox::parcel::Parcel)s, to be unpacked inside.
    Credentials(Vec<Held>),
    /// Send this signal to the program.
    Signal(i32),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// The sandbox's own directory, made and locked by the client.
    pub directory: PathBuf,
    pub spec: SandboxSpec,
    pub policy: PolicySources,
    /// Most bytes of records that this run may write; `None` is the usual.
    pub journal: Option<u64>,
    /// The user's own table of the prices of language models, as text.
    pub prices: Option<String>,
    /// Where downloads are kept for other sandboxes, if the policy wants some kept.
    pub downloads: Option<PathBuf>,
    pub log: LogLevel,
}

/// What a policy is built from, as text: the supervisor builds it again, and so trusts nothing that
/// its client decided.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PolicySources {
    /// The user's own `wardian.toml`.
    pub user: Option<Document>,
    /// The project's.
    pub project: Option<ProjectDocument>,
    /// The sandbox of theirs that is asked for.
    pub sandbox: Option<String>,
    /// The name of the file of `--policy`, for messages, and its text.
    pub file: Option<(String, String)>,
    pub presets: Vec<String>,
    pub allow: Vec<String>,
    /// Limits by name, which replace the manifest's.
    pub limits: Vec<(String, String)>,
    /// `NAME=VALUE`, or `NAME` for the host's value.
    pub environment: Vec<String>,
    /// Kinds of downloads to keep, by name.
    #[serde(default)]
    pub cache: Vec<String>,
}

/// A manifest: its path and its text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Document {
    pub path: String,
    pub text: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProjectDocument {
    pub document: Document,
    /// Whether the user has agreed to this very text.
    pub trusted: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("there is no limit named `{0}`")]
    UnknownLimit(String),
    #[error("there is no cache for `{0}`: there is one for cargo, npm, pip and go")]
    UnknownCache(String),
}

impl PolicySources {
    pub fn build(&self) -> Result<Policy, SourcesError> {
        Ok(Policy::build(&self.inputs()?)?)
    }

    /// The manifests alone.
    pub fn manifests(&self) -> Result<Manifests, ManifestError> {
        let parse =
            |level, document: &Document| Manifest::parse(level, &document.path, &document.text);
        let user = self.user.as_ref();
        let project = self.project.as_ref().map(|project| {
            Ok(Project {
                manifest: parse(Level::Project, &project.document)?,
                trust: match project.trusted {
                    true => Trust::Given,
                    false => Trust::NotGiven,
                },
            })
        });
        Ok(Manifests {
            user: user
                .map(|document| parse(Level::User, document))
                .transpose()?,
            project: project.transpose()?,
        })
    }

    pub fn inputs(&self) -> Result<PolicyInputs, SourcesError> {
        let file = self
            .file
            .as_ref()
            .map(|(name, text)| PolicyFile::parse(name, text))
            .transpose()?;
        let limits = self
            .limits
            .iter()
            .map(|(name, value)| {
                let kind = LimitKind::from_name(name)
                    .ok_or_else(|| SourcesError::UnknownLimit(name.clone()))?;
                Ok((kind, value.clone()))
            })
            .collect::<Result<_, SourcesError>>()?;
        let kinds = self.cache.iter().map(|name| {
            CacheKind::from_name(name).ok_or_else(|| SourcesError::UnknownCache(name.clone()))
        });
        let cache = kinds.collect::<Result<_, _>>()?;
        Ok(PolicyInputs {
            manifests: self.manifests()?,
            sandbox: self.sandbox.clone(),
            file,
            presets: self.presets.clone(),
            allow: self.allow.clone(),
            limits,
            env: self.environment.clone(),
            cache,
        })
    }
}

/// From the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromSupervisor {
    /// Something the person should know before the program starts.
    Noted(Note),
    /// The sandbox stands. Descriptor: the master side of its terminal, if one was asked for.
    Ready,
    Started,
    Suspended,
    Ended(End),
    Failed(Failure),
}

/// What this host does not offer, and why. `Display` is a sentence for the person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub feature: String,
    pub lack: Lack,
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lack {
    NotLimited,
    NotChangeable,
    NotSeen,
    /// At the cost of time and disk space.
    WrittenOut,
    NotPossible,
    NotRecorded,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lack = match self.lack {
            Lack::NotLimited => "is not limited here",
            Lack::NotChangeable => "cannot be changed here",
            Lack::NotSeen => "is not to be seen inside",
            Lack::WrittenOut => "had to be copied",
            Lack::NotPossible => "is not possible here",
            Lack::NotRecorded => "is not recorded here",
        };
        write!(f, "{} {lack}: {}", self.feature, self.why)
    }
}

/// How a sandbox ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub how: How,
    /// Limits that it ran into, whether they ended it or not.
    pub limits: Vec<LimitReached>,
    /// Workspaces that hold work.
    pub kept: Vec<KeptWorkspace>,
    /// Files and directories that git ignores, and that are gone.
    pub dropped: usize,
    pub milliseconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    Program(Ended),
    /// The policy's wall time was up.
    TimeLimit,
    /// The policy's disk limit was exceeded.
    DiskLimit,
    /// The policy's memory limit was exceeded, and the kernel chose pid 1 to end.
    MemoryLimit,
    /// It wrote more on its record than it may.
    JournalFull,
    /// The client closed its connection, or died.
    ClientGone,
    /// Pid 1 was killed, or the supervisor could not go on.
    Lost(String),
}

/// The name under which [`How::JournalFull`] is among the limits.
pub const JOURNAL: &str = "journal";

/// A start that did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    pub error: String,
    pub hints: Vec<String>,
}

/// What the exit status of the CLI tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The sandbox could not be made, or a promise could not be kept: 125.
    Sandbox,
    /// The program was found but cannot be executed: 126.
    NotExecutable,
    /// The program was not found inside: 127.
    NotFound,
}
