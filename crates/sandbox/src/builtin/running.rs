//! Outside: the supervisor's half from the proven sandbox to the program's end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::launch::{LaunchError, Launched};
use super::probe::Check;
use super::processes::{ProcessReports, Unseen};
use super::protocol::{Ended, FromInit, ToInit};
use crate::channel::{Channel, ProtocolError};
use crate::spec::SandboxSpec;

/// Everything stands and was proven; the program may start.
#[derive(Debug)]
pub struct Guarded {
    pub(super) spec: SandboxSpec,
    pub(super) launched: Launched,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) checks: Vec<Check>,
}

/// The program's standard streams.
#[derive(Debug)]
pub enum Streams {
    /// The terminal that the spec asked for.
    Terminal,
    /// stdin, stdout, stderr.
    Three([OwnedFd; 3]),
}

impl Guarded {
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The master side of the program's terminal, if the spec asked for one.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Makes the program's process, which waits. What is executed from then on, the program itself included, is
    /// reported, and somebody has to answer for as long as the sandbox lives; unless it cannot be seen.
    pub fn load(
        self,
        streams: Streams,
    ) -> Result<(Loaded, Result<ProcessReports, Unseen>), LaunchError> {
        let three = match streams {
            Streams::Terminal => None,
            Streams::Three(three) => Some(three),
        };
        if let Some(three) = &three {
            self.launched.give_away(three)?;
        }
        let descriptors: Vec<_> = three.iter().flatten().map(AsFd::as_fd).collect();
        self.launched.send(&ToInit::Load, &descriptors)?;
        let (message, descriptors) = self.launched.receive()?;
        let FromInit::Loaded { pid, ref unseen } = message else {
            return self.launched.unexpected(&message);
        };
        let processes = match (unseen, <[OwnedFd; 2]>::try_from(descriptors)) {
            (None, Ok(descriptors)) => Ok(ProcessReports::from_descriptors(descriptors)),
            (Some(why), Err(_)) => Err(Unseen { why: why.clone() }),
            _ => return self.launched.unexpected(&message),
        };
        let loaded = Loaded {
            spec: self.spec,
            launched: self.launched,
            pid,
        };
        Ok((loaded, processes))
    }
}

/// The program's process exists and waits, so that its start can be written down first.
#[derive(Debug)]
pub struct Loaded {
    spec: SandboxSpec,
    launched: Launched,
    pid: u32,
}

impl Loaded {
    /// The program's id in the sandbox's own pid namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets the program run; an error of [`Stage::Exec`](super::Stage::Exec) means that it could not be executed.
    pub fn start(self) -> Result<Running, LaunchError> {
        self.launched.send(&ToInit::Execute, &[])?;
        let (message, _) = self.launched.receive()?;
        let FromInit::Started = message else {
            return self.launched.unexpected(&message);
        };
        Ok(Running {
            spec: self.spec,
            launched: self.launched,
        })
    }
}

/// The program runs.
#[derive(Debug)]
pub struct Running {
    spec: SandboxSpec,
    launched: Launched,
}

/// What happens to a running program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// Stopped by job control.
    Suspended,
    Ended(Ended),
    /// Pid 1 went without a word: killed from outside, or out of memory.
    Lost,
}

impl Running {
    pub fn spec(&self) -> &SandboxSpec {
        &self.spec
    }

    /// Another handle by which signals can be sent while somebody waits.
    pub fn signaller(&self) -> io::Result<Signaller> {
        self.launched.channel.try_clone().map(Signaller)
    }

    /// The means to end the sandbox at once, from anywhere.
    pub fn killer(&self) -> io::Result<Killer> {
        let pidfd = self.launched.init.0.pidfd().try_clone_to_owned()?;
        Ok(Killer(pidfd))
    }

    /// Blocks until something happens.
    pub fn next(&self) -> Happening {
        loop {
            match self.launched.channel.receive() {
                Ok((FromInit::Suspended, _)) => return Happening::Suspended,
                Ok((FromInit::Ended(ended), _)) => return Happening::Ended(ended),
                Ok(_) => {}
                Err(_) => return Happening::Lost,
            }
        }
    }
}

/// Sends signals to the program.
#[derive(Debug)]
pub struct Signaller(Channel);

impl Signaller {
    pub fn send(&self, signal: i32) -> Result<(), ProtocolError> {
        self.0.send(&ToInit::Signal(signal), &[])
    }
}

/// Kills pid 1, and with it all of the sandbox.
#[derive(Debug)]
pub struct Killer(OwnedFd);

impl Killer {
    /// Does nothing if the sandbox is gone already.
    pub fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.0, rustix::process::Signal::KILL);
    }
}
