//! From the command line to everything that a start needs, before anything is touched.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use wardian_policy::limits::Bytes;
use wardian_policy::{EnvValue, Nested, Policy, Preset, VisiblePath, toolchain_paths};
use wardian_sandbox::image::{HostImage, ProgramError, resolve_program};
use wardian_sandbox::spec::{Account, Nesting, Persistence, SandboxSpec, User};
use wardian_sandbox::{SandboxName, user};
use wardian_supervisor::protocol::PolicySources;

use super::briefing::Copies;
use super::followers::Readers;
use super::host::Shown;
use super::recorded::Recorded;
use super::relay::Wiring;
use super::secrets::Credentials;
use super::workspaces::{PlannedClone, PlannedWorkspaces};
use super::{Run, environment, identity, volumes};
use crate::failure::Failure;

/// A run that is decided, but not begun.
pub(super) struct Planned {
    pub(super) spec: SandboxSpec,
    pub(super) policy: Policy,
    pub(super) sources: PolicySources,
    /// Most bytes of records that it may write.
    pub(super) journal: Option<u64>,
    /// Who reads along.
    pub(super) readers: Readers,
    pub(super) wiring: Wiring,
    pub(super) credentials: Credentials,
    /// What of the user's own goes along.
    pub(super) copies: Copies,
    pub(super) clones: Vec<PlannedClone>,
    /// For a later `wardian resume`.
    pub(super) recorded: Recorded,
    /// What a person should know before it starts.
    pub(super) notes: Vec<String>,
}

impl Planned {
    pub(super) fn from(run: &Run) -> Result<Self, Failure> {
        let (name, persistence) = match (&run.name, run.command.first()) {
            (Some(name), _) => (SandboxName::parse(name)?, Persistence::Named),
            (None, program) => {
                let program = program.map(|program| file_name(program));
                let name = SandboxName::generate(&program.unwrap_or_default());
                (name, Persistence::Ephemeral)
            }
        };
        Self::upon(run, name.clone(), persistence, |user| {
            PlannedWorkspaces::from(run, &name, &user.home)
        })
    }

    /// A run on workspaces that are found elsewhere than in its flags.
    pub(super) fn upon(
        run: &Run,
        name: SandboxName,
        persistence: Persistence,
        workspaces: impl FnOnce(&User) -> Result<PlannedWorkspaces, Failure>,
    ) -> Result<Self, Failure> {
        let [program, arguments @ ..] = run.command.as_slice() else {
            return Err(anyhow!("no command was given").into());
        };
        let preset = preset_of(program);
        let sources = sources(run, preset)?;
        let recorded = Recorded::of(run, &sources)?;
        let policy = sources.build().context("the policy is refused")?;
        let user = user::current().ok_or_else(|| {
            Failure::from(anyhow!("the user has no home directory")).hint("set HOME")
        })?;
        let account = if run.root {
            Account::Superuser
        } else {
            Account::User
        };
        let planned = workspaces(&user)?;
        let mut mounts = planned.mounts;
        mounts.extend(volumes::plan(&run.volume, &user.home, &planned.workspaces)?);
        let main = &planned.workspaces.main().path;
        let image = HostImage::discover()?;
        let search = environment::search_path();
        let found = resolve_program(program, &search, &image, main).map_err(not_found)?;

        let credentials = if run.dry_run {
            // A credential's command can ask a person, or do anything else.
            Credentials::default()
        } else {
            Credentials::gather(&policy, &sources, &user.home, main)?
        };
        let mut environment = environment::base(&name, &user, account);
        add_policy_environment(&mut environment, &policy, &credentials);
        let shown =
            shown(&policy, &image, &user, found.visible, found.links).finish(main, &user.home);
        let wiring = Wiring::of_this_process();
        let mut copies = Copies::gather(&policy, &user.home)?;
        let repositories = planned.clones.iter().map(PlannedClone::repository);
        credentials.pack(&mut copies.parcel)?;
        let unsigned = identity::send(&mut copies, &user.home, repositories)?;
        let notes = planned.notes.into_iter();
        let notes = notes.chain(unsigned).chain(copies.note()).collect();
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
        let journal = journal(run)?;
        Ok(Self {
            spec,
            policy,
            sources,
            journal,
            readers: run.readers.clone(),
            wiring,
            credentials,
            copies,
            clones: planned.clones,
            recorded,
            notes,
        })
    }
}

fn file_name(program: &OsStr) -> String {
    Path::new(program)
        .file_name()
        .unwrap_or(program)
        .to_string_lossy()
        .into_owned()
}

fn preset_of(program: &OsStr) -> Option<&'static Preset> {
    Preset::for_program(&file_name(program))
}

fn journal(run: &Run) -> Result<Option<u64>, Failure> {
    let size = run.bounds.journal.as_deref().map(Bytes::parse).transpose();
    Ok(size.context("--journal")?.map(Bytes::get))
}

fn sources(run: &Run, preset: Option<&'static Preset>) -> Result<PolicySources, Failure> {
    let file = run
        .reach
        .policy
        .as_ref()
        .map(|path| {
            fs::read_to_string(path)
                .map(|text| (path.display().to_string(), text))
                .with_context(|| format!("cannot read the policy {}", path.display()))
        })
        .transpose()?;
    let limits = [
        ("memory", &run.bounds.memory),
        ("cpus", &run.bounds.cpus),
        ("pids", &run.bounds.pids),
        ("files", &run.bounds.files),
        ("disk", &run.bounds.disk),
        ("time", &run.bounds.time),
    ];
    Ok(PolicySources {
        file,
        presets: run
            .reach
            .preset
            .iter()
            .cloned()
            .chain(preset.map(|preset| preset.name().to_owned()))
            .collect(),
        allow: run.reach.allow.clone(),
        limits: limits
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
            .collect(),
        environment: run.reach.env.clone(),
    })
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
) {
    for variable in policy.environment() {
        let value = match variable.value() {
            EnvValue::Literal(text) => Some(OsString::from(text)),
            EnvValue::FromHost(name) => std::env::var_os(name.as_str()),
            EnvValue::Placeholder(name) => credentials.placeholder(name).map(OsString::from),
            EnvValue::Prompt(_) => None,
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
