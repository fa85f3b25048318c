//! What a sandbox's workspaces hold that the user has not, as `diff`, `apply` and `rm` need it.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use wardian_events::{visible, visible_bytes};
use wardian_git::BString;
use wardian_git::changes::FileKind;
use wardian_git::confined::{Commit, Git};
use wardian_git::hazards::{self, Trigger};
use wardian_git::review::{FileOfRef, LooseEnds, Review};
use wardian_git::transfer::Wanted;
use wardian_sandbox::record::SandboxRecord;
use wardian_sandbox::spec::WorkspaceMode;

use crate::failure::Failure;
use crate::output::{self, Tone};
use crate::sandboxes::Sandbox;

/// Lines of a list before the rest is only counted.
const MOST_LISTED: usize = 20;

/// Git's mode of a symlink.
const LINK: u32 = 0o120_000;

/// Bytes, as PATH_MAX in limits.h.
const LONGEST_LINK: u64 = 4096;

/// One workspace and the work in it.
#[derive(Debug)]
pub(crate) struct Reviewed {
    /// The user's directory, and the session's.
    pub(crate) path: PathBuf,
    /// Its directory in the sandbox's state.
    pub(crate) state: PathBuf,
    pub(crate) mode: WorkspaceMode,
    pub(crate) review: Review,
}

/// Of a sandbox that is not at work: all workspaces that have layers of their own.
pub(crate) fn review(sandbox: &Sandbox) -> Result<Vec<Reviewed>, Failure> {
    let record = record(sandbox)?;
    let git = find_git()?;
    let mut all = Vec::new();
    for (number, workspace) in record.workspaces.iter() {
        let state = sandbox.state().workspace(number).path().to_owned();
        if !state.join("upper").is_dir() {
            continue;
        }
        let review = match workspace.mode {
            WorkspaceMode::Clone => Review::of_session(&state, git.clone()),
            WorkspaceMode::Overlay => Review::of_directory(&state, &workspace.path, git.clone()),
            WorkspaceMode::Bind | WorkspaceMode::BindReadOnly => continue,
        };
        let review = review.with_context(|| {
            let path = visible(&workspace.path.to_string_lossy()).into_owned();
            format!("cannot tell what {} holds of {path}", sandbox.name())
        })?;
        all.push(Reviewed {
            path: workspace.path.clone(),
            state,
            mode: workspace.mode,
            review,
        });
    }
    Ok(all)
}

pub(crate) fn record(sandbox: &Sandbox) -> Result<SandboxRecord, Failure> {
    let record = sandbox.state().read_record()?;
    Ok(record.ok_or_else(|| anyhow!("{} was never started", sandbox.name()))?)
}

pub(crate) fn find_git() -> Result<Git, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Git::find(&path).map_err(|error| {
        Failure::from(error).hint("git is needed to read what a session wrote; install it")
    })
}

impl Reviewed {
    /// In a few words: `2 commits, 1 file not committed`.
    pub(crate) fn summary(&self) -> String {
        let review = &self.review;
        let commits = counted(review.commits.len(), "commit");
        let files = review.uncommitted.len();
        let files = if review.base().is_some() {
            counted(files, "file").map(|text| format!("{text} not committed"))
        } else {
            counted(files, "file").map(|text| format!("{text} changed"))
        };
        let parts: Vec<_> = commits.into_iter().chain(files).collect();
        if parts.is_empty() {
            "nothing to bring back".to_owned()
        } else {
            parts.join(", ")
        }
    }

    /// Tells on stderr which commits there are.
    pub(crate) fn say_commits(&self) {
        let lines = self.review.commits.iter().map(in_a_line);
        list(Tone::Plain, lines.collect());
    }

    /// Tells on stderr what no branch leads to.
    pub(crate) fn say_loose_ends(&self) {
        let loose_ends = &self.review.loose_ends;
        if loose_ends.is_empty() {
            return;
        }
        let LooseEnds {
            tags,
            stashes,
            commits,
        } = loose_ends;
        let tags = tags
            .iter()
            .map(|tag| format!("tag {}", visible_bytes(tag.name.shorten())));
        let stashes = stashes
            .iter()
            .map(|stash| format!("stash {}", in_a_line(stash)));
        let commits = commits.iter().map(in_a_line);
        output::say(Tone::Warning, "no branch leads to", "");
        list(Tone::Warning, tags.chain(stashes).chain(commits).collect());
    }

    /// Tells on stderr what cannot come back, and what would run once `refs` are there.
    pub(crate) fn say_warnings(&self, refs: &[Wanted]) -> anyhow::Result<()> {
        let left_out: Vec<_> = self
            .review
            .changes
            .left_out
            .iter()
            .map(|left| format!("{}: {}", visible_bytes(&left.path), left.why.explain()))
            .collect();
        if !left_out.is_empty() {
            output::say(Tone::Warning, "cannot come back", "");
            list(Tone::Warning, left_out);
        }
        let brought = self.review.files_of(refs)?;
        let hazards = self.hazards(&brought.files);
        if !hazards.is_empty() {
            output::say(Tone::Warning, "would run on your machine", "");
            list(Tone::Warning, hazards);
        }
        if !brought.unseen.is_empty() {
            let names = brought.unseen.iter();
            let names = names.map(|name| visible_bytes(name.shorten()).into_owned());
            output::say(Tone::Warning, "not looked into", "");
            list(Tone::Warning, names.collect());
        }
        Ok(())
    }

    /// Paths of files in the work tree that are not as at the start.
    fn changes_there(&self) -> impl Iterator<Item = &BString> {
        let changed = self.review.changes.changed.iter();
        changed
            .filter(|change| change.after.is_some())
            .map(|change| &change.path)
    }

    fn link(&self, path: &BString) -> Option<Vec<u8>> {
        let mut target = Vec::new();
        let mut content = self.review.open(path).ok()?.take(LONGEST_LINK);
        content.read_to_end(&mut target).ok()?;
        Some(target)
    }

    /// Files that take effect by being there: those in the work tree, and others in what is brought as refs.
    fn hazards(&self, brought: &[FileOfRef]) -> Vec<String> {
        let mut found: Vec<(Trigger, String)> = Vec::new();
        let mut odd = Vec::new();
        let changed = self.review.changes.changed.iter();
        for change in changed {
            let Some(after) = &change.after else {
                continue;
            };
            let path = change.path.as_slice().into();
            let shown = visible_bytes(&change.path).into_owned();
            if let Some(trigger) = hazards::trigger(path) {
                found.push((trigger, shown.clone()));
            }
            if after.kind == FileKind::Symlink
                && let Some(target) = self.link(&change.path)
                && hazards::leads_out(path, target.as_slice().into())
            {
                odd.push(format!("{shown}: a link to {}", visible_bytes(&target)));
            }
        }
        let mut named: BTreeSet<_> = self.changes_there().collect();
        for file in brought {
            let path = file.path.as_slice().into();
            let branch = visible_bytes(file.name.shorten());
            let shown = format!("{} in {branch}", visible_bytes(&file.path));
            let target = match file.new.mode {
                LINK => self.review.git().blob(&file.new.id).ok(),
                _ => None,
            };
            if let Some(target) = target
                && hazards::leads_out(path, target.as_slice().into())
            {
                odd.push(format!("{shown}: a link to {}", visible_bytes(&target)));
            }
            if let Some(trigger) = hazards::trigger(path)
                && named.insert(&file.path)
            {
                found.push((trigger, shown));
            }
        }
        found.sort();
        found
            .into_iter()
            .map(|(trigger, path)| format!("{path}: {}", trigger.when()))
            .chain(odd)
            .collect()
    }
}

fn in_a_line(commit: &Commit) -> String {
    format!(
        "{}  {}  {}",
        commit.id.to_hex_with_len(8),
        visible_bytes(&commit.author_name),
        visible_bytes(&commit.subject)
    )
}

fn list(tone: Tone, lines: Vec<String>) {
    let more = lines.len().saturating_sub(MOST_LISTED);
    for line in lines.iter().take(MOST_LISTED) {
        output::say_item(tone, line);
    }
    if more > 0 {
        output::say_item(Tone::Faint, &format!("and {more} more"));
    }
}

/// `1 file`, `2 files`; nothing for none.
pub(crate) fn counted(count: usize, what: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        count => Some(format!("{count} {what}s")),
    }
}
