//! Cleaning up after sandboxes whose supervisor was killed.
//!
//! The kernel has taken their processes, mounts and namespaces already, all of which die with the
//! supervisor. What is left is on disk, and in the cgroup hierarchies.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;
use wardian_events::{Event, Journal, Kept, SandboxStopped, StopCause, SystemClock};
use wardian_linux::SyscallError;
use wardian_linux::cgroup;
use wardian_sandbox::janitor::{Janitor, remove_whole};
use wardian_sandbox::record::{Ended, SandboxRecord};
use wardian_sandbox::spec::Persistence;
use wardian_sandbox::state::{Lock, SandboxDirectory, StateError, StateRoot};

/// What stays of a sandbox, below its layers.
const KEPT_LAYERS: [&str; 2] = ["home", "workspaces"];

#[derive(Debug, Error)]
pub enum SweepError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Remove(#[from] SyscallError),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// What was done about one dead sandbox.
#[derive(Debug, PartialEq, Eq)]
pub struct Swept {
    pub name: String,
    /// Work that was found, and is kept.
    pub kept: Vec<PathBuf>,
}

/// Cleans up after every sandbox that is dead and was not yet cleaned up.
pub fn sweep(root: &StateRoot) -> Result<Vec<Swept>, SweepError> {
    let mut swept = Vec::new();
    for directory in root.sandboxes()? {
        let record = directory.read_record()?;
        if record.as_ref().is_some_and(|record| record.ended.is_some()) {
            continue;
        }
        let Some(lock) = directory.try_lock()? else {
            continue;
        };
        let name = directory.name().to_string();
        match record {
            Some(record) => {
                let created = record.created;
                let record = settle(&directory, record, None, None)?;
                let kept = record.ended.map(|ended| ended.kept).unwrap_or_default();
                close_journal(&directory, created, &kept);
                swept.push(Swept { name, kept });
            }
            // It died before it was anything.
            None => remove(&directory, lock)?,
        }
    }
    Ok(swept)
}

/// Writes the end that the supervisor did not live to write. A journal that does not verify is left
/// as it is: `wardian verify` names what is wrong with it.
fn close_journal(directory: &SandboxDirectory, created: u64, kept: &[PathBuf]) {
    let name = directory.name().as_str();
    if let Ok(reopened) = Journal::reopen(&directory.journal(), name, SystemClock) {
        let _ = reopened
            .journal
            .append(&Event::SandboxStopped(SandboxStopped {
                cause: StopCause::SupervisorLost,
                exit: None,
                milliseconds: unix_time().saturating_sub(created) * 1000,
                allowed: 0,
                denied: 0,
                kept: kept.iter().map(|path| workspace_changes(path)).collect(),
            }));
    }
}

pub(crate) fn workspace_changes(path: &Path) -> Kept {
    Kept {
        what: "workspace changes".to_owned(),
        path: path.display().to_string(),
    }
}

/// Ends a sandbox on disk: keeps what would be missed, removes the rest, and says so in its record.
pub fn settle(
    directory: &SandboxDirectory,
    mut record: SandboxRecord,
    status: Option<i32>,
    janitor: Option<&Janitor>,
) -> Result<SandboxRecord, SweepError> {
    for path in &record.cgroups {
        cgroup::remove_stale(path)?;
    }
    let mut kept = Vec::new();
    for (number, workspace) in record.workspaces.iter() {
        let upper = directory.workspace(number).upper();
        if workspace.mode.is_layered() && holds_something(&upper)? {
            kept.push(upper);
        }
    }
    let stays = !kept.is_empty() || record.persistence == Persistence::Named;
    remove_layers(directory, stays, janitor)?;
    record.ended = Some(Ended {
        at: unix_time(),
        status,
        kept,
    });
    directory.write_record(&record)?;
    Ok(record)
}

/// Of a sandbox that stays, its workspaces and its home are kept; the system is made anew each time.
fn remove_layers(
    directory: &SandboxDirectory,
    stays: bool,
    janitor: Option<&Janitor>,
) -> Result<(), SweepError> {
    let layers = directory.layers();
    if !stays {
        return Ok(remove_whole(&layers, janitor)?);
    }
    let failed = |source| SweepError::Io {
        path: layers.clone(),
        source,
    };
    for entry in fs::read_dir(&layers).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !KEPT_LAYERS.iter().any(|name| entry.file_name() == *name) {
            remove_whole(&entry.path(), janitor)?;
        }
    }
    Ok(())
}

/// Removes what a confined supervisor had to leave: the directory that all sandboxes' cgroups share, if
/// this one was the last. Not all users may, and nobody is hurt if it stays.
pub fn remove_empty_cgroups(directory: &SandboxDirectory) {
    if let Ok(Some(record)) = directory.read_record() {
        for path in &record.cgroups {
            let _ = cgroup::remove_stale(path);
        }
    }
}

/// Removes a dead sandbox with all it holds, its work and its journal included.
pub fn remove(directory: &SandboxDirectory, lock: Lock) -> Result<(), SweepError> {
    if let Ok(Some(record)) = directory.read_record() {
        for path in &record.cgroups {
            cgroup::remove_stale(path)?;
        }
    }
    remove_whole(directory.path(), None)?;
    drop(lock);
    Ok(())
}

fn holds_something(upper: &Path) -> Result<bool, SweepError> {
    match fs::read_dir(upper) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(SweepError::Io {
            path: upper.to_owned(),
            source,
        }),
    }
}

/// Seconds since 1970.
pub fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
