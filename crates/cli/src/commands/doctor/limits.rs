//! Whether limits are enforced that this host says it can enforce: by trying to exceed them.

use std::ffi::OsString;

use anyhow::anyhow;
use wardian_events::{Event, StopCause};
use wardian_linux::cgroup::Outcome as Enforcement;
use wardian_policy::LimitKind;
use wardian_sandbox::ids::Privilege;
use wardian_supervisor::limits::{Feature, foresee};
use wardian_supervisor::protocol::PolicySources;

use super::check::{Check, Promise};
use super::inside::Exhausted;
use super::stage::{Stage, TOO_MANY};
use super::trial::Trial;

/// Far below what the program inside wants: see [`super::stage::TOO_MUCH_MEMORY`] and [`TOO_MANY`].
const TIGHT: [(LimitKind, &str); 6] = [
    (LimitKind::Memory, "96M"),
    (LimitKind::Cpus, "0.25"),
    (LimitKind::Pids, "64"),
    (LimitKind::Files, "64"),
    (LimitKind::Disk, "4M"),
    (LimitKind::Time, "1s"),
];
/// Writes 32 MB in files of 1 MB, and stays.
const WRITE_MUCH: &str =
    "i=0; while [ $i -lt 32 ]; do head -c 1000000 /dev/zero >much-$i; i=$((i+1)); done; sleep 10";
const TIGHT_FILES: u32 = 64;
const TIGHT_PIDS: u32 = 64;
/// Of 100: a quarter of a processor, and room for one period of the scheduler.
const TIGHT_PERCENT: u64 = 70;

fn options(kinds: &[LimitKind]) -> Vec<OsString> {
    TIGHT
        .iter()
        .filter(|(kind, _)| kinds.contains(kind))
        .flat_map(|(kind, value)| [format!("--{}", kind.name()), (*value).to_owned()])
        .map(OsString::from)
        .collect()
}

pub(super) fn checks(stage: &Stage) -> anyhow::Result<Vec<Check>> {
    let counted = [
        LimitKind::Memory,
        LimitKind::Cpus,
        LimitKind::Pids,
        LimitKind::Files,
    ];
    let policy = PolicySources {
        limits: TIGHT
            .iter()
            .map(|(kind, value)| (kind.name().to_owned(), (*value).to_owned()))
            .collect(),
        ..PolicySources::default()
    }
    .build()?;
    let features = foresee(policy.limits(), Privilege::of_this_process());

    let slow = |kind, script: &'static str| {
        let program = ["sh", "-c", script].map(OsString::from);
        move || ended_by_limit(&Trial::of(stage, &options(&[kind]), &program)?)
    };
    // The supervisor looks at time and disk now and then; meanwhile there is enough to do.
    let (trial, timed, filled) = std::thread::scope(|scope| {
        let timed = scope.spawn(slow(LimitKind::Time, "sleep 10"));
        let filled = scope.spawn(slow(LimitKind::Disk, WRITE_MUCH));
        let trial = Trial::run(stage, &options(&counted), "exhaust");
        let joined = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
        };
        (trial, joined(timed), joined(filled))
    });
    let (trial, timed, filled) = (trial?, timed?, filled?);
    let facts = trial.facts::<Exhausted>();
    let checks = features
        .into_iter()
        .map(|Feature { kind, outcome, .. }| {
            let name = name(kind);
            let how = match outcome {
                Enforcement::NotEnforced { why, fix } => {
                    return Check::limited(Promise::Host, name, why, fix);
                }
                Enforcement::Enforced { how } => how,
            };
            let exceeded = match (kind, &facts) {
                (LimitKind::Time, _) => timed.clone(),
                (LimitKind::Disk, _) => filled.clone(),
                (_, Err(why)) => Some(why.clone()),
                (kind, Ok(facts)) => exceeded(kind, facts),
            };
            match exceeded {
                None => Check::holds(Promise::Host, name, format!("enforced by {how}")),
                Some(why) => Check::fails(
                    Promise::Host,
                    name,
                    format!("{how} was set and not enforced: {why}"),
                    Some("set no limit that you rely on until this is understood".to_owned()),
                ),
            }
        })
        .collect();
    trial.remove()?;
    Ok(checks)
}

/// `None` if it was, or else how the sandbox ended instead.
fn ended_by_limit(trial: &Trial) -> anyhow::Result<Option<String>> {
    let by_limit = trial.events()?.into_iter().any(|event| {
        matches!(event, Event::SandboxStopped(stopped) if stopped.cause == StopCause::Limit)
    });
    Ok((!by_limit).then(|| format!("the sandbox ended with {}", trial.status)))
}

fn name(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Memory => "limit of memory",
        LimitKind::Cpus => "limit of processors",
        LimitKind::Pids => "limit of processes",
        LimitKind::Files => "limit of open files",
        LimitKind::Disk => "limit of disk space",
        LimitKind::Time => "limit of time",
    }
}

/// What the program could have in spite of the limit.
fn exceeded(kind: LimitKind, facts: &Exhausted) -> Option<String> {
    let Exhausted {
        memory_given,
        threads,
        files,
        processor_percent,
    } = facts;
    match kind {
        LimitKind::Memory => memory_given.then(|| "256 MiB could be used".to_owned()),
        LimitKind::Cpus => (*processor_percent > TIGHT_PERCENT)
            .then(|| format!("{processor_percent} % of a processor could be used")),
        LimitKind::Pids => (*threads >= TIGHT_PIDS)
            .then(|| format!("{threads} of {TOO_MANY} threads could be started")),
        LimitKind::Files => {
            (*files >= TIGHT_FILES).then(|| format!("{files} of {TOO_MANY} files could be opened"))
        }
        LimitKind::Disk | LimitKind::Time => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_a_limit_is_told() {
        let free = Exhausted {
            memory_given: true,
            threads: TOO_MANY,
            files: TOO_MANY,
            processor_percent: 99,
        };
        let held = Exhausted {
            memory_given: false,
            threads: 60,
            files: 58,
            processor_percent: 31,
        };
        for (kind, _) in TIGHT.iter().take(4) {
            assert!(exceeded(*kind, &free).is_some(), "{kind:?}");
            assert!(exceeded(*kind, &held).is_none(), "{kind:?}");
        }
    }
}
