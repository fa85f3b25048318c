use std::io;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use wardian_events::{
    Event, Exit, ReadError, SandboxStarted, SandboxStopped, StopCause, Timestamp, last, read,
};
use wardian_sandbox::record::KeptWorkspace;

use crate::failure::Outcome;
use crate::kept;
use crate::output::{self, Colour, Table, Tone};
use crate::sandboxes::{self, Sandbox};
use crate::units;

/// List sandboxes
///
/// The state of a sandbox is
///
///   running       its program runs
///   exited 0      its program ended with this status
///   signal 9      this signal ended its program
///   time limit    a limit ended it: time, disk or memory
///   cut off       its `wardian run` was killed
///   failed        it could not go on; `--json` says why
///   died          its supervisor was killed
///   lost          the same, and what it left is not cleaned up yet: `wardian gc`
///
/// `exited 1, pids limit` ran into a limit on its way. A start that failed is not
/// listed: it leaves nothing. Sandboxes that have ended stay listed until
/// `wardian rm` removes them, with their records and their work. WORK is what was
/// done in the workspaces and would be missed; `wardian diff NAME` shows it. It is
/// `applied` once `wardian apply` has brought all of it home. Times are in UTC.
///
/// Examples:
///
///   wardian ls
///   wardian ls --json | jq -r '.[] | select(.state == "running") | .name'
///   wardian ls --json | jq -r '.[] | select(any(.work[]; .applied | not)) | .name'
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Ls {
    /// Print a JSON array, one object for each sandbox
    #[arg(long)]
    json: bool,
}

impl Ls {
    pub(crate) fn run(self) -> Outcome {
        let listed: Vec<_> = sandboxes::all()?.iter().map(Listed::of).collect();
        if self.json {
            output::print_json(&listed)?;
            return Ok(ExitCode::SUCCESS);
        }
        if listed.is_empty() {
            output::say(
                Tone::Plain,
                "note",
                "there is no sandbox; `wardian run` makes one",
            );
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new([
            "NAME",
            "STATE",
            "STARTED",
            "ALLOWED",
            "DENIED",
            "WORK",
            "COMMAND",
            "WORKSPACE",
        ]);
        for sandbox in listed {
            if let Some(problem) = &sandbox.problem {
                output::say(
                    Tone::Warning,
                    "warning",
                    &format!("{}: {problem}", sandbox.name),
                );
            }
            table.row(sandbox.row());
        }
        table.write(&mut io::stdout().lock(), Colour::stdout())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A sandbox as listed. What its journal does not tell is null.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    state: State,
    started: Option<Timestamp>,
    command: Option<Vec<String>>,
    workspace: Option<String>,
    /// Why it stopped, as in the record's `sandbox_stopped`.
    cause: Option<StopCause>,
    exit: Option<Exit>,
    /// Names of the limits that it ran into.
    limits: Vec<String>,
    /// Why it was cut off, if its supervisor lived to say so.
    why: Option<String>,
    milliseconds: Option<u64>,
    allowed: Option<u64>,
    denied: Option<u64>,
    kept: Vec<String>,
    /// What was done in the workspaces, of those that hold work.
    work: Vec<KeptWorkspace>,
    directory: String,
    /// Why something above is missing that should be there.
    problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Running,
    Stopped,
    Lost,
}

impl Listed {
    fn of(sandbox: &Sandbox) -> Self {
        // Asked first: it may stop while we look.
        let alive = sandbox.is_alive();
        let (ends, mut problem) = match Ends::of(sandbox) {
            Ok(ends) => (ends, None),
            Err(error) => (Ends::default(), Some(format!("{error:#}"))),
        };
        let record = sandbox.state().read_record().unwrap_or_else(|error| {
            problem.get_or_insert(error.to_string());
            None
        });
        let ended = record.and_then(|record| record.ended);
        let state = match (alive, ends.stopped.is_some() || ended.is_some()) {
            (true, _) => State::Running,
            (false, true) => State::Stopped,
            (false, false) => State::Lost,
        };
        let (limits, why, work) = ended.map_or_else(Default::default, |ended| {
            (ended.limits, ended.why, ended.kept)
        });
        let (time, started) = ends.started.unzip();
        let (command, workspace) = started
            .map(|started| (started.command, started.workspace))
            .unzip();
        let stopped = ends.stopped.as_ref();
        Self {
            name: sandbox.name().to_owned(),
            state,
            started: time,
            command,
            workspace,
            cause: stopped.map(|stopped| stopped.cause),
            exit: stopped.and_then(|stopped| stopped.exit),
            limits,
            why,
            milliseconds: stopped.map(|stopped| stopped.milliseconds),
            allowed: stopped.map(|stopped| stopped.allowed),
            denied: stopped.map(|stopped| stopped.denied),
            kept: ends
                .stopped
                .iter()
                .flat_map(|stopped| &stopped.kept)
                .map(|kept| kept.path.clone())
                .collect(),
            work,
            directory: sandbox.directory().display().to_string(),
            problem,
        }
    }

    /// The state in a few words, which `--help` explains.
    fn shown_state(&self) -> (Tone, String) {
        let limits = || self.limits.join(" and ") + " limit";
        let and_limits = |ended: String| match self.limits[..] {
            [] => (Tone::Plain, ended),
            _ => (Tone::Warning, format!("{ended}, {}", limits())),
        };
        match (self.state, self.cause, self.exit) {
            (State::Running, ..) => (Tone::Good, "running".into()),
            (State::Lost, ..) => (Tone::Bad, "lost".into()),
            (State::Stopped, _, Some(Exit::Status(status))) => {
                and_limits(format!("exited {status}"))
            }
            (State::Stopped, _, Some(Exit::Signal(signal))) => {
                and_limits(format!("signal {signal}"))
            }
            (State::Stopped, Some(StopCause::Limit), None) => (Tone::Warning, limits()),
            (State::Stopped, Some(StopCause::Requested), None) => and_limits("cut off".into()),
            (State::Stopped, Some(StopCause::SupervisorLost), None) => (Tone::Bad, "died".into()),
            // Its journal does not tell, which may be what failed.
            (State::Stopped, None, None) if self.why.is_none() => (Tone::Bad, "died".into()),
            (State::Stopped, _, None) => (Tone::Bad, "failed".into()),
        }
    }

    fn row(self) -> [(Tone, String); 8] {
        let (tone, state) = self.shown_state();
        let work = match self.work.as_slice() {
            [] => (Tone::Plain, "-".into()),
            [one] => (Tone::Good, shortened(&kept::work(one))),
            several => {
                let work = kept::in_words(several).unwrap_or_default();
                (Tone::Good, shortened(&work))
            }
        };
        let or_dash = |text: Option<String>| (Tone::Plain, text.unwrap_or_else(|| "-".into()));
        [
            (Tone::Plain, self.name),
            (tone, state),
            or_dash(self.started.map(minutes)),
            or_dash(self.allowed.map(|count| count.to_string())),
            or_dash(self.denied.map(|count| count.to_string())),
            work,
            or_dash(
                self.command
                    .map(|command| shortened(&units::command(&command))),
            ),
            or_dash(self.workspace),
        ]
    }
}

/// The beginning of a command line, on one line; `--json` has all of it.
fn shortened(command: &str) -> String {
    const MOST: usize = 48;
    let words: Vec<&str> = command.split_whitespace().collect();
    let command = words.join(" ");
    match command.char_indices().nth(MOST) {
        None => command,
        Some(_) => command
            .chars()
            .take(MOST - 3)
            .chain("...".chars())
            .collect(),
    }
}

/// `2026-11-21 04:23`.
fn minutes(time: Timestamp) -> String {
    time.to_string()
        .replace('T', " ")
        .chars()
        .take(16)
        .collect()
}

/// What the two ends of a journal say.
#[derive(Debug, Default)]
struct Ends {
    started: Option<(Timestamp, SandboxStarted)>,
    stopped: Option<SandboxStopped>,
}

impl Ends {
    fn of(sandbox: &Sandbox) -> anyhow::Result<Self> {
        let path = sandbox.journal();
        let mut records = match read(&path) {
            Err(ReadError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            records => records.context("its journal cannot be read")?,
        };
        let first = records
            .next()
            .transpose()
            .context("its journal cannot be read")?;
        let last = last(&path).context("its journal cannot be read")?;
        let started = match first.map(|entry| entry.record) {
            Some(record) => match record.event {
                Event::SandboxStarted(started) => Some((record.time, started)),
                _ => None,
            },
            None => None,
        };
        let stopped = match last.map(|entry| entry.record.event) {
            Some(Event::SandboxStopped(stopped)) => Some(stopped),
            _ => None,
        };
        Ok(Self { started, stopped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_shortened() {
        assert_eq!(shortened(&"ü".repeat(48)), "ü".repeat(48));
        assert_eq!(shortened(&"ü".repeat(49)), "ü".repeat(45) + "...");
        assert_eq!(shortened("sh -c '\n  make\n'"), "sh -c ' make '");
    }
}
