//! What logs of refs remember.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use gix::hash::Kind;

use super::{RefsError, loose, object_id};
use crate::confined::SessionRepository;

/// The end of a longer log is read.
const MAX_LOG: u64 = 4 << 20;

/// One line of a log, `<old> <new> <who> <when>TAB<why>`. Ids of nothing are `None`.
struct Entry {
    old: Option<ObjectId>,
    new: Option<ObjectId>,
    why: BString,
}

impl Entry {
    fn parse(line: &[u8], format: Kind) -> Option<Self> {
        let mut ids = line.split_str(" ");
        let mut id = || Some(object_id(ids.next()?, format).ok());
        Some(Self {
            old: id()?,
            new: id()?,
            why: line
                .split_once_str("\t")
                .map_or(b"".as_slice(), |(_, why)| why)
                .into(),
        })
    }

    /// Whether what the ref led to before lives on in what it leads to now.
    fn supersedes(&self) -> bool {
        self.why.starts_with(b"commit (amend)") || self.why.starts_with(b"rebase")
    }
}

/// What `HEAD` has led to, as its log says.
pub(crate) fn visited(
    session: &SessionRepository,
    format: Kind,
) -> Result<BTreeSet<ObjectId>, RefsError> {
    let entries = entries(session, Path::new("logs/HEAD"), format)?;
    Ok(entries.into_iter().filter_map(|entry| entry.new).collect())
}

/// What `HEAD` has led to, by what became of it.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) behind: BTreeSet<ObjectId>,
    /// Amended or rebased.
    pub(crate) superseded: BTreeSet<ObjectId>,
}

impl Left {
    pub(crate) fn read(session: &SessionRepository, format: Kind) -> Result<Self, RefsError> {
        let mut left = Self::default();
        for entry in entries(session, Path::new("logs/HEAD"), format)? {
            if let Some(old) = entry.old.filter(|_| entry.supersedes()) {
                left.behind.remove(&old);
                left.superseded.insert(old);
            }
            if let Some(new) = entry.new {
                left.superseded.remove(&new);
                left.behind.insert(new);
            }
        }
        Ok(left)
    }
}

/// All entries of `git stash list`.
pub(crate) fn stashed(
    session: &SessionRepository,
    format: Kind,
) -> Result<BTreeSet<ObjectId>, RefsError> {
    let entries = entries(session, Path::new("logs/refs/stash"), format)?;
    Ok(entries.into_iter().filter_map(|entry| entry.new).collect())
}

fn entries(
    session: &SessionRepository,
    path: &Path,
    format: Kind,
) -> Result<Vec<Entry>, RefsError> {
    let Some(mut file) = loose::open_file(session, path)? else {
        return Ok(Vec::new());
    };
    let failed = |source| RefsError::Io {
        path: session.shown(path),
        source,
    };
    let length = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LOG)))
        .map_err(failed)?;
    let mut text = Vec::new();
    file.take(MAX_LOG).read_to_end(&mut text).map_err(failed)?;
    let entries = text.lines().filter_map(|line| Entry::parse(line, format));
    Ok(entries.collect())
}
