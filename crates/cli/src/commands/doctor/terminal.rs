//! Whether a program that is started at a terminal has one.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use anyhow::Context;
use rustix::pty::OpenptFlags;

use super::check::{Check, Promise};
use super::stage::Stage;
use super::trial::{Passing, start, wait};

/// A sandbox that is started at a terminal gets one of its own.
pub(super) fn check(stage: &Stage) -> anyhow::Result<Check> {
    let name = "pseudo-terminals";
    let (_ours, theirs) = match pseudo_terminal() {
        Ok(pair) => pair,
        Err(why) => {
            return Ok(Check::fails(
                Promise::Host,
                name,
                format!("{why:#}"),
                Some("sudo mount -t devpts -o newinstance,ptmxmode=0666,gid=5,mode=620 devpts /dev/pts".to_owned()),
            ));
        }
    };
    let directory = Passing::new(stage);
    let shell = ["sh", "-c", "test -t 0 && test -t 1 && test -t 2"].map(Into::into);
    let mut command: Command = stage.command(directory.name(), &[], &shell);
    command
        .stdin(Stdio::from(theirs.try_clone()?))
        .stdout(Stdio::from(theirs))
        .stderr(Stdio::null());
    let status = wait(&mut start(&mut command)?, stage)?;
    drop(command);
    directory.remove()?;
    Ok(match status.success() {
        true => Check::holds(Promise::Host, name, "programs inside have one of their own"),
        false => Check::fails(
            Promise::Host,
            name,
            "a program started at a terminal has none inside",
            Some("report this with the output of `wardian doctor --json`".to_owned()),
        ),
    })
}

/// Both sides of a new terminal.
fn pseudo_terminal() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags).context("open(\"/dev/ptmx\")")?;
    rustix::pty::grantpt(&ours).context("grantpt")?;
    rustix::pty::unlockpt(&ours).context("unlockpt")?;
    let path = rustix::pty::ptsname(&ours, Vec::new()).context("ptsname")?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let theirs = rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
        .with_context(|| format!("open({path:?})"))?;
    Ok((ours, theirs))
}
