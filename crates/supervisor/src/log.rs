//! The supervisor's own words: what goes wrong on this side of the door and is no event of the sandbox.
//!
//! They go to standard error, which the client opened on the sandbox's `supervisor.log` before this process
//! confined itself, one line each, and never more than twice [`MOST`] bytes: then the file is set aside in
//! place of the one set aside before. Only Wardian's own crates are heard, for those of others may show
//! what they carry, and ours name secrets without their values.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use wardian_events::{Clock, SystemClock, visible_bytes};
use wardian_sandbox::state::SandboxDirectory;

/// A log that has grown to this many bytes is set aside.
const MOST: usize = 1 << 20;
/// A line that is longer is cut.
const LONGEST_LINE: usize = 16 << 10;
/// What all of our crates' names begin with.
const OURS: &str = "wardian";

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no level of logging")]
pub struct UnknownLevel(String);

impl LogLevel {
    /// From the least said to the most.
    pub const NAMES: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

    fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl FromStr for LogLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        Ok(match text {
            "off" => Self::Off,
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return Err(UnknownLevel(text.to_owned())),
        })
    }
}

/// From here on, what Wardian's crates say is written down, and so is where they panic.
pub(crate) fn begin(level: LogLevel, directory: &SandboxDirectory) {
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_timer(JournalTime)
        .log_internal_errors(false)
        .with_writer(Mutex::new(Log::of(directory)));
    // Fails only if there is one already.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(Targets::new().with_target(OURS, level.filter()))
        .try_init();
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

/// Standard error, as far as it is this sandbox's log.
#[derive(Debug)]
struct Log {
    directory: SandboxDirectory,
    /// Bytes written since the file was new.
    length: usize,
    most: usize,
}

impl Log {
    fn of(directory: &SandboxDirectory) -> Self {
        Self {
            directory: directory.clone(),
            length: 0,
            most: MOST,
        }
    }

    /// Goes on in a new file, and with it all that this process writes to standard error.
    fn turn_over(&mut self) -> io::Result<()> {
        let new = self.directory.turn_log_over().map_err(io::Error::other)?;
        rustix::stdio::dup2_stderr(&new)?;
        self.length = 0;
        Ok(())
    }
}

impl Write for Log {
    /// Called with one whole line at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = &text[..text.len().min(LONGEST_LINE)];
        let shown = format!("{}\n", visible_bytes(text));
        if self.length + shown.len() > self.most {
            self.turn_over()?;
        }
        io::stderr().write_all(shown.as_bytes())?;
        self.length += shown.len();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Times look as they do in the journal beside the log.
struct JournalTime;

impl FormatTime for JournalTime {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        write!(to, "{}", SystemClock.now())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::{AsFd, OwnedFd};

    use wardian_sandbox::SandboxName;

    use super::*;

    /// Gives standard error back at the end.
    struct Borrowed(OwnedFd);

    impl Drop for Borrowed {
        fn drop(&mut self) {
            rustix::stdio::dup2_stderr(&self.0).unwrap();
        }
    }

    #[test]
    fn a_log_is_bounded_and_shows_what_it_holds() {
        let base = tempfile::tempdir().unwrap();
        let name = SandboxName::parse("one").unwrap();
        let directory = SandboxDirectory::at(base.path().to_owned(), name);
        let before = Borrowed(io::stderr().as_fd().try_clone_to_owned().unwrap());
        rustix::stdio::dup2_stderr(directory.open_log().unwrap()).unwrap();
        let mut log = Log {
            most: 1000,
            ..Log::of(&directory)
        };
        for number in 0..100 {
            log.write_all(format!("line {number}\x1b[2J\rforged\nforged\n").as_bytes())
                .unwrap();
        }
        log.write_all(&[b'x'; 10 * LONGEST_LINE]).unwrap();
        log.write_all(b"last\n").unwrap();
        drop(before);

        let read = |name| fs::read_to_string(base.path().join(name)).unwrap();
        let (now, old) = (read("supervisor.log"), read("supervisor.log.old"));
        assert_eq!(now, "last\n");
        assert_eq!(old.len(), LONGEST_LINE + 1);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 2);

        let mut log = Log::of(&directory);
        let before = Borrowed(io::stderr().as_fd().try_clone_to_owned().unwrap());
        rustix::stdio::dup2_stderr(directory.open_log().unwrap()).unwrap();
        log.write_all(b"a\x1b[2J\rforged\nforged\n").unwrap();
        drop(before);
        assert_eq!(
            read("supervisor.log"),
            "last\na\\x1b[2J\\x0dforged\\x0aforged\n"
        );
    }

    #[test]
    fn levels_have_names() {
        for name in LogLevel::NAMES {
            assert_eq!(
                format!("{:?}", name.parse::<LogLevel>().unwrap()).to_lowercase(),
                name
            );
        }
        assert_eq!(
            "Warn ".parse::<LogLevel>(),
            Err(UnknownLevel("Warn ".to_owned()))
        );
    }
}
