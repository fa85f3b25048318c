//! The client's side of a running sandbox: its streams, its signals, its going away.

use std::os::fd::OwnedFd;

use rustix::termios::{OptionalActions, Termios};
use wardian_sandbox::builtin::{Running, Streams};
use wardian_sandbox::channel::{Channel, ProtocolError};
use wardian_sandbox::spec::TerminalSize;

use crate::ending::Ending;
use crate::failure::Failed;
use crate::protocol::{How, ToSupervisor};

/// What the client handed over for the program's streams.
#[derive(Debug)]
pub(crate) enum ClientStreams {
    Three([OwnedFd; 3]),
    /// The caller's terminal, which the program never sees, and the mode it was in.
    Terminal(CallerTerminal),
}

impl ClientStreams {
    pub(crate) fn new(
        mut descriptors: Vec<OwnedFd>,
        terminal: Option<TerminalSize>,
    ) -> Result<Self, Failed> {
        if terminal.is_none() {
            return descriptors
                .try_into()
                .map(ClientStreams::Three)
                .map_err(|_| Failed::protocol("three streams must come with the start"));
        }
        match (descriptors.pop(), descriptors.is_empty()) {
            (Some(terminal), true) => Ok(ClientStreams::Terminal(CallerTerminal::new(terminal)?)),
            _ => Err(Failed::protocol("one terminal must come with the start")),
        }
    }

    /// For the program. The caller's terminal stays with this process.
    pub(crate) fn split(self) -> (Streams, Option<CallerTerminal>) {
        match self {
            ClientStreams::Three(three) => (Streams::Three(three), None),
            ClientStreams::Terminal(terminal) => (Streams::Terminal, Some(terminal)),
        }
    }
}

/// Remembers the mode of the caller's terminal, which the client is about to make raw.
#[derive(Debug)]
pub(crate) struct CallerTerminal {
    terminal: OwnedFd,
    mode: Termios,
}

impl CallerTerminal {
    fn new(terminal: OwnedFd) -> Result<Self, Failed> {
        let mode = rustix::termios::tcgetattr(&terminal)
            .map_err(|errno| Failed::sandbox(std::io::Error::from(errno)))?;
        Ok(Self { terminal, mode })
    }

    /// For a client that died without doing it.
    fn restore(&self) {
        let _ = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.mode);
    }
}

/// Passes the client's signals on, in a thread of its own. When the client goes, so does the sandbox.
pub(crate) fn listen(
    channel: &Channel,
    running: &Running,
    terminal: Option<CallerTerminal>,
    ending: &Ending,
) -> Result<(), Failed> {
    let channel = channel.try_clone().map_err(Failed::sandbox)?;
    let signaller = running.signaller().map_err(Failed::sandbox)?;
    let ending = ending.clone();
    let listen = move || loop {
        match channel.receive() {
            Ok((ToSupervisor::Signal(signal), _)) => {
                // Pid 1 may have ended just now.
                let _ = signaller.send(signal);
            }
            Ok(_) => {}
            Err(error) => {
                if let Some(terminal) = &terminal {
                    terminal.restore();
                }
                ending.end(match error {
                    ProtocolError::Closed => How::ClientGone,
                    error => How::Lost(format!("the client: {error}")),
                });
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("client".to_owned())
        .spawn(listen)
        .map(drop)
        .map_err(Failed::sandbox)
}
