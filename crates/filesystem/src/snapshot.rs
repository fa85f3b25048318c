//! A tree that never changes, read piece by piece from wherever it is kept: the lower layer of a session's
//! work tree.
//!
//! ```text
//! program ─▶ overlayfs ─▶ upper layer on disk        what the program changed
//!                    └──▶ FUSE ─▶ [`Snapshot`] ─▶ [`Source`]
//! ```
//!
//! As nothing ever changes, the kernel may keep all that it was told: names found or not, attributes,
//! symlinks and content. Files and directories are never opened here. A node is a number that the source
//! gives out and understands by itself, so nothing is counted and nothing has to be forgotten.
//!
//! What costs memory here is content that takes several reads: it is kept for the next, within limits.
//!
//! Where there is no FUSE, [`materialise`] writes the same tree to disk.

mod adapter;
mod contents;
mod error;
mod materialise;
mod source;
#[cfg(test)]
mod testing;
mod view;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use error::{Answer, Refusal};
pub use materialise::{MaterialiseError, Written, materialise};
pub use source::{Child, Content, Facts, Kind, Node, Source, Taken};

use crate::session;
use view::View;

/// For how long the kernel believes what it was told. Nothing changes; that which turns out to be wrong,
/// the size of a file that nobody has read so far, is taken back explicitly.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The most bytes of a file that one request carries: what FUSE allows with pages of 4 KiB.
const MAX_READ: u32 = 1 << 20;

/// To whom all files belong, as ids of the user namespace that mounted the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// What is to be shown, and to whom it belongs.
#[derive(Debug)]
pub struct Snapshot<S> {
    pub source: S,
    pub owner: Owner,
}

impl<S: Source> Snapshot<S> {
    /// Answers the kernel's questions on `device`, an open `/dev/fuse` that was mounted, from threads of
    /// its own. They end when the mount does; `ended` hears how. Waits for the kernel's greeting only.
    pub fn serve(
        self,
        device: OwnedFd,
        ended: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> io::Result<()> {
        let notifier = Arc::new(OnceLock::new());
        let adapter = adapter::Adapter::new(View::new(self), notifier.clone());
        let session = session::open(adapter, device)?;
        // The first request can be answered only after this.
        let _ = notifier.set(session.notifier());
        session::run(session, "snapshot", ended)
    }
}
