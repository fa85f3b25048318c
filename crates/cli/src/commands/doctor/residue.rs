//! What stays when a sandbox has ended, whoever ended it: nothing but its record and the work.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal};
use wardian_events::verify::End;
use wardian_events::{Expect, verify};
use wardian_sandbox::state::SandboxDirectory;
use wardian_supervisor::sweep::sweep;

use super::check::{Check, Promise};
use super::inside::{Facts, KEPT, Namespaces};
use super::stage::Stage;
use super::trial::{GRACE, Passing, Trial, start, wait};

/// After a program ended by itself.
pub(super) fn after_an_end(facts: &Facts, trial: &Trial) -> anyhow::Result<Vec<Check>> {
    let left = settled(|| left_of(&trial.directory, &facts.namespaces));
    Ok(vec![Check::unless(
        Promise::NothingLeft,
        "after an end in order",
        left,
        "no process, namespace, mount, or cgroup of it is left",
    )])
}

/// Kills the client, and then the supervisor, of sandboxes in the midst of their work.
pub(super) fn after_kills(stage: &Stage) -> anyhow::Result<Vec<Check>> {
    let cases = [
        (Victim::Client, "after SIGKILL of `wardian run`"),
        (Victim::Supervisor, "after SIGKILL of the supervisor"),
    ];
    let mut checks = Vec::new();
    for (victim, name) in cases {
        let directory = Passing::new(stage);
        let against = after_kill(stage, &directory, victim);
        directory.remove()?;
        checks.push(Check::unless(
            Promise::NothingLeft,
            name,
            against?,
            "all of it is gone, what had been written is kept, and the record is whole",
        ));
    }
    Ok(checks)
}

/// A program that cannot be executed fails a start at its very end.
pub(super) fn after_a_failed_start(stage: &Stage) -> anyhow::Result<Check> {
    let trial = Trial::of(stage, &[], &[stage.unexecutable().into()])?;
    let mut against = Vec::new();
    if trial.directory.path().exists() {
        against.push(format!("{} is left", trial.directory.path().display()));
    }
    if trial.status.success() {
        against.push("the start did not fail".to_owned());
    }
    Ok(Check::unless(
        Promise::NothingLeft,
        "after a start that failed",
        against,
        "not even a record, and its name is free",
    ))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Client,
    Supervisor,
}

fn after_kill(
    stage: &Stage,
    directory: &SandboxDirectory,
    victim: Victim,
) -> anyhow::Result<Vec<String>> {
    let mut command = stage.command(directory.name(), &[], &stage.inside("linger"));
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = start(&mut command)?;
    let said = first_line(&mut client);
    let killed = said.and_then(|line| {
        let namespaces: Namespaces = serde_json::from_str(&line)?;
        let family = Process::descendants(client.id());
        let record = directory
            .read_record()?
            .context("the sandbox has no record")?;
        let pid = match victim {
            Victim::Client => client.id(),
            Victim::Supervisor => record.supervisor,
        };
        kill(pid)?;
        Ok((namespaces, family))
    });
    if killed.is_err() {
        let _ = client.kill();
    }
    wait(&mut client, stage)?;
    let (namespaces, family) = killed?;
    if family.len() < 3 {
        bail!("supervisor, pid 1 and program were not all found");
    }
    let mut left = settled(|| {
        let alive = family.iter().filter(|process| process.is_alive());
        let mut left: Vec<String> = alive
            .map(|process| format!("process {} is left", process.pid))
            .collect();
        left.extend(processes_in(&namespaces));
        if directory.is_alive() {
            left.push("its lock is still held".to_owned());
        }
        left
    });
    // What the next command does.
    let swept = sweep(&stage.root)?;
    let failed = swept
        .failed
        .iter()
        .filter(|(name, _)| name == directory.name());
    left.extend(failed.map(|(_, error)| error.to_string()));
    left.extend(settled(|| left_of(directory, &namespaces)));
    let kept = fs::read_to_string(directory.workspace(0).upper().join(KEPT));
    if kept.unwrap_or_default() != KEPT {
        left.push("what had been written was lost".to_owned());
    }
    let expect = Expect {
        sandbox: Some(directory.name().as_str()),
        anchors: &[],
    };
    match verify(&directory.journal(), &expect) {
        Ok(verified) if verified.end == End::Stopped => {}
        Ok(_) => left.push("its record has no end".to_owned()),
        Err(error) => left.push(format!("its record: {error}")),
    }
    Ok(left)
}

fn kill(pid: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.context("not a process id")?;
    Ok(rustix::process::kill_process(pid, Signal::KILL)?)
}

/// What the program says first, or the error that its output ended.
fn first_line(client: &mut Child) -> anyhow::Result<String> {
    let stdout = client.stdout.take().context("no pipe")?;
    let mut line = String::new();
    // Ends at the latest when the program does, which does not stay for long.
    BufReader::new(stdout).read_line(&mut line)?;
    if line.is_empty() {
        bail!("the program inside said nothing");
    }
    Ok(line)
}

/// Asks until there is nothing left, or for as long as that may take.
fn settled(left: impl Fn() -> Vec<String>) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let left = left();
        if left.is_empty() || begun.elapsed() > GRACE {
            return left;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn left_of(directory: &SandboxDirectory, namespaces: &Namespaces) -> Vec<String> {
    let mut left = processes_in(namespaces);
    if directory.is_alive() {
        left.push("its lock is still held".to_owned());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = directory.path().to_string_lossy();
    if mounts.lines().any(|line| line.contains(path.as_ref())) {
        left.push("a mount of it is left".to_owned());
    }
    match directory.read_record() {
        Ok(Some(record)) => {
            let cgroups = record.cgroups.iter().filter(|cgroup| cgroup.exists());
            left.extend(cgroups.map(|cgroup| format!("{} is left", cgroup.display())));
        }
        Ok(None) => left.push("it has no record".to_owned()),
        Err(error) => left.push(error.to_string()),
    }
    left
}

/// Processes that are in one of these namespaces, as far as this user may see. A later one is in another
/// namespace that got the number.
fn processes_in(namespaces: &Namespaces) -> Vec<String> {
    let is_in = |pid: u32| {
        // Those that a sandbox's first process is born in.
        ["mnt", "pid", "net"].iter().any(|kind| {
            let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
            link.is_some() && link.as_ref() == namespaces.ids.get(*kind)
        })
    };
    let inside = processes().into_iter().filter(|pid| {
        is_in(*pid) && Process::read(*pid).is_some_and(|process| process.start <= namespaces.at)
    });
    inside
        .map(|pid| format!("process {pid} is in a namespace of it"))
        .collect()
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// A process, told apart from a later one of the same id by its start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    pid: u32,
    parent: u32,
    start: u64,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(
            pid,
            &fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?,
        )
    }

    /// From proc_pid_stat(5): the name in parentheses can hold anything. Zombies are gone already.
    fn parse(pid: u32, stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        if matches!(fields.first(), Some(&"Z" | &"X")) {
            return None;
        }
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
        })
    }

    /// All that come from `ancestor`, which is not among them.
    fn descendants(ancestor: u32) -> BTreeSet<Self> {
        let all: Vec<Self> = processes().into_iter().filter_map(Self::read).collect();
        let mut found: BTreeSet<Self> = BTreeSet::new();
        loop {
            let known = found.len();
            let is_below = |process: &&Self| {
                process.parent == ancestor
                    || found.iter().any(|parent| parent.pid == process.parent)
            };
            let more: Vec<Self> = all.iter().filter(is_below).cloned().collect();
            found.extend(more);
            if found.len() == known {
                return found;
            }
        }
    }

    fn is_alive(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.start == self.start)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_that_is_left_is_found() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let family = Process::descendants(std::process::id());
        let found: Vec<_> = family
            .iter()
            .filter(|process| process.pid == child.id())
            .collect();
        assert!(matches!(found.as_slice(), [process] if process.is_alive()));
        let own = super::super::inside::namespaces();
        assert!(
            processes_in(&own)
                .iter()
                .any(|left| left.contains(&child.id().to_string()))
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!found[0].is_alive());
    }

    #[test]
    fn names_of_processes_can_hold_anything() {
        let stat = "7 (a) b) R) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let process = Process::parse(7, stat).unwrap();
        assert_eq!((process.parent, process.start), (3, 4711));
        assert_eq!(
            Process::parse(7, "7 (x) Z 3 7 7 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 4711 0"),
            None
        );
        assert_eq!(Process::parse(7, ""), None);
    }
}
