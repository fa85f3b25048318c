//! The built-in runtime: Linux namespaces, without any helper program.
//!
//! ```text
//! Requested ─prepare▶ Prepared ─spawn▶ Spawned ─seal▶ Sealed ─guard▶ Guarded ─load▶ Loaded ─start▶ Running
//!  spec, policy        layers, plan     pid 1          listeners      file system    the process     the program
//!                      on disk          exists         are outside    stands, probes waits           runs
//!                                                                     passed
//! ```
//!
//! Where the kernel cannot layer a directory of the host as the sandbox needs it, pid 1 hands out a FUSE
//! device between the last two but one: what [`Sealed::take_system_layers`] returns is to be served before
//! [`Sealed::guard`], which waits for a file system that rests on it.
//!
//! Each phase consumes the last one, and dropping any of them takes down what it has made: pid 1
//! dies, and the kernel takes its namespaces with it. Only a `Guarded` sandbox can start its program.

mod confinement;
mod devices;
mod filesystem;
mod fill;
mod init;
mod launch;
mod offers;
mod place;
mod probe;
pub mod processes;
mod program;
mod protocol;
mod running;
mod stops;
mod system_layers;
mod terminal;

use serde::{Deserialize, Serialize};

pub use confinement::ProcessLimits;
pub use launch::{LaunchError, Launched, Prepared, Requested, Sealed, Spawned};
pub use offers::Offers;
pub use probe::Check;
pub use processes::ProcessReports;
pub use protocol::{Ended, NoDevice, Stage};
pub use running::{Guarded, Happening, Killer, Loaded, Running, Signaller, Streams};
pub use system_layers::{
    DEVICE as FUSE_DEVICE, Obstacle, ServedDirectory, ServedLayers, ServedSnapshot, SystemLayers,
    Unavailable,
};

/// What a socket made inside the seal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listener {
    Tcp,
    DnsUdp,
    DnsTcp,
}
