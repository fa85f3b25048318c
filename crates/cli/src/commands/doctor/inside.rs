//! Inside: this binary as the program of a sandbox. It looks around and tells what it sees as JSON; what
//! that means is judged outside.

mod attempt;
mod exhaust;
mod look;
mod superuser;
mod visit;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

pub(super) use attempt::{Attempt, Ended};
pub(super) use exhaust::{Exhaust, Exhausted};
pub(super) use look::{Facts, Look, Status};
pub(super) use superuser::Superuser;
pub(super) use visit::{Answer, Errand, Visit, Visited};

/// What to do, read from a file in the workspace.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    Look(Box<Look>),
    Superuser,
    Exhaust(Exhaust),
    /// Use this many bytes of memory.
    TakeMemory(u64),
    /// Write [`KEPT`], say so, and stay until somebody ends the sandbox.
    Linger,
}

/// What [`Task::Linger`] writes to the workspace.
pub(super) const KEPT: &str = "written-before-the-kill";

/// No sandbox of a doctor lives longer, whatever happens to the doctor.
const LONGEST: Duration = Duration::from_secs(20);

pub(super) fn run(task: &Path) -> anyhow::Result<()> {
    let text = fs::read(task).with_context(|| task.display().to_string())?;
    match serde_json::from_slice(&text)? {
        Task::Look(look) => tell(&look.run()),
        Task::Superuser => tell(&superuser::run()),
        Task::Exhaust(exhaust) => tell(&exhaust.run()?),
        Task::TakeMemory(bytes) => {
            exhaust::take_memory(bytes);
            Ok(())
        }
        Task::Linger => {
            fs::write(KEPT, KEPT)?;
            tell(&namespaces())?;
            std::thread::sleep(LONGEST);
            Ok(())
        }
    }
}

fn tell(facts: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, facts)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// The namespaces of this process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Namespaces {
    /// What identifies each: `net` and `net:[4026531840]`. The kernel uses a number again when its
    /// namespace is gone.
    pub(super) ids: BTreeMap<String, PathBuf>,
    /// When this was so, in clock ticks since the machine's start.
    pub(super) at: u64,
}

pub(super) fn namespaces() -> Namespaces {
    let ids = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
    Namespaces {
        ids: ids
            .into_iter()
            .filter_map(|kind| {
                let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
                Some((kind.to_owned(), link))
            })
            .collect(),
        at: ticks(),
    }
}

/// Now, on the clock of the starts in proc_pid_stat(5).
fn ticks() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let per_second = rustix::param::clock_ticks_per_second();
    let nanoseconds = now.tv_nsec.unsigned_abs();
    now.tv_sec.unsigned_abs() * per_second + nanoseconds * per_second / 1_000_000_000
}
