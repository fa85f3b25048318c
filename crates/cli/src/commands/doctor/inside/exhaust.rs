//! Using more than is allowed.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What to use up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Exhaust {
    /// The task of a child, which takes memory.
    pub(in super::super) memory: PathBuf,
    pub(in super::super) threads: u32,
    pub(in super::super) files: u32,
}

/// How far it went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Exhausted {
    /// Whether the child could have all the memory it wanted.
    pub(in super::super) memory_given: bool,
    pub(in super::super) threads: u32,
    pub(in super::super) files: u32,
    /// Hundredths of one processor that a busy loop got.
    pub(in super::super) processor_percent: u64,
}

impl Exhaust {
    pub(super) fn run(&self) -> std::io::Result<Exhausted> {
        let processor_percent = be_busy(Duration::from_millis(400));
        let status = Command::new(std::env::current_exe()?)
            .args(["doctor", "--inside"])
            .arg(&self.memory)
            .stdin(Stdio::null())
            .status()?;
        Ok(Exhausted {
            memory_given: status.success(),
            files: self.open_files(),
            threads: self.start_threads(),
            processor_percent,
        })
    }

    fn open_files(&self) -> u32 {
        let files: Vec<File> = (0..self.files)
            .map_while(|_| File::open("/dev/null").ok())
            .collect();
        u32::try_from(files.len()).unwrap_or(u32::MAX)
    }

    fn start_threads(&self) -> u32 {
        let mut stay = Vec::new();
        for _ in 0..self.threads {
            let (until, dropped) = mpsc::channel::<()>();
            let started = std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(move || dropped.recv());
            match started {
                Ok(_) => stay.push(until),
                Err(_) => break,
            }
        }
        u32::try_from(stay.len()).unwrap_or(u32::MAX)
    }
}

pub(super) fn take_memory(bytes: u64) {
    let mut memory = vec![0u8; usize::try_from(bytes).unwrap_or(usize::MAX)];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    std::hint::black_box(&memory);
}

/// The share of one processor that this thread got, of 100.
fn be_busy(time: Duration) -> u64 {
    let processor_time = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(
            time.tv_sec.unsigned_abs(),
            time.tv_nsec.unsigned_abs() as u32,
        )
    };
    let (begun, used) = (Instant::now(), processor_time());
    while begun.elapsed() < time {
        std::hint::black_box(begun);
    }
    let share = (processor_time() - used).as_secs_f64() / begun.elapsed().as_secs_f64();
    (share * 100.0) as u64
}
