//! `HEAD` and all refs, as text: `packed-refs` and the files below `refs/`.

mod packed;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice, ByteVec};
use wardian_linux::SyscallError;

use super::{RepositoryError, files};
use packed::Packed;

/// Symbolic refs that git follows one after the other.
const DEEPEST: usize = 5;
/// Bytes of a ref's name, which is a path.
const LONGEST: usize = 4096;
/// Not handed on: work in progress, and what belongs to one work tree only.
const PRIVATE: [&str; 6] = [
    "refs/stash",
    "refs/bisect/",
    "refs/rewritten/",
    "refs/worktree/",
    "refs/prefetch/",
    "refs/wardian/",
];

/// Where `HEAD` leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeadRef {
    /// Full name; `None` if `HEAD` is a commit itself.
    pub(super) name: Option<BString>,
    /// `None` on an unborn branch.
    pub(super) id: Option<ObjectId>,
}

/// All refs that a session gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refs {
    /// Text of a `packed-refs` file: sorted, loose refs included.
    pub packed: Vec<u8>,
    /// Name and target of those that name another ref, such as `refs/remotes/origin/HEAD`.
    pub symbolic: Vec<(BString, BString)>,
    /// Objects that stand for others, see git-replace(1).
    pub replacements: Vec<(ObjectId, ObjectId)>,
}

impl Refs {
    /// Whether there is `name`, or a ref that has it as a directory or lies above it, so that it
    /// could not be made.
    pub fn clashes(&self, name: &str) -> bool {
        let parents = name.match_indices('/').map(|(end, _)| &name[..end]);
        let mut taken = parents.chain([name]).map(|name| format!(" {name}\n"));
        let below = format!(" {name}/");
        let is_symbolic = |(other, _): &(BString, BString)| {
            let related = |long: &[u8], short: &[u8]| {
                let rest = long.strip_prefix(short);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            };
            related(other, name.as_bytes()) || related(name.as_bytes(), other)
        };
        taken.any(|line| self.packed.contains_str(&line))
            || self.packed.contains_str(below)
            || self.symbolic.iter().any(is_symbolic)
    }
}

pub(super) fn head(
    git_dir: &Path,
    common_dir: &Path,
    kind: gix::hash::Kind,
) -> Result<HeadRef, RepositoryError> {
    let path = git_dir.join("HEAD");
    let mut current = match read_loose(&path, kind)? {
        Some(Loose::Id(id)) => {
            return Ok(HeadRef {
                name: None,
                id: Some(id),
            });
        }
        Some(Loose::Symbolic(name)) => name,
        None => {
            return Err(RepositoryError::malformed(
                path,
                "neither a commit nor a ref",
            ));
        }
    };
    let name = Some(current.clone());
    for _ in 0..DEEPEST {
        let directory = match is_of_worktree(current.as_bstr()) {
            true => git_dir,
            false => common_dir,
        };
        let id = match read_loose(&directory.join(files::as_path(current.as_bstr())), kind)? {
            Some(Loose::Symbolic(next)) => {
                current = next;
                continue;
            }
            Some(Loose::Id(id)) => Some(id),
            None => packed::find(common_dir, current.as_bstr(), kind)?,
        };
        return Ok(HeadRef { name, id });
    }
    Err(RepositoryError::malformed(
        path,
        "symbolic refs in a circle",
    ))
}

/// Refs of `refs/` and `packed-refs`. Broken ones are passed over, as git does.
pub(super) fn all(common_dir: &Path, kind: gix::hash::Kind) -> Result<Refs, RepositoryError> {
    let mut loose = BTreeMap::new();
    collect_loose(common_dir, BString::from("refs"), kind, &mut loose)?;
    let path = common_dir.join("packed-refs");
    let text = files::read(&path, files::LARGE)?.unwrap_or_default();
    let packed = Packed::parse(&text, kind)
        .ok_or_else(|| RepositoryError::malformed(path, "a line that is no ref"))?;
    Ok(merge(packed, loose, kind))
}

#[derive(Debug)]
enum Loose {
    Id(ObjectId),
    Symbolic(BString),
}

/// `None` if there is no such file, or it is broken.
fn read_loose(path: &Path, kind: gix::hash::Kind) -> Result<Option<Loose>, RepositoryError> {
    // The form of long ago: a symlink. What it leads to is another ref, never a file to be read.
    if let Ok(target) = std::fs::read_link(path) {
        let name = files::as_bytes(&target);
        return Ok(is_valid(name).then(|| Loose::Symbolic(name.to_owned())));
    }
    let Some(line) = files::first_line(path)? else {
        return Ok(None);
    };
    if let Some(name) = line.strip_prefix(b"ref:") {
        let name = BString::from(name.trim());
        return Ok(is_valid(name.as_bstr()).then_some(Loose::Symbolic(name)));
    }
    let id = ObjectId::from_hex(&line).ok();
    Ok(id
        .filter(|id| id.kind() == kind && !id.is_null())
        .map(Loose::Id))
}

fn is_valid(name: &BStr) -> bool {
    name.starts_with(b"refs/") && gix::validate::reference::name(name).is_ok()
}

fn is_of_worktree(name: &BStr) -> bool {
    PRIVATE[1..4]
        .iter()
        .any(|prefix| name.starts_with_str(prefix))
}

fn is_private(name: &BStr) -> bool {
    PRIVATE.iter().any(|prefix| match prefix.ends_with('/') {
        true => name.starts_with_str(prefix),
        false => name == *prefix,
    })
}

fn collect_loose(
    common_dir: &Path,
    directory: BString,
    kind: gix::hash::Kind,
    found: &mut BTreeMap<BString, Loose>,
) -> Result<(), RepositoryError> {
    let path = common_dir.join(files::as_path(directory.as_bstr()));
    let failed = |error| SyscallError::new(format!("readdir({path:?})"), error);
    for entry in std::fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let mut name = directory.clone();
        name.push_byte(b'/');
        name.push_str(entry.file_name().as_bytes());
        if entry.file_type().map_err(failed)?.is_dir() {
            // Git has no deeper ones either: a path has an end.
            if name.len() < LONGEST {
                collect_loose(common_dir, name, kind, found)?;
            }
        } else if is_valid(name.as_bstr())
            && let Some(value) = read_loose(&entry.path(), kind)?
        {
            found.insert(name, value);
        }
    }
    Ok(())
}

/// Loose refs win over packed ones of the same name.
fn merge(mut packed: Packed<'_>, loose: BTreeMap<BString, Loose>, kind: gix::hash::Kind) -> Refs {
    packed.sort();
    let mut refs = Refs {
        packed: Vec::with_capacity(packed.size() + loose.len() * 80),
        symbolic: Vec::new(),
        replacements: Vec::new(),
    };
    // Of a loose tag it is not known what it points at in the end, and so of no tag that has no such line.
    let peeled = loose
        .values()
        .all(|value| matches!(value, Loose::Symbolic(_)));
    refs.packed.push_str(packed.header(peeled));
    let mut loose = loose.into_iter().peekable();
    let mut packed = packed.entries.into_iter().peekable();
    loop {
        let next_loose = loose.peek().map(|(name, _)| name.as_bstr());
        let next_packed = packed.peek().map(|entry| entry.name);
        let take_loose = match (next_loose, next_packed) {
            (None, None) => return refs,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(a), Some(b)) => {
                if a == b {
                    packed.next();
                    continue;
                }
                a < b
            }
        };
        if take_loose {
            if let Some((name, value)) = loose.next() {
                refs.add_loose(name, value, kind);
            }
        } else if let Some(entry) = packed.next() {
            refs.add(entry.name, entry.id, entry.text, kind);
        }
    }
}

impl Refs {
    fn add_loose(&mut self, name: BString, value: Loose, kind: gix::hash::Kind) {
        match value {
            Loose::Id(id) => {
                let hex = id.to_string();
                let text = [hex.as_bytes(), b" ", &name, b"\n"].concat();
                self.add(name.as_bstr(), hex.as_bytes(), &text, kind);
            }
            Loose::Symbolic(target) if !is_private(name.as_bstr()) => {
                self.symbolic.push((name, target));
            }
            Loose::Symbolic(_) => {}
        }
    }

    fn add(&mut self, name: &BStr, id: &[u8], text: &[u8], kind: gix::hash::Kind) {
        if is_private(name) {
            return;
        }
        self.packed.extend_from_slice(text);
        if let Some(replaced) = name.strip_prefix(b"refs/replace/") {
            let ids = (ObjectId::from_hex(replaced), ObjectId::from_hex(id));
            if let (Ok(replaced), Ok(by)) = ids
                && replaced.kind() == kind
            {
                self.replacements.push((replaced, by));
            }
        }
    }
}
