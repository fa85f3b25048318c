//! Going on in a sandbox that has ended: the same places, a new system around them.

use std::ffi::OsString;
use std::path::Path;

use anyhow::anyhow;
use wardian_git::origin::{self, OriginError};
use wardian_sandbox::record::SandboxRecord;
use wardian_sandbox::spec::WorkspaceMode;
use wardian_sandbox::state::SandboxDirectory;

use super::plan::Planned;
use super::recorded::Recorded;
use super::session::{self, Place, SANDBOX_FAILED};
use super::sources::Asked;
use super::workspaces::{PlannedWorkspaces, REPOSITORIES, objects};
use super::{Bounds, Reach};
use crate::failure::{Failure, Outcome};
use crate::sandboxes::{self, Sandbox};

/// What is asked for besides what is on record.
#[derive(Debug, Default)]
pub(in crate::commands) struct Again {
    pub(in crate::commands) reach: Reach,
    pub(in crate::commands) bounds: Bounds,
    pub(in crate::commands) quiet: bool,
    /// Empty: the same as before.
    pub(in crate::commands) command: Vec<OsString>,
}

pub(in crate::commands) fn resume(sandbox: &Sandbox, again: &Again) -> Outcome {
    let (name, directory) = (sandbox.name(), sandbox.state().clone());
    let refused = |failure: Failure| failure.status(SANDBOX_FAILED);
    session::clean_up_after_others(&sandboxes::state_root()?, again.quiet);
    if !directory.path().exists() {
        let error = anyhow!("the program of {name} never ran: nothing is left to go on with");
        return Err(refused(error.into()));
    }
    let Some(lock) = directory.try_lock()? else {
        return Err(refused(Failure::from(anyhow!("{name} is running"))));
    };
    let record = to_go_on_with(&directory).map_err(refused)?;
    let recorded = Recorded::load(&directory).map_err(refused)?;
    let started_in = recorded.directory.clone();
    let workspaces = kept_workspaces(&directory, &record, &recorded.directory).map_err(refused)?;
    let (run, notes) = recorded.again(directory.name(), again).map_err(refused)?;
    let asked = Asked::of(&run, &started_in)?;
    let mut planned = Planned::upon(
        asked,
        directory.name().clone(),
        record.persistence,
        |_, _, _| Ok(workspaces),
    )?;
    planned.notes.extend(notes);
    session::run(planned, Place::Kept { directory, lock }, again.quiet)
}

/// The record of a sandbox that has ended and kept its places.
fn to_go_on_with(directory: &SandboxDirectory) -> Result<SandboxRecord, Failure> {
    let name = directory.name();
    let record = directory.read_record()?;
    let record = record.ok_or_else(|| anyhow!("{name} was never started"))?;
    if record.ended.is_none() {
        let error = anyhow!("{name} was cut off, and what it left cannot be cleaned up");
        return Err(Failure::from(error).hint("`wardian gc` says why"));
    }
    if !directory.layers().join("workspaces").exists() {
        let error = anyhow!("nothing is kept of {name}: it held no work");
        return Err(Failure::from(error)
            .hint("a sandbox that gets its name from `wardian run --name` can always be resumed"));
    }
    Ok(record)
}

/// All that a start needs to know of them. Nothing is made, and nothing is read of what the program wrote.
fn kept_workspaces(
    directory: &SandboxDirectory,
    record: &SandboxRecord,
    start: &Path,
) -> Result<PlannedWorkspaces, Failure> {
    let mut mounts = Vec::new();
    for (number, workspace) in record.workspaces.iter() {
        if workspace.mode != WorkspaceMode::Clone {
            if !workspace.path.is_dir() {
                let path = workspace.path.display();
                return Err(anyhow!(
                    "{path}, which {} works on, is not there any more",
                    directory.name()
                )
                .into());
            }
            continue;
        }
        let state = directory.workspace(number);
        let (base, repository) =
            origin::find(state.path()).map_err(|error| lost(error, directory))?;
        let inside = Path::new(REPOSITORIES).join(number.to_string());
        let present = objects(&base.objects, repository.lfs(), &inside, &state);
        mounts.extend(present.into_iter().filter(|mount| mount.source.exists()));
    }
    Ok(PlannedWorkspaces {
        workspaces: record.workspaces.clone(),
        mounts,
        clones: Vec::new(),
        directory: start.to_owned(),
        notes: Vec::new(),
    })
}

fn lost(error: OriginError, directory: &SandboxDirectory) -> Failure {
    let name = directory.name();
    let back = match &error {
        OriginError::Gone { .. } | OriginError::Another { .. } => {
            Some("put the repository back where it was")
        }
        OriginError::Pruned { .. } => Some("fetch the commit into the repository"),
        _ => None,
    };
    let failure = Failure::from(anyhow!(error).context(format!("{name} cannot be resumed")));
    let failure = back.into_iter().fold(failure, |failure, back| {
        failure.hint(format!("{back}, then resume"))
    });
    failure.hint(format!(
        "what {name} wrote is in {}",
        directory.layers().join("workspaces").display()
    ))
}
