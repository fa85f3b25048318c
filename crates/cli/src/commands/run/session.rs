//! One run from the caller's side: a supervisor is started, told, listened to, and waited for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, anyhow};
use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use wardian_linux::signal::SignalFd;
use wardian_sandbox::SandboxSpec;
use wardian_sandbox::channel::{Channel, ProtocolError};
use wardian_sandbox::ids::Privilege;
use wardian_sandbox::state::{Lock, SandboxDirectory, StateError, StateRoot};
use wardian_supervisor::limits::foresee;
use wardian_supervisor::log::LogLevel;
use wardian_supervisor::protocol::{
    End, Failure as StartFailure, FailureKind, FromSupervisor, How, Start, ToSupervisor,
};
use wardian_supervisor::sweep::{Sweep, remove, remove_empty_cgroups, remove_taken_back, sweep};

use super::briefing::Briefing;
use super::followers::{Followers, Readers};
use super::plan::Planned;
use super::relay::{Pipes, Terminal, Wiring};
use super::{log, missing, summary, volumes, workspaces};
use crate::failure::{Failure, Outcome};
use crate::kept;
use crate::output::{self, Tone};
use crate::sandboxes;

const TIME_IS_UP: u8 = 124;
pub(super) const SANDBOX_FAILED: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// What a program gets that the kernel killed for its memory.
const KILLED: u8 = 128 + 9;

/// Signals that are the program's business.
const FORWARDED: [Signal; 8] = [
    Signal::INT,
    Signal::TERM,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::TSTP,
    Signal::CONT,
];

/// Where a session's state lies.
pub(super) enum Place {
    /// In a directory that is to be made.
    New,
    /// In that of a sandbox that has ended, which nobody else can start meanwhile.
    Kept {
        directory: SandboxDirectory,
        lock: Lock,
    },
}

pub(super) fn run(mut planned: Planned, place: Place, quiet: bool) -> Outcome {
    let log = log::level()?;
    let root = sandboxes::state_root()?;
    clean_up_after_others(&root, quiet);
    let signals: Vec<i32> = FORWARDED
        .iter()
        .chain([&Signal::WINCH])
        .map(|signal| signal.as_raw())
        .collect();
    // Before any thread starts, so that all of them leave these signals alone.
    let signals = SignalFd::new(&signals).context("cannot listen for signals")?;
    let _in_use = volumes::take(&planned.spec.mounts).map_err(|it| it.status(SANDBOX_FAILED))?;
    let (directory, lock) = match place {
        Place::New => make(&root, &mut planned, quiet)?,
        Place::Kept { directory, lock } => (directory, lock),
    };
    let mut session = Session::begin(directory, lock, &mut planned, signals, log, quiet)?;
    let end = session.attend();
    session.finish(end, &root, &planned.spec)
}

/// What an earlier run's SIGKILLed supervisor left. A failure here must not keep anybody from working.
pub(super) fn clean_up_after_others(root: &StateRoot, quiet: bool) {
    match sweep(root) {
        Ok(Sweep { swept, failed }) => {
            for sandbox in swept.iter().filter(|_| !quiet) {
                if let Some(work) = kept::in_words(&sandbox.kept) {
                    let text = format!("{} was cut off; kept: {work}", sandbox.name);
                    output::say(Tone::Warning, "note", &text);
                }
            }
            for (name, error) in &failed {
                let text = format!("cannot clean up after {name}: {error}");
                output::say(Tone::Warning, "note", &text);
            }
        }
        Err(error) => output::say(
            Tone::Warning,
            "cannot clean up after an earlier run",
            &error.to_string(),
        ),
    }
}

/// The directory of a new sandbox, and in it what its workspaces start from.
fn make(
    root: &StateRoot,
    planned: &mut Planned,
    quiet: bool,
) -> Result<(SandboxDirectory, Lock), Failure> {
    let (directory, lock) = root.create(&planned.spec.name).map_err(not_created)?;
    let spec = &mut planned.spec;
    let made = workspaces::make_clones(&planned.clones, &directory, spec, quiet)
        .and_then(|()| Ok(planned.recorded.store(&directory, &spec.directory)?));
    match made {
        Ok(()) => Ok((directory, lock)),
        Err(failure) => {
            remove(&directory, lock).context("cannot clean up after a start that failed")?;
            Err(failure.status(SANDBOX_FAILED))
        }
    }
}

fn not_created(error: StateError) -> Failure {
    let hints = match &error {
        StateError::Exists(name) => vec![
            format!("`wardian resume {name}` goes on in it"),
            format!("`wardian rm {name}` removes it, and asks if there is work in it"),
        ],
        _ => Vec::new(),
    };
    let failure = Failure::from(error).status(SANDBOX_FAILED);
    hints.into_iter().fold(failure, Failure::hint)
}

struct Session {
    channel: Channel,
    supervisor: Child,
    directory: SandboxDirectory,
    signals: SignalFd,
    pipes: Option<Pipes>,
    terminal: Option<Terminal>,
    readers: Readers,
    followers: Followers,
    quiet: bool,
}

/// How the conversation with the supervisor ended.
enum Conversation {
    Ended(End),
    Failed(StartFailure),
    /// The supervisor went without a word.
    Lost(String),
}

impl Session {
    fn begin(
        directory: SandboxDirectory,
        lock: Lock,
        planned: &mut Planned,
        signals: SignalFd,
        log: LogLevel,
        quiet: bool,
    ) -> Result<Self, Failure> {
        for note in planned.notes.iter().filter(|_| !quiet) {
            output::say(Tone::Warning, "note", note);
        }
        let (channel, theirs) = Channel::pair().context("cannot make a socket")?;
        let supervisor = start_supervisor(theirs, &directory)?;
        let (pipes, streams): (_, Vec<OwnedFd>) = match planned.wiring {
            Wiring::Pipes => {
                let (pipes, streams) = Pipes::open()?;
                (Some(pipes), streams.into())
            }
            Wiring::Terminal(_) => {
                let terminal = io::stdin()
                    .as_fd()
                    .try_clone_to_owned()
                    .context("cannot duplicate the terminal")?;
                (None, vec![terminal])
            }
        };
        let session = Self {
            channel,
            supervisor,
            directory,
            signals,
            pipes,
            terminal: None,
            readers: planned.readers.clone(),
            followers: Followers::default(),
            quiet,
        };
        let start = Start {
            directory: session.directory.path().to_owned(),
            spec: planned.spec.clone(),
            policy: planned.sources.clone(),
            journal: planned.journal,
            prices: planned.prices.clone(),
            downloads: planned.downloads.clone(),
            log,
        };
        let mut descriptors = vec![lock.as_fd()];
        descriptors.extend(streams.iter().map(AsFd::as_fd));
        session
            .channel
            .send(&ToSupervisor::Start(Box::new(start)), &descriptors)
            .context("cannot talk to the supervisor")?;
        let briefing = Briefing {
            spec: &planned.spec,
            policy: &planned.policy,
            credentials: planned
                .credentials
                .held
                .iter()
                .map(|it| it.name.as_str())
                .collect(),
            limits: foresee(planned.policy.limits(), Privilege::of_this_process()),
            prompt: planned.prompt.as_deref(),
        };
        let parcel = &mut planned.copies.parcel;
        briefing
            .pack(parcel)
            .context("cannot describe the sandbox")?;
        let credentials = &mut planned.credentials;
        let mut descriptors: Vec<_> = credentials.socket().into_iter().collect();
        descriptors.push(parcel.as_fd());
        session
            .channel
            .send(
                &ToSupervisor::Credentials(credentials.held.clone()),
                &descriptors,
            )
            .context("cannot talk to the supervisor")?;
        drop(descriptors);
        credentials.handed_over();
        Ok(session)
    }

    /// Passes signals and messages on until the end. The descriptors for the program's streams are
    /// closed on this side by now, so that their end is seen.
    fn attend(&mut self) -> Conversation {
        loop {
            let mut ready = [
                PollFd::new(&self.channel, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Conversation::Lost(errno.to_string()),
            }
            let [message, signal] = ready.map(|fd| !fd.revents().is_empty());
            if signal {
                while let Ok(Some(signal)) = self.signals.next() {
                    self.pass_on(signal);
                }
            }
            if message {
                match self.hear() {
                    Ok(None) => {}
                    Ok(Some(outcome)) => return outcome,
                    Err(error) => return Conversation::Lost(format!("{error:#}")),
                }
            }
        }
    }

    fn pass_on(&self, signal: i32) {
        if signal == Signal::WINCH.as_raw() {
            if let Some(terminal) = &self.terminal {
                terminal.resize();
            }
            return;
        }
        // The supervisor may have gone: then `hear` says so.
        let _ = self.channel.send(&ToSupervisor::Signal(signal), &[]);
    }

    fn hear(&mut self) -> anyhow::Result<Option<Conversation>> {
        let (message, descriptors) = match self.channel.receive::<FromSupervisor>() {
            Ok(received) => received,
            Err(ProtocolError::Closed) => {
                return Ok(Some(Conversation::Lost(
                    "it ended without a word".to_owned(),
                )));
            }
            Err(error) => return Err(error.into()),
        };
        match message {
            FromSupervisor::Noted(note) => {
                if !self.quiet {
                    output::say(Tone::Warning, "note", &note.to_string());
                }
            }
            FromSupervisor::Ready => {
                if let Some(master) = descriptors.into_iter().next() {
                    self.terminal = Some(Terminal::join(master)?);
                }
            }
            FromSupervisor::Started => {
                let name = self.directory.name().as_str();
                self.followers = Followers::start(name, &self.readers);
            }
            FromSupervisor::Suspended => self.suspend()?,
            FromSupervisor::Ended(end) => return Ok(Some(Conversation::Ended(end))),
            FromSupervisor::Failed(failure) => return Ok(Some(Conversation::Failed(failure))),
        }
        Ok(None)
    }

    /// The program was stopped: so are we, until somebody continues us.
    fn suspend(&self) -> anyhow::Result<()> {
        if let Some(terminal) = &self.terminal {
            terminal.make_cooked();
        }
        rustix::process::kill_process(rustix::process::getpid(), Signal::STOP)
            .context("cannot stop")?;
        if let Some(terminal) = &self.terminal {
            terminal.make_raw()?;
            terminal.resize();
        }
        self.pass_on(Signal::CONT.as_raw());
        Ok(())
    }

    fn finish(mut self, outcome: Conversation, root: &StateRoot, spec: &SandboxSpec) -> Outcome {
        if let Some(pipes) = self.pipes.take() {
            pipes.drain();
        }
        if let Some(terminal) = self.terminal.take() {
            terminal.finish();
        }
        let waited = self.supervisor.wait();
        self.followers.finish();
        remove_empty_cgroups(&self.directory);
        match outcome {
            Conversation::Ended(end) => {
                if !self.quiet {
                    summary::print(&self.directory, spec.persistence, &end);
                    missing::explain(&end.how, spec);
                }
                Ok(ExitCode::from(status(&end.how)))
            }
            Conversation::Failed(failure) => {
                // What could not be removed is for the next command.
                let _ = remove_taken_back(&self.directory);
                Err(refused(failure))
            }
            Conversation::Lost(why) => {
                let how =
                    waited.map_or_else(|error| error.to_string(), |status| status.to_string());
                let last_words = log::last_words(&self.directory);
                // Its sandbox died with it; what is left on disk is ours to clean up.
                clean_up_after_others(root, self.quiet);
                let name = self.directory.name();
                let died = anyhow!("the supervisor of {name} died: {why} ({how})");
                let failure = Failure::from(match last_words {
                    Some(words) => anyhow!(words).context(died),
                    None => died,
                });
                let log = self.directory.log();
                Err(match log.exists() {
                    true => failure.hint(format!("{} may tell more", log.display())),
                    false => failure,
                }
                .status(SANDBOX_FAILED))
            }
        }
    }
}

fn refused(failure: StartFailure) -> Failure {
    let StartFailure { kind, error, hints } = failure;
    let status = match kind {
        FailureKind::Sandbox => SANDBOX_FAILED,
        FailureKind::NotExecutable => NOT_EXECUTABLE,
        FailureKind::NotFound => NOT_FOUND,
    };
    hints
        .into_iter()
        .fold(Failure::from(anyhow!(error)), Failure::hint)
        .status(status)
}

fn status(how: &How) -> u8 {
    match how {
        How::Program(ended) => u8::try_from(ended.shell_code()).unwrap_or(u8::MAX),
        How::TimeLimit => TIME_IS_UP,
        How::MemoryLimit => KILLED,
        How::DiskLimit | How::JournalFull | How::ClientGone | How::Lost(_) => SANDBOX_FAILED,
    }
}

/// The same binary again, with nothing of the caller's environment: variables can hold secrets, and
/// pid 1 inside starts as a copy of this process.
fn start_supervisor(socket: Channel, directory: &SandboxDirectory) -> Result<Child, Failure> {
    let log = directory.open_log()?;
    let child = Command::new("/proc/self/exe")
        .arg("supervise")
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .current_dir(Path::new("/"))
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        .spawn()
        .context("cannot start the supervisor")?;
    Ok(child)
}
