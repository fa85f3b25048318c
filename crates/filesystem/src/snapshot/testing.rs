//! A source in memory, and trees to fill it with.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

/// What a snapshot is expected to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    Plain(Vec<u8>),
    Executable(Vec<u8>),
    Symlink(Vec<u8>),
    Directory(BTreeMap<OsString, Tree>),
}

impl Tree {
    pub(super) fn directory<const N: usize>(entries: [(&str, Tree); N]) -> Self {
        let entries = entries.map(|(name, tree)| (name.into(), tree));
        Tree::Directory(entries.into())
    }

    pub(super) fn plain(text: &str) -> Self {
        Tree::Plain(text.into())
    }
}

fn any_name() -> impl Strategy<Value = OsString> {
    let byte = any::<u8>().prop_filter("a slash or zero", |byte| !matches!(byte, 0 | b'/'));
    prop_oneof![
        "[a-c]{1,2}".prop_map(OsString::from),
        "[a-c][ .-][a-c]".prop_map(OsString::from),
        prop::collection::vec(byte, 1..6).prop_map(OsString::from_vec),
        Just(OsString::from("n".repeat(255))),
    ]
    .prop_filter("a directory's own", |name| name != "." && name != "..")
}

fn any_content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 1..100),
        (1..3_000_000usize).prop_map(|size| (0..size).map(|at| (at % 251) as u8).collect()),
    ]
}

pub(super) fn any_directory() -> impl Strategy<Value = Tree> {
    let target = prop::collection::vec(1..=u8::MAX, 1..200);
    let leaf = prop_oneof![
        any_content().prop_map(Tree::Plain),
        any_content().prop_map(Tree::Executable),
        target.prop_map(Tree::Symlink),
    ];
    let tree = leaf.prop_recursive(6, 24, 5, |inner| {
        prop::collection::btree_map(any_name(), inner, 0..5).prop_map(Tree::Directory)
    });
    prop::collection::btree_map(any_name(), tree, 0..6).prop_map(Tree::Directory)
}

/// Where a source in memory keeps large files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeps {
    InMemory,
    InFiles,
}

#[derive(Debug)]
pub(super) struct Model {
    nodes: Vec<Tree>,
    keeps: Keeps,
    /// Sizes that it believes in, where they are wrong.
    pub(super) wrong: HashMap<Node, u64>,
    /// What it cannot read.
    pub(super) lost: Vec<Node>,
    /// How often content was asked for.
    pub(super) asked: AtomicUsize,
}

impl Model {
    pub(super) fn new(root: Tree, keeps: Keeps) -> Self {
        Self {
            nodes: vec![root],
            keeps,
            wrong: HashMap::new(),
            lost: Vec::new(),
            asked: AtomicUsize::new(0),
        }
        .numbered()
    }

    /// Children get their numbers in the order of a walk.
    fn numbered(mut self) -> Self {
        let mut next = 0;
        while let Some(tree) = self.nodes.get(next) {
            if let Tree::Directory(entries) = tree {
                let children: Vec<_> = entries.values().cloned().collect();
                self.nodes.extend(children);
            }
            next += 1;
        }
        self
    }

    fn tree(&self, node: Node) -> Answer<&Tree> {
        let index = usize::try_from(node.0 - 1).unwrap();
        self.nodes.get(index).ok_or(Refusal::UnknownNode)
    }

    fn children(&self, node: Node) -> Answer<Vec<(&OsStr, Node)>> {
        let Tree::Directory(entries) = self.tree(node)? else {
            return Err(Refusal::WrongKind);
        };
        let before = &self.nodes[..usize::try_from(node.0 - 1).unwrap()];
        let counts = before.iter().map(|tree| match tree {
            Tree::Directory(entries) => entries.len(),
            _ => 0,
        });
        let first = 2 + counts.sum::<usize>();
        let numbers = (first as u64..).map(Node);
        Ok(entries
            .keys()
            .map(OsString::as_os_str)
            .zip(numbers)
            .collect())
    }

    pub(super) fn time(node: Node) -> SystemTime {
        UNIX_EPOCH + Duration::new(1_700_000_000 + node.0, 123_456_789)
    }
}

impl Source for Model {
    fn facts(&self, node: Node) -> Answer<Facts> {
        let (kind, size) = match self.tree(node)? {
            Tree::Plain(content) => (Kind::Plain, content.len()),
            Tree::Executable(content) => (Kind::Executable, content.len()),
            Tree::Symlink(target) => (Kind::Symlink, target.len()),
            Tree::Directory(_) => (Kind::Directory, 0),
        };
        Ok(Facts {
            kind,
            size: *self.wrong.get(&node).unwrap_or(&(size as u64)),
            modified: Self::time(node),
            changed: Self::time(node),
        })
    }

    fn look_up(&self, directory: Node, name: &OsStr) -> Answer<Node> {
        let children = self.children(directory)?;
        let found = children.iter().find(|(of, _)| *of == name);
        found.map(|(_, node)| *node).ok_or(Refusal::Absent)
    }

    fn list(
        &self,
        directory: Node,
        from: u64,
        take: &mut dyn FnMut(Child<'_>) -> Taken,
    ) -> Answer<()> {
        let children = self.children(directory)?;
        let from = usize::try_from(from).unwrap();
        for ((name, node), next) in children.into_iter().zip(1..).skip(from) {
            if take(Child { name, node, next }) == Taken::Full {
                break;
            }
        }
        Ok(())
    }

    fn content(&self, node: Node) -> Answer<Content> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.lost.contains(&node) {
            return Err(Refusal::Unavailable);
        }
        match self.tree(node)? {
            Tree::Symlink(target) => Ok(Content::Memory(target.clone())),
            Tree::Plain(content) | Tree::Executable(content) => Ok(match self.keeps {
                Keeps::InMemory => Content::Memory(content.clone()),
                Keeps::InFiles => in_file(content),
            }),
            Tree::Directory(_) => Err(Refusal::WrongKind),
        }
    }
}

fn in_file(content: &[u8]) -> Content {
    use std::io::Write;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    Content::File {
        file: OwnedFd::from(file),
        size: content.len() as u64,
    }
}

/// For messages.
pub(super) fn shown(name: &OsStr) -> String {
    name.as_bytes().escape_ascii().to_string()
}
