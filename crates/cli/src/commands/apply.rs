use std::fs;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use serde::{Deserialize, Serialize};
use wardian_events::visible_bytes;
use wardian_git::apply::{
    ApplyError, Conflict, Contents, Plan, Repositories, Staged, UserTree, Version,
};
use wardian_git::confined::{Git, SessionRepository};
use wardian_git::review::{Review, WorkDigest};
use wardian_git::transfer::{self, Brought, Moved, Signature, Undone};
use wardian_git::{BString, Base, ObjectFormat};
use wardian_sandbox::spec::WorkspaceMode;
use wardian_sandbox::state::Lock;
use wardian_supervisor::work;

use crate::failure::{BAD_NEWS, Failure, Outcome};
use crate::output::{self, Tone};
use crate::review::{self, Reviewed, counted};
use crate::sandboxes::{self, Sandbox};

/// Bring a sandbox's work into your own repositories
///
/// Commits arrive as the branch `wardian/NAME`, by copying objects that were checked
/// one by one; nothing is checked out. What is not committed arrives as changes to
/// your files, merged with yours where both changed. If a file conflicts, nothing at
/// all is done, and it is named. Nothing of the session is executed for it.
///
/// Other branches of the session arrive below `wardian-NAME/`. So do, with `--all`, its
/// tags, its stashes as branches `stash-ID`, and as `lost-ID` commits that it has reset
/// away or left behind.
///
/// The sandbox stays as it is: `wardian rm NAME` drops it, without asking if all of its
/// work has arrived. `--undo` takes the last apply back, unless you changed the same
/// files or branches since.
///
/// Examples:
///
///   wardian apply claude-7f3k2q
///   git merge wardian/claude-7f3k2q
///   wardian apply --undo claude-7f3k2q
///
/// Exit status: 0 if the work arrived, 1 if something conflicts.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Apply {
    /// Take the last apply of this sandbox back
    #[arg(long, conflicts_with_all = ["commits", "changes", "all"])]
    undo: bool,

    /// Bring the commits alone
    #[arg(long, conflicts_with = "changes")]
    commits: bool,

    /// Bring what is not committed alone
    #[arg(long)]
    changes: bool,

    /// Bring tags, stashes and commits that no branch leads to as well
    #[arg(long, conflicts_with = "changes")]
    all: bool,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    /// The sandbox
    #[arg(value_name = "NAME")]
    name: String,
}

impl Apply {
    pub(crate) fn run(self) -> Outcome {
        let sandbox = sandboxes::find(&self.name)?;
        if self.undo {
            return undo(&sandbox);
        }
        let Some(lock) = sandbox.state().try_lock()? else {
            return Err(Failure::from(anyhow!("{} is running", self.name))
                .hint("its work is complete once it has ended"));
        };
        take_back_interrupted(&sandbox)?;
        let workspaces = review::review(&sandbox)?;
        let wanted = self.wanted();
        let loose_ends = match self.all {
            true => LooseEnds::Bring,
            false => LooseEnds::Leave,
        };
        let mut planned = Vec::new();
        for workspace in &workspaces {
            planned.push(Planned::of(workspace, wanted, loose_ends)?);
        }
        if planned.iter().all(Planned::is_empty) {
            output::say(Tone::Plain, "note", "there is nothing to bring back");
            say_left(&self.name, &workspaces, loose_ends);
            remember_applied(&sandbox, &lock, &workspaces)?;
            return Ok(ExitCode::SUCCESS);
        }
        if report_conflicts(&planned) {
            return Ok(ExitCode::from(BAD_NEWS));
        }
        for planned in &planned {
            planned.say()?;
        }
        if !self.yes && !confirm()? {
            return Err(anyhow!("nothing was applied").into());
        }
        carry_out(&self.name, &planned)?;
        say_left(&self.name, &workspaces, loose_ends);
        remember_applied(&sandbox, &lock, &workspaces)?;
        Ok(ExitCode::SUCCESS)
    }

    fn wanted(&self) -> Share {
        match (self.commits, self.changes) {
            (true, _) => Share::Commits,
            (_, true) => Share::Changes,
            _ => Share::Both,
        }
    }
}

/// What of the work is to be brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    Both,
    Commits,
    /// That are not committed.
    Changes,
}

/// What is to become of tags, stashes and commits that no branch leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LooseEnds {
    Bring,
    Leave,
}

/// What is to be done in one workspace.
struct Planned<'a> {
    workspace: &'a Reviewed,
    tree: UserTree,
    plan: Plan,
    refs: Vec<transfer::Wanted>,
}

impl<'a> Planned<'a> {
    fn of(workspace: &'a Reviewed, share: Share, loose_ends: LooseEnds) -> Result<Self, Failure> {
        let review = &workspace.review;
        let repositories = match review.base() {
            Some(_) => Repositories::Refuse,
            None => Repositories::Enter,
        };
        let tree = UserTree::open(&workspace.path, review.object_hash(), repositories)?;
        let wanted = match share {
            Share::Commits => Vec::new(),
            Share::Both | Share::Changes => review.wanted_files(),
        };
        let plan = Plan::make(&tree, &wanted, &FromReview(review))?;
        let refs = match share {
            Share::Changes => Vec::new(),
            Share::Both | Share::Commits => wanted_refs(review, loose_ends)?,
        };
        Ok(Self {
            workspace,
            tree,
            plan,
            refs,
        })
    }

    fn is_empty(&self) -> bool {
        self.plan.steps.is_empty() && self.plan.conflicts.is_empty() && self.refs.is_empty()
    }

    fn say(&self) -> anyhow::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        output::say(
            Tone::Heading,
            &output::visible_path(&self.workspace.path),
            &self.workspace.summary(),
        );
        if !self.refs.is_empty() {
            self.workspace.say_commits();
        }
        for step in &self.plan.steps {
            let what = match (step.before, step.after, step.is_merged()) {
                (_, _, true) => "merge with yours",
                (None, Some(_), _) => "new",
                (Some(_), None, _) => "delete",
                _ => "change",
            };
            output::say_item(
                Tone::Plain,
                &format!("{what:<8} {}", visible_bytes(&step.path)),
            );
        }
        self.workspace.say_warnings(&self.refs)
    }
}

/// Whether there are any.
fn report_conflicts(planned: &[Planned<'_>]) -> bool {
    let mut any = false;
    for planned in planned {
        for Conflict { path, why } in &planned.plan.conflicts {
            if !any {
                output::say(Tone::Bad, "nothing was applied", "these files conflict");
            }
            any = true;
            let path = visible_bytes(path);
            output::say_item(Tone::Bad, &format!("{path}: {}", why.explain()));
        }
    }
    if any {
        output::say(
            Tone::Faint,
            "hint",
            "commit or stash your own changes to them; `--commits` brings the commits alone, as a branch",
        );
    }
    any
}

/// A branch that arrived before is moved on, if it only goes forward.
fn wanted_refs(review: &Review, loose_ends: LooseEnds) -> Result<Vec<transfer::Wanted>, Failure> {
    let Some(base) = review.base() else {
        return Ok(Vec::new());
    };
    let mut wanted = review.wanted_branches();
    if loose_ends == LooseEnds::Bring {
        wanted.extend(review.wanted_loose_ends());
    }
    let tips = base.tips()?;
    for wanted in &mut wanted {
        wanted.expected = tips.get(&wanted.name).copied();
        let Some(old) = wanted.expected.filter(|old| *old != wanted.tip) else {
            continue;
        };
        if review.git().count_commits(&[old], &[wanted.tip])? > 0 {
            let name = visible_bytes(wanted.name.shorten()).into_owned();
            let moved = anyhow!("your branch {name} has commits that the session has not");
            return Err(
                Failure::from(moved).hint(format!("rename it: `git branch -m {name} {name}-mine`"))
            );
        }
    }
    wanted.retain(|wanted| wanted.expected != Some(wanted.tip));
    Ok(wanted)
}

/// What was done in one workspace, or begun, for `--undo`.
#[derive(Debug, Serialize, Deserialize)]
struct Applied {
    progress: Progress,
    workspace: PathBuf,
    brought: Brought,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Progress {
    Begun,
    Done,
}

const APPLIED: &str = "applied.json";

impl Applied {
    fn load(state: &Path) -> Result<Option<Self>, Failure> {
        let path = state.join(APPLIED);
        match fs::read(&path) {
            Ok(text) => Ok(Some(
                serde_json::from_slice(&text).with_context(|| path.display().to_string())?,
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(anyhow!("{}: {error}", path.display()).into()),
        }
    }

    /// What is kept is for the last apply alone. Its files go last: without the rest they are nothing.
    fn forget(state: &Path) -> Result<(), Failure> {
        if Staged::open(state)?.is_some_and(|staged| !staged.is_done()) {
            return Err(ApplyError::Interrupted.into());
        }
        match fs::remove_file(state.join(APPLIED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(anyhow!("cannot forget the last apply: {error}").into());
            }
            _ => {}
        }
        Ok(Staged::forget(state)?)
    }

    fn store(&self, state: &Path) -> Result<(), Failure> {
        let (path, new) = (state.join(APPLIED), state.join(format!("{APPLIED}.new")));
        fs::write(&new, serde_json::to_vec(self)?)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| path.display().to_string())?;
        Ok(())
    }
}

fn carry_out(name: &str, planned: &[Planned<'_>]) -> Result<(), Failure> {
    let git = review::find_git()?;
    for (number, one) in planned.iter().enumerate() {
        let Err(failure) = one.carry_out(name, &git) else {
            continue;
        };
        // All or nothing: what was done is taken back, as far as nobody has changed it since.
        for done in &planned[..=number] {
            if let Err(left) = take_back(&done.workspace.state, done.workspace.mode) {
                left.report();
            }
        }
        return Err(failure);
    }
    for one in planned {
        one.say_done();
    }
    output::say(Tone::Faint, "undo", &format!("wardian apply --undo {name}"));
    Ok(())
}

/// What did not come along, and how it would.
fn say_left(name: &str, workspaces: &[Reviewed], loose_ends: LooseEnds) {
    let has_some = |workspace: &Reviewed| !workspace.review.loose_ends.is_empty();
    if loose_ends == LooseEnds::Leave && workspaces.iter().any(has_some) {
        for workspace in workspaces {
            workspace.say_loose_ends();
        }
        output::say(Tone::Faint, "take", &format!("wardian apply --all {name}"));
    }
}

/// Writes down which workspaces have nothing left that another apply would bring, or could not.
fn remember_applied(
    sandbox: &Sandbox,
    lock: &Lock,
    workspaces: &[Reviewed],
) -> Result<(), Failure> {
    for workspace in workspaces {
        let state = &workspace.state;
        let is_complete = workspace.review.changes.left_out.is_empty()
            && Planned::of(workspace, Share::Both, LooseEnds::Bring)
                .is_ok_and(|planned| planned.is_empty());
        let digest = match (is_complete, workspace.mode) {
            (false, _) => None,
            (true, WorkspaceMode::Clone) => WorkDigest::of_session(state)?,
            (true, _) => WorkDigest::of_overlay(state)?,
        };
        if let Some(digest) = digest {
            digest
                .remember(state)
                .context("cannot remember that all was applied")?;
        }
    }
    Ok(work::refresh(sandbox.state(), lock)?)
}

impl Planned<'_> {
    fn carry_out(&self, name: &str, git: &Git) -> Result<(), Failure> {
        let Self {
            workspace,
            tree,
            plan,
            refs,
        } = self;
        let state = &workspace.state;
        let moved = |wanted: &transfer::Wanted| Moved {
            name: wanted.name.to_string(),
            old: wanted.expected.map(|id| id.to_string()),
            new: wanted.tip.to_string(),
        };
        let mut applied = Applied {
            progress: Progress::Begun,
            workspace: workspace.path.clone(),
            brought: Brought {
                moved: refs.iter().map(moved).collect(),
                sent_objects: false,
                lfs: Default::default(),
            },
        };
        Applied::forget(state)?;
        // First, so that a kill leaves a way back.
        applied.store(state)?;
        if let Some(base) = workspace.review.base().filter(|_| !refs.is_empty()) {
            let session = SessionRepository::open(state)?;
            let message = format!("wardian apply {name}");
            transfer::bring(git, base, &session, refs, &signature(), &message)?;
        }
        if !plan.steps.is_empty() {
            Staged::new(state, tree, plan, &FromReview(&workspace.review))?.carry_out(tree)?;
        }
        applied.progress = Progress::Done;
        applied.store(state)
    }

    fn say_done(&self) {
        for wanted in &self.refs {
            let name = wanted.name.shorten();
            output::say(Tone::Good, "branch", &visible_bytes(name));
        }
        if let Some(count) = counted(self.plan.steps.len(), "file") {
            let path = output::visible_path(&self.workspace.path);
            output::say(Tone::Good, "changed", &format!("{count} in {path}"));
        }
        if let [wanted, ..] = self.refs.as_slice() {
            let next = format!("git merge {}", visible_bytes(wanted.name.shorten()));
            output::say(Tone::Faint, "take", &next);
        }
    }
}

/// An apply that was killed is neither done nor undone.
fn take_back_interrupted(sandbox: &Sandbox) -> Result<(), Failure> {
    let record = review::record(sandbox)?;
    let mut taken_back = false;
    for (number, it) in record.workspaces.iter() {
        let (workspace, mode) = (sandbox.state().workspace(number), it.mode);
        let state = workspace.path();
        let begun = |applied: Applied| applied.progress == Progress::Begun;
        // The second is an undo that was killed.
        if Applied::load(state)?.is_some_and(begun)
            || Staged::open(state)?.is_some_and(|staged| !staged.is_done())
        {
            taken_back |= take_back(state, mode)?;
        }
    }
    if taken_back {
        let text = "an earlier apply was interrupted; what it had begun was taken back first";
        output::say(Tone::Warning, "note", text);
    }
    Ok(())
}

fn undo(sandbox: &Sandbox) -> Outcome {
    let record = review::record(sandbox)?;
    for (number, _) in record.workspaces.iter() {
        WorkDigest::forget(sandbox.state().workspace(number).path())
            .context("cannot forget that all was applied")?;
    }
    // Of one that runs, it is told at its end.
    if let Some(lock) = sandbox.state().try_lock()? {
        work::refresh(sandbox.state(), &lock)?;
    }
    let mut undone = false;
    for (number, workspace) in record.workspaces.iter() {
        undone |= take_back(sandbox.state().workspace(number).path(), workspace.mode)?;
    }
    if undone {
        output::say(Tone::Good, "undone", "everything is as it was before");
    } else {
        output::say(Tone::Plain, "note", "nothing of it was applied");
    }
    Ok(ExitCode::SUCCESS)
}

fn signature() -> Signature {
    Signature {
        name: "Wardian".to_owned(),
        email: String::new(),
    }
}

/// Whether there was anything to take back.
fn take_back(state: &Path, mode: WorkspaceMode) -> Result<bool, Failure> {
    let Some(Applied {
        workspace, brought, ..
    }) = Applied::load(state)?
    else {
        return Ok(false);
    };
    let (hash, repositories, base) = match mode {
        WorkspaceMode::Clone => {
            let base = Base::load(state)?;
            (base.hash()?, Repositories::Refuse, Some(base))
        }
        _ => (ObjectFormat::Sha1, Repositories::Enter, None),
    };
    let tree = UserTree::open(&workspace, hash, repositories)?;
    if let Some(staged) = Staged::open(state)? {
        staged.undo(&tree).map_err(|error| {
            Failure::from(error).hint("nothing was undone; put your own changes to them away first")
        })?;
    }
    if let Some(base) = &base {
        let undone = transfer::undo(base, &brought, &signature(), "wardian apply --undo")?;
        for undone in undone {
            if let Undone::Left { name, why } = undone {
                output::say(Tone::Warning, "left", &format!("{name}: {why}"));
            }
        }
    }
    fs::remove_file(state.join(APPLIED)).context("cannot forget the apply")?;
    Ok(true)
}

/// With a terminal, somebody has seen what will be done. Without one, `--undo` is the way back.
fn confirm() -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(true);
    }
    eprint!("Apply? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

struct FromReview<'a>(&'a Review);

impl Contents for FromReview<'_> {
    fn base(&self, _: &BString, version: &Version) -> io::Result<Vec<u8>> {
        self.0.git().blob(&version.id).map_err(io::Error::other)
    }

    fn theirs(&self, path: &BString) -> io::Result<Box<dyn Read>> {
        self.0.open(path)
    }
}
