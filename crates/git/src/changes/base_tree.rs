//! The tree that a session started from, by path.

use std::path::Path;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::index::entry::{Flags, Mode};
use gix::objs::{Exists, FindExt};

use super::{ChangesError, FileKind};
use crate::base::{self, Base};

/// Index and objects of the user's repository, as of the start. Nothing of the session is in it.
pub struct BaseTree {
    index: gix::index::File,
    objects: gix::odb::Handle,
}

/// A file of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseEntry {
    pub kind: FileKind,
    pub id: ObjectId,
}

/// What lies below an upper layer.
pub trait Lower {
    fn object_hash(&self) -> gix::hash::Kind;
    fn find(&self, path: &BStr) -> Result<Found, ChangesError>;
    /// All files below a directory (empty: the top), sorted.
    fn below(&self, directory: &BStr) -> Result<Vec<(BString, BaseEntry)>, ChangesError>;
    /// The patterns of a directory's `.gitignore`, if it has one that counts.
    fn ignore_file(&self, path: &BStr) -> Option<Vec<u8>>;
}

/// What the base has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    File(BaseEntry),
    /// A submodule's place.
    Submodule,
    Directory,
    Nothing,
}

impl BaseTree {
    /// Opens what `session::create` left in the workspace's state directory: `base.index`, and the objects
    /// that `base` names.
    pub fn open(state: &Path, base: &Base) -> Result<Self, ChangesError> {
        let path = state.join(base::index::NAME);
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| ChangesError::Index {
            path: path.clone(),
            source,
        };
        let kind = base.object_format.parse().map_err(|_| {
            failed(format!("unknown object format {:?}", base.object_format).into())
        })?;
        let (_, path) = base::index::open(state, base).map_err(|error| failed(error.into()))?;
        let index = gix::index::File::at(&path, kind, true, Default::default())
            .map_err(|error| failed(error.to_string().into()))?;
        let objects = base
            .objects
            .first()
            .ok_or_else(|| failed("the base names no objects".into()))?;
        let objects = gix::odb::at(objects.clone(), kind).map_err(|error| failed(error.into()))?;
        Ok(Self { index, objects })
    }

    /// Whether the user's repository has an object, now.
    pub fn has(&self, id: &ObjectId) -> bool {
        self.objects.exists(id)
    }

    /// A file's content as git has it, or `None` if the repository lacks the object.
    pub fn blob(&self, id: &ObjectId) -> Option<Vec<u8>> {
        let mut buffer = Vec::new();
        let blob = self.objects.find_blob(id, &mut buffer).ok()?;
        Some(blob.data.to_vec())
    }

    /// Bytes of a blob, or `None` if the repository lacks it.
    pub fn size(&self, id: &ObjectId) -> Option<u64> {
        let header = gix::odb::HeaderExt::header(&self.objects, id).ok()?;
        Some(header.size())
    }

    /// Whether there is a file below `path`, which is relative to the top.
    pub fn has_directory(&self, path: &std::path::Path) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let path = path.as_os_str().as_bytes().as_bstr();
        matches!(self.look(path), Found::Directory)
    }

    /// The file at `path`, unless a sparse checkout leaves it out.
    pub fn file(&self, path: &BStr) -> Option<BaseEntry> {
        match self.look(path) {
            Found::File(entry) => Some(entry),
            Found::Submodule | Found::Directory | Found::Nothing => None,
        }
    }

    fn entries_below<'a>(
        &'a self,
        directory: &BStr,
    ) -> impl Iterator<Item = (&'a BStr, BaseEntry)> + use<'a> {
        let mut prefix = BString::from(directory.as_bytes());
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let entries = self.index.prefixed_entries(prefix.as_bstr());
        let backing = self.index.path_backing();
        entries
            .into_iter()
            .flatten()
            .filter_map(move |entry| Some((entry.path_in(backing), shown(entry)?)))
    }

    fn look(&self, path: &BStr) -> Found {
        if let Some(entry) = self.index.entry_by_path(path) {
            return match shown(entry) {
                Some(entry) => Found::File(entry),
                None if entry.mode == Mode::COMMIT => Found::Submodule,
                None => Found::Nothing,
            };
        }
        if self.entries_below(path).next().is_some() {
            Found::Directory
        } else {
            Found::Nothing
        }
    }
}

impl Lower for BaseTree {
    fn object_hash(&self) -> gix::hash::Kind {
        self.index.object_hash()
    }

    fn find(&self, path: &BStr) -> Result<Found, ChangesError> {
        Ok(self.look(path))
    }

    fn below(&self, directory: &BStr) -> Result<Vec<(BString, BaseEntry)>, ChangesError> {
        let entries = self.entries_below(directory);
        Ok(entries
            .map(|(path, entry)| (path.to_owned(), entry))
            .collect())
    }

    fn ignore_file(&self, path: &BStr) -> Option<Vec<u8>> {
        self.file(path).and_then(|entry| self.blob(&entry.id))
    }
}

/// What the session's work tree showed of an entry.
fn shown(entry: &gix::index::Entry) -> Option<BaseEntry> {
    if entry.flags.contains(Flags::SKIP_WORKTREE) {
        return None;
    }
    let kind = match entry.mode {
        Mode::FILE => FileKind::Plain,
        Mode::FILE_EXECUTABLE => FileKind::Executable,
        Mode::SYMLINK => FileKind::Symlink,
        _ => return None,
    };
    Some(BaseEntry { kind, id: entry.id })
}

impl std::fmt::Debug for BaseTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BaseTree")
            .field("entries", &self.index.entries().len())
            .finish_non_exhaustive()
    }
}
