//! Carrying bytes between the caller's streams and the program's. The program never holds a
//! descriptor of the host: it gets pipes, or a terminal of the sandbox's own.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags};
use rustix::pipe::PipeFlags;
use rustix::termios::{OptionalActions, Termios, Winsize};
use wardian_sandbox::spec::TerminalSize;

/// What a pipe holds by default (pipe(7)).
const BUFFER: usize = 64 << 10;

/// How the program's streams are wired.
#[derive(Debug)]
pub(super) enum Wiring {
    /// Both stdin and stdout are a terminal: the program gets one of its own.
    Terminal(TerminalSize),
    Pipes,
}

impl Wiring {
    pub(super) fn of_this_process() -> Self {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        if !stdin.is_terminal() || !stdout.is_terminal() {
            return Wiring::Pipes;
        }
        let size = rustix::termios::tcgetwinsize(&stdin).ok();
        let usable = size.filter(|size| size.ws_row > 0 && size.ws_col > 0);
        Wiring::Terminal(usable.map_or(
            TerminalSize {
                rows: 24,
                columns: 80,
            },
            |size| TerminalSize {
                rows: size.ws_row,
                columns: size.ws_col,
            },
        ))
    }
}

/// Three pipes and the threads that carry their bytes.
#[derive(Debug)]
pub(super) struct Pipes {
    outputs: Vec<JoinHandle<io::Result<()>>>,
}

impl Pipes {
    /// The program's ends, in the order stdin, stdout, stderr; the threads start at once.
    pub(super) fn open() -> anyhow::Result<(Self, [OwnedFd; 3])> {
        let (their_stdin, our_stdin) = pipe()?;
        let (our_stdout, their_stdout) = pipe()?;
        let (our_stderr, their_stderr) = pipe()?;
        // Not joined: it may sit in a read that never returns.
        carry(duplicate(io::stdin().as_fd())?, our_stdin)?;
        let outputs = vec![
            carry(our_stdout, duplicate(io::stdout().as_fd())?)?,
            carry(our_stderr, duplicate(io::stderr().as_fd())?)?,
        ];
        Ok((Self { outputs }, [their_stdin, their_stdout, their_stderr]))
    }

    /// Waits until all that the program wrote has been passed on. Its ends are closed with the sandbox.
    pub(super) fn drain(self) {
        for output in self.outputs {
            // A reader that went away is the program's affair: it got SIGPIPE.
            let _ = output.join();
        }
    }
}

fn pipe() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")
}

fn duplicate(fd: BorrowedFd<'_>) -> anyhow::Result<OwnedFd> {
    fd.try_clone_to_owned().context("cannot duplicate a stream")
}

/// Copies until the end of `from` in a thread of its own, then closes both.
fn carry(from: OwnedFd, to: OwnedFd) -> anyhow::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new()
        .name("relay".to_owned())
        .spawn(move || copy(&from, &to))
        .context("cannot start a thread")
}

/// Not `io::copy`, which splices: splice(2) settles where in a file it will write before it waits for
/// bytes, so that of two streams going to one file (`> log 2>&1`) each would overwrite the other.
fn copy(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let filled = match rustix::io::read(from, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(filled) => filled,
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => {
                wait_for(from, PollFlags::IN)?;
                continue;
            }
            Err(errno) => return Err(errno.into()),
        };
        let mut rest = &buffer[..filled];
        while !rest.is_empty() {
            match rustix::io::write(to, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => wait_for(to, PollFlags::OUT)?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// The caller's streams may be shared with a program that made them nonblocking.
fn wait_for(fd: &OwnedFd, flags: PollFlags) -> io::Result<()> {
    let mut ready = [PollFd::new(fd, flags)];
    match rustix::event::poll(&mut ready, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The caller's terminal in raw mode, joined to the sandbox's. Dropping it restores the mode.
#[derive(Debug)]
pub(super) struct Terminal {
    master: OwnedFd,
    cooked: Termios,
    output: Option<JoinHandle<io::Result<()>>>,
}

impl Terminal {
    pub(super) fn join(master: OwnedFd) -> anyhow::Result<Self> {
        let stdin = io::stdin();
        let cooked =
            rustix::termios::tcgetattr(&stdin).context("cannot read the terminal's mode")?;
        let mut terminal = Self {
            output: None,
            cooked,
            master,
        };
        terminal.make_raw()?;
        carry(
            duplicate(stdin.as_fd())?,
            duplicate(terminal.master.as_fd())?,
        )?;
        terminal.output = Some(carry(
            duplicate(terminal.master.as_fd())?,
            duplicate(io::stdout().as_fd())?,
        )?);
        Ok(terminal)
    }

    pub(super) fn make_raw(&self) -> anyhow::Result<()> {
        let mut raw = self.cooked.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)
            .context("cannot put the terminal into raw mode")
    }

    pub(super) fn make_cooked(&self) {
        // A terminal that went away needs no mode.
        let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Drain, &self.cooked);
    }

    /// Gives the sandbox's terminal the size of the caller's.
    pub(super) fn resize(&self) {
        let size: Result<Winsize, _> = rustix::termios::tcgetwinsize(io::stdin());
        if let Ok(size) = size {
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    /// Shows what the program wrote last, and restores the mode.
    pub(super) fn finish(mut self) {
        if let Some(output) = self.output.take() {
            // Ends with EIO when the last process that had the other side is gone.
            let _ = output.join();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.make_cooked();
    }
}
