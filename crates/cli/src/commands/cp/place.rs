//! Where a path of a sandbox lies on disk.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use rustix::fs::{CWD, Mode, OFlags};
use wardian_filesystem::snapshot::Node;
use wardian_git::Base;
use wardian_git::snapshot::HeadTree;
use wardian_sandbox::record::SandboxRecord;
use wardian_sandbox::remove::remove_tree;
use wardian_sandbox::spec::{Workspace, WorkspaceMode};
use wardian_sandbox::state::SandboxDirectory;

use super::target::Target;
use super::tree::{Directory, Entry, Lower};
use crate::output::visible_path;

/// Below the layers; no end of a sandbox keeps it.
const WORKSHOP: &str = "copying";

/// A sandbox that has ended.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) state: SandboxDirectory,
    pub(super) record: SandboxRecord,
    /// The user's home, and that of programs inside.
    pub(super) home: PathBuf,
}

/// What is mounted at a path inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mounted {
    /// The workspace of this number, in layers.
    Layered(usize),
    /// A directory of the host itself.
    Itself,
}

/// A path inside, by the directory that it lies in.
struct Located {
    root: Directory,
    /// Of the root.
    path: PathBuf,
    /// Below the root.
    names: Vec<std::ffi::OsString>,
}

impl Session {
    /// As a person wrote it: relative to the main workspace, to the home if it begins with `~`, or absolute.
    pub(super) fn absolute(&self, text: &OsStr) -> anyhow::Result<PathBuf> {
        let path = Path::new(text);
        let path = match path.strip_prefix("~") {
            Ok(below) => self.home.join(below),
            Err(_) => self.record.workspaces.main().path.join(path),
        };
        let mut plain = PathBuf::new();
        for component in path.components() {
            match component {
                Component::RootDir | Component::Prefix(_) => plain.push("/"),
                Component::CurDir => {}
                Component::Normal(name) => plain.push(name),
                Component::ParentDir => bail!("{}: write it without `..`", visible_path(&path)),
            }
        }
        Ok(plain)
    }

    pub(super) fn mounted_at(&self, path: &Path) -> Option<Mounted> {
        let mut workspaces = self.record.workspaces.iter();
        let (number, workspace) = workspaces.find(|(_, workspace)| workspace.path == path)?;
        Some(mounted(number, workspace))
    }

    /// The top of a workspace that has layers.
    pub(super) fn workspace(&self, number: usize) -> anyhow::Result<Directory> {
        let state = self.state.workspace(number);
        let name = self.state.name();
        let upper = open(&state.upper())
            .with_context(|| format!("nothing is kept of {name}: it held no work"))?;
        let mut workspaces = self.record.workspaces.iter();
        let workspace = workspaces.find(|(known, _)| *known == number);
        let (_, workspace) =
            workspace.ok_or_else(|| anyhow!("{name} has no workspace {number}"))?;
        let lower = match workspace.mode {
            WorkspaceMode::Clone => {
                let base = Base::load(state.path())?;
                let tree = HeadTree::open(state.path(), &base, base.conversion(), |_| {})?;
                Lower::Snapshot(Arc::new(tree), Node::ROOT)
            }
            _ => Lower::Directory(open(&workspace.path)?),
        };
        Ok(Directory {
            upper: Some(upper),
            lower: Some(lower),
        })
    }

    /// What is at a path that `absolute` gave.
    pub(super) fn find(&self, path: &Path) -> anyhow::Result<Entry> {
        let mut located = self.locate(path)?;
        let Some(last) = located.names.pop() else {
            return Ok(Entry::Directory(located.root));
        };
        let (mut current, mut at) = (located.root, located.path);
        for name in &located.names {
            at.push(name);
            current = match current.entry(name).with_context(|| visible_path(&at))? {
                Entry::Directory(directory) => directory,
                Entry::Symlink(_) => {
                    bail!("{} is a symlink, which is not followed", visible_path(&at))
                }
                _ => bail!("{}: no such file or directory", visible_path(path)),
            };
        }
        match current.entry(&last).with_context(|| visible_path(path))? {
            Entry::Nothing => bail!("{}: no such file or directory", visible_path(path)),
            entry => Ok(entry),
        }
    }

    /// The directory at a path, made with its parents if `missing` says so; `None` if it is something else.
    pub(super) fn target(&self, path: &Path) -> anyhow::Result<Target> {
        let located = self.locate(path)?;
        let no_upper = || anyhow!("{} cannot be written to", visible_path(path));
        let workshop = Rc::new(self.workshop()?);
        let mut target = Target::layered(located.root, workshop).ok_or_else(no_upper)?;
        let mut at = located.path;
        for name in &located.names {
            at.push(name);
            target = target
                .enter(name, 0o755)
                .with_context(|| visible_path(&at))?;
        }
        Ok(target)
    }

    /// An empty directory beside the layers. What is in it is of somebody who was killed: we hold the lock.
    fn workshop(&self) -> anyhow::Result<OwnedFd> {
        let path = self.state.layers().join(WORKSHOP);
        remove_tree(&path)?;
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| visible_path(&path))?;
        open(&path)
    }

    /// To be called when nothing is put anywhere any more.
    pub(super) fn close_workshop(&self) {
        // The next one, and the next end of the sandbox, remove what stays.
        let _ = remove_tree(&self.state.layers().join(WORKSHOP));
    }

    fn locate(&self, path: &Path) -> anyhow::Result<Located> {
        let workspaces = self.record.workspaces.iter();
        let within = workspaces.filter(|(_, workspace)| path.starts_with(&workspace.path));
        let innermost = within.max_by_key(|(_, it)| it.path.as_os_str().len());
        let (root, top) = match innermost {
            Some((number, workspace)) => match mounted(number, workspace) {
                Mounted::Layered(number) => (self.workspace(number)?, workspace.path.clone()),
                Mounted::Itself => bail!(
                    "{} is your own directory, not a copy: use cp(1)",
                    visible_path(&workspace.path)
                ),
            },
            None if path.starts_with(&self.home) => {
                let home = open(&self.state.layers().join("home"))
                    .with_context(|| format!("the home of {} is not kept", self.state.name()))?;
                (Directory::plain(home), self.home.clone())
            }
            None => bail!(
                "{} is in no workspace of {}, nor in its home: nothing else is kept",
                visible_path(path),
                self.state.name()
            ),
        };
        let below = path.strip_prefix(&top).unwrap_or(path);
        let names = below.iter().map(OsStr::to_owned).collect();
        Ok(Located {
            root,
            path: top,
            names,
        })
    }
}

fn mounted(number: usize, workspace: &Workspace) -> Mounted {
    match workspace.mode {
        WorkspaceMode::Clone | WorkspaceMode::Overlay => Mounted::Layered(number),
        WorkspaceMode::Bind | WorkspaceMode::BindReadOnly => Mounted::Itself,
    }
}

fn open(path: &Path) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).with_context(|| visible_path(path))
}
