//! What `--dry-run` prints: everything that is decided before anything is touched. No credential is read
//! and none of their commands runs.

mod words;

pub(in crate::commands) use words::describe as describe_rule;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use wardian_policy::{CredentialSource, CredentialSpec, PolicySummary, Presence};
use wardian_sandbox::SandboxSpec;
use wardian_sandbox::ids::{Identity, Privilege};
use wardian_sandbox::image::{self, HostImage, LayerDirectories};
use wardian_sandbox::plan::FilesystemPlan;
use wardian_sandbox::state::{SandboxDirectory, StateError};
use wardian_supervisor::limits::{Feature, foresee};

use super::briefing::{Copied, LeftOut};
use super::plan::Planned;
use super::secrets;
use super::session::SANDBOX_FAILED;
use crate::failure::Failure;
use crate::output::Colour;
use crate::sandboxes;

/// A run as it would be, in the words of its parts.
struct Plan<'a> {
    spec: &'a SandboxSpec,
    directory: SandboxDirectory,
    identity: Identity,
    files: FilesystemPlan,
    policy: PolicySummary,
    credentials: Vec<Source>,
    /// Variables that a policy passes on from outside, and are set there.
    set_outside: Vec<String>,
    limits: Vec<Feature>,
    /// Of the user's own files.
    copied: &'a [Copied],
    left_out: &'a [LeftOut],
    /// Where downloads are kept for other sandboxes.
    downloads: Option<&'a Path>,
}

/// What is known of a credential's value without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Found,
    /// The sandbox starts without it.
    LeftOut,
    /// The run would be refused.
    Missing,
    WouldRun(String),
}

pub(super) fn print(planned: &Planned) -> Result<(), Failure> {
    let spec = &planned.spec;
    let refused = |error| Failure::from(error).status(SANDBOX_FAILED);
    let path = sandboxes::state_root()?.path().join(spec.name.as_str());
    if fs::symlink_metadata(&path).is_ok() {
        return Err(refused(anyhow::Error::from(StateError::Exists(
            spec.name.clone(),
        ))));
    }
    let directory = SandboxDirectory::at(path, spec.name.clone());
    let layers = LayerDirectories::planned(directory.layers());
    let files = HostImage::discover()
        .and_then(|image| image::plan(&image, &layers, spec))
        .map_err(|error| refused(error.into()))?;
    let privilege = Privilege::of_this_process();
    let policy = planned.policy.describe();
    let plan = Plan {
        identity: Identity::choose(privilege, spec.account, &spec.user, &spec.name),
        credentials: planned
            .policy
            .credentials()
            .map(|credential| look(credential, &spec.user.home))
            .collect(),
        set_outside: policy
            .environment
            .iter()
            .filter_map(|variable| variable.value.strip_prefix("from_env "))
            .filter(|name| std::env::var_os(name).is_some())
            .map(str::to_owned)
            .collect(),
        limits: foresee(planned.policy.limits(), privilege),
        copied: &planned.copies.copied,
        left_out: &planned.copies.left_out,
        downloads: planned.downloads.as_deref(),
        spec,
        directory,
        files,
        policy,
    };
    let mut out = io::stdout().lock();
    plan.write(&mut out, Colour::stdout())?;
    out.flush()?;
    Ok(())
}

fn look(credential: &CredentialSpec, home: &Path) -> Source {
    let found = match credential.source() {
        CredentialSource::Env(names) => names.iter().any(|name| secrets::is_set(name)),
        CredentialSource::File(path) => {
            fs::metadata(secrets::expand(path, home)).is_ok_and(|metadata| metadata.len() > 0)
        }
        CredentialSource::Login(preset) => {
            secrets::login_file(preset, home).is_some_and(|path| path.exists())
        }
        CredentialSource::Command(argv) => {
            return Source::WouldRun(argv.first().cloned().unwrap_or_default());
        }
    };
    match (found, credential.presence()) {
        (true, _) => Source::Found,
        (false, Presence::Optional) => Source::LeftOut,
        (false, Presence::Required) => Source::Missing,
    }
}

#[cfg(test)]
mod tests;
