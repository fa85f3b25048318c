//! Failures of a start, with what the client shows for them.

use wardian_sandbox::builtin::{LaunchError, Stage};
use wardian_sandbox::channel::ProtocolError;
use wardian_sandbox::image::ImageError;

use crate::layers;
use crate::protocol::{Failure, FailureKind};

/// A sandbox that did not start, or could not go on.
#[derive(Debug)]
pub struct Failed {
    pub kind: FailureKind,
    pub error: String,
    pub hints: Vec<String>,
}

impl Failed {
    pub fn sandbox(error: impl std::fmt::Display) -> Self {
        Self {
            kind: FailureKind::Sandbox,
            error: error.to_string(),
            hints: Vec::new(),
        }
    }

    pub fn protocol(what: &str) -> Self {
        Self::sandbox(format!(
            "the client and this supervisor do not agree: {what}"
        ))
        .hint("both must be the same build of wardian")
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        let Failed { kind, error, hints } = failed;
        Self { kind, error, hints }
    }
}

impl From<ProtocolError> for Failed {
    fn from(error: ProtocolError) -> Self {
        Self::sandbox(error)
    }
}

impl From<LaunchError> for Failed {
    fn from(error: LaunchError) -> Self {
        let failed = Self::sandbox(&error);
        match error {
            LaunchError::Inside {
                stage: Stage::Exec(errno),
                error,
            } => Self::exec(errno, error),
            LaunchError::Inside {
                stage: Stage::Seal, ..
            } => failed.hint(
                "`wardian doctor` tells which kernel feature the network seal misses on this host",
            ),
            LaunchError::Syscall(error) if error.call().starts_with("clone3") => {
                failed.hint(match error.errno() {
                    Some(ENOSPC) => {
                        "the host allows no more user namespaces: see `sysctl user.max_user_namespaces`"
                    }
                    _ => {
                        "ordinary users need unprivileged user namespaces; `wardian doctor` tells how to allow them here"
                    }
                })
            }
            LaunchError::IdMap { .. } => failed.hint(
                "as root, sandboxes need id-mapped mounts (Linux 5.19, ext4, xfs, btrfs, tmpfs): keep the directory on such a file system, or run as an ordinary user",
            ),
            LaunchError::NotLayered { why, .. } => failed.hint(layers::fix(&why)),
            LaunchError::Probe(_) => failed.hint(
                "nothing was started. `wardian doctor` repeats the checks and tells more",
            ),
            LaunchError::Image(ImageError::NoUpper(..)) => failed.hint(
                "set XDG_DATA_HOME to a directory on a local file system of the machine: in a container, on a volume or a tmpfs",
            ),
            LaunchError::Image(ImageError::WorkspaceTooWide(..)) => {
                failed.hint("change to a project directory first")
            }
            LaunchError::Inside { .. }
            | LaunchError::Image(_)
            | LaunchError::Syscall(_)
            | LaunchError::Layers { .. }
            | LaunchError::Protocol(_) => failed,
        }
    }
}

impl Failed {
    fn exec(errno: i32, error: String) -> Self {
        let failed = Self {
            kind: if errno == ENOENT {
                FailureKind::NotFound
            } else {
                FailureKind::NotExecutable
            },
            error,
            hints: Vec::new(),
        };
        match errno {
            ENOENT => failed.hint(
                "the program or its interpreter is not visible inside: only system directories, known toolchains and the workspace are. `--policy FILE` with `visible = [\"~/DIRECTORY\"]` shows more, read-only",
            ),
            EACCES => failed.hint("the file has no execute permission, or lies on a noexec mount"),
            ENOEXEC => failed.hint("a script needs a first line such as `#!/bin/sh`"),
            _ => failed,
        }
    }
}

// The values are the same on every architecture that Linux has them on.
const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
