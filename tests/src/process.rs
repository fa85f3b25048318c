//! Running programs with a time limit, and what came of it.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    Signalled(i32),
    /// We killed it.
    OutOfTime(Duration),
}

/// A program that has ended, and all that it wrote.
pub struct Finished {
    pub shown: String,
    pub end: End,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub took: Duration,
}

impl Finished {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Panics with everything there is to know unless the program exited with 0.
    #[track_caller]
    pub fn success(self) -> Self {
        self.exited(0)
    }

    #[track_caller]
    pub fn exited(self, code: i32) -> Self {
        assert!(
            self.end == End::Exited(code),
            "wanted exit code {code}:\n{self:?}"
        );
        self
    }

    #[track_caller]
    pub fn failed(self) -> Self {
        assert!(
            matches!(self.end, End::Exited(1..)),
            "wanted a failure:\n{self:?}"
        );
        self
    }

    /// Ended, well or not, within `limit`.
    #[track_caller]
    pub fn within(self, limit: Duration) -> Self {
        assert!(
            !matches!(self.end, End::OutOfTime(_)) && self.took <= limit,
            "took longer than {limit:?}:\n{self:?}"
        );
        self
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clip = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let from = text.len().saturating_sub(6000);
            let from = (from..=text.len())
                .find(|&at| text.is_char_boundary(at))
                .unwrap_or(0);
            text[from..].to_owned()
        };
        writeln!(f, "$ {}\n{:?} after {:?}", self.shown, self.end, self.took)?;
        writeln!(
            f,
            "--- stdout\n{}\n--- stderr\n{}",
            clip(&self.stdout),
            clip(&self.stderr)
        )
    }
}

/// What a program reads.
#[derive(Debug, Clone)]
pub enum Input {
    Nothing,
    Bytes(Vec<u8>),
    /// Standard input is not open at all.
    Closed,
    /// A pipe that stays open until the program ends.
    Open,
}

/// A program that may still run. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    shown: String,
    started: Instant,
    stdin: Option<std::process::ChildStdin>,
    pumps: Pumps,
    done: bool,
}

#[derive(Debug)]
struct Pumps {
    out: Option<JoinHandle<Vec<u8>>>,
    err: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    pub fn start(mut command: Command, input: Input) -> Self {
        let shown = show(&command);
        match input {
            Input::Nothing => command.stdin(Stdio::null()),
            Input::Bytes(_) | Input::Open => command.stdin(Stdio::piped()),
            Input::Closed => {
                command = closing_stdin(&command);
                command.stdin(Stdio::null())
            }
        };
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
        let mut stdin = child.stdin.take();
        if let Input::Bytes(bytes) = input {
            let mut stdin = stdin.take().unwrap();
            // A program that does not read all of it closes the pipe.
            std::thread::spawn(move || drop(stdin.write_all(&bytes)));
        }
        let pumps = Pumps {
            out: Some(pump(child.stdout.take().unwrap())),
            err: Some(pump(child.stderr.take().unwrap())),
        };
        Self {
            child,
            shown,
            started: Instant::now(),
            stdin,
            pumps,
            done: false,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to a program that was started with [`Input::Open`].
    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("kill {}: {error}", self.shown));
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn wait(mut self, limit: Duration) -> Finished {
        let end = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break end_of(status);
            }
            if self.started.elapsed() > limit {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break End::OutOfTime(limit);
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        self.done = true;
        let took = self.started.elapsed();
        // What outlives the program may hold the pipes open: do not wait for that.
        let grace = Instant::now() + Duration::from_secs(5);
        let stdout = finish(self.pumps.out.take(), grace);
        let stderr = finish(self.pumps.err.take(), grace);
        Finished {
            shown: self.shown.clone(),
            end,
            stdout,
            stderr,
            took,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn pump(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

fn finish(pump: Option<JoinHandle<Vec<u8>>>, until: Instant) -> Vec<u8> {
    let pump = pump.unwrap();
    while !pump.is_finished() {
        if Instant::now() > until {
            return b"<the pipe is still open: somebody outlived the program>".to_vec();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    pump.join().unwrap()
}

fn end_of(status: ExitStatus) -> End {
    status
        .code()
        .map_or_else(|| End::Signalled(status.signal().unwrap_or(0)), End::Exited)
}

/// The same command with descriptor 0 closed, by way of a shell.
fn closing_stdin(command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "exec \"$@\" <&-", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    shell.env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    if let Some(directory) = command.get_current_dir() {
        shell.current_dir(directory);
    }
    shell
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
