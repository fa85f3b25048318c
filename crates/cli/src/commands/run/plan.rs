//! From the command line to everything that a start needs, before anything is touched.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use wardian_policy::limits::Bytes;
use wardian_policy::{EnvValue, Nested, Policy, Preset, VisiblePath, toolchain_paths};
use wardian_sandbox::image::{HostImage, ProgramError, resolve_program};
use wardian_sandbox::spec::{Account, Nesting, Persistence, SandboxSpec, User};
use wardian_sandbox::{SandboxName, user};
use wardian_supervisor::downloads;
use wardian_supervisor::protocol::PolicySources;

use super::briefing::Copies;
use super::followers::Readers;
use super::host::Shown;
use super::recorded::Recorded;
use super::relay::Wiring;
use super::secrets::Credentials;
use super::sources::{Asked, current_directory, file_name, preset_of, refused};
use super::workspaces::{PlannedClone, PlannedWorkspaces};
use super::{Run, agent, environment, identity, places, prices, prompt, volumes};
use crate::failure::Failure;
use crate::manifests;

/// A run that is decided, but not begun.
pub(super) struct Planned {
    pub(super) spec: SandboxSpec,
    pub(super) policy: Policy,
    pub(super) sources: PolicySources,
    /// What an agent of a manifest is told.
    pub(super) prompt: Option<String>,
    /// Most bytes of records that it may write.
    pub(super) journal: Option<u64>,
    /// Who reads along.
    pub(super) readers: Readers,
    /// Where downloads are kept, if some are.
    pub(super) downloads: Option<PathBuf>,
    pub(super) wiring: Wiring,
    pub(super) credentials: Credentials,
    /// What of the user's own goes along.
    pub(super) copies: Copies,
    pub(super) clones: Vec<PlannedClone>,
    /// The user's own, of language models.
    pub(super) prices: Option<String>,
    /// For a later `wardian resume`.
    pub(super) recorded: Recorded,
    /// What a person should know before it starts.
    pub(super) notes: Vec<String>,
}

impl Planned {
    pub(super) fn from(run: &Run) -> Result<Self, Failure> {
        let asked = Asked::of(run, &current_directory()?)?;
        let (name, persistence) = match (&run.name, run.command.first()) {
            (Some(name), _) => (SandboxName::parse(name)?, Persistence::Named),
            (None, program) => {
                let program = program.map(|program| file_name(program));
                let name = SandboxName::generate(&program.unwrap_or_default());
                (name, Persistence::Ephemeral)
            }
        };
        Self::upon(asked, name.clone(), persistence, |asked, policy, user| {
            let start = places::apply(asked, policy, &user.home)?;
            let directory = start.directory.clone();
            let planned = PlannedWorkspaces::from(&asked.run, &name, &user.home, directory)?;
            start.check(&planned.workspaces)?;
            Ok(planned)
        })
    }

    /// A run on workspaces that are found elsewhere than in its flags.
    pub(super) fn upon(
        mut asked: Asked,
        name: SandboxName,
        persistence: Persistence,
        workspaces: impl FnOnce(&mut Asked, &Policy, &User) -> Result<PlannedWorkspaces, Failure>,
    ) -> Result<Self, Failure> {
        let recorded = Recorded::of(&asked)?;
        let policy = asked.sources.policy.build().map_err(refused)?;
        let user = user::current().ok_or_else(|| {
            Failure::from(anyhow!("the user has no home directory")).hint("set HOME")
        })?;
        let planned = workspaces(&mut asked, &policy, &user)?;
        let Asked {
            run,
            directory: _,
            agent,
            sources,
            typed: _,
        } = asked;
        let [program, arguments @ ..] = run.command.as_slice() else {
            return Err(anyhow!("no command was given").into());
        };
        let preset = preset_of(program);
        let account = if run.root {
            Account::Superuser
        } else {
            Account::User
        };
        manifests::refuse_exposed(&planned.workspaces, &user.home)?;
        let mut mounts = planned.mounts;
        mounts.extend(volumes::plan(&run.volume, &user.home, &planned.workspaces)?);
        let downloads = downloads::directory(&user.home);
        let main = &planned.workspaces.main().path;
        let image = HostImage::discover()?;
        let search = environment::search_path();
        let found = resolve_program(program, &search, &image, main).map_err(not_found)?;

        let credentials = if run.dry_run {
            // A credential's command can ask a person, or do anything else.
            Credentials::default()
        } else {
            Credentials::gather(&policy, &sources.policy, &user.home, main)?
        };
        let answers = if run.dry_run {
            Vec::new()
        } else {
            prompt::ask_all(policy.environment())?
        };
        let mut environment = environment::base(&name, &user, account);
        add_policy_environment(&mut environment, &policy, &credentials, &answers);
        let shown =
            shown(&policy, &image, &user, found.visible, found.links).finish(main, &user.home);
        let wiring = Wiring::of_this_process();
        let mut copies = Copies::gather(&policy, &user.home)?;
        let repositories = planned.clones.iter().map(PlannedClone::repository);
        credentials.pack(&mut copies.parcel)?;
        let unsigned = identity::send(&mut copies, &user.home, repositories)?;
        if let Some(agent) = &agent {
            agent::send_skills(agent, preset, &sources, &mut copies, &user.home)?;
        }
        let notes = planned.notes.into_iter().chain(sources.note());
        let unread = agent.as_ref().and_then(|agent| agent::note(agent, preset));
        let notes = notes.chain(unread).chain(unsigned).chain(copies.note());
        let notes = notes.collect();
        let spec = SandboxSpec {
            name,
            program: found.path,
            arguments: arguments_of(program, arguments, preset.filter(|_| !run.no_autonomy)),
            directory: planned.directory,
            user,
            account,
            environment,
            workspaces: planned.workspaces,
            removed: Vec::new(),
            mounts,
            persistence,
            visible: shown.visible,
            links: shown.links,
            terminal: match wiring {
                Wiring::Terminal(size) => Some(size),
                Wiring::Pipes => None,
            },
            nesting: match (run.nested, policy.nested()) {
                (false, Nested::Refused) => Nesting::Forbidden,
                _ => Nesting::Allowed,
            },
        };
        let journal = journal(&run)?;
        Ok(Self {
            spec,
            downloads: (!policy.cache().is_empty()).then_some(downloads),
            policy,
            sources: sources.policy,
            prompt: agent.and_then(|agent| agent.prompt().map(str::to_owned)),
            journal,
            readers: run.readers.clone(),
            wiring,
            credentials,
            copies,
            clones: planned.clones,
            prices: prices::own()?,
            recorded,
            notes,
        })
    }
}

fn journal(run: &Run) -> Result<Option<u64>, Failure> {
    let size = run.bounds.journal.as_deref().map(Bytes::parse).transpose();
    Ok(size.context("--journal")?.map(Bytes::get))
}

/// Exit statuses as a shell has them: 127 for a program that is not there, 126 for one that cannot run.
fn not_found(error: ProgramError) -> Failure {
    match error {
        ProgramError::NotFound(_) => Failure::from(error)
            .hint("install it, or give its path; it is looked up on PATH as outside")
            .status(127),
        ProgramError::NoSuchFile(_) => Failure::from(error).status(127),
        error => Failure::from(error).status(126),
    }
}

fn arguments_of(
    program: &OsStr,
    arguments: &[OsString],
    preset: Option<&'static Preset>,
) -> Vec<OsString> {
    let mut all = vec![program.to_owned()];
    for flag in preset.into_iter().flat_map(Preset::autonomy_args) {
        let flag = OsString::from(flag);
        if !arguments.contains(&flag) {
            all.push(flag);
        }
    }
    all.extend(arguments.iter().cloned());
    all
}

/// Variables of the policy come last: what a person wrote for this sandbox wins.
fn add_policy_environment(
    variables: &mut Vec<(OsString, OsString)>,
    policy: &Policy,
    credentials: &Credentials,
    answers: &[(String, String)],
) {
    for variable in policy.environment() {
        let value = match variable.value() {
            EnvValue::Literal(text) => Some(OsString::from(text)),
            EnvValue::FromHost(name) => std::env::var_os(name.as_str()),
            EnvValue::Placeholder(name) => credentials.placeholder(name).map(OsString::from),
            EnvValue::Prompt(_) => answers
                .iter()
                .find(|(name, _)| name == variable.name().as_str())
                .map(|(_, answer)| OsString::from(answer)),
        };
        if let Some(value) = value {
            environment::set(variables, variable.name().as_str(), value);
        }
    }
}

fn shown(
    policy: &Policy,
    image: &HostImage,
    user: &User,
    visible: Vec<PathBuf>,
    links: Vec<(PathBuf, PathBuf)>,
) -> Shown {
    let mut shown = Shown { visible, links };
    let toolchains = toolchain_paths().iter().map(|toolchain| toolchain.path());
    for path in toolchains.chain(policy.visible_paths()) {
        match path {
            VisiblePath::Home(path) => shown.add(&user.home.join(path), image),
            VisiblePath::Absolute(path) => shown.add(Path::new(path), image),
        }
    }
    shown
}
