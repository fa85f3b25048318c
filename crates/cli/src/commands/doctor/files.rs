//! Files: the record is whole and out of reach, the user's own are neither seen nor changed.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use wardian_events::{Expect, VerifyError, verify};
use wardian_policy::{VisiblePath, toolchain_paths};

use super::check::{Check, Promise};
use super::inside::{Facts, Look};
use super::stage::{Planted, Stage};
use super::trial::Trial;

pub(super) fn record(facts: &Facts, trial: &Trial) -> anyhow::Result<Vec<Check>> {
    let check =
        |name, against, good: &str| Check::unless(Promise::OnTheRecord, name, against, good);
    let name = trial.directory.name().as_str();
    let verified = Command::new("/proc/self/exe")
        .args(["verify", name, "--json"])
        .output()
        .context("cannot start `wardian verify`")?;
    let whole = match verified.status.success() {
        true => Vec::new(),
        false => vec![format!(
            "`wardian verify` says: {}{}",
            String::from_utf8_lossy(&verified.stdout).trim(),
            String::from_utf8_lossy(&verified.stderr).trim()
        )],
    };
    let journal = fs::read(trial.directory.journal())?;
    let forged = trial.directory.path().join("forged.jsonl");
    let noticed = match is_noticed(&journal, &forged, name)? {
        true => Vec::new(),
        false => vec!["a record with one changed byte passed for whole".to_owned()],
    };
    let state = trial.directory.path().parent();
    let mut reached: Vec<String> = facts
        .private
        .iter()
        .filter(|path| Some(path.as_path()) == state)
        .map(|path| format!("{} is visible", path.display()))
        .collect();
    let foreign = facts.descriptors.iter().filter(|target| {
        let text = target.to_string_lossy();
        !(text.starts_with("pipe:") || text.starts_with("/proc/") || text == "/dev/null")
    });
    reached.extend(foreign.map(|target| format!("{} is open inside", target.display())));
    Ok(vec![
        check(
            "the record is whole",
            whole,
            "`wardian verify` finds its chain unbroken",
        ),
        check(
            "a forged record is noticed",
            noticed,
            "one changed byte breaks the chain",
        ),
        check(
            "the record is out of reach",
            reached,
            "its directory does not exist inside, and no descriptor leads there",
        ),
    ])
}

/// Whether a copy of the journal with one letter changed is found out.
fn is_noticed(journal: &[u8], forged: &Path, name: &str) -> anyhow::Result<bool> {
    let mut bytes = journal.to_vec();
    let marks = b"denied".as_slice();
    let place = bytes
        .windows(marks.len())
        .position(|window| window == marks)
        .context("nothing was denied")?;
    bytes[place] = b'D';
    fs::write(forged, bytes)?;
    let expect = Expect {
        sandbox: Some(name),
        anchors: &[],
    };
    let verdict = verify(forged, &expect);
    fs::remove_file(forged)?;
    Ok(matches!(verdict, Err(VerifyError::Broken(_))))
}

/// Files of the sandbox's own directory that hold a value that was kept outside.
pub(super) fn with_planted(planted: &Planted, trial: &Trial) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut queue = vec![trial.directory.path().to_owned()];
    while let Some(directory) = queue.pop() {
        let entries = match fs::read_dir(&directory) {
            // Overlayfs' own, which it opens to nobody and leaves empty.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && directory.ends_with("work/work") =>
            {
                continue;
            }
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                queue.push(entry.path());
            } else if kind.is_file()
                && planted.is_in(&String::from_utf8_lossy(&fs::read(entry.path())?))
            {
                found.push(entry.path().display().to_string());
            }
        }
    }
    Ok(found)
}

pub(super) fn host_files(look: &Look, facts: &Facts, stage: &Stage, trial: &Trial) -> Vec<Check> {
    let check =
        |name, against, good: String| Check::unless(Promise::HostFilesSafe, name, against, good);
    let visible = facts.private.iter();
    let visible = visible.map(|path| format!("{} exists inside", path.display()));
    let in_home = leaked(look, facts, stage);
    let mut changed = Vec::new();
    if let Err(why) = &facts.workspace {
        changed.push(format!("the workspace could not be used inside: {why}"));
    }
    if !stage.is_untouched() {
        changed.push("a write inside changed the directory outside".to_owned());
    }
    let kept = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        fs::read_to_string(trial.directory.workspace(0).upper().join(name)).unwrap_or_default()
    };
    let (given, made) = (kept(&look.given.0), kept(&look.made));
    if (given.as_str(), made.as_str()) != ("changed inside", "made inside") {
        changed.push("what was written inside was not kept".to_owned());
    }
    vec![
        check(
            "private files are absent",
            visible.collect(),
            format!("{} that exist here do not exist inside", look.private.len()),
        ),
        check(
            "the home is private",
            in_home,
            "of your home, only toolchains and the workspace are there".to_owned(),
        ),
        check(
            "the workspace is a copy",
            changed,
            "writes inside are kept apart, the directory is unchanged".to_owned(),
        ),
    ]
}

/// Names in the home inside that are the user's own and that nothing grants.
fn leaked(look: &Look, facts: &Facts, stage: &Stage) -> Vec<String> {
    let first = |path: &Path| {
        let first = path.components().next()?;
        Some(first.as_os_str().to_string_lossy().into_owned())
    };
    let mut granted: Vec<String> = toolchain_paths()
        .iter()
        .filter_map(|toolchain| match toolchain.path() {
            VisiblePath::Home(path) => first(Path::new(path)),
            VisiblePath::Absolute(_) => None,
        })
        .collect();
    let workspace = stage.workspace();
    granted.extend(workspace.strip_prefix(&look.home).ok().and_then(first));
    let own = |name: &String| fs::symlink_metadata(look.home.join(name)).is_ok();
    facts
        .home
        .iter()
        .filter(|name| own(name) && !granted.contains(name))
        .map(|name| format!("~/{name} exists inside"))
        .collect()
}
