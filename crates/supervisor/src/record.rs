//! The two things written down about a sandbox: its journal, and the record that `ls` and a later
//! clean-up read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use wardian_events::{
    Bounds, Command, CommandExited, CommandStarted, Event, Exit, Journal, LimitReached,
    PolicyInForce, PrivilegeMode, SandboxStarted, SandboxStopped, StopCause, SystemClock, Tally,
};
use wardian_linux::landlock;
use wardian_policy::Policy;
use wardian_sandbox::SandboxSpec;
use wardian_sandbox::builtin::Ended;
use wardian_sandbox::ids::Privilege;
use wardian_sandbox::janitor::Janitor;
use wardian_sandbox::record::{KeptWorkspace, SandboxRecord};
use wardian_sandbox::state::SandboxDirectory;

use crate::failure::Failed;
use crate::files::{self, Start};
use crate::limits::Placed;
use crate::protocol::{End, How, JOURNAL};
use crate::sweep::{self, HowEnded, Settled, unix_time};

/// The program is the first command of its sandbox.
const PROGRAM: Command = Command(1);

/// Writes both, in step.
#[derive(Debug)]
pub(crate) struct Recorder {
    directory: SandboxDirectory,
    record: SandboxRecord,
    journal: Journal,
    bounds: Bounds,
    spec: SandboxSpec,
    begun: Instant,
    janitor: Option<Arc<Janitor>>,
    program: Program,
    /// How its home was when it was let go.
    since: Option<Start>,
    limits: Vec<LimitReached>,
}

/// How far a sandbox's program has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Waiting,
    /// From here on there is something that would be missed.
    Ran,
}

impl Recorder {
    pub(crate) fn begin(
        directory: &SandboxDirectory,
        spec: &SandboxSpec,
        privilege: Privilege,
        bounds: Bounds,
    ) -> Result<Self, Failed> {
        let record = SandboxRecord {
            command: shown(spec),
            workspaces: spec.workspaces.clone(),
            persistence: spec.persistence,
            privilege,
            started: unix_time(),
            supervisor: std::process::id(),
            cgroups: Vec::new(),
            ended: None,
        };
        let journal = open_journal(directory, &record, bounds)?;
        Ok(Self {
            directory: directory.clone(),
            record,
            journal,
            bounds,
            spec: spec.clone(),
            begun: Instant::now(),
            janitor: None,
            program: Program::Waiting,
            since: None,
            limits: Vec::new(),
        })
    }

    /// Who helps to remove what the sandbox leaves.
    pub(crate) fn hired(&mut self, janitor: Option<Janitor>) {
        self.janitor = janitor.map(Arc::new);
    }

    pub(crate) fn janitor(&self) -> Option<Arc<Janitor>> {
        self.janitor.clone()
    }

    pub(crate) fn directory(&self) -> &SandboxDirectory {
        &self.directory
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Nothing happens that is not written down first.
    pub(crate) fn append(&self, event: &Event) -> Result<(), Failed> {
        self.journal
            .append(event)
            .map(drop)
            .map_err(|error| Failed::sandbox(format!("{error}: {}", source(&error))))
    }

    /// Notes where the cgroups are, so that somebody else can remove them.
    pub(crate) fn cgroups(&mut self, paths: Vec<PathBuf>) -> Result<(), Failed> {
        self.record.cgroups = paths;
        self.directory
            .write_record(&self.record)
            .map_err(Failed::sandbox)
    }

    pub(crate) fn started(&self, policy: &Policy, placed: &Placed) -> Result<(), Failed> {
        let spec = &self.spec;
        self.append(&Event::SandboxStarted(SandboxStarted {
            name: spec.name.to_string(),
            command: self.record.command.clone(),
            workspace: spec.workspaces.main().path.display().to_string(),
            uid: spec.user.uid,
            mode: match self.record.privilege {
                Privilege::Root => PrivilegeMode::Root,
                Privilege::Rootless => PrivilegeMode::Rootless,
            },
            wardian: env!("CARGO_PKG_VERSION").to_owned(),
            enforced: always_enforced().chain(placed.enforced()).collect(),
        }))?;
        let rules = policy.describe().rules.len() as u64;
        self.append(&Event::PolicyInForce(PolicyInForce::new(
            policy.canonical_json(),
            rules,
        )))?;
        for missing in placed.not_enforced() {
            self.append(&Event::LimitNotEnforced(missing))?;
        }
        Ok(())
    }

    pub(crate) fn command_started(&mut self, pid: u32) -> Result<(), Failed> {
        self.since = Some(Start::of(&self.directory.layers().join("home")));
        self.append(&Event::CommandStarted(CommandStarted {
            command: PROGRAM,
            argv: self.record.command.clone(),
            pid,
        }))
    }

    /// The program is being executed.
    pub(crate) fn program_runs(&mut self) {
        self.program = Program::Ran;
    }

    pub(crate) fn limit_reached(&mut self, reached: LimitReached) -> Result<(), Failed> {
        self.limits.push(reached.clone());
        self.append(&Event::LimitReached(reached))
    }

    /// There is room for this when there is for nothing else.
    pub(crate) fn journal_was_full(&mut self) -> Result<(), Failed> {
        self.limit_reached(LimitReached {
            limit: JOURNAL.to_owned(),
            value: format!("{} bytes", self.bounds.run),
            action: "the sandbox was ended".to_owned(),
        })
    }

    pub(crate) fn command_exited(&self, ended: Ended) -> Result<(), Failed> {
        self.append(&Event::CommandExited(CommandExited {
            command: PROGRAM,
            exit: exit(ended),
            milliseconds: self.milliseconds(),
        }))
    }

    /// Keeps what would be missed, removes the rest, and closes the journal.
    pub(crate) fn settle(self, how: How) -> Result<End, Failed> {
        let ended = HowEnded {
            status: match &how {
                How::Program(ended) => Some(ended.shell_code()),
                _ => None,
            },
            limits: self.limits.iter().map(|it| it.limit.clone()).collect(),
            why: match &how {
                How::Lost(why) => Some(why.clone()),
                _ => None,
            },
        };
        let record = self.record.clone();
        let found = sweep::look(&self.directory, &record).map_err(Failed::sandbox)?;
        let home = self
            .since
            .as_ref()
            .map(|since| (self.spec.user.home.as_path(), since));
        for changed in files::changed(&self.directory, &record, &found, home) {
            // A journal that fails now keeps nobody's work from being kept.
            let _ = self.journal.append(&Event::FilesChanged(changed));
        }
        let janitor = self.janitor.as_deref();
        let Settled { kept, dropped } =
            sweep::settle(&self.directory, record, ended, found, janitor)
                .map_err(Failed::sandbox)?;
        self.stopped(&how, &kept)?;
        Ok(End {
            kept,
            dropped,
            milliseconds: self.milliseconds(),
            how,
            limits: self.limits,
        })
    }

    /// As [`settle`](Self::settle), after a failure of which the client hears by itself. What could not
    /// be cleaned up is found by the next sweep.
    pub(crate) fn settle_failure(self, failed: &Failed) {
        let settled = match self.program {
            Program::Ran => self.settle(How::Lost(failed.error.clone())).map(drop),
            Program::Waiting => self.take_back(failed),
        };
        if let Err(error) = settled {
            tracing::error!("cannot clean up: {}", error.error);
        }
    }

    /// The start failed before the program ran: nothing stays of it, and its name is free again. Unless
    /// there was something before this start.
    fn take_back(self, failed: &Failed) -> Result<(), Failed> {
        // Whatever becomes of the rest, a sweep that finds this removes it.
        let _ = self.journal.append(&Event::SandboxStopped(SandboxStopped {
            cause: StopCause::StartFailed,
            exit: None,
            milliseconds: self.milliseconds(),
            allowed: 0,
            denied: 0,
            kept: Vec::new(),
        }));
        let janitor = self.janitor.as_deref();
        if !sweep::is_worth_keeping(&self.directory, &self.record) {
            return sweep::take_back(&self.directory, &self.record, janitor)
                .map_err(Failed::sandbox);
        }
        let ended = HowEnded {
            why: Some(failed.error.clone()),
            ..HowEnded::default()
        };
        let found = sweep::look(&self.directory, &self.record).map_err(Failed::sandbox)?;
        sweep::settle(&self.directory, self.record, ended, found, janitor)
            .map(drop)
            .map_err(Failed::sandbox)
    }

    fn stopped(&self, how: &How, kept: &[KeptWorkspace]) -> Result<(), Failed> {
        let tally = Tally::of_commands(&self.directory.journal()).unwrap_or_default();
        self.append(&Event::SandboxStopped(SandboxStopped {
            cause: match how {
                How::Program(_) => StopCause::Exited,
                How::TimeLimit | How::DiskLimit | How::MemoryLimit | How::JournalFull => {
                    StopCause::Limit
                }
                How::ClientGone => StopCause::Requested,
                How::Lost(_) => StopCause::Failed,
            },
            exit: match how {
                How::Program(ended) => Some(exit(*ended)),
                _ => None,
            },
            milliseconds: self.milliseconds(),
            allowed: tally.allowed,
            denied: tally.denied,
            kept: kept.iter().map(sweep::on_record).collect(),
        }))
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What holds in every sandbox that starts, limits apart.
fn always_enforced() -> impl Iterator<Item = String> {
    let landlock = landlock::abi().map(|abi| format!("landlock (version {abi})"));
    [
        "namespaces (user, mount, pid, network, ipc, uts, cgroup)",
        "network seal",
        "no new privileges",
        "seccomp filter",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain(landlock)
}

/// Writes the record too. Whatever the moment at which this is cut off, a clean-up knows what to do: a
/// directory without a record is nothing, a record that tells of no end is of a sandbox that was killed.
fn open_journal(
    directory: &SandboxDirectory,
    record: &SandboxRecord,
    bounds: Bounds,
) -> Result<Journal, Failed> {
    let (path, name) = (directory.journal(), directory.name().as_str());
    let failed =
        |error: &dyn std::error::Error| Failed::sandbox(format!("{error}: {}", source(error)));
    let write = |record| directory.write_record(record).map_err(Failed::sandbox);
    let Some(earlier) = directory.read_record().map_err(Failed::sandbox)? else {
        let journal = Journal::create_bounded(&path, name, SystemClock, bounds)
            .map_err(|error| failed(&error))?;
        write(record)?;
        return Ok(journal);
    };
    write(record)?;
    match Journal::reopen_bounded(&path, name, SystemClock, bounds) {
        Ok(reopened) => Ok(reopened.journal),
        Err(error) => {
            write(&earlier)?;
            Err(failed(&error))
        }
    }
}

fn shown(spec: &SandboxSpec) -> Vec<String> {
    spec.arguments
        .iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect()
}

pub(crate) fn exit(ended: Ended) -> Exit {
    match ended {
        Ended::Code(code) => Exit::Status(code),
        Ended::Signal(signal) => Exit::Signal(signal),
    }
}

fn source(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| "no further cause".to_owned(), ToString::to_string)
}
