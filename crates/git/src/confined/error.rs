use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use wardian_linux::SyscallError;
use wardian_linux::process::Exit;

use super::program::{MINIMUM_VERSION, Version};

#[derive(Debug, Error)]
pub enum ConfinedError {
    #[error("no git is installed: neither PATH nor /usr/bin has one that can run by itself")]
    Missing,
    #[error("{program}: git {found} is too old, {MINIMUM_VERSION} is needed")]
    TooOld { program: PathBuf, found: Version },
    #[error("git cannot be confined: {0}")]
    Jail(SyscallError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("git {command} {}{}", ended(.exit), complaint(.said))]
    Failed {
        command: String,
        exit: Exit,
        /// The last that it wrote to stderr, untrusted.
        said: String,
    },
    #[error("git {command} did not finish within {} s", .after.as_secs())]
    TimedOut { command: String, after: Duration },
    #[error("git {command} wrote more than {limit} bytes")]
    TooMuchOutput { command: String, limit: usize },
    #[error("git {command} wrote something unexpected: {output:?}")]
    Unexpected { command: String, output: String },
    #[error("git {command}: {source}")]
    Stream { command: String, source: io::Error },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: {why}")]
    Repository { path: PathBuf, why: String },
}

/// Why a session's repository is not touched.
#[derive(Debug, Error)]
pub enum SessionError {
    #[error("{path}: not a directory of its own: {source}")]
    NotADirectory { path: PathBuf, source: SyscallError },
    #[error("{path}: {kind}, where git keeps files and directories only")]
    OddEntry { path: PathBuf, kind: &'static str },
    #[error("{path}: {source}")]
    Syscall { path: PathBuf, source: SyscallError },
}

fn ended(exit: &Exit) -> String {
    match exit {
        Exit::Code(code @ ..128) => format!("failed with status {code}"),
        Exit::Code(code) => format!("was ended by signal {}", code - 128),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
    }
}

fn complaint(said: &str) -> String {
    match said.trim() {
        "" => String::new(),
        said => format!(": {said}"),
    }
}
