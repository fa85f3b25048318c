//! What the supervisor and pid 1 inside say to each other. Both are Wardian's own code; what the
//! program does cannot reach this socket.

use serde::{Deserialize, Serialize};
use wardian_linux::SyscallError;
use wardian_linux::process::Exit;

use crate::plan::TreeId;

/// From the supervisor to pid 1.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToInit {
    /// Descriptors: [`Parcel`](crate::parcel::Parcel)s, to be unpacked once the file system stands.
    Parcels,
    /// Descriptors: id-mapped trees of the plan, in order, as many as fit.
    Trees,
    /// All trees are there and the layers are filled: mount them.
    Assemble {
        /// Trees that come through FUSE, if that can be had: directories of the host,
        served: Vec<TreeId>,
        /// and the files of session clones.
        snapshots: Vec<TreeId>,
    },
    /// After [`Mounted::Unavailable`]: the layers are made for that now.
    DoWithout,
    /// Prove from inside that the seal holds.
    Probe,
    /// Make the program's process, but do not let it run yet. Descriptors: stdin, stdout, stderr, unless
    /// it gets a terminal.
    Load,
    /// Let the loaded program run.
    Execute,
    /// Send this signal to the program's process group.
    Signal(i32),
}

/// From pid 1 to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromInit {
    /// The network is sealed. Descriptors: the listeners, in the order of
    /// [`Listener`](super::Listener).
    Sealed {
        listeners: Vec<super::Listener>,
        /// What this host does not offer, for a person to read; the seal holds without it.
        shortfalls: Vec<String>,
    },
    /// Only where something is to be served, before it is layered. Descriptors: mounted FUSE devices, which
    /// have to be served from now on: one for all directories of the host, if there are any, then one for
    /// each snapshot.
    SystemLayers(Mounted),
    /// The file system stands. Descriptor: the master side of the terminal, if there is one.
    Assembled,
    Probed(Vec<super::probe::Check>),
    /// The program's process exists, under this id of the sandbox's own pid namespace. Descriptors: those of
    /// [`ProcessReports`](super::ProcessReports), unless they cannot be had.
    Loaded {
        pid: u32,
        unseen: Option<String>,
    },
    /// The program runs.
    Started,
    /// The program was stopped, and who waits for it is to stop as well.
    Suspended,
    Ended(Ended),
    Failed {
        stage: Stage,
        error: String,
    },
}

/// Whether what is to be served comes through FUSE.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Mounted {
    Served,
    /// It comes as the kernel layers it, if it does.
    Unavailable(NoDevice),
}

/// Why there is no FUSE: the call that failed, for a person to read, and its errno.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoDevice {
    pub error: String,
    pub errno: Option<i32>,
}

impl From<SyscallError> for NoDevice {
    fn from(error: SyscallError) -> Self {
        Self {
            errno: error.errno(),
            error: error.to_string(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    Code(i32),
    Signal(i32),
}

impl From<Exit> for Ended {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Ended::Code(code),
            Exit::Signal(signal) => Ended::Signal(signal),
        }
    }
}

impl Ended {
    /// What a shell would report: 128+n for a signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Ended::Code(code) => code,
            Ended::Signal(signal) => 128 + signal,
        }
    }
}

/// Where a start failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    Seal,
    Identity,
    Filesystem,
    Terminal,
    Probe,
    Confinement,
    /// The program itself could not be executed; the errno is what execve(2) said.
    Exec(i32),
}
