//! Pid 1's half: takes calls, looks, reports, and notices ends.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use wardian_linux::procfs::Processes;
use wardian_linux::seccomp::{CallId, Listener, WaitingExec};
use wardian_linux::{SyscallError, SyscallResult, process};

use super::look::{self, Looked};
use super::pipe::Pipe;
use super::{Call, NOT_PERMITTED, Program, Report, Start};
use crate::builtin::protocol::Ended;

/// When a process is looked at again, each time after the last: once the call that started it is over on most
/// machines, and, where it runs something else or the call seems not to be over, later.
const LOOKS: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];
/// The first look after which something else is reported.
const SURE: usize = 1;
/// Handled in one turn, so that nothing else waits for long.
const AT_ONCE: usize = 16;
/// What events of the listener carry. Those of processes carry their numbers, which are greater.
const LISTENER: u64 = 0;

/// Sees what is executed below one filter.
#[derive(Debug)]
pub(in crate::builtin) struct Watch {
    listener: Listener,
    pipe: Pipe,
    processes: Processes,
    ready: OwnedFd,
    watched: HashMap<i32, Watched>,
    /// In order of the time at which they are due.
    again: [VecDeque<(Instant, i32)>; LOOKS.len()],
}

/// A process that lives, as far as we know.
#[derive(Debug)]
struct Watched {
    pidfd: OwnedFd,
    began: Instant,
    start: Start,
    before: Option<Program>,
}

impl Watch {
    /// Also returns what the supervisor gets: another handle of the listener, and the other end of the pipe.
    pub(in crate::builtin) fn new(listener: OwnedFd) -> SyscallResult<(Self, [OwnedFd; 2])> {
        let failed = |call| move |error| SyscallError::new(call, error);
        let theirs = listener
            .try_clone()
            .map_err(failed("fcntl(<listener>, F_DUPFD_CLOEXEC)"))?;
        let (pipe, end) = Pipe::pair().map_err(failed("socketpair(AF_UNIX)"))?;
        let failed = |call| move |errno| SyscallError::new(call, errno);
        let ready = epoll::create(CreateFlags::CLOEXEC).map_err(failed("epoll_create1()"))?;
        epoll::add(
            &ready,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )
        .map_err(failed("epoll_ctl(<listener>)"))?;
        let watch = Self {
            listener: Listener::from(listener),
            pipe,
            processes: Processes::open()?,
            ready,
            watched: HashMap::new(),
            again: Default::default(),
        };
        Ok((watch, [theirs, end]))
    }

    /// How long to wait at most, if [`as_fd`](AsFd::as_fd) is not readable earlier, before the next turn.
    pub(in crate::builtin) fn patience(&mut self) -> Option<Timespec> {
        let Self { again, watched, .. } = self;
        for queue in &mut *again {
            // Most processes are over before they are due.
            while let Some((_, pid)) = queue.front()
                && !watched.contains_key(pid)
            {
                queue.pop_front();
            }
        }
        let due = again.iter().filter_map(|queue| queue.front()).min()?.0;
        let left = due.saturating_duration_since(Instant::now());
        Timespec::try_from(left).ok()
    }

    /// Handles what is to be handled, without waiting.
    pub(in crate::builtin) fn turn(&mut self) {
        let mut events = Vec::with_capacity(AT_ONCE);
        let now = Timespec::default();
        // Interrupted, or out of memory: the next turn comes.
        let _ = epoll::wait(
            &self.ready,
            rustix::buffer::spare_capacity(&mut events),
            Some(&now),
        );
        for Event { flags, data } in events {
            match data.u64() {
                LISTENER if flags.contains(EventFlags::IN) => self.take_call(),
                // No process is left that could ask.
                LISTENER => drop(epoll::delete(&self.ready, &self.listener)),
                pid => self.has_ended(i32::try_from(pid).unwrap_or_default()),
            }
        }
        self.look_again();
    }

    /// Reports what has ended by now. To be called before this process ends, and all others with it.
    pub(in crate::builtin) fn finish(&mut self) {
        let reaped: Vec<_> = self
            .watched
            .iter()
            .filter(|(_, watched)| process::exit_of(watched.pidfd.as_fd()).is_some())
            .map(|(pid, _)| *pid)
            .collect();
        reaped.into_iter().for_each(|pid| self.has_ended(pid));
    }

    fn take_call(&mut self) {
        let Ok(Some(call)) = self.listener.next() else {
            return;
        };
        if self.look_at(&call).is_err() {
            // Whose program cannot be told to the supervisor does not start. Nothing helps if the answer
            // cannot be given either; the process can still be killed.
            let _ = self.listener.refuse(call.id, NOT_PERMITTED);
        }
    }

    fn look_at(&mut self, call: &WaitingExec) -> Result<(), Unreported> {
        let looked = look::at(&self.processes, call)?;
        if looked.is_absent() {
            return Ok(self.listener.refuse(call.id, NO_ENTRY)?);
        }
        let Looked {
            process,
            start,
            before,
            ..
        } = looked;
        let pidfd = rustix::process::pidfd_open(process, PidfdFlags::empty());
        let CallId(id) = call.id;
        if !self.listener.is_waiting(call.id) {
            return Ok(());
        }
        self.forget_if_gone(process);
        let call = Call(id);
        self.pipe.send(&Report::Starting {
            call,
            start: start.clone(),
        })?;
        // Too many open files: its end goes unseen.
        if let Ok(pidfd) = pidfd {
            self.watch(process, pidfd, start, before);
        }
        Ok(())
    }

    /// Its number may have been used before.
    fn forget_if_gone(&mut self, process: Pid) {
        let pid = process.as_raw_nonzero().get();
        let is_gone = |watched: &Watched| {
            let mut ended = [PollFd::new(&watched.pidfd, PollFlags::IN)];
            rustix::event::poll(&mut ended, Some(&Timespec::default())) == Ok(1)
        };
        if self.watched.get(&pid).is_some_and(is_gone) {
            self.has_ended(pid);
        }
    }

    fn watch(&mut self, process: Pid, pidfd: OwnedFd, start: Start, before: Option<Program>) {
        let pid = process.as_raw_nonzero().get();
        let began = Instant::now();
        self.again[0].push_back((began + LOOKS[0], pid));
        if let Some(watched) = self.watched.get_mut(&pid) {
            (watched.began, watched.start, watched.before) = (began, start, before);
            return;
        }
        // Only who was waited for tells how it ended. Hangups are told without asking.
        let event = match process::tells_of_reaping(pidfd.as_fd()) {
            true => EventFlags::empty(),
            false => EventFlags::IN,
        };
        let data = EventData::new_u64(u64::from(pid.unsigned_abs()));
        if epoll::add(&self.ready, &pidfd, data, event).is_ok() {
            let watched = Watched {
                pidfd,
                began,
                start,
                before,
            };
            self.watched.insert(pid, watched);
        }
    }

    fn has_ended(&mut self, pid: i32) {
        let Some(watched) = self.watched.remove(&pid) else {
            return;
        };
        // Without a supervisor there is nobody to tell.
        let _ = self.pipe.send(&Report::Exited {
            pid: pid.unsigned_abs(),
            ended: process::exit_of(watched.pidfd.as_fd()).map(Ended::from),
            milliseconds: u64::try_from(watched.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }

    fn look_again(&mut self) {
        for attempt in 0..LOOKS.len() {
            while let Some((due, pid)) = self.again[attempt].front().copied()
                && due <= Instant::now()
            {
                self.again[attempt].pop_front();
                self.look_again_at(pid, attempt);
            }
        }
    }

    fn look_again_at(&mut self, pid: i32, attempt: usize) {
        let (Some(watched), Some(process)) = (self.watched.get(&pid), Pid::from_raw(pid)) else {
            return;
        };
        let Some(program) = look::again(&self.processes, process) else {
            return;
        };
        if look::is_as_asked(&self.processes, process, &watched.start, &program) {
            return;
        }
        // The same as before: it may still be on its way, on a machine that is very busy.
        let has_begun = watched.before.as_ref() != Some(&program);
        match LOOKS.get(attempt + 1) {
            Some(later) if attempt < SURE || !has_begun => {
                self.again[attempt + 1].push_back((Instant::now() + *later, pid))
            }
            _ => {
                let pid = pid.unsigned_abs();
                let _ = self.pipe.send(&Report::Found { pid, program });
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

/// Why the supervisor did not hear of a call.
#[derive(Debug)]
struct Unreported;

impl From<SyscallError> for Unreported {
    fn from(_: SyscallError) -> Self {
        Self
    }
}

impl From<std::io::Error> for Unreported {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

const NO_ENTRY: i32 = Errno::NOENT.raw_os_error();
