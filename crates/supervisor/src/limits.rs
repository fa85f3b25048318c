//! The policy's limits on this host: which are enforced, by what, and those that this process
//! watches itself because nothing in the kernel does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use wardian_events::{LimitNotEnforced, LimitReached};
use wardian_linux::cgroup::{self, Availability, Cgroup, CgroupLimits, MilliCpus, Outcome};
use wardian_policy::{LimitKind, Limits};
use wardian_sandbox::builtin::ProcessLimits;
use wardian_sandbox::ids::Privilege;
use wardian_sandbox::janitor::Janitor;
use wardian_sandbox::measure::disk_usage;
use wardian_sandbox::state::SandboxDirectory;

use crate::ending::Ending;
use crate::failure::Failed;
use crate::protocol::{How, Lack, Note};

/// How often the layers are measured against the disk limit.
const DISK_INTERVAL: Duration = Duration::from_secs(2);
/// How often in a row that may fail.
const DISK_PATIENCE: u32 = 3;

/// A sandbox's place in the cgroup hierarchies, if the host gives it one.
#[derive(Debug)]
pub struct Placed {
    cgroup: Option<Cgroup>,
    features: Vec<Feature>,
    pids_by_rlimit: Option<u64>,
}

/// One limit of a policy, and what this host makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    pub kind: LimitKind,
    /// As the policy gave it: `4G`.
    pub requested: String,
    pub outcome: Outcome,
}

/// Where [`place`] may make cgroups: to be written down before it does, so that somebody else can
/// remove them.
pub(crate) fn planned_cgroups(directory: &SandboxDirectory) -> Vec<PathBuf> {
    cgroup::planned_paths(&cgroup_name(directory))
}

/// Unique on the host, where several users may have sandboxes of one name.
fn cgroup_name(directory: &SandboxDirectory) -> String {
    let path = directory.path().as_os_str().as_encoded_bytes();
    let digest = wardian_events::Digest::of(path).to_string();
    format!("{}-{}", directory.name(), &digest[..8])
}

/// Sets up what the kernel can enforce. Fails if the policy requires a limit that the host lacks.
pub fn place(
    directory: &SandboxDirectory,
    limits: &Limits,
    privilege: Privilege,
) -> Result<Placed, Failed> {
    let wanted = CgroupLimits {
        memory: limits.memory().map(|memory| memory.get()),
        cpus: limits.cpus().map(|cpus| MilliCpus(cpus.millis())),
        pids: limits.pids().map(|pids| u64::from(pids.get())),
    };
    let created = cgroup::create(&cgroup_name(directory), &wanted).map_err(Failed::sandbox)?;
    let (features, pids_by_rlimit) = features(
        limits,
        privilege,
        created.memory,
        created.cpus,
        created.pids,
    );
    let placed = Placed {
        cgroup: created.cgroup,
        features,
        pids_by_rlimit,
    };
    placed.refuse_missing(limits)?;
    Ok(placed)
}

/// What [`place`] would do, as far as can be told without trying. Limits that are not set are left out.
pub fn foresee(limits: &Limits, privilege: Privilege) -> Vec<Feature> {
    let Availability { memory, cpus, pids } = cgroup::availability();
    features(limits, privilege, Some(memory), Some(cpus), Some(pids)).0
}

/// The limits that are set, with what becomes of each, and the limit of processes if it takes another
/// way than a cgroup. The last three are what cgroups make of theirs.
fn features(
    limits: &Limits,
    privilege: Privilege,
    memory: Option<Outcome>,
    cpus: Option<Outcome>,
    pids: Option<Outcome>,
) -> (Vec<Feature>, Option<u64>) {
    let mut features = Vec::new();
    let mut note = |kind, requested: Option<String>, outcome: Option<Outcome>| {
        if let Some((requested, outcome)) = requested.zip(outcome) {
            features.push(Feature {
                kind,
                requested,
                outcome,
            });
        }
    };
    let by = |how: &str| {
        Some(Outcome::Enforced {
            how: how.to_owned(),
        })
    };
    note(
        LimitKind::Memory,
        limits.memory().map(|memory| memory.to_string()),
        memory,
    );
    note(
        LimitKind::Cpus,
        limits.cpus().map(|cpus| cpus.to_string()),
        cpus,
    );
    let counted = matches!(pids, Some(Outcome::Enforced { .. }));
    // The kernel counts a user's processes in each user namespace by itself, but never root's.
    let pids_by_rlimit = (!counted && privilege == Privilege::Rootless)
        .then(|| limits.pids().map(|pids| u64::from(pids.get())))
        .flatten();
    note(
        LimitKind::Pids,
        limits.pids().map(|pids| pids.to_string()),
        match pids_by_rlimit {
            Some(_) => by("RLIMIT_NPROC of the sandbox's user namespace"),
            None => pids,
        },
    );
    note(
        LimitKind::Files,
        limits.files().map(|files| files.to_string()),
        by("RLIMIT_NOFILE"),
    );
    note(
        LimitKind::Disk,
        limits.disk().map(|disk| disk.to_string()),
        by("the supervisor, measuring every 2 s"),
    );
    note(
        LimitKind::Time,
        limits.time().map(|time| time.to_string()),
        by("the supervisor"),
    );
    (features, pids_by_rlimit)
}

impl Placed {
    fn refuse_missing(&self, limits: &Limits) -> Result<(), Failed> {
        for feature in &self.features {
            if let Outcome::NotEnforced { why, fix } = &feature.outcome
                && limits.required().contains(&feature.kind)
            {
                let failed = Failed::sandbox(format!(
                    "the policy requires the limit `{}`, which this host does not enforce: {why}",
                    feature.kind.name()
                ));
                return Err(match fix {
                    Some(fix) => failed.hint(fix.clone()),
                    None => failed,
                });
            }
        }
        Ok(())
    }

    /// Puts pid 1 under the limits, before it can have children.
    pub fn add(&self, pid: Pid) -> Result<(), Failed> {
        match &self.cgroup {
            Some(cgroup) => cgroup.add(pid).map_err(Failed::sandbox),
            None => Ok(()),
        }
    }

    pub fn of_processes(&self, limits: &Limits) -> ProcessLimits {
        ProcessLimits {
            open_files: limits.files().map(|files| files.get()),
            processes: self.pids_by_rlimit,
            // No file can be larger than all files together.
            file_size: limits.disk().map(|disk| disk.get()),
        }
    }

    pub fn enforced(&self) -> Vec<String> {
        self.features
            .iter()
            .filter_map(|feature| match &feature.outcome {
                Outcome::Enforced { how } => Some(format!(
                    "{} {} ({how})",
                    feature.kind.name(),
                    feature.requested
                )),
                Outcome::NotEnforced { .. } => None,
            })
            .collect()
    }

    pub fn not_enforced(&self) -> Vec<LimitNotEnforced> {
        self.features
            .iter()
            .filter_map(|feature| match &feature.outcome {
                Outcome::NotEnforced { why, .. } => Some(LimitNotEnforced {
                    limit: feature.kind.name().to_owned(),
                    requested: feature.requested.clone(),
                    why: why.clone(),
                }),
                Outcome::Enforced { .. } => None,
            })
            .collect()
    }

    /// For the person who starts the sandbox.
    pub fn notes(&self) -> Vec<Note> {
        self.not_enforced()
            .into_iter()
            .map(|missing| Note {
                feature: missing.limit,
                lack: Lack::NotLimited,
                why: missing.why,
            })
            .collect()
    }

    /// What the kernel refused or killed for, at the end.
    pub fn reached(&self) -> Vec<LimitReached> {
        let Some(cgroup) = &self.cgroup else {
            return Vec::new();
        };
        let stats = cgroup.stats();
        let mut reached = Vec::new();
        let mut add = |kind: LimitKind, times: u64, action: &str| {
            if times > 0 {
                reached.push(LimitReached {
                    limit: kind.name().to_owned(),
                    value: self
                        .features
                        .iter()
                        .find(|feature| feature.kind == kind)
                        .map_or_else(|| "-".to_owned(), |feature| feature.requested.clone()),
                    action: match times {
                        1 => action.to_owned(),
                        _ => format!("{action} ({times} times)"),
                    },
                });
            }
        };
        add(
            LimitKind::Memory,
            stats.oom_kills.unwrap_or(0),
            "a process was killed",
        );
        add(
            LimitKind::Pids,
            stats.pids_refused.unwrap_or(0),
            "a new process was refused",
        );
        reached
    }
}

/// The limit that this process ended the sandbox for.
pub(crate) fn reached(limits: &Limits, how: &How) -> Option<LimitReached> {
    let (kind, value) = match how {
        How::TimeLimit => (LimitKind::Time, limits.time()?.to_string()),
        How::DiskLimit => (LimitKind::Disk, limits.disk()?.to_string()),
        // What the kernel enforces, the cgroup tells.
        How::MemoryLimit | How::JournalFull | How::Program(_) | How::ClientGone | How::Lost(_) => {
            return None;
        }
    };
    Some(LimitReached {
        limit: kind.name().to_owned(),
        value,
        action: "the sandbox was ended".to_owned(),
    })
}

/// Ends the sandbox when its time is up or its layers have grown too large. Runs in a thread of its
/// own, and only if the policy has such a limit. `janitor` sees more of the layers than this process.
pub fn watch(
    limits: &Limits,
    directory: &SandboxDirectory,
    janitor: Option<Arc<Janitor>>,
    ending: &Ending,
) -> Result<(), Failed> {
    let time = limits.time().map(|time| time.get());
    let mut disk = limits.disk().map(|disk| Disk {
        limit: disk.get(),
        layers: directory.layers(),
        janitor,
        failures: 0,
    });
    if disk.is_none() && time.is_none() {
        return Ok(());
    }
    let begun = Instant::now();
    let ending = ending.clone();
    let watch = move || {
        loop {
            let left = time.map(|time| time.saturating_sub(begun.elapsed()));
            if left == Some(Duration::ZERO) {
                return ending.end(How::TimeLimit);
            }
            if let Some(how) = disk.as_mut().and_then(Disk::exceeded) {
                return ending.end(how);
            }
            let wait = match disk {
                Some(_) => left.map_or(DISK_INTERVAL, |left| left.min(DISK_INTERVAL)),
                None => left.unwrap_or(DISK_INTERVAL),
            };
            std::thread::sleep(wait);
        }
    };
    std::thread::Builder::new()
        .name("limits".to_owned())
        .spawn(watch)
        .map(drop)
        .map_err(Failed::sandbox)
}

/// The limit on what the layers take on disk.
struct Disk {
    limit: u64,
    layers: PathBuf,
    janitor: Option<Arc<Janitor>>,
    /// How many measurements in a row came to nothing.
    failures: u32,
}

impl Disk {
    /// How to end the sandbox, if it is to be ended. A limit that cannot be measured is not enforced: but
    /// a program may well have changed something just then.
    fn exceeded(&mut self) -> Option<How> {
        let measured = match &self.janitor {
            Some(janitor) => janitor.measure(&self.layers),
            None => disk_usage(&self.layers),
        };
        match measured {
            Ok(bytes) => {
                self.failures = 0;
                (bytes > self.limit).then_some(How::DiskLimit)
            }
            Err(error) => {
                self.failures += 1;
                (self.failures >= DISK_PATIENCE).then(|| {
                    How::Lost(format!("what it takes on disk cannot be measured: {error}"))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(layers: PathBuf, limit: u64) -> Disk {
        Disk {
            limit,
            layers,
            janitor: None,
            failures: 0,
        }
    }

    #[test]
    fn a_full_disk_ends_the_sandbox() {
        let base = tempfile::tempdir().unwrap();
        let layers = base.path().to_owned();
        std::fs::write(layers.join("file"), vec![1; 300_000]).unwrap();
        assert_eq!(disk(layers.clone(), 1 << 20).exceeded(), None);
        assert_eq!(disk(layers, 100_000).exceeded(), Some(How::DiskLimit));
    }

    #[test]
    fn what_cannot_be_measured_is_not_let_go_on_for_long() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("no-directory");
        std::fs::write(&file, "x").unwrap();
        let mut disk = disk(file, 1 << 20);
        for _ in 1..DISK_PATIENCE {
            assert_eq!(disk.exceeded(), None);
        }
        assert!(matches!(disk.exceeded(), Some(How::Lost(_))));
    }
}
