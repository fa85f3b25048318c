//! What is executed inside goes on record before it runs.
//!
//! One thread hears of every program that is to be executed, writes it down, and lets it go on. What cannot be
//! recorded does not start.

mod crowd;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use wardian_events::{
    Event, Journal, JournalError, ProcessExited, ProcessFound, ProcessStarted, visible_bytes,
};
use wardian_sandbox::builtin::ProcessReports;
use wardian_sandbox::builtin::processes::{Call, Next, Program, Report, Start};

use crate::ending::Ending;
use crate::protocol::How;
use crate::record::exit;
use crowd::Crowd;

/// The thread that records.
#[derive(Debug)]
pub(crate) struct Processes(JoinHandle<()>);

impl Processes {
    /// Records until the sandbox is gone. Should that fail, the sandbox ends: every program would wait.
    pub(crate) fn record(
        reports: ProcessReports,
        journal: Journal,
        ending: &Ending,
    ) -> io::Result<Self> {
        let ending = ending.clone();
        let thread = thread::Builder::new().name("processes".into());
        let thread = thread.spawn(move || {
            let mut recording = Recording {
                reports,
                journal,
                crowd: Crowd::new(Instant::now()),
                recorded: HashMap::new(),
            };
            if let Err(error) = recording.run() {
                ending.end(How::Lost(format!("processes cannot be seen: {error}")));
            }
            recording.end_window();
        });
        thread.map(Self)
    }

    /// Waits until all that was seen is recorded. To be called when the sandbox is gone.
    pub(crate) fn finish(self) {
        // A panic of that thread is in the log.
        let _ = self.0.join();
    }
}

struct Recording {
    reports: ProcessReports,
    journal: Journal,
    crowd: Crowd,
    /// Living processes of which a start is on record: only what comes of these is recorded.
    recorded: HashMap<u32, Latest>,
}

/// The last start of a process, which may execute one program after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Latest {
    Recorded,
    Counted,
}

impl Recording {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let patience = self.crowd.left(Instant::now());
            match self.reports.next(patience)? {
                Next::Report(Report::Starting { call, start }) => self.starting(call, start)?,
                Next::Report(Report::Found { pid, program }) => self.found(pid, program),
                Next::Report(Report::Exited {
                    pid,
                    ended,
                    milliseconds,
                }) => self.exited(ProcessExited {
                    pid,
                    exit: ended.map(exit),
                    milliseconds,
                }),
                Next::Nothing => self.end_window(),
                Next::Over => return Ok(()),
            }
        }
    }

    fn starting(&mut self, call: Call, start: Start) -> io::Result<()> {
        let now = Instant::now();
        if self.crowd.is_over(now) {
            self.end_window();
        }
        let answered = match self.put_down(start, now) {
            Ok(()) => self.reports.permit(call),
            Err(error) => {
                tracing::error!(%error, "a program is not started, for it cannot be recorded");
                self.reports.refuse(call)
            }
        };
        answered.map_err(io::Error::from)
    }

    fn put_down(&mut self, start: Start, now: Instant) -> Result<(), JournalError> {
        let pid = start.pid;
        if self.crowd.admits(&start.program.executable, now) {
            self.journal
                .append(&Event::ProcessStarted(started(start)))?;
            self.recorded.insert(pid, Latest::Recorded);
        } else if let Some(latest) = self.recorded.get_mut(&pid) {
            *latest = Latest::Counted;
        }
        Ok(())
    }

    fn found(&mut self, pid: u32, program: Program) {
        if self.recorded.get(&pid) == Some(&Latest::Recorded) {
            self.note(&Event::ProcessFound(ProcessFound {
                pid,
                executable: text(&program.executable),
                arguments: texts(&program.arguments),
                truncated: program.truncated,
            }));
        }
    }

    fn exited(&mut self, exited: ProcessExited) {
        if self.recorded.remove(&exited.pid).is_some() {
            self.note(&Event::ProcessExited(exited));
        }
    }

    fn end_window(&mut self) {
        for further in self.crowd.end(Instant::now()) {
            self.note(&Event::FurtherProcesses(further));
        }
    }

    /// What has happened already, and waits for nothing. Without this record, no other program will start.
    fn note(&self, event: &Event) {
        if let Err(error) = self.journal.append(event) {
            tracing::error!(%error, "{} cannot be recorded", event.kind());
        }
    }
}

fn started(start: Start) -> ProcessStarted {
    let Start {
        pid,
        parent,
        program,
        directory,
        unreadable,
    } = start;
    let Program {
        executable,
        arguments,
        truncated,
    } = program;
    ProcessStarted {
        pid,
        parent,
        executable: text(&executable),
        arguments: texts(&arguments),
        directory: text(&directory),
        truncated,
        unreadable,
    }
}

fn texts(bytes: &[OsString]) -> Vec<String> {
    bytes.iter().map(|bytes| text(bytes)).collect()
}

/// Text as it is; other bytes spelled out.
fn text(bytes: &OsStr) -> String {
    match bytes.to_str() {
        Some(text) => text.to_owned(),
        None => visible_bytes(bytes.as_bytes()).into_owned(),
    }
}
