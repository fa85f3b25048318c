//! Everything that a policy is made of, read: documents as text, options as they are; and what the command line means by
//! then, for its first word may be the name of an agent.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use wardian_policy::{Agent, Level, Origin, PolicyError, Preset, Trust};
use wardian_supervisor::protocol::{Document, PolicySources, ProjectDocument, SourcesError};

use super::{Bounds, Reach, Run};
use crate::failure::Failure;
use crate::home::{home, short};
use crate::manifests::{self, Found};

/// A command line, and what it means in its directory.
#[derive(Debug)]
pub(in crate::commands) struct Asked {
    pub(super) run: Run,
    /// Where the user is: canonical.
    pub(super) directory: PathBuf,
    /// The command as the person typed it.
    pub(super) typed: Vec<OsString>,
    /// Whose program it is.
    pub(super) agent: Option<Agent>,
    pub(super) sources: Sources,
}

/// What a policy is made of, and where its documents lie.
#[derive(Debug)]
pub(in crate::commands) struct Sources {
    pub(in crate::commands) policy: PolicySources,
    found: Found,
    /// Canonical directory of the file of `--policy`.
    file: Option<PathBuf>,
}

impl Asked {
    pub(super) fn of(run: &Run, directory: &Path) -> Result<Self, Failure> {
        let mut run = run.clone();
        let typed = run.command.clone();
        let mut sources = Sources::read(&run.reach, &run.bounds, directory)?;
        let agent = sources.agent(run.command.first())?;
        if let Some(agent) = &agent {
            let command = agent.command().iter().map(OsString::from);
            run.command.splice(..1, command);
            let sandbox = &mut sources.policy.sandbox;
            *sandbox = sandbox.take().or(agent.sandbox().map(str::to_owned));
        }
        let program = run.command.first();
        sources.add_preset_of(program.and_then(preset_of));
        Ok(Self {
            typed,
            run,
            directory: directory.to_owned(),
            agent,
            sources,
        })
    }
}

impl Sources {
    pub(in crate::commands) fn read(
        reach: &Reach,
        bounds: &Bounds,
        directory: &Path,
    ) -> Result<Self, Failure> {
        let home = home().unwrap_or_default();
        let found = Found::discover(directory, &home, reach.trust_hash)?;
        let document = |document: &manifests::Document| Document {
            path: short(&document.path),
            text: document.text.clone(),
        };
        let limits = [
            ("memory", &bounds.memory),
            ("cpus", &bounds.cpus),
            ("pids", &bounds.pids),
            ("files", &bounds.files),
            ("disk", &bounds.disk),
            ("time", &bounds.time),
        ];
        let file = reach.policy.as_deref();
        let text = file.map(|path| {
            fs::read_to_string(path)
                .map(|text| (path.display().to_string(), text))
                .with_context(|| format!("cannot read the policy {}", path.display()))
        });
        let policy = PolicySources {
            user: found.user.as_ref().map(document),
            project: found
                .project
                .as_ref()
                .map(|(project, trust)| ProjectDocument {
                    document: document(project),
                    trusted: *trust == Trust::Given,
                }),
            sandbox: reach.sandbox.clone(),
            file: text.transpose()?,
            presets: reach.preset.clone(),
            allow: reach.allow.clone(),
            limits: limits
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
                .collect(),
            environment: reach.env.clone(),
            cache: reach.cache.clone(),
        };
        let file = file.and_then(|path| Some(fs::canonicalize(path).ok()?.parent()?.to_owned()));
        Ok(Self {
            policy,
            found,
            file,
        })
    }

    /// The agent that this first word of a command names.
    pub(in crate::commands) fn agent(
        &self,
        word: Option<&OsString>,
    ) -> Result<Option<Agent>, Failure> {
        let manifests = self.policy.manifests().map_err(refused)?;
        let name = word.and_then(|word| word.to_str());
        Ok(name.and_then(|name| manifests.agent(name)).cloned())
    }

    /// The program's own preset comes last.
    pub(in crate::commands) fn add_preset_of(&mut self, preset: Option<&'static Preset>) {
        let name = preset.map(|preset| preset.name().to_owned());
        self.policy.presets.extend(name);
    }

    /// What paths in the document of `origin` are relative to.
    pub(super) fn directory_of(&self, origin: &Origin) -> Option<&Path> {
        match origin {
            Origin::PolicyFile => self.file.as_deref(),
            Origin::Sandbox(level, _) | Origin::Manifest(level) => self.directory_at(*level),
            Origin::CommandLine | Origin::Preset(_) => None,
        }
    }

    pub(super) fn directory_at(&self, level: Level) -> Option<&Path> {
        let document = match level {
            Level::User => self.found.user.as_ref(),
            Level::Project => self.found.project.as_ref().map(|(document, _)| document),
        };
        document.map(manifests::Document::directory)
    }

    pub(in crate::commands) fn note(&self) -> Option<String> {
        self.found.note()
    }
}

/// Where the user is.
pub(in crate::commands) fn current_directory() -> Result<PathBuf, Failure> {
    let directory = std::env::current_dir().context("cannot tell the current directory")?;
    Ok(fs::canonicalize(&directory).with_context(|| directory.display().to_string())?)
}

/// The preset of a program, by its name.
pub(in crate::commands) fn preset_of(program: impl AsRef<OsStr>) -> Option<&'static Preset> {
    Preset::for_program(&file_name(program.as_ref()))
}

pub(super) fn file_name(program: &OsStr) -> String {
    Path::new(program)
        .file_name()
        .unwrap_or(program)
        .to_string_lossy()
        .into_owned()
}

/// The policy's own errors, and what to do about some of them.
pub(in crate::commands) fn refused(error: impl Into<anyhow::Error>) -> Failure {
    let error = error.into();
    let policy = match error.downcast_ref() {
        Some(SourcesError::Policy(policy)) => Some(policy),
        _ => error.downcast_ref(),
    };
    let untrusted = matches!(policy, Some(PolicyError::UntrustedSandbox(_)));
    let failure = Failure::from(anyhow!(error).context("the policy is refused"));
    match untrusted {
        true => failure.hint("`wardian trust` shows what it grants, and asks"),
        false => failure,
    }
}
