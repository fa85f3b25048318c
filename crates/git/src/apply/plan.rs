//! What is to be done, decided before anything is written.

use std::io::{Cursor, Read};

use gix::bstr::{BString, ByteSlice};

use super::merge::{self, Merged};
use super::user_tree::{Present, UserTree};
use super::{ApplyError, Conflict, Contents, Version, Wanted, Why};
use crate::changes::{FileKind, hash};

/// All steps, and all conflicts. Only a plan without conflicts is carried out.
#[derive(Debug, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub conflicts: Vec<Conflict>,
}

/// One file of the user's tree.
#[derive(Debug)]
pub struct Step {
    pub path: BString,
    /// What it is now; `None`: there is none.
    pub before: Option<Version>,
    /// What it will be.
    pub after: Option<Version>,
    /// Lines of both were put together; `None`: it becomes the session's file as it is.
    pub(super) merged: Option<Vec<u8>>,
}

impl Step {
    pub fn is_merged(&self) -> bool {
        self.merged.is_some()
    }
}

impl Plan {
    /// Compares three states of each wanted file. What the user has already is no step.
    pub fn make(
        tree: &UserTree,
        wanted: &[Wanted],
        contents: &dyn Contents,
    ) -> Result<Self, ApplyError> {
        let mut plan = Self::default();
        for file in wanted {
            match plan_file(tree, wanted, file, contents)? {
                Planned::Step(step) => plan.steps.push(step),
                Planned::Conflict(why) => plan.conflicts.push(Conflict {
                    path: file.path.clone(),
                    why,
                }),
                Planned::Nothing => {}
            }
        }
        // A file that becomes a directory must go first.
        plan.steps.sort_by(|a, b| {
            let goes = |step: &Step| step.after.is_some();
            (goes(a), &a.path).cmp(&(goes(b), &b.path))
        });
        Ok(plan)
    }
}

enum Planned {
    Step(Step),
    Conflict(Why),
    Nothing,
}

fn plan_file(
    tree: &UserTree,
    all: &[Wanted],
    file: &Wanted,
    contents: &dyn Contents,
) -> Result<Planned, ApplyError> {
    let path = file.path.as_bstr();
    let ours = match tree.look(path)? {
        Present::File(version) => Some(version),
        Present::Nothing => None,
        // The session replaced a directory by a file: fine if all that is in it goes as well.
        Present::Directory if becomes_empty(tree, all, file)? => None,
        Present::Other if parent_goes(all, file) => None,
        Present::Directory | Present::Other => return Ok(Planned::Conflict(Why::InTheWay)),
        Present::OtherRepository => return Ok(Planned::Conflict(Why::OtherRepository)),
    };
    if ours == file.theirs {
        return Ok(Planned::Nothing);
    }
    let take_theirs = || {
        Planned::Step(Step {
            path: file.path.clone(),
            before: ours,
            after: file.theirs,
            merged: None,
        })
    };
    if ours == file.base {
        return Ok(take_theirs());
    }
    let (Some(ours), Some(base)) = (ours, file.base) else {
        return Ok(Planned::Conflict(match (ours, file.base) {
            (Some(_), None) => Why::BothNew,
            _ => Why::DeletedHere,
        }));
    };
    let base_content = contents
        .base(&file.path, &base)
        .map_err(|source| ApplyError::Session {
            path: file.path.clone(),
            source,
        })?;
    // The user's file may be the base after all, with other line ends.
    let shown = hash::blob(tree.hash(), base_content.len() as u64, &base_content[..]);
    if shown.ok().flatten() == Some(ours.id) && ours.kind == base.kind {
        return Ok(take_theirs());
    }
    let Some(theirs) = file.theirs else {
        return Ok(Planned::Conflict(Why::DeletedThere));
    };
    if [ours, base, theirs]
        .iter()
        .any(|it| it.kind == FileKind::Symlink)
    {
        return Ok(Planned::Conflict(Why::Kind));
    }
    let kind = if theirs.kind == base.kind {
        ours.kind
    } else {
        theirs.kind
    };
    let ours_content = read_all(tree.read(path, ours.kind)?, file)?;
    let theirs_content = read_all(open_theirs(contents, &file.path)?, file)?;
    Ok(
        match merge::texts(&base_content, &ours_content, &theirs_content) {
            Merged::Conflict => Planned::Conflict(Why::SameLines),
            Merged::NotText => Planned::Conflict(Why::NotText),
            Merged::Text(text) => {
                let id = hash::blob(tree.hash(), text.len() as u64, Cursor::new(&text));
                let Ok(Some(id)) = id else {
                    return Ok(Planned::Conflict(Why::NotText));
                };
                let merged = Version { kind, id };
                // What the session changed is in the user's file already.
                if merged == ours {
                    return Ok(Planned::Nothing);
                }
                Planned::Step(Step {
                    path: file.path.clone(),
                    before: Some(ours),
                    after: Some(merged),
                    merged: Some(text),
                })
            }
        },
    )
}

/// Whether every file in the user's directory of this name is one that the session removed.
fn becomes_empty(tree: &UserTree, all: &[Wanted], file: &Wanted) -> Result<bool, ApplyError> {
    let mut prefix = file.path.clone();
    prefix.push(b'/');
    let goes = |path: &BString| {
        all.iter()
            .any(|other| other.path == *path && other.theirs.is_none())
    };
    let files = tree.files_below(file.path.as_bstr())?;
    Ok(files.is_some_and(|files| files.iter().all(goes)))
}

/// Whether a parent directory of the file was a file that the session removed.
fn parent_goes(all: &[Wanted], file: &Wanted) -> bool {
    all.iter().any(|other| {
        other.theirs.is_none()
            && file.path.len() > other.path.len()
            && file.path.starts_with(&other.path)
            && file.path[other.path.len()] == b'/'
    })
}

pub(super) fn open_theirs(
    contents: &dyn Contents,
    path: &BString,
) -> Result<Box<dyn Read>, ApplyError> {
    contents.theirs(path).map_err(|source| ApplyError::Session {
        path: path.clone(),
        source,
    })
}

fn read_all(mut from: Box<dyn Read>, file: &Wanted) -> Result<Vec<u8>, ApplyError> {
    let mut content = Vec::new();
    // More is not text for the merge, whatever it is.
    let mut limited = (&mut from).take(merge::LONGEST as u64 + 1);
    limited
        .read_to_end(&mut content)
        .map_err(|source| ApplyError::Session {
            path: file.path.clone(),
            source,
        })?;
    Ok(content)
}
