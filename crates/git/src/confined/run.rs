//! Running commands: one poll loop feeds them, takes what they write, and keeps the time.

use std::ffi::{CString, OsStr};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use wardian_linux::jail::Jailed;
use wardian_linux::process::Exit;

use super::view::shown;
use super::{Confined, ConfinedError, layout};

/// Of what a command says on stderr, the end is kept.
const MAX_COMPLAINT: usize = 16 << 10;

const CHUNK: usize = 64 << 10;

/// One end of a command's stream.
pub(crate) enum Input<'a> {
    Nothing,
    From(&'a mut dyn Read),
    /// Another command's output.
    Pipe(OwnedFd),
}

pub(crate) enum Output<'a> {
    To(&'a mut dyn Write),
    /// Another command's input.
    Pipe(OwnedFd),
}

/// A command that runs.
pub(crate) struct Job<'a> {
    command: String,
    jailed: Jailed,
    feed: Option<Feed<'a>>,
    drain: Option<(io::PipeReader, &'a mut dyn Write)>,
    stderr: Option<io::PipeReader>,
    said: Vec<u8>,
    exited: bool,
}

struct Feed<'a> {
    pipe: io::PipeWriter,
    source: &'a mut dyn Read,
    buffer: Vec<u8>,
    written: usize,
}

impl Confined<'_> {
    pub(crate) fn start<'a, A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: Input<'a>,
        output: Output<'a>,
    ) -> Result<Job<'a>, ConfinedError> {
        let arguments: Vec<CString> = arguments
            .into_iter()
            .map(|argument| layout::c_string(argument.as_ref()))
            .collect();
        let command = arguments
            .first()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let failed = |source| ConfinedError::Stream {
            command: command.clone(),
            source,
        };
        let (stdin, feed) = match input {
            Input::Nothing => (
                std::fs::File::open("/dev/null").map_err(failed)?.into(),
                None,
            ),
            Input::Pipe(fd) => (fd, None),
            Input::From(source) => {
                let (reader, pipe) = io::pipe().map_err(failed)?;
                let feed = Feed {
                    pipe,
                    source,
                    buffer: Vec::new(),
                    written: 0,
                };
                (OwnedFd::from(reader), Some(feed))
            }
        };
        let (stdout, drain) = match output {
            Output::Pipe(fd) => (fd, None),
            Output::To(sink) => {
                let (pipe, writer) = io::pipe().map_err(failed)?;
                (OwnedFd::from(writer), Some((pipe, sink)))
            }
        };
        let (stderr, complaints) = io::pipe().map_err(failed)?;
        let ours = [
            feed.as_ref().map(|feed| feed.pipe.as_fd()),
            drain.as_ref().map(|(pipe, _)| pipe.as_fd()),
            Some(stderr.as_fd()),
        ];
        for fd in ours.into_iter().flatten() {
            rustix::io::ioctl_fionbio(fd, true).map_err(|errno| failed(errno.into()))?;
        }
        let jailed = layout::jail(self.git, self.view, self.limits.jail)
            .spawn(
                &layout::program(self.git, self.view, &arguments),
                [stdin, stdout, complaints.into()],
            )
            .map_err(ConfinedError::Jail)?;
        Ok(Job {
            command,
            jailed,
            feed,
            drain,
            stderr: Some(stderr),
            said: Vec::new(),
            exited: false,
        })
    }

    /// Runs a command to its end.
    pub(crate) fn run<'a, A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: Input<'a>,
        output: &'a mut dyn Write,
    ) -> Result<(), ConfinedError> {
        let mut job = self.start(arguments, input, Output::To(output))?;
        attend(&mut [&mut job], self.limits.time)?;
        job.finish()
    }

    /// Runs a command and returns its output of at most `limit` bytes.
    pub(crate) fn output<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        limit: usize,
    ) -> Result<Vec<u8>, ConfinedError> {
        self.answer(arguments, &mut io::empty(), limit)
    }

    /// As [`output`](Self::output), of a command that reads `input`.
    pub(crate) fn answer<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: &mut dyn Read,
        limit: usize,
    ) -> Result<Vec<u8>, ConfinedError> {
        let mut bounded = Bounded {
            bytes: Vec::new(),
            limit,
        };
        let outcome = self.run(arguments, Input::From(input), &mut bounded);
        match outcome {
            Err(ConfinedError::Stream { command, source })
                if source.kind() == io::ErrorKind::FileTooLarge =>
            {
                Err(ConfinedError::TooMuchOutput { command, limit })
            }
            other => other.map(|()| bounded.bytes),
        }
    }
}

struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Attends to all of `jobs` until each has ended. `time` is how long they may keep us waiting.
pub(crate) fn attend(jobs: &mut [&mut Job<'_>], time: Duration) -> Result<(), ConfinedError> {
    let mut left = time;
    while let Some(command) = jobs
        .iter()
        .find(|job| !job.has_ended())
        .map(|job| &job.command)
    {
        let waiting = jobs.iter().filter(|job| !job.has_ended());
        let mut ready: Vec<PollFd<'_>> = waiting.flat_map(|job| job.waits_for()).collect();
        let started = Instant::now();
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let count = match rustix::event::poll(&mut ready, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => {
                return Err(ConfinedError::Stream {
                    command: command.clone(),
                    source: errno.into(),
                });
            }
            Ok(count) => count,
        };
        left = left.saturating_sub(started.elapsed());
        if count == 0 || left.is_zero() {
            return Err(ConfinedError::TimedOut {
                command: command.clone(),
                after: time,
            });
        }
        drop(ready);
        for job in jobs.iter_mut().filter(|job| !job.has_ended()) {
            job.proceed()?;
        }
    }
    Ok(())
}

impl Job<'_> {
    fn has_ended(&self) -> bool {
        self.is_silent() && self.exited
    }

    fn is_silent(&self) -> bool {
        self.drain.is_none() && self.stderr.is_none()
    }

    fn waits_for(&self) -> impl Iterator<Item = PollFd<'_>> {
        let feed = self.feed.as_ref().map(|feed| feed.pipe.as_fd());
        let drain = self.drain.as_ref().map(|(pipe, _)| pipe.as_fd());
        let stderr = self.stderr.as_ref().map(AsFd::as_fd);
        [
            (feed, PollFlags::OUT),
            (drain, PollFlags::IN),
            (stderr, PollFlags::IN),
            (self.is_silent().then(|| self.jailed.pidfd()), PollFlags::IN),
        ]
        .into_iter()
        .filter_map(|(fd, flags)| Some(PollFd::from_borrowed_fd(fd?, flags)))
    }

    /// Does what can be done without waiting for the command.
    fn proceed(&mut self) -> Result<(), ConfinedError> {
        let outcome = self.feed().and_then(|()| self.drain());
        outcome.map_err(|source| ConfinedError::Stream {
            command: self.command.clone(),
            source,
        })?;
        self.listen();
        if self.is_silent() {
            let mut ready = [PollFd::from_borrowed_fd(self.jailed.pidfd(), PollFlags::IN)];
            self.exited = rustix::event::poll(&mut ready, Some(&Timespec::default())) == Ok(1);
        }
        Ok(())
    }

    fn feed(&mut self) -> io::Result<()> {
        let Some(feed) = &mut self.feed else {
            return Ok(());
        };
        loop {
            if feed.written == feed.buffer.len() {
                feed.buffer.resize(CHUNK, 0);
                let read = feed.source.read(&mut feed.buffer)?;
                feed.buffer.truncate(read);
                feed.written = 0;
                if read == 0 {
                    self.feed = None;
                    return Ok(());
                }
            }
            match feed.pipe.write(&feed.buffer[feed.written..]) {
                Ok(count) => feed.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The command has heard enough; how it ends says whether that is an error.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.feed = None;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn drain(&mut self) -> io::Result<()> {
        let Some((pipe, sink)) = &mut self.drain else {
            return Ok(());
        };
        let mut chunk = [0; CHUNK];
        match pipe.read(&mut chunk) {
            Ok(0) => self.drain = None,
            Ok(count) => sink.write_all(&chunk[..count])?,
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn listen(&mut self) {
        let Some(pipe) = &mut self.stderr else {
            return;
        };
        let mut chunk = [0; 4096];
        match pipe.read(&mut chunk) {
            Ok(0) => self.stderr = None,
            Ok(count) => {
                self.said.extend_from_slice(&chunk[..count]);
                let excess = self.said.len().saturating_sub(MAX_COMPLAINT);
                self.said.drain(..excess);
            }
            Err(error) if is_transient(&error) => {}
            Err(_) => self.stderr = None,
        }
    }

    /// After [`attend`].
    pub(crate) fn finish(mut self) -> Result<(), ConfinedError> {
        let exit = self.jailed.wait().map_err(ConfinedError::Jail)?;
        match exit {
            Exit::Code(0) => Ok(()),
            exit => Err(ConfinedError::Failed {
                said: visible(&self.said),
                command: self.command,
                exit,
            }),
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Git repeats what the agent wrote: nothing of it may reach a terminal as more than text.
fn visible(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines = text.lines().map(|line| {
        let line = line.replace('\t', " ");
        line.replace(
            |character: char| character.is_control() || is_invisible(character),
            "?",
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Characters that reorder or hide text.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

impl Confined<'_> {
    pub(crate) fn unexpected(&self, command: &str, output: &[u8]) -> ConfinedError {
        ConfinedError::Unexpected {
            command: command.to_owned(),
            output: shown(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_cannot_steer_a_terminal() {
        let said = b"error: \x1b[2J\x1b]0;title\x07bad\nremote:\t\xe2\x80\xaereversed \xff";
        assert_eq!(
            visible(said),
            "error: ?[2J?]0;title?bad\nremote: ?reversed \u{fffd}"
        );
    }
}
