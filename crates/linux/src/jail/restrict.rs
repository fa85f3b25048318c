//! What pid 1 of a jail gives up for good, before it executes the program.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Access, Content, Entry, Limits};
use crate::error::{SyscallResult, failed};
use crate::rlimit::{self, Limit};
use crate::seccomp::{self, Profile};
use crate::{SyscallError, capabilities, landlock as host_landlock};

/// The order matters: each step needs what a later one takes.
pub(super) fn restrict(entries: &[Entry], limits: &Limits) -> SyscallResult<()> {
    capabilities::keep_only(capabilities::NONE)?;
    capabilities::forbid_new_privileges()?;
    if host_landlock::abi().is_some() {
        restrict_files(entries).map_err(|error| {
            SyscallError::new("landlock_restrict_self()", std::io::Error::other(error))
        })?;
    }
    lower(limits)?;
    seccomp::install(&Profile {
        nested: false,
        // What `Access::Write` is about.
        files_of_the_host: true,
    })
}

/// Reads everything there is in the jail; executes and writes only where the entries say so.
fn restrict_files(entries: &[Entry]) -> Result<(), RulesetError> {
    let reading = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;
    ruleset = add(ruleset, Path::new("/"), reading)?;
    for entry in entries {
        let access = match &entry.content {
            Content::Bind { access, .. } => granted(*access),
            Content::Memory { .. } => granted(Access::Write),
            Content::Directory | Content::File(_) | Content::Symlink(_) | Content::Cover => {
                continue;
            }
        };
        ruleset = add(ruleset, &entry.target, access)?;
    }
    ruleset.restrict_self()?;
    Ok(())
}

fn granted(access: Access) -> BitFlags<AccessFs> {
    match access {
        Access::Read => make_bitflags!(AccessFs::{ReadFile | ReadDir}),
        Access::Execute => make_bitflags!(AccessFs::{ReadFile | ReadDir | Execute}),
        Access::Device => make_bitflags!(AccessFs::{ReadFile | WriteFile}),
        Access::Write => {
            AccessFs::from_all(ABI::V5)
                & !make_bitflags!(AccessFs::{
                    Execute | MakeChar | MakeBlock | MakeSock | MakeFifo | MakeSym | IoctlDev
                })
        }
    }
}

fn add(
    ruleset: landlock::RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, RulesetError> {
    // The path was just made; without the rule the program would be refused, not let through.
    let Ok(place) = PathFd::new(path) else {
        return Ok(ruleset);
    };
    let access = match path.is_dir() {
        true => access,
        false => access & AccessFs::from_file(ABI::V5),
    };
    ruleset.add_rule(PathBeneath::new(place, access))
}

fn lower(limits: &Limits) -> SyscallResult<()> {
    let Limits {
        memory,
        file_size,
        cpu_seconds,
        open_files,
        processes,
    } = *limits;
    rlimit::lower(Limit::FileSize, file_size)?;
    rlimit::lower(Limit::OpenFiles, open_files)?;
    rlimit::lower(Limit::Processes, processes)?;
    // A dump would go where the host's core_pattern says.
    rlimit::lower(Limit::CoreDump, 0)?;
    lower_also(Resource::Data, "RLIMIT_DATA", memory)?;
    lower_also(Resource::Cpu, "RLIMIT_CPU", cpu_seconds)
}

fn lower_also(resource: Resource, name: &str, value: u64) -> SyscallResult<()> {
    let value = getrlimit(resource)
        .maximum
        .map_or(value, |maximum| maximum.min(value));
    let both = Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    setrlimit(resource, both).map_err(failed!("setrlimit({name}, {value})"))
}
