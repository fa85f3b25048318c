//! Git itself on objects that an agent wrote, in a jail.
//!
//! What git would execute or follow, it reads from a repository's configuration, hooks, attributes, alternates,
//! refs and work tree. Here it gets none of them. Its repository is an empty one of ours in memory; only
//! *objects* are lent to it, read-only and at fixed places:
//!
//! ```text
//! /repository     GIT_DIR: HEAD, config, shallow of ours; in memory
//! /objects/0..    the user's object directories
//! /session        the session's object directory, opened without following a symlink
//! /written        where new objects go, if the command writes any
//! /usr, ...       programs and libraries, read-only
//! ```
//!
//! `info` in all of these is covered by an empty directory, so that no alternates or commit graph of theirs is
//! read. There is no network, no process of the host, no home, no `/proc`, and nobody's environment. If an
//! object made git misbehave after all, it would find itself with an empty file system and a pipe to us.

mod diff;
mod entries;
mod error;
mod layout;
mod log;
mod objects;
mod program;
mod run;
mod session;
mod tree;
mod view;

use std::time::Duration;

pub use diff::{Binary, FileStat};
pub use entries::{Difference, Side};
pub use error::{ConfinedError, SessionError};
pub use log::Commit;
pub use objects::Completeness;
pub use program::{Git, MINIMUM_VERSION, Version};
pub use session::SessionRepository;
pub use tree::{Change, Content, Mode};
pub use view::View;
use wardian_linux::jail;

pub(crate) use objects::lines;
pub(crate) use run::{Input, Output, attend};
pub(crate) use view::user_config;

/// What one command may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long git may keep us waiting. Time that our side takes, such as a pager's, does not count.
    pub time: Duration,
    pub jail: jail::Limits,
}

impl Default for Limits {
    /// Enough for repositories of several gigabytes.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(900),
            jail: jail::Limits {
                memory: 3 << 30,
                file_size: 64 << 30,
                cpu_seconds: 1800,
                open_files: 1024,
                // Kernels before 5.14 count all of the user's.
                processes: 4096,
            },
        }
    }
}

/// Git, and the objects that it is to work on.
#[derive(Debug, Clone, Copy)]
pub struct Confined<'a> {
    pub(crate) git: &'a Git,
    pub(crate) view: &'a View,
    pub(crate) limits: Limits,
}

impl Git {
    pub fn on<'a>(&'a self, view: &'a View) -> Confined<'a> {
        Confined {
            git: self,
            view,
            limits: Limits::default(),
        }
    }
}

impl Confined<'_> {
    /// How objects are named.
    pub fn format(&self) -> gix::hash::Kind {
        self.view.format()
    }

    pub(crate) fn time(&self) -> Duration {
        self.limits.time
    }

    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}
