//! What of a sandbox's workspaces somebody would miss, told at once and without git.

use std::fs;
use std::io;
use std::path::Path;

use wardian_git::review::{self, Files, WorkDigest};
use wardian_sandbox::record::{KeptWorkspace, SandboxRecord, Work};
use wardian_sandbox::spec::WorkspaceMode;
use wardian_sandbox::state::{Lock, SandboxDirectory, StateError};

/// Of a sandbox in which nothing runs.
#[derive(Debug, Default)]
pub struct Found {
    pub kept: Vec<KeptWorkspace>,
    /// Files and directories that git ignores: nobody misses them.
    pub ignored: usize,
    /// By the numbers of their workspaces, what became of the files of sessions.
    pub sessions: Vec<(usize, Files)>,
}

/// Looks into every workspace that has layers of its own. What cannot be told is kept.
pub fn find(directory: &SandboxDirectory, record: &SandboxRecord) -> Found {
    let mut found = Found::default();
    for (number, workspace) in record.workspaces.iter() {
        let state = directory.workspace(number);
        let work = match workspace.mode {
            WorkspaceMode::Clone => of_session(number, state.path(), &mut found),
            WorkspaceMode::Overlay => of_overlay(state.path(), &state.upper()),
            WorkspaceMode::Bind | WorkspaceMode::BindReadOnly => None,
        };
        found.kept.extend(work.map(|(work, applied)| KeptWorkspace {
            path: workspace.path.clone(),
            upper: state.upper(),
            work,
            applied,
        }));
    }
    found
}

/// Writes down anew what a sandbox holds that has ended. `_lock` is of it: nobody may write there meanwhile.
pub fn refresh(directory: &SandboxDirectory, _lock: &Lock) -> Result<(), StateError> {
    let Some(mut record) = directory.read_record()? else {
        return Ok(());
    };
    let kept = find(directory, &record).kept;
    match &mut record.ended {
        Some(ended) if ended.kept != kept => {
            ended.kept = kept;
            directory.write_record(&record)
        }
        _ => Ok(()),
    }
}

/// The work, and whether the user has all of it.
fn of_session(number: usize, state: &Path, found: &mut Found) -> Option<(Work, bool)> {
    // Of a session that was dropped at an earlier end, nothing is there to be looked at.
    if matches!(fs::symlink_metadata(state), Err(error) if error.kind() == io::ErrorKind::NotFound)
    {
        return None;
    }
    match review::Work::look(state) {
        Ok((work, files)) => {
            found.ignored += work.ignored;
            found.sessions.extend(files.map(|files| (number, files)));
            let what = Work::Session {
                refs: work.refs,
                files: work.files,
                left_out: work.left_out,
            };
            work.is_missed().then_some((what, work.is_applied))
        }
        Err(error) => Some((unknown(error), false)),
    }
}

fn of_overlay(state: &Path, upper: &Path) -> Option<(Work, bool)> {
    match fs::read_dir(upper).map(|mut entries| entries.next().is_some()) {
        Ok(true) => {
            let digest = WorkDigest::of_overlay(state).ok().flatten();
            let applied = digest.is_some_and(|digest| digest.is_applied(state));
            Some((Work::Changes, applied))
        }
        Ok(false) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some((unknown(format!("{}: {error}", upper.display())), false)),
    }
}

fn unknown(why: impl ToString) -> Work {
    Work::Unknown {
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use wardian_sandbox::SandboxName;
    use wardian_sandbox::ids::Privilege;
    use wardian_sandbox::spec::{Persistence, Workspace, Workspaces};

    use super::*;

    fn found(mode: WorkspaceMode, prepare: impl FnOnce(&Path)) -> Found {
        let base = tempfile::tempdir().unwrap();
        let name = SandboxName::parse("one").unwrap();
        let directory = SandboxDirectory::at(base.path().to_owned(), name);
        fs::create_dir_all(directory.workspace(0).upper()).unwrap();
        prepare(&directory.workspace(0).upper());
        let main = Workspace {
            path: "/home/ann/api".into(),
            mode,
        };
        let record = SandboxRecord {
            command: Vec::new(),
            workspaces: Workspaces::new(main, Vec::new()),
            persistence: Persistence::Ephemeral,
            privilege: Privilege::Rootless,
            started: 0,
            supervisor: 1,
            cgroups: Vec::new(),
            ended: None,
        };
        find(&directory, &record)
    }

    #[test]
    fn anything_in_an_overlay_is_work() {
        let overlay = WorkspaceMode::Overlay;
        assert!(found(overlay, |_| ()).kept.is_empty());
        let kept = found(overlay, |upper| {
            symlink("/nowhere", upper.join("x")).unwrap()
        })
        .kept;
        assert!(matches!(
            &kept[..],
            [KeptWorkspace {
                work: Work::Changes,
                ..
            }]
        ));
        assert!(
            found(overlay, |upper| fs::remove_dir(upper).unwrap())
                .kept
                .is_empty()
        );
    }

    #[test]
    fn what_cannot_be_told_is_kept() {
        let kept = found(WorkspaceMode::Clone, |_| ()).kept;
        assert!(matches!(
            &kept[..],
            [KeptWorkspace {
                work: Work::Unknown { .. },
                ..
            }]
        ));
        let kept = found(WorkspaceMode::Overlay, |upper| {
            fs::remove_dir(upper).unwrap();
            fs::write(upper, "").unwrap();
        })
        .kept;
        assert!(matches!(
            &kept[..],
            [KeptWorkspace {
                work: Work::Unknown { .. },
                ..
            }]
        ));
    }

    #[test]
    fn what_was_written_to_the_users_own_directory_is_there_anyway() {
        let kept = found(WorkspaceMode::Bind, |upper| {
            fs::write(upper.join("x"), "").unwrap()
        });
        assert!(kept.kept.is_empty());
    }
}
