//! The image `host`: the host's own system directories as copy-on-write layers.
//!
//! What is not listed here does not exist inside: other users' homes, `/root`, `/srv`, `/mnt`, the
//! host's `/run` with its sockets, and whatever in `/etc` and `/var` not every user could read.

mod der;
mod files;
mod hidden;
mod keystore;
mod layout;
mod mounts;
mod nss;
mod program;
mod sqlite;
mod subject;
mod trust;

pub use files::IdentityFiles;
pub use hidden::Cover;
pub use layout::{HostImage, ImageError, LayerDirectories, plan};
pub use mounts::{Below, Mounts};
pub use program::{Program, ProgramError, resolve as resolve_program};
pub use trust::{
    BUNDLE as CA_BUNDLE, CA_VARIABLES, pack as pack_certificate, place as place_certificate,
};
