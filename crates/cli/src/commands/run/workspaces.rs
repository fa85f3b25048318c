//! What the program works on: from flags and the current directory to a plan, and from the plan to disk.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use wardian_git::repository::{Repository, RepositoryError, Sparse};
use wardian_git::session::{self, Brought, Changes, Options, Skipped};
use wardian_sandbox::SandboxName;
use wardian_sandbox::plan::Access;
use wardian_sandbox::spec::{Mount, SandboxSpec, Workspace, WorkspaceMode, Workspaces};
use wardian_sandbox::state::{SandboxDirectory, WorkspaceDirectory};

use super::Run;
use crate::failure::Failure;
use crate::output::{self, Tone};
use crate::sandboxes;

/// Where the user's objects are inside, by the number of the workspace.
pub(super) const REPOSITORIES: &str = "/run/wardian/repositories";
/// More than these skipped files are only counted.
const MOST_NAMED: usize = 5;

/// What is decided before anything is touched.
pub(super) struct PlannedWorkspaces {
    pub(super) workspaces: Workspaces,
    pub(super) mounts: Vec<Mount>,
    pub(super) clones: Vec<PlannedClone>,
    /// Where the program starts.
    pub(super) directory: PathBuf,
    pub(super) notes: Vec<String>,
}

/// A session clone to be made.
pub(super) struct PlannedClone {
    number: usize,
    repository: Repository,
    options: Options,
}

impl PlannedClone {
    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }
}

impl PlannedWorkspaces {
    /// `directory` is where the program starts: canonical.
    pub(super) fn from(
        run: &Run,
        name: &SandboxName,
        home: &Path,
        directory: PathBuf,
    ) -> Result<Self, Failure> {
        let mut plan = Planning {
            run,
            name,
            found: Vec::new(),
            notes: Vec::new(),
        };
        plan.main(&directory, home)?;
        for path in &run.repo {
            plan.repository(path)?;
        }
        plan.add_submodules();
        plan.finish(directory)
    }
}

struct Planning<'a> {
    run: &'a Run,
    name: &'a SandboxName,
    found: Vec<(Workspace, Option<Repository>)>,
    notes: Vec<String>,
}

impl Planning<'_> {
    fn main(&mut self, directory: &Path, home: &Path) -> Result<(), Failure> {
        let [bind @ .., main] = self.run.bind.as_slice() else {
            return self.main_by_itself(directory, home);
        };
        for bind in bind {
            let (path, mode) = bound(bind)?;
            self.found.push((Workspace { path, mode }, None));
        }
        let (path, mode) = bound(main)?;
        self.found.insert(0, (Workspace { path, mode }, None));
        // `--bind=DIR` elsewhere leaves the current directory as it is without.
        if directory.starts_with(&self.found[0].0.path) {
            return Ok(());
        }
        let bound = std::mem::take(&mut self.found);
        self.main_by_itself(directory, home)?;
        self.found.extend(bound);
        Ok(())
    }

    /// A repository becomes a clone, all else an overlay.
    fn main_by_itself(&mut self, directory: &Path, home: &Path) -> Result<(), Failure> {
        let overlay = |path: &Path| Workspace {
            path: path.to_owned(),
            mode: WorkspaceMode::Overlay,
        };
        let repository = if self.run.overlay {
            None
        } else {
            Repository::discover(directory).map_err(refused)?
        };
        let repository = repository.filter(|repository| {
            let is_of_home = home.starts_with(repository.worktree());
            if is_of_home {
                let top = repository.worktree().display();
                self.notes.push(format!(
                    "the repository {top} holds your home directory: only {} is used, as a copy",
                    directory.display()
                ));
            }
            !is_of_home
        });
        match repository {
            Some(repository) => self.clone(repository),
            None if self.run.with_changes || !self.run.include.is_empty() => {
                return Err(Failure::from(anyhow!(
                    "--with-changes and --include are for git repositories, and {} is in none",
                    directory.display()
                ))
                .hint("without git, all files of the directory are there anyway"));
            }
            None => self.found.push((overlay(directory), None)),
        }
        Ok(())
    }

    fn repository(&mut self, path: &Path) -> Result<(), Failure> {
        let path = canonical(path)?;
        let repository = Repository::discover(&path).map_err(refused)?;
        let repository = repository.ok_or_else(|| {
            Failure::from(anyhow!("{} is in no git repository", path.display())).hint(format!(
                "`--bind={}` shows the directory itself",
                path.display()
            ))
        })?;
        let top = repository.worktree();
        if self
            .found
            .iter()
            .any(|(workspace, _)| workspace.path == top)
        {
            let twice = anyhow!("{} is named twice", top.display());
            return Err(Failure::from(twice).hint("each repository is one workspace"));
        }
        self.clone(repository);
        Ok(())
    }

    fn clone(&mut self, repository: Repository) {
        if repository.commit().is_none() && !self.run.with_changes {
            self.notes.push(format!(
                "{} has no commit yet, so the session starts empty; --with-changes brings your files",
                repository.worktree().display()
            ));
        }
        let workspace = Workspace {
            path: repository.worktree().to_owned(),
            mode: WorkspaceMode::Clone,
        };
        self.found.push((workspace, Some(repository)));
    }

    /// Those that are checked out are repositories of their own.
    fn add_submodules(&mut self) {
        let outer: Vec<_> = std::mem::take(&mut self.found);
        let mut inner = Vec::new();
        for (_, repository) in &outer {
            let Some(repository) = repository else {
                continue;
            };
            match repository.submodules() {
                Ok(submodules) => {
                    inner.extend(submodules.populated.into_iter().map(|it| it.repository));
                    self.notes
                        .extend(submodules.unusable.into_iter().map(|(path, error)| {
                            format!("the submodule {} is left out: {error}", path.display())
                        }));
                }
                Err(error) => self
                    .notes
                    .push(format!("the submodules are left out: {error}")),
            }
        }
        self.found = outer;
        for repository in inner {
            let is_new = |(workspace, _): &(Workspace, _)| workspace.path != repository.worktree();
            if self.found.iter().all(is_new) {
                self.clone(repository);
            }
        }
    }

    fn finish(self, directory: PathBuf) -> Result<PlannedWorkspaces, Failure> {
        let state = sandboxes::state_root()?.path().join(self.name.as_str());
        let state = SandboxDirectory::at(state, self.name.clone());
        let mut mounts = Vec::new();
        let mut clones = Vec::new();
        let mut workspaces = Vec::new();
        for (number, (workspace, repository)) in self.found.into_iter().enumerate() {
            workspaces.push(workspace);
            let Some(repository) = repository else {
                continue;
            };
            let inside = Path::new(REPOSITORIES).join(number.to_string());
            let lfs = repository.lfs();
            let state = state.workspace(number);
            mounts.extend(objects(repository.objects(), lfs, &inside, &state));
            let is_main = number == 0;
            clones.push(PlannedClone {
                number,
                repository,
                options: Options {
                    branch: format!("wardian/{}", self.name),
                    inside,
                    changes: if self.run.with_changes {
                        Changes::Bring
                    } else {
                        Changes::Leave
                    },
                    include: if is_main {
                        self.run.include.clone()
                    } else {
                        Vec::new()
                    },
                },
            });
        }
        let mut workspaces = workspaces.into_iter();
        let main = workspaces
            .next()
            .ok_or_else(|| anyhow!("there is nothing to work on"))?;
        Ok(PlannedWorkspaces {
            workspaces: Workspaces::new(main, workspaces.collect()),
            mounts,
            clones,
            directory,
            notes: self.notes,
        })
    }
}

/// `DIR`, `DIR:ro` or nothing for the current directory.
fn bound(text: &str) -> Result<(PathBuf, WorkspaceMode), Failure> {
    let (path, mode) = match text.strip_suffix(":ro") {
        Some(path) => (path, WorkspaceMode::BindReadOnly),
        None => (
            text.strip_suffix(":rw").unwrap_or(text),
            WorkspaceMode::Bind,
        ),
    };
    let path = if path.is_empty() { "." } else { path };
    let path = canonical(Path::new(path))?;
    if path.is_dir() {
        Ok((path, mode))
    } else {
        Err(anyhow!("{} is no directory", path.display()).into())
    }
}

fn canonical(path: &Path) -> Result<PathBuf, Failure> {
    Ok(fs::canonicalize(path).with_context(|| path.display().to_string())?)
}

fn refused(error: RepositoryError) -> Failure {
    let hint = match &error {
        RepositoryError::OtherOwner { .. } => {
            "git itself would ask for `git config --global --add safe.directory ...`"
        }
        _ => "`--overlay` takes the directory as it is, without its git",
    };
    Failure::from(error).hint(hint)
}

/// The user's objects, for reading, where the session looks for them.
pub(super) fn objects(
    objects: &[PathBuf],
    lfs: Option<PathBuf>,
    inside: &Path,
    state: &WorkspaceDirectory,
) -> Vec<Mount> {
    let mut mounts = Vec::new();
    let read = |source: PathBuf, target: PathBuf| Mount {
        source,
        target,
        access: Access::ReadOnly,
    };
    for mount in session::object_mounts(objects, inside) {
        let covered = mount.covered.map(|path| mount.inside.join(path));
        mounts.push(read(mount.host, mount.inside));
        mounts.extend(covered.map(|path| read(empty_file(state), path)));
    }
    // Where Git LFS looks, beside the objects that it knows of.
    mounts.extend(lfs.map(|lfs| read(lfs, inside.join("lfs"))));
    mounts
}

fn empty_file(state: &WorkspaceDirectory) -> PathBuf {
    state.path().join("empty")
}

/// Makes the session clones of a sandbox that has its directory by now.
pub(super) fn make_clones(
    clones: &[PlannedClone],
    directory: &SandboxDirectory,
    spec: &mut SandboxSpec,
    quiet: bool,
) -> Result<(), Failure> {
    let say = |text: String| {
        if !quiet {
            output::say(Tone::Warning, "note", &text);
        }
    };
    for PlannedClone {
        number,
        repository,
        options,
    } in clones
    {
        let state = directory.workspace(*number);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(state.path())
            .with_context(|| state.path().display().to_string())?;
        fs::write(empty_file(&state), b"").context("cannot write into the sandbox's state")?;
        let created = session::create(repository, state.path(), options).map_err(|error| {
            Failure::from(error).hint("`--overlay` takes the directory as it is, without its git")
        })?;
        let top = repository.worktree();
        let removed = created.brought.removed.iter();
        spec.removed.extend(removed.map(|path| top.join(path)));
        skipped(top, &created.brought).into_iter().for_each(say);
        if *number == 0
            && let Some(note) =
                start_where_there_is_something(spec, repository, &created.base, &state)
        {
            say(note);
        }
    }
    Ok(())
}

fn skipped(top: &Path, brought: &Brought) -> Vec<String> {
    let mut notes: Vec<_> = brought
        .skipped
        .iter()
        .take(MOST_NAMED)
        .map(|(path, why)| {
            let why = match why {
                Skipped::Repository => "it is a repository of its own".to_owned(),
                Skipped::Special => "it is neither a file nor a symlink".to_owned(),
                Skipped::Unreadable(error) => error.clone(),
            };
            format!("{} is not brought along: {why}", top.join(path).display())
        })
        .collect();
    let more = brought.skipped.len().saturating_sub(MOST_NAMED);
    notes.extend((more > 0).then(|| format!("{more} more files are not brought along")));
    notes
}

/// The current directory may hold nothing that is committed: then it is not there.
fn start_where_there_is_something(
    spec: &mut SandboxSpec,
    repository: &Repository,
    base: &wardian_git::Base,
    state: &WorkspaceDirectory,
) -> Option<String> {
    let below = spec.directory.strip_prefix(&base.worktree).ok()?;
    if below.as_os_str().is_empty() || state.upper().join(below).is_dir() {
        return None;
    }
    let is_there = match repository.sparse() {
        Sparse::Off => repository.has_directory(below).ok()?,
        // Only the index knows what is left out.
        Sparse::Patterns | Sparse::Cone => {
            let tree = wardian_git::changes::BaseTree::open(state.path(), base).ok()?;
            tree.has_directory(below)
        }
    };
    if is_there {
        return None;
    }
    let note = format!(
        "{} holds nothing that is committed; the program starts in {}",
        spec.directory.display(),
        base.worktree.display()
    );
    spec.directory = base.worktree.clone();
    Some(note)
}
