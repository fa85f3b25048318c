//! What a manifest says of workspaces, as the options that say the same. Options that a person typed are nearer: with one
//! of them, nothing of `workspace` counts but its volumes, and these only without `--volume`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use wardian_policy::{Access, Changes, Policy, WorkspaceSpec};
use wardian_sandbox::spec::{WorkspaceMode, Workspaces};

use super::Run;
use super::agent::resolve;
use super::sources::Asked;
use crate::failure::Failure;

/// Where the program starts.
pub(super) struct Start {
    /// In the main place, and where the user is if that is in it.
    pub(super) directory: PathBuf,
    /// A manifest says that the main place is a repository: nothing else will do.
    is_clone: bool,
}

impl Start {
    /// Whether what was planned there is what the manifest says.
    pub(super) fn check(&self, planned: &Workspaces) -> Result<(), Failure> {
        let main = planned.main();
        if !self.is_clone || main.mode == WorkspaceMode::Clone {
            return Ok(());
        }
        Err(Failure::from(anyhow!(
            "the manifest wants a clone of {}, and that is in no git repository of its own",
            main.path.display()
        ))
        .hint("`workspace = { overlay = \".\" }` works on a copy of a directory"))
    }
}

/// Puts them into the run.
pub(super) fn apply(asked: &mut Asked, policy: &Policy, home: &Path) -> Result<Start, Failure> {
    let here = asked.directory.clone();
    let Some((origin, specs)) = policy.workspaces() else {
        return Ok(Start {
            directory: here,
            is_clone: false,
        });
    };
    let base = asked.sources.directory_of(origin).map(Path::to_owned);
    let path = |text: &str| {
        let path = resolve(text, base.as_deref(), home);
        fs::canonicalize(&path)
            .with_context(|| format!("the workspace {} of {origin}", path.display()))
    };
    let run = &mut asked.run;
    let given = is_given(run);
    let with_volumes = run.volume.is_empty();
    let mut start = here.clone();
    let mut has_main = false;
    let mut is_clone = false;
    let mut binds = Vec::new();
    for spec in specs {
        if let WorkspaceSpec::Volume { name, at, access } = spec {
            if with_volumes {
                let at = at.as_ref().map_or_else(String::new, |at| format!(":{at}"));
                run.volume.push(format!("{name}{at}{}", suffix(*access)));
            }
            continue;
        }
        if given {
            continue;
        }
        let is_main = !std::mem::replace(&mut has_main, true);
        match spec {
            WorkspaceSpec::Clone {
                path: text,
                changes,
                include,
            } => {
                let path = path(text)?;
                run.with_changes |= *changes == Changes::Brought;
                run.include
                    .extend(include.iter().map(|file| path.join(file)));
                if is_main {
                    is_clone = true;
                    start = within(&here, path);
                } else {
                    run.repo.push(path);
                }
            }
            WorkspaceSpec::Overlay { path: text } if is_main => {
                run.overlay = true;
                start = path(text)?;
            }
            WorkspaceSpec::Overlay { path } => {
                return Err(anyhow!(
                    "only the first workspace can be an overlay, and {path} is not"
                )
                .into());
            }
            WorkspaceSpec::Bind { path: text, access } => {
                let path = path(text)?;
                let bind = path
                    .to_str()
                    .ok_or_else(|| anyhow!("the workspace {} is not UTF-8", path.display()))?;
                binds.push(format!("{bind}{}", suffix(*access)));
                if is_main {
                    start = within(&here, path);
                }
            }
            WorkspaceSpec::Volume { .. } => {}
        }
    }
    // Of several `--bind`, the last is the main one.
    binds.reverse();
    run.bind.extend(binds);
    Ok(Start {
        directory: start,
        is_clone,
    })
}

fn is_given(run: &Run) -> bool {
    !run.bind.is_empty()
        || !run.repo.is_empty()
        || !run.include.is_empty()
        || run.overlay
        || run.with_changes
}

fn suffix(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => ":ro",
        Access::ReadWrite => "",
    }
}

fn within(here: &Path, place: PathBuf) -> PathBuf {
    match here.starts_with(&place) {
        true => here.to_owned(),
        false => place,
    }
}
