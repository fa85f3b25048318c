//! Carrying out a plan, so that a kill at any moment leaves a way on and a way back.
//!
//! ```text
//! <state>/apply/
//!     plan.json      what each file was and will be; written when all contents are there
//!     before/<n>     contents of the n-th file
//!     after/<n>
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use serde::{Deserialize, Serialize};

use super::plan::{Plan, open_theirs};
use super::user_tree::{Present, UserTree};
use super::{ApplyError, Contents, Version};
use crate::changes::{FileKind, hash};

/// A plan on disk.
#[derive(Debug)]
pub struct Staged {
    directory: PathBuf,
    record: Record,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    progress: Progress,
    files: Vec<RecordedFile>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Progress {
    /// Somewhere between before and after.
    Begun,
    Done,
}

#[derive(Debug, Serialize, Deserialize)]
struct RecordedFile {
    /// Bytes, for a path need not be text.
    path: Vec<u8>,
    before: Option<RecordedVersion>,
    after: Option<RecordedVersion>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RecordedVersion {
    kind: RecordedKind,
    id: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RecordedKind {
    Plain,
    Executable,
    Symlink,
}

/// Which of the two states is wanted.
#[derive(Clone, Copy)]
enum Side {
    Before,
    After,
}

impl Side {
    fn directory(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Before => Self::After,
            Self::After => Self::Before,
        }
    }

    fn of(self, file: &RecordedFile) -> Option<Version> {
        let version = match self {
            Self::Before => &file.before,
            Self::After => &file.after,
        };
        version.as_ref().and_then(RecordedVersion::version)
    }
}

impl Staged {
    /// Copies all contents below `state`, in place of what an earlier apply left there. The user's tree is
    /// only read. A conflict in the plan is the caller's error.
    pub fn new(
        state: &Path,
        tree: &UserTree,
        plan: &Plan,
        contents: &dyn Contents,
    ) -> Result<Self, ApplyError> {
        debug_assert!(plan.conflicts.is_empty());
        let directory = state.join("apply");
        Self::forget(state)?;
        for side in [Side::Before, Side::After] {
            let path = directory.join(side.directory());
            fs::create_dir_all(&path).map_err(state_error(&path))?;
        }
        let mut files = Vec::with_capacity(plan.steps.len());
        for (number, step) in plan.steps.iter().enumerate() {
            let path = step.path.as_bstr();
            if let Some(before) = step.before {
                let content = tree.read(path, before.kind)?;
                copy(&directory, Side::Before, number, content)?;
            }
            if step.after.is_some() {
                let content: Box<dyn Read> = match &step.merged {
                    Some(text) => Box::new(io::Cursor::new(text.clone())),
                    None => open_theirs(contents, &step.path)?,
                };
                copy(&directory, Side::After, number, content)?;
            }
            files.push(RecordedFile {
                path: step.path.to_vec(),
                before: step.before.map(RecordedVersion::from),
                after: step.after.map(RecordedVersion::from),
            });
        }
        let staged = Self {
            directory,
            record: Record {
                progress: Progress::Begun,
                files,
            },
        };
        staged.check_copies(tree)?;
        staged.write()?;
        Ok(staged)
    }

    /// What the last apply left below `state`.
    pub fn open(state: &Path) -> Result<Option<Self>, ApplyError> {
        let directory = state.join("apply");
        let path = directory.join("plan.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ApplyError::State { path, source }),
        };
        let record =
            serde_json::from_slice(&text).map_err(|source| ApplyError::Record { path, source })?;
        Ok(Some(Self { directory, record }))
    }

    /// Forgets what a finished apply left below `state`: it can no longer be undone.
    pub fn forget(state: &Path) -> Result<(), ApplyError> {
        match Self::open(state)? {
            Some(staged) if !staged.is_done() => Err(ApplyError::Interrupted),
            _ => remove_tree(&state.join("apply")),
        }
    }

    pub fn is_done(&self) -> bool {
        self.record.progress == Progress::Done
    }

    /// The files that it is about.
    pub fn paths(&self) -> impl Iterator<Item = BString> {
        self.record
            .files
            .iter()
            .map(|file| file.path.clone().into())
    }

    /// Gives every file its new state; goes on where it was interrupted.
    pub fn carry_out(&mut self, tree: &UserTree) -> Result<(), ApplyError> {
        self.move_to(tree, Side::After)?;
        self.record.progress = Progress::Done;
        self.write()
    }

    /// Gives every file its old state, and forgets the plan.
    pub fn undo(mut self, tree: &UserTree) -> Result<(), ApplyError> {
        self.record.progress = Progress::Begun;
        self.write()?;
        self.move_to(tree, Side::Before)?;
        remove_tree(&self.directory)
    }

    fn move_to(&self, tree: &UserTree, side: Side) -> Result<(), ApplyError> {
        let mut changed = Vec::new();
        let mut steps = Vec::new();
        for (number, file) in self.record.files.iter().enumerate() {
            let path = file.path.as_bstr();
            tree.clean_up(path)?;
            let wanted = side.of(file);
            let present = match tree.look(path)? {
                Present::File(version) => Some(version),
                Present::Nothing => None,
                Present::Directory if self.is_cleared(tree, file, side)? => None,
                Present::Other if wanted.is_none() || self.parent_goes(file, side) => None,
                _ => {
                    changed.push(path.to_owned());
                    continue;
                }
            };
            if present == wanted {
                continue;
            }
            if present == side.other().of(file) {
                steps.push((number, wanted));
            } else {
                changed.push(path.to_owned());
            }
        }
        if !changed.is_empty() {
            return Err(ApplyError::Changed(changed));
        }
        steps.sort_by_key(|(_, wanted)| wanted.is_some());
        for (number, wanted) in steps {
            let path = self.record.files[number].path.as_bstr();
            match wanted {
                None => tree.remove(path)?,
                Some(version) => {
                    let path_of_copy = self.copy_path(side, number);
                    let content = File::open(&path_of_copy).map_err(state_error(&path_of_copy))?;
                    tree.put(path, version.kind, content)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a directory in a file's place is one that the plan makes, or one that it empties.
    fn is_cleared(
        &self,
        tree: &UserTree,
        file: &RecordedFile,
        side: Side,
    ) -> Result<bool, ApplyError> {
        let Some(present) = tree.files_below(file.path.as_bstr())? else {
            return Ok(false);
        };
        let of_the_plan = |path: &BString| self.record.files.iter().find(|it| it.path == **path);
        Ok(match side.of(file) {
            None => present.iter().any(|path| of_the_plan(path).is_some()),
            Some(_) => present
                .iter()
                .all(|path| of_the_plan(path).is_some_and(|it| side.of(it).is_none())),
        })
    }

    /// Whether the plan removes a file that stands where a directory is needed.
    fn parent_goes(&self, file: &RecordedFile, side: Side) -> bool {
        self.record.files.iter().any(|other| {
            side.of(other).is_none()
                && file.path.len() > other.path.len()
                && file.path.starts_with(&other.path)
                && file.path[other.path.len()] == b'/'
        })
    }

    /// What was copied is what was planned, or somebody wrote meanwhile.
    fn check_copies(&self, tree: &UserTree) -> Result<(), ApplyError> {
        for (number, file) in self.record.files.iter().enumerate() {
            for side in [Side::Before, Side::After] {
                let Some(version) = side.of(file) else {
                    continue;
                };
                let path = self.copy_path(side, number);
                let copy = File::open(&path).map_err(state_error(&path))?;
                let size = copy.metadata().map_err(state_error(&path))?.len();
                let id = hash::blob(tree.hash(), size, copy).map_err(state_error(&path))?;
                if id != Some(version.id) {
                    return Err(ApplyError::Changed(vec![file.path.clone().into()]));
                }
            }
        }
        Ok(())
    }

    fn copy_path(&self, side: Side, number: usize) -> PathBuf {
        self.directory
            .join(side.directory())
            .join(number.to_string())
    }

    fn write(&self) -> Result<(), ApplyError> {
        let path = self.directory.join("plan.json");
        let new = self.directory.join("plan.json.new");
        let text = serde_json::to_vec(&self.record).map_err(|source| ApplyError::Record {
            path: path.clone(),
            source,
        })?;
        let mut file = File::create(&new).map_err(state_error(&new))?;
        file.write_all(&text).map_err(state_error(&new))?;
        file.sync_all().map_err(state_error(&new))?;
        fs::rename(&new, &path).map_err(state_error(&path))
    }
}

fn copy(
    directory: &Path,
    side: Side,
    number: usize,
    mut content: impl Read,
) -> Result<(), ApplyError> {
    let path = directory.join(side.directory()).join(number.to_string());
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(state_error(&path))?;
    io::copy(&mut content, &mut file).map_err(state_error(&path))?;
    file.sync_data().map_err(state_error(&path))
}

fn remove_tree(path: &Path) -> Result<(), ApplyError> {
    // The plan first: without it the rest is nothing.
    let plan = path.join("plan.json");
    match fs::remove_file(&plan) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(state_error(&plan)(error)),
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(state_error(path)(error)),
        _ => Ok(()),
    }
}

fn state_error(path: &Path) -> impl Fn(io::Error) -> ApplyError + '_ {
    move |source| ApplyError::State {
        path: path.to_owned(),
        source,
    }
}

impl From<Version> for RecordedVersion {
    fn from(version: Version) -> Self {
        Self {
            kind: match version.kind {
                FileKind::Plain => RecordedKind::Plain,
                FileKind::Executable => RecordedKind::Executable,
                FileKind::Symlink => RecordedKind::Symlink,
            },
            id: version.id.to_string(),
        }
    }
}

impl RecordedVersion {
    /// `None` if the id is none: nothing will be equal to it.
    fn version(&self) -> Option<Version> {
        Some(Version {
            kind: match self.kind {
                RecordedKind::Plain => FileKind::Plain,
                RecordedKind::Executable => FileKind::Executable,
                RecordedKind::Symlink => FileKind::Symlink,
            },
            id: ObjectId::from_hex(self.id.as_bytes()).ok()?,
        })
    }
}
