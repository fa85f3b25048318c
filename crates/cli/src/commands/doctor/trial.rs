//! One sandbox, started by `wardian run`, from its start to its removal.

use std::ffi::OsString;
use std::io::{self, Read};
use std::ops::Deref;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::de::DeserializeOwned;
use wardian_events::Event;
use wardian_sandbox::SandboxName;
use wardian_sandbox::state::SandboxDirectory;
use wardian_supervisor::sweep;

use super::stage::Stage;

/// A start that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(30);
/// After a sandbox's end, how long its last process may take to go.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// The directory of a sandbox, which is removed with its record when this is dropped.
#[derive(Debug)]
pub(super) struct Passing(SandboxDirectory);

impl Passing {
    pub(super) fn new(stage: &Stage) -> Self {
        let name = SandboxName::generate("doctor");
        Self(SandboxDirectory::at(
            stage.root.path().join(name.as_str()),
            name,
        ))
    }

    /// It is no error if the sandbox never came to be.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        remove(&self.0)
    }
}

impl Deref for Passing {
    type Target = SandboxDirectory;

    fn deref(&self) -> &SandboxDirectory {
        &self.0
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // After an error, of which the person hears.
        let _ = remove(&self.0);
    }
}

/// A sandbox that has ended.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) directory: Passing,
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Trial {
    /// Runs this binary inside with one of the stage's tasks, and waits.
    pub(super) fn run(stage: &Stage, options: &[OsString], task: &str) -> anyhow::Result<Self> {
        Self::of(stage, options, &stage.inside(task))
    }

    /// Runs any program.
    pub(super) fn of(
        stage: &Stage,
        options: &[OsString],
        program: &[OsString],
    ) -> anyhow::Result<Self> {
        let directory = Passing::new(stage);
        let mut command = stage.command(directory.name(), options, program);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = start(&mut command)?;
        let stdout = child.stdout.take().map(collect).transpose()?;
        let stderr = child.stderr.take().map(collect).transpose()?;
        let status = wait(&mut child, stage)?;
        Ok(Self {
            directory,
            status,
            stdout: text(stdout),
            stderr: text(stderr),
        })
    }

    /// What the program inside told, or why there is nothing.
    pub(super) fn facts<T: DeserializeOwned>(&self) -> Result<T, String> {
        if !self.status.success() {
            let why = self
                .stderr
                .lines()
                .filter(|line| !line.starts_with("hint:"))
                .map(|line| line.trim().trim_start_matches("error: "))
                .collect::<Vec<_>>();
            return Err(match why.is_empty() {
                true => self.status.to_string(),
                false => why.join(" "),
            });
        }
        serde_json::from_str(&self.stdout)
            .map_err(|error| format!("the program inside did not tell: {error}"))
    }

    /// What `wardian run` told to do next.
    pub(super) fn hint(&self) -> Option<&str> {
        let mut lines = self.stderr.lines();
        lines.find_map(|line| line.strip_prefix("hint: "))
    }

    /// All that was recorded, the sandbox's probe of itself included.
    pub(super) fn events(&self) -> anyhow::Result<Vec<Event>> {
        wardian_events::read(&self.directory.journal())?
            .map(|entry| Ok(entry?.record.event))
            .collect()
    }

    pub(super) fn remove(self) -> anyhow::Result<()> {
        self.directory.remove()
    }
}

pub(super) fn start(command: &mut Command) -> anyhow::Result<Child> {
    command.spawn().context("cannot start `wardian run`")
}

fn remove(directory: &SandboxDirectory) -> anyhow::Result<()> {
    if !directory.path().exists() {
        return Ok(());
    }
    let begun = Instant::now();
    loop {
        if let Some(lock) = directory.try_lock()? {
            return Ok(sweep::remove(directory, lock)?);
        }
        if begun.elapsed() > GRACE {
            bail!("the sandbox {} does not end", directory.name());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for the end of a `wardian run`. A signal to us ends it, and then us.
pub(super) fn wait(child: &mut Child, stage: &Stage) -> anyhow::Result<ExitStatus> {
    let pid = Pid::from_child(child);
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let begun = Instant::now();
    let mut interrupted = false;
    loop {
        let mut ready = [
            PollFd::new(&pidfd, PollFlags::IN),
            PollFd::new(&stage.signals, PollFlags::IN),
        ];
        let left = LONGEST.saturating_sub(begun.elapsed());
        let timeout = Timespec::try_from(left)?;
        match rustix::event::poll(&mut ready, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let [ended, signal] = ready.map(|fd| !fd.revents().is_empty());
        if ended {
            break;
        }
        if signal && stage.signals.next()?.is_some() {
            interrupted = true;
            // A Ctrl-C reached it as well; another signal only us.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        } else if left.is_zero() {
            let _ = child.kill();
        }
    }
    let status = child.wait()?;
    if interrupted || stage.signals.next()?.is_some() {
        bail!("interrupted");
    }
    if begun.elapsed() >= LONGEST {
        bail!("a sandbox did not end within {} s", LONGEST.as_secs());
    }
    Ok(status)
}

fn collect(mut from: impl Read + Send + 'static) -> io::Result<JoinHandle<Vec<u8>>> {
    std::thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is worth having.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

fn text(collected: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = collected.and_then(|thread| thread.join().ok());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// How long the simplest sandbox takes: the middle of five.
pub(super) fn start_time(stage: &Stage) -> anyhow::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let directory = Passing::new(stage);
        let mut command = stage.command(directory.name(), &[], &["true".into()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let waited = wait(&mut start(&mut command)?, stage);
        times.push(begun.elapsed());
        directory.remove()?;
        waited?;
    }
    times.sort();
    Ok(times[times.len() / 2])
}
