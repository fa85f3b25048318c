//! Cleaning up after sandboxes whose supervisor was killed.
//!
//! The kernel has taken their processes, mounts and namespaces already, all of which die with the
//! supervisor. What is left is on disk, and in the cgroup hierarchies.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;
use wardian_events::{
    Entry, Event, FilesChanged, Journal, Kept, ReadError, Reopened, SandboxStopped, StopCause,
    SystemClock, read,
};
use wardian_linux::SyscallError;
use wardian_linux::cgroup;
use wardian_sandbox::SandboxName;
use wardian_sandbox::janitor::{Janitor, remove_whole};
use wardian_sandbox::plan::SNAPSHOT;
use wardian_sandbox::record::{Ended, KeptWorkspace, SandboxRecord};
use wardian_sandbox::spec::Persistence;
use wardian_sandbox::state::{Lock, SandboxDirectory, StateError, StateRoot};

use crate::files;
use crate::work::{self, Found};

/// What stays of a sandbox, below its layers.
const KEPT_LAYERS: [&str; 2] = ["home", "workspaces"];
/// What goes of each workspace that stays: the kernel's own, which even the owner cannot read, and the files
/// of the base, if they had to be written out.
const MADE_ANEW: [&str; 2] = ["work", SNAPSHOT];

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
    pub kept: Vec<KeptWorkspace>,
}

/// What a clean-up came to. One sandbox that resists keeps nobody from the others.
#[derive(Debug, Default)]
pub struct Sweep {
    pub swept: Vec<Swept>,
    pub failed: Vec<(SandboxName, SweepError)>,
}

/// Cleans up after every sandbox that is dead and was not yet cleaned up. Of one whose program never
/// ran nothing stays, and its name is free again.
pub fn sweep(root: &StateRoot) -> Result<Sweep, StateError> {
    let mut sweep = Sweep::default();
    for path in root.abandoned()? {
        // Nothing is in it, and nobody is hurt if it stays.
        let _ = remove_whole(&path, None);
    }
    for directory in root.sandboxes()? {
        match sweep_one(&directory) {
            Ok(swept) => sweep.swept.extend(swept),
            Err(error) => sweep.failed.push((directory.name().clone(), error)),
        }
    }
    Ok(sweep)
}

fn sweep_one(directory: &SandboxDirectory) -> Result<Option<Swept>, SweepError> {
    let has_ended = |record: &SandboxRecord| record.ended.is_some();
    if directory
        .read_record()?
        .is_some_and(|record| has_ended(&record))
    {
        return Ok(None);
    }
    let Some(lock) = directory.try_lock()? else {
        return Ok(None);
    };
    // Again: it may have ended just before it let go of its lock.
    let record = match directory.read_record()? {
        Some(record) if has_ended(&record) => return Ok(None),
        Some(record) if is_worth_keeping(directory, &record) => record,
        _ => {
            remove(directory, lock)?;
            return Ok(None);
        }
    };
    let started = record.started;
    let cut_off = HowEnded::default();
    let found = look(directory, &record)?;
    // Of the home nobody knows any more when its program started.
    let changed = files::changed(directory, &record, &found, None);
    let Settled { kept, .. } = settle(directory, record, cut_off, found, None)?;
    close_journal(directory, started, changed, &kept);
    Ok(Some(Swept {
        name: directory.name().to_string(),
        kept,
    }))
}

/// Whether the journal tells of a program that may have run. One that cannot be read may tell anything, and
/// of one that is gone, the work may be left.
pub(crate) fn is_worth_keeping(directory: &SandboxDirectory, record: &SandboxRecord) -> bool {
    match read(&directory.journal()) {
        Ok(entries) => may_have_run(entries),
        Err(ReadError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            !work::find(directory, record).kept.is_empty()
        }
        Err(_) => true,
    }
}

fn may_have_run(entries: impl Iterator<Item = Result<Entry, ReadError>>) -> bool {
    let mut may_have_run = false;
    for entry in entries {
        match entry.map(|entry| entry.record.event) {
            // Written before the program is executed.
            Ok(Event::CommandStarted(_)) => may_have_run = true,
            Ok(Event::SandboxStopped(stopped)) => match stopped.cause {
                StopCause::StartFailed => may_have_run = false,
                // Whatever comes after it in a sandbox that is started again.
                _ if may_have_run => return true,
                _ => {}
            },
            Ok(_) => {}
            // What a record is about happens once it is whole.
            Err(ReadError::Torn { .. }) => break,
            Err(_) => return true,
        }
    }
    may_have_run
}

/// Writes the end that the supervisor did not live to write. A journal that does not verify is left
/// as it is: `wardian verify` names what is wrong with it.
fn close_journal(
    directory: &SandboxDirectory,
    started: u64,
    changed: Vec<FilesChanged>,
    kept: &[KeptWorkspace],
) {
    let name = directory.name().as_str();
    if let Ok(Reopened { journal, .. }) = Journal::reopen(&directory.journal(), name, SystemClock) {
        for changed in changed {
            let _ = journal.append(&Event::FilesChanged(changed));
        }
        let _ = journal.append(&Event::SandboxStopped(SandboxStopped {
            cause: StopCause::SupervisorLost,
            exit: None,
            milliseconds: unix_time().saturating_sub(started) * 1000,
            allowed: 0,
            denied: 0,
            kept: kept.iter().map(on_record).collect(),
        }));
    }
}

pub(crate) fn on_record(kept: &KeptWorkspace) -> Kept {
    Kept {
        what: kept.work.to_string(),
        path: kept.upper.display().to_string(),
    }
}

/// How a sandbox ended, for its record. The default is what is known of one whose supervisor was killed.
#[derive(Debug, Default)]
pub struct HowEnded {
    /// What a shell would report of its program.
    pub status: Option<i32>,
    /// Names of the limits that it ran into.
    pub limits: Vec<String>,
    /// Why it was cut off.
    pub why: Option<String>,
}

/// What became of a sandbox's layers.
#[derive(Debug)]
pub struct Settled {
    pub kept: Vec<KeptWorkspace>,
    /// Files and directories that git ignores, and that are gone.
    pub dropped: usize,
}

/// What a sandbox holds in which nothing runs any more. To be settled next.
pub fn look(directory: &SandboxDirectory, record: &SandboxRecord) -> Result<Found, SweepError> {
    remove_cgroups(record)?;
    Ok(work::find(directory, record))
}

/// Ends a sandbox on disk: keeps what would be missed, removes the rest, and says so in its record.
pub fn settle(
    directory: &SandboxDirectory,
    mut record: SandboxRecord,
    how: HowEnded,
    found: Found,
    janitor: Option<&Janitor>,
) -> Result<Settled, SweepError> {
    let Found { kept, ignored, .. } = found;
    let stays = !kept.is_empty() || record.persistence == Persistence::Named;
    remove_layers(directory, &record, stays, janitor)?;
    let dropped = if stays { 0 } else { ignored };
    let HowEnded {
        status,
        limits,
        why,
    } = how;
    record.ended = Some(Ended {
        at: unix_time(),
        status,
        limits,
        why,
        kept: kept.clone(),
        dropped,
    });
    directory.write_record(&record)?;
    Ok(Settled { kept, dropped })
}

/// Takes back a start whose program never ran, as far as the confined supervisor itself may. Whoever
/// comes next removes the directory, which is nothing without its record.
pub(crate) fn take_back(
    directory: &SandboxDirectory,
    record: &SandboxRecord,
    janitor: Option<&Janitor>,
) -> Result<(), SweepError> {
    remove_cgroups(record)?;
    remove_whole(&directory.layers(), janitor)?;
    Ok(directory.remove_record()?)
}

/// Removes what is left of a start that was taken back, once its supervisor is gone.
pub fn remove_taken_back(directory: &SandboxDirectory) -> Result<(), SweepError> {
    if !directory.path().exists() || directory.read_record()?.is_some() {
        return Ok(());
    }
    match directory.try_lock()? {
        Some(lock) => remove(directory, lock),
        None => Ok(()),
    }
}

fn remove_cgroups(record: &SandboxRecord) -> Result<(), SyscallError> {
    record
        .cgroups
        .iter()
        .try_for_each(|path| cgroup::remove_stale(path))
}

/// Of a sandbox that stays, its workspaces and its home are kept; the system is made anew each time.
fn remove_layers(
    directory: &SandboxDirectory,
    record: &SandboxRecord,
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
    for (number, _) in record.workspaces.iter() {
        for name in MADE_ANEW {
            remove_whole(&directory.workspace(number).path().join(name), janitor)?;
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

/// Removes a dead sandbox with all it holds, its work and its journal included. Its record goes first: should
/// this be cut off, the next clean-up ends it.
pub fn remove(directory: &SandboxDirectory, lock: Lock) -> Result<(), SweepError> {
    if let Ok(Some(record)) = directory.read_record() {
        remove_cgroups(&record)?;
        directory.remove_record()?;
    }
    remove_whole(directory.path(), None)?;
    drop(lock);
    Ok(())
}

/// Seconds since 1970.
pub fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use wardian_events::{Command, CommandStarted};

    use super::*;

    fn stopped(cause: StopCause) -> Event {
        Event::SandboxStopped(SandboxStopped {
            cause,
            exit: None,
            milliseconds: 1,
            allowed: 0,
            denied: 0,
            kept: Vec::new(),
        })
    }

    fn verdict(events: &[Event]) -> bool {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("journal.jsonl");
        let journal = Journal::create(&path, "one", SystemClock).unwrap();
        for event in events {
            journal.append(event).unwrap();
        }
        may_have_run(read(&path).unwrap())
    }

    #[test]
    fn only_a_start_that_failed_undoes_a_command() {
        let command = Event::CommandStarted(CommandStarted {
            command: Command(1),
            argv: Vec::new(),
            pid: 2,
        });
        let failed = stopped(StopCause::StartFailed);
        let ended = stopped(StopCause::Exited);
        let of = |events: &[&Event]| verdict(&events.iter().copied().cloned().collect::<Vec<_>>());
        assert!(!of(&[]));
        assert!(of(&[&command]));
        assert!(!of(&[&failed]));
        assert!(!of(&[&command, &failed]));
        assert!(of(&[&command, &ended]));
        // Started again, in vain: what the first start left stays.
        assert!(of(&[&command, &ended, &failed]));
        assert!(of(&[&command, &ended, &command, &failed]));
    }
}
