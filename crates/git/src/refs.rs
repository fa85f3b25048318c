//! What the refs of a session say, read as text.
//!
//! Git writes refs as small files, or as lines of `packed-refs` (gitrepository-layout(5), git-pack-refs(1)). An
//! agent may have put anything there. It is read by descriptors below the session's `.git`, without following a
//! symlink, within bounds, and every name must be one that git would take (git-check-ref-format(1)). What is
//! not understood is named and has no effect.

mod loose;
mod packed;
mod reflog;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice};
use gix::hash::Kind;
use gix::refs::FullName;
use rustix::fs::OFlags;
use thiserror::Error;

pub use packed::parse as parse_packed;
pub(crate) use reflog::{Left, stashed, visited};

use crate::confined::{SessionError, SessionRepository};

/// Names and what they point to.
pub type Tips = BTreeMap<FullName, ObjectId>;

/// The refs of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRefs {
    pub head: SessionHead,
    /// Everything below `refs/`, symbolic refs resolved.
    pub tips: Tips,
    /// What was not understood, at most [`MAX_ODDITIES`] of them.
    pub oddities: Vec<Oddity>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionHead {
    /// A branch, which may have no commit yet.
    Branch(FullName),
    Detached(ObjectId),
    /// For people: why it cannot be told.
    Unreadable(String),
}

/// Something below `refs/` or in `packed-refs` that is no ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oddity {
    /// File, and line of `packed-refs`.
    pub place: String,
    pub why: &'static str,
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

pub const MAX_ODDITIES: usize = 20;
/// Refs of one repository, and directories below `refs`.
const MAX_REFS: usize = 200_000;
const MAX_PACKED: usize = 32 << 20;
const MAX_REF_FILE: usize = 4096;
const MAX_NAME: usize = 1024;
/// As git's own (`SYMREF_MAXDEPTH`).
const MAX_SYMBOLIC: usize = 5;

#[derive(Debug, Error)]
pub enum RefsError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("{path}: more than {limit} refs")]
    TooMany { path: PathBuf, limit: usize },
    #[error("{path}: more than {limit} bytes")]
    TooLarge { path: PathBuf, limit: usize },
    #[error("{path}: refs are kept as a reftable, which is not read")]
    Reftable { path: PathBuf },
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// How a ref of a session differs from what it was at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefChange {
    pub name: FullName,
    pub old: Option<ObjectId>,
    /// `None` if it was deleted.
    pub new: Option<ObjectId>,
}

/// Content of one ref.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Id(ObjectId),
    Symbolic(FullName),
}

impl Target {
    /// `ref: refs/heads/main`, or an id.
    fn parse(text: &[u8], format: Kind) -> Result<Self, &'static str> {
        let text = text.trim_end();
        match text.strip_prefix(b"ref:") {
            Some(name) => full_name(name.trim_start().as_bstr()).map(Target::Symbolic),
            None => object_id(text, format).map(Target::Id),
        }
    }
}

fn object_id(text: &[u8], format: Kind) -> Result<ObjectId, &'static str> {
    match ObjectId::from_hex(text) {
        Ok(id) if id.kind() == format && !id.is_null() => Ok(id),
        _ => Err("not the id of an object"),
    }
}

fn full_name(name: &BStr) -> Result<FullName, &'static str> {
    if name.len() > MAX_NAME {
        return Err("name too long");
    }
    if !name.starts_with(b"refs/") {
        return Err("name not below refs/");
    }
    FullName::try_from(name.to_owned()).map_err(|_| "not a name that git would take")
}

/// Bounded: what is wrong in one way is usually wrong many times.
#[derive(Debug, Default)]
struct Oddities(Vec<Oddity>);

impl Oddities {
    fn add(&mut self, place: impl FnOnce() -> String, why: &'static str) {
        if self.0.len() < MAX_ODDITIES {
            let place = place();
            self.0.push(Oddity { place, why });
        }
    }
}

impl SessionRefs {
    pub fn read(session: &SessionRepository, format: Kind) -> Result<Self, RefsError> {
        let reftable = Path::new("reftable");
        if session.open_at(reftable, OFlags::PATH)?.is_some() {
            let path = session.shown(reftable);
            return Err(RefsError::Reftable { path });
        }
        let mut oddities = Oddities::default();
        let mut targets: BTreeMap<FullName, Target> = BTreeMap::new();
        let packed = Path::new("packed-refs");
        if let Some(text) = loose::read(session, packed, MAX_PACKED)? {
            let parsed = packed::parse(&text, format);
            if parsed.tips.len() > MAX_REFS {
                return Err(too_many(session, packed));
            }
            oddities.0 = parsed.oddities;
            targets.extend(
                parsed
                    .tips
                    .into_iter()
                    .map(|(name, id)| (name, Target::Id(id))),
            );
        }
        loose::walk(session, format, &mut targets, &mut oddities)?;
        let head = head(session, format)?;
        Ok(Self {
            head,
            tips: resolve(targets, &mut oddities),
            oddities: oddities.0,
        })
    }

    /// The commit that is checked out; `None` on a branch without one.
    pub fn head_commit(&self) -> Option<ObjectId> {
        match &self.head {
            SessionHead::Branch(name) => self.tips.get(name).copied(),
            SessionHead::Detached(id) => Some(*id),
            SessionHead::Unreadable(_) => None,
        }
    }

    /// What differs from `base`, in the order of names.
    pub fn changes_since(&self, base: &Tips) -> Vec<RefChange> {
        let names: std::collections::BTreeSet<_> = base.keys().chain(self.tips.keys()).collect();
        names
            .into_iter()
            .map(|name| RefChange {
                name: name.clone(),
                old: base.get(name).copied(),
                new: self.tips.get(name).copied(),
            })
            .filter(|change| change.old != change.new)
            .collect()
    }
}

/// The refs at the session's start: `base.refs` of its workspace, which we wrote.
pub fn read_base(workspace: &Path, format: Kind) -> Result<Tips, RefsError> {
    let path = workspace.join("base.refs");
    match std::fs::read(&path) {
        Ok(text) => Ok(packed::parse(&text, format).tips),
        Err(source) => Err(RefsError::Io { path, source }),
    }
}

fn head(session: &SessionRepository, format: Kind) -> Result<SessionHead, RefsError> {
    let unreadable = |why: String| Ok(SessionHead::Unreadable(why));
    let text = match loose::read(session, Path::new("HEAD"), MAX_REF_FILE) {
        Ok(Some(text)) => text,
        Ok(None) => return unreadable("there is no HEAD".to_owned()),
        Err(error) => return unreadable(error.to_string()),
    };
    match Target::parse(&text, format) {
        Ok(Target::Symbolic(name)) => Ok(SessionHead::Branch(name)),
        Ok(Target::Id(id)) => Ok(SessionHead::Detached(id)),
        Err(why) => unreadable(format!("HEAD: {why}")),
    }
}

fn resolve(targets: BTreeMap<FullName, Target>, oddities: &mut Oddities) -> Tips {
    let mut tips = Tips::new();
    for (name, target) in &targets {
        let mut target = Some(target);
        for _ in 0..=MAX_SYMBOLIC {
            match target {
                Some(Target::Symbolic(next)) => target = targets.get(next),
                Some(Target::Id(_)) | None => break,
            }
        }
        match target {
            Some(Target::Id(id)) => {
                tips.insert(name.clone(), *id);
            }
            // Points to a branch without commits, as a fresh `refs/remotes/origin/HEAD` may.
            None => {}
            Some(Target::Symbolic(_)) => {
                oddities.add(|| name.to_string(), "points to itself, or too far");
            }
        }
    }
    tips
}

fn too_many(session: &SessionRepository, path: &Path) -> RefsError {
    RefsError::TooMany {
        path: session.shown(path),
        limit: MAX_REFS,
    }
}

#[cfg(test)]
mod tests;
