//! The index of the commit that a session begins with.
//!
//! Git inside compares files by size and time with its index, so each entry keeps what the user's
//! index says of the file, wherever it is the same file. If the user's index as a whole is the
//! commit's tree, it is copied; if parts are, they are taken over; what is left is read from the trees.

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use gix::index::entry::{Flags, Mode, Stage, Stat};
use gix::index::extension::Tree;
use gix::index::{State, write};
use gix::objs::FindExt;
use gix::objs::tree::EntryKind;

use super::SessionError;
use crate::repository::Repository;
use crate::repository::index::{self, SPARSE, SPLIT, UserIndex};

/// As deep as git goes, see `core.maxTreeDepth` in git-config(1).
const DEEPEST: usize = 2048;

/// What a session is to have as an index.
pub(super) enum Index<'a> {
    /// The user's own, as it is.
    Users(&'a UserIndex),
    Bytes(Vec<u8>),
}

impl Index<'_> {
    pub(super) fn into_bytes(self) -> Result<Vec<u8>, SessionError> {
        match self {
            Self::Users(users) => Ok(users.bytes()?),
            Self::Bytes(bytes) => Ok(bytes),
        }
    }
}

/// An index of [`Repository::tree`].
pub(super) fn of_commit(repository: &Repository) -> Result<Index<'_>, SessionError> {
    let kind = repository.object_format();
    let Some(tree) = repository.tree() else {
        return encode(&State::new(kind), None).map(Index::Bytes);
    };
    let users = repository.index()?;
    if let Some(users) = users
        && users.walked.tree == Some(tree)
        && !users.walked.has_conflicts
        && !users.walked.has_intents
        && !users.walked.has(SPLIT)
    {
        return plain(users, kind);
    }
    let users = match users {
        Some(_) => decode(repository)?,
        None => State::new(kind),
    };
    derive(repository.open_objects()?, tree, &users).map(Index::Bytes)
}

/// An index of a tree, with what `users` knows of its files on disk.
pub(crate) fn derive(
    objects: gix::odb::Handle,
    tree: ObjectId,
    users: &State,
) -> Result<Vec<u8>, SessionError> {
    let mut derived = Derived {
        objects,
        users,
        state: State::new(tree.kind()),
        path: BString::default(),
    };
    let root = derived.take_tree(tree, users.tree(), Place::Top, 0)?;
    let mut state = derived.state;
    // A tree that git did not write may be in no order.
    state.sort_entries();
    encode(&state, Some(&root))
}

/// The user's index as it is: with what is staged, and without what it tells of other files.
pub(super) fn of_user(repository: &Repository) -> Result<Option<Index<'_>>, SessionError> {
    match repository.index()? {
        None => Ok(None),
        Some(users) if users.walked.has(SPLIT) => {
            let state = decode(repository)?;
            Ok(Some(Index::Bytes(encode(&state, state.tree())?)))
        }
        Some(users) => plain(users, repository.object_format()).map(Some),
    }
}

/// The user's index, decoded.
pub(super) fn decode(repository: &Repository) -> Result<State, SessionError> {
    let path = repository.git_dir().join("index");
    // Git does not compare the hash either.
    let file = gix::index::File::at(&path, repository.object_format(), true, Default::default());
    match file {
        Ok(file) => Ok(file.into_parts().0),
        Err(error) => Err(SessionError::Index {
            path,
            problem: error.to_string(),
        }),
    }
}

fn plain(users: &UserIndex, kind: gix::hash::Kind) -> Result<Index<'_>, SessionError> {
    match users.walked.is_plain() {
        true => Ok(Index::Users(users)),
        false => Ok(Index::Bytes(users.walked.reduced(&users.bytes()?, kind))),
    }
}

fn encode(state: &State, tree: Option<&Tree>) -> Result<Vec<u8>, SessionError> {
    let mut data = Vec::with_capacity(state.entries().len() * 100 + 64);
    let failed = |problem: String| SessionError::Unencodable { problem };
    let options = write::Options {
        extensions: write::Extensions::None,
        skip_hash: true,
    };
    state
        .write_to(&mut data, options)
        .map_err(|error| failed(error.to_string()))?;
    if let Some(tree) = tree {
        tree.write_to(&mut data)
            .map_err(|error| failed(error.to_string()))?;
    }
    // Of a state that was decoded, it is written already.
    let is_sparse = state.entries().iter().any(|entry| entry.mode == Mode::DIR);
    if is_sparse && !state.is_sparse() {
        data.extend_from_slice(&SPARSE);
        data.extend_from_slice(&[0; 4]);
    }
    index::seal(&mut data, state.object_hash());
    Ok(data)
}

struct Derived<'a> {
    objects: gix::odb::Handle,
    users: &'a State,
    state: State,
    /// Of the directory that is being read, with a slash at its end.
    path: BString,
}

/// Of the directory, in the user's index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Present,
    /// Left out by a sparse checkout, with all that is in it.
    LeftOut,
}

impl Derived<'_> {
    /// Adds all entries of a tree, and returns what the index is to say of it.
    fn take_tree(
        &mut self,
        id: ObjectId,
        cached: Option<&Tree>,
        place: Place,
        depth: usize,
    ) -> Result<Tree, SessionError> {
        if let Some(same) = cached.filter(|cached| cached.id == id && cached.num_entries.is_some())
            && self.take_over(same)
        {
            return Ok(same.clone());
        }
        if depth > DEEPEST {
            return Err(self.object(id, "trees nested too deeply"));
        }
        let mut buffer = Vec::new();
        let failed = |error: String| self.object(id, &error);
        let tree = self.objects.find_tree(&id, &mut buffer);
        let tree = tree.map_err(|error| failed(error.to_string()))?;
        let before = self.state.entries().len();
        let mut children = Vec::new();
        for entry in tree.entries {
            self.check(entry.filename)?;
            let length = self.path.len();
            self.path.extend_from_slice(entry.filename);
            if entry.mode.is_tree() {
                self.path.push(b'/');
                let cached = cached.iter().flat_map(|cached| &cached.children);
                let mut cached = cached.filter(|child| child.name.as_slice() == entry.filename);
                let child =
                    self.take_directory(entry.oid.to_owned(), cached.next(), place, depth)?;
                children.push(Tree {
                    name: entry.filename.iter().copied().collect(),
                    ..child
                });
            } else {
                self.take_file(entry.oid.to_owned(), entry.mode.kind(), place);
            }
            self.path.truncate(length);
        }
        // The order of the extension is by length first, then by bytes.
        children.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
        let count = self.state.entries().len() - before;
        Ok(Tree {
            name: Default::default(),
            id,
            num_entries: u32::try_from(count).ok(),
            children,
        })
    }

    fn take_directory(
        &mut self,
        id: ObjectId,
        cached: Option<&Tree>,
        outer: Place,
        depth: usize,
    ) -> Result<Tree, SessionError> {
        let folded = self.users.entry_by_path(self.path.as_bstr());
        let folded = folded.filter(|entry| entry.mode == Mode::DIR);
        if let Some(entry) = folded.filter(|entry| entry.id == id) {
            let (stat, flags) = (entry.stat, entry.flags);
            self.push(stat, id, flags, Mode::DIR);
            return Ok(Tree {
                name: Default::default(),
                id,
                num_entries: Some(1),
                children: Vec::new(),
            });
        }
        let place = match (outer, folded) {
            (Place::LeftOut, _) | (_, Some(_)) => Place::LeftOut,
            (Place::Top | Place::Present, None) => Place::Present,
        };
        self.take_tree(id, cached, place, depth + 1)
    }

    fn take_file(&mut self, id: ObjectId, kind: EntryKind, place: Place) {
        let mode = match kind {
            EntryKind::Blob | EntryKind::Tree => Mode::FILE,
            EntryKind::BlobExecutable => Mode::FILE_EXECUTABLE,
            EntryKind::Link => Mode::SYMLINK,
            EntryKind::Commit => Mode::COMMIT,
        };
        let path = self.path.as_bstr();
        let users = self
            .users
            .entry_by_path_and_stage(path, Stage::Unconflicted);
        let left_out = match users {
            Some(users) => users.flags.contains(Flags::SKIP_WORKTREE),
            None => place == Place::LeftOut,
        };
        let stat = users
            .filter(|users| users.id == id && users.mode == mode)
            .filter(|users| !users.flags.contains(Flags::INTENT_TO_ADD))
            .map_or_else(Stat::default, |users| users.stat);
        let flags = match left_out {
            true => Flags::SKIP_WORKTREE | Flags::EXTENDED,
            false => Flags::empty(),
        };
        self.push(stat, id, flags, mode);
    }

    /// Copies the user's entries of a directory, if they are as many as their tree has.
    fn take_over(&mut self, tree: &Tree) -> bool {
        let entries = match self.path.is_empty() {
            true => self.users.entries(),
            false => self
                .users
                .prefixed_entries(self.path.as_bstr())
                .unwrap_or_default(),
        };
        let is_plain = entries.iter().all(|entry| {
            entry.stage() == Stage::Unconflicted && !entry.flags.contains(Flags::INTENT_TO_ADD)
        });
        if !is_plain || u32::try_from(entries.len()).ok() != tree.num_entries {
            return false;
        }
        for entry in entries {
            let path = entry.path(self.users);
            self.state
                .dangerously_push_entry(entry.stat, entry.id, entry.flags, entry.mode, path);
        }
        true
    }

    fn push(&mut self, stat: Stat, id: ObjectId, flags: Flags, mode: Mode) {
        let path = self.path.as_bstr();
        self.state
            .dangerously_push_entry(stat, id, flags, mode, path);
    }

    /// Git would not check it out either.
    fn check(&self, name: &gix::bstr::BStr) -> Result<(), SessionError> {
        let options = gix::validate::path::component::Options {
            protect_windows: false,
            protect_hfs: true,
            protect_ntfs: true,
        };
        let valid = gix::validate::path::component(name, None, options);
        valid.map(drop).map_err(|error| SessionError::Name {
            path: format!("{}{name}", self.path),
            problem: error.to_string(),
        })
    }

    fn object(&self, id: ObjectId, problem: &str) -> SessionError {
        SessionError::Tree {
            id: id.to_string(),
            problem: problem.to_owned(),
        }
    }
}
