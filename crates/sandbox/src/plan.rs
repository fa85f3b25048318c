//! The sandbox's file system as data: decided before anything is mounted, shown by `--dry-run`,
//! carried out by [`crate::builtin`].

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wardian_linux::mount::Depth;

/// What to mount where, parents before children.
#[derive(Debug, Default)]
pub struct FilesystemPlan {
    trees: Vec<Tree>,
    entries: Vec<Entry>,
}

/// A file or directory of the host that the sandbox gets to see in some form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    pub path: PathBuf,
    pub depth: Depth,
    pub role: TreeRole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeRole {
    /// Holds the sandbox's own layers, or directories to bind.
    Layers,
    /// A layer below one of the sandbox's own: a system directory, whose files belong to users of the
    /// host that may be nobody inside.
    System,
    /// A layer below one of the sandbox's own: what the agent works on.
    Workspace,
    /// The state of a session clone. [`SNAPSHOT`] in it is a layer below one of the sandbox's own: the files
    /// of a commit, which the supervisor shows, or has written there if it cannot.
    Snapshot,
    /// Is bound as it is.
    Whole,
}

/// Where a [`TreeRole::Snapshot`] has the files.
pub const SNAPSHOT: &str = "tree";

/// Index of a tree in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeId(usize);

/// A place below a tree. The path is relative, of plain components, and Wardian's own choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub tree: TreeId,
    pub path: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Entry {
    /// Absolute path inside.
    pub target: PathBuf,
    pub content: Content,
}

#[derive(Debug, Clone)]
pub enum Content {
    Directory {
        mode: u32,
    },
    Symlink {
        to: PathBuf,
    },
    /// Copy-on-write: writes go to `upper`. Lower layers from the top down.
    Overlay {
        lowers: Vec<Place>,
        upper: Place,
        work: Place,
    },
    Bind {
        source: Place,
        access: Access,
        depth: Depth,
    },
    /// A file of a lower layer that is not to be seen.
    Removed,
    /// An empty file system in memory, bounded by a share of it.
    Memory {
        percent: u8,
        mode: u32,
    },
    /// `/proc` of the sandbox's own pid namespace, with the host's knobs masked or read-only.
    Proc,
    /// The harmless device files, pseudo-terminals and shared memory.
    Devices,
    /// The few files of `/sys` that runtimes read to count processors.
    Sys,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

impl TreeId {
    pub fn index(self) -> usize {
        self.0
    }

    pub fn join(self, path: impl Into<PathBuf>) -> Place {
        Place {
            tree: self,
            path: path.into(),
        }
    }
}

impl FilesystemPlan {
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn tree(&mut self, path: impl Into<PathBuf>, depth: Depth, role: TreeRole) -> TreeId {
        self.trees.push(Tree {
            path: path.into(),
            depth,
            role,
        });
        TreeId(self.trees.len() - 1)
    }

    pub fn add(&mut self, target: impl Into<PathBuf>, content: Content) {
        self.entries.push(Entry {
            target: target.into(),
            content,
        });
    }

    /// The trees in order, and their names.
    pub fn named_trees(&self) -> impl Iterator<Item = (TreeId, &Tree)> {
        let trees = self.trees.iter().enumerate();
        trees.map(|(index, tree)| (TreeId(index), tree))
    }

    /// As [`named_trees`](Self::named_trees), those with a role.
    pub fn with_role(&self, role: TreeRole) -> impl Iterator<Item = (TreeId, &Tree)> {
        self.named_trees()
            .filter(move |(_, tree)| tree.role == role)
    }

    /// Where `place` lies on the host.
    pub fn on_host(&self, place: &Place) -> PathBuf {
        let root = &self.trees[place.tree.0].path;
        if place.path == Path::new("") {
            root.clone()
        } else {
            root.join(&place.path)
        }
    }
}
