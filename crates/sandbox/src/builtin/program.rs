//! Inside, in the program's own process: the last steps before `execve`.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use wardian_linux::process;
use wardian_linux::userns::{self, MapWriter, SupplementaryGroups};
use wardian_linux::{SyscallError, procfs, signal};

use super::confinement::{self, Seen};
use super::protocol::Stage;
use crate::channel::{Channel, ProtocolError};
use crate::ids::Identity;
use crate::spec::SandboxSpec;

pub(super) use super::confinement::ProcessLimits as Limits;

/// The program's standard streams.
pub(super) enum Standard {
    /// stdin, stdout, stderr: pipes that the CLI relays, never files of the host.
    Three([OwnedFd; 3]),
    Terminal(OwnedFd),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromProgram {
    /// In its own user namespace, waiting for the maps.
    Unshared,
    /// Everything but the program itself, for which it waits. Descriptor: what sees programs being executed,
    /// unless it cannot be had.
    Confined {
        unseen: Option<String>,
    },
    Failed {
        stage: Stage,
        error: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mapped;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Execute;

/// Never returns: executes the program, or reports and exits.
pub(super) fn run(
    channel: &Channel,
    spec: &SandboxSpec,
    identity: &Identity,
    limits: &Limits,
    standard: &Standard,
) -> ! {
    let _no_way_back = process::ExitOnUnwind;
    let Err((stage, error)) = steps(channel, spec, identity, limits, standard);
    let _ = channel.send(&FromProgram::Failed { stage, error }, &[]);
    process::exit_now(127)
}

type Step<T> = Result<T, (Stage, String)>;

fn at<T, E: Display>(stage: Stage, result: Result<T, E>) -> Step<T> {
    result.map_err(|error| (stage, error.to_string()))
}

fn steps(
    channel: &Channel,
    spec: &SandboxSpec,
    identity: &Identity,
    limits: &Limits,
    standard: &Standard,
) -> Step<Infallible> {
    // Pid 1 could not write the maps of a process that hides its /proc files.
    at(
        Stage::Identity,
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable),
    )?;
    at(Stage::Identity, userns::unshare())?;
    at(Stage::Identity, channel.send(&FromProgram::Unshared, &[]))?;
    let (Mapped, _) = at(Stage::Identity, channel.receive())?;
    at(
        Stage::Identity,
        become_ids(identity.uid, identity.gid, identity.writer),
    )?;
    at(Stage::Terminal, take_streams(standard))?;
    at(
        Stage::Filesystem,
        rustix::process::chdir(&spec.directory)
            // Whoever was there before may have removed it.
            .or_else(|errno| {
                rustix::process::chdir(&spec.workspaces.main().path).map_err(|_| errno)
            })
            .map_err(|errno| SyscallError::new(format!("chdir({:?})", spec.directory), errno)),
    )?;
    at(Stage::Confinement, be_first_when_memory_runs_out())?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    at(Stage::Confinement, signal::reset())?;
    at(Stage::Confinement, process::close_on_exec_from(3))?;
    let arguments = at(Stage::Confinement, c_strings(&spec.arguments))?;
    let environment = at(Stage::Confinement, environment(spec))?;
    // Hidden by the change of ids: pid 1 reads in here what is executed first, too.
    at(
        Stage::Confinement,
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable),
    )?;
    let seen = at(
        Stage::Confinement,
        confinement::confine(
            spec.account,
            spec.nesting,
            confinement::Writes::of(spec),
            limits,
        ),
    )?;
    at(Stage::Confinement, hand_over(channel, seen))?;
    let (Execute, _) = at(Stage::Confinement, channel.receive())?;
    process::execve(&spec.program, &arguments, &environment).map_err(|error| {
        let errno = error.errno().unwrap_or_default();
        (Stage::Exec(errno), error.to_string())
    })
}

fn hand_over(channel: &Channel, seen: Seen) -> Result<(), ProtocolError> {
    match seen {
        Seen::By(listener) => {
            let confined = FromProgram::Confined { unseen: None };
            channel.send(&confined, &[listener.as_fd()])
        }
        Seen::Not { why } => {
            let unseen = Some(why);
            channel.send(&FromProgram::Confined { unseen }, &[])
        }
    }
}

/// Where no cgroup bounds the sandbox's memory, the host's own programs must not be the ones that the
/// kernel ends. See proc_pid_oom_score_adj(5).
fn be_first_when_memory_runs_out() -> Result<(), SyscallError> {
    procfs::write(procfs::myself()?, "oom_score_adj", b"500")
}

/// Sets real, effective and saved ids, and drops supplementary groups where the kernel allows it:
/// not where an ordinary user mapped their own ids only (user_namespaces(7), "setgroups").
pub(super) fn become_ids(uid: u32, gid: u32, writer: MapWriter) -> Result<(), SyscallError> {
    let groups = match writer {
        MapWriter::OwnIdsOnly => SupplementaryGroups::Keep,
        MapWriter::Privileged | MapWriter::Helpers => SupplementaryGroups::Drop,
    };
    userns::set_ids(uid, gid, groups)
}

/// A session of its own, with the terminal as its controlling one if there is one.
fn take_streams(standard: &Standard) -> Result<(), SyscallError> {
    rustix::process::setsid().map_err(|errno| SyscallError::new("setsid()", errno))?;
    match standard {
        Standard::Three(three) => {
            for (fd, target) in three.iter().zip(0..) {
                process::dup_onto(fd.as_fd(), target)?;
            }
        }
        Standard::Terminal(slave) => {
            rustix::process::ioctl_tiocsctty(slave)
                .map_err(|errno| SyscallError::new("ioctl(TIOCSCTTY)", errno))?;
            for target in 0..3 {
                process::dup_onto(slave.as_fd(), target)?;
            }
        }
    }
    Ok(())
}

fn c_strings(texts: &[OsString]) -> Result<Vec<CString>, String> {
    texts
        .iter()
        .map(|text| {
            process::c_string(text).ok_or_else(|| format!("{text:?} holds a NUL character"))
        })
        .collect()
}

fn environment(spec: &SandboxSpec) -> Result<Vec<CString>, String> {
    let pairs: Vec<OsString> = spec
        .environment
        .iter()
        .map(|(name, value)| {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            pair
        })
        .collect();
    if let Some((name, _)) = spec
        .environment
        .iter()
        .find(|(name, _)| name.is_empty() || name.as_bytes().contains(&b'='))
    {
        return Err(format!("{name:?} is not the name of a variable"));
    }
    c_strings(&pairs)
}

/// To the program's process group, and to the program itself if it has left that. Numbers that are
/// no signal are ignored.
pub(super) fn signal_group(program: Pid, number: i32) {
    if let Some(signal) = Signal::from_named_raw(number) {
        let _ = rustix::process::kill_process_group(program, signal)
            .or_else(|_| rustix::process::kill_process(program, signal));
    }
}
