//! Writing one limit into a cgroup, in either version's terms, and reading what came of it.

use std::path::Path;

use super::layout::Controller;
use super::{MilliCpus, Stats, file};
use crate::error::SyscallResult;

/// Microseconds after which processor time is handed out anew; the kernel's own default.
const PERIOD: u64 = 100_000;

/// The least that the kernel accepts for a period, in microseconds.
const LEAST_QUOTA: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// One limit, in the unit of its controller.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    Memory(u64),
    Cpus(MilliCpus),
    Pids(u64),
}

impl Limit {
    pub(super) fn controller(self) -> Controller {
        match self {
            Self::Memory(_) => Controller::Memory,
            Self::Cpus(_) => Controller::Cpu,
            Self::Pids(_) => Controller::Pids,
        }
    }

    /// Returns by what it is enforced, for people.
    pub(super) fn apply(self, leaf: &Path, version: Version) -> SyscallResult<String> {
        let swap = match self {
            Self::Memory(bytes) => memory(leaf, version, bytes)?,
            Self::Cpus(cpus) => {
                processors(leaf, version, cpus)?;
                Swap::Counted
            }
            Self::Pids(count) => {
                file::write(leaf, "pids.max", &count.to_string())?;
                Swap::Counted
            }
        };
        let how = how(self.controller(), version);
        Ok(match swap {
            Swap::Counted => how,
            Swap::NotCounted => format!("{how}, swap not counted"),
        })
    }
}

/// Such as `cgroup v2 memory`.
pub(super) fn how(controller: Controller, version: Version) -> String {
    let version = match version {
        Version::V1 => "v1",
        Version::V2 => "v2",
    };
    format!("cgroup {version} {}", controller.name())
}

enum Swap {
    Counted,
    /// The kernel keeps no account of it.
    NotCounted,
}

fn memory(leaf: &Path, version: Version, bytes: u64) -> SyscallResult<Swap> {
    let (main, swap, swap_limit) = match version {
        // Main memory and swap together, and never less than main memory alone: hence the order.
        Version::V1 => (
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            bytes,
        ),
        // Swap alone.
        Version::V2 => ("memory.max", "memory.swap.max", 0),
    };
    file::write(leaf, main, &bytes.to_string())?;
    match file::write(leaf, swap, &swap_limit.to_string()) {
        Ok(()) => Ok(Swap::Counted),
        Err(error) if file::is_gone(&error) => Ok(Swap::NotCounted),
        Err(error) => Err(error),
    }
}

fn processors(leaf: &Path, version: Version, cpus: MilliCpus) -> SyscallResult<()> {
    let quota = (u64::from(cpus.0) * PERIOD / 1000).max(LEAST_QUOTA);
    match version {
        Version::V1 => {
            file::write(leaf, "cpu.cfs_period_us", &PERIOD.to_string())?;
            file::write(leaf, "cpu.cfs_quota_us", &quota.to_string())
        }
        Version::V2 => file::write(leaf, "cpu.max", &format!("{quota} {PERIOD}")),
    }
}

/// Adds what this cgroup counts, in either version's files.
pub(super) fn collect(leaf: &Path, stats: &mut Stats) {
    let value = |file: &str, key: &str| {
        let text = file::read(leaf, file).ok()?;
        let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
        let (_, number) = pairs.find(|(name, _)| *name == key)?;
        number.trim().parse().ok()
    };
    let number = |file: &str| file::read(leaf, file).ok()?.trim().parse().ok();
    stats.oom_kills = stats
        .oom_kills
        .or_else(|| value("memory.events", "oom_kill"))
        .or_else(|| value("memory.oom_control", "oom_kill"));
    stats.pids_refused = stats.pids_refused.or_else(|| value("pids.events", "max"));
    stats.memory_peak = stats
        .memory_peak
        .or_else(|| number("memory.peak"))
        .or_else(|| number("memory.max_usage_in_bytes"));
}
