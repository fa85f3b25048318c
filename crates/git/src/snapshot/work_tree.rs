//! What lies below a session's work tree: HEAD's files, and the index that git has of them.
//!
//! The index is `.git/index`, beneath the session's own `.git`. Git never writes into an index but puts
//! another in its place, so that the session has one of its own, in the upper layer, once git inside has
//! something to write. Until then none is copied, and questions about it need no file decoded.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use wardian_filesystem::snapshot::{
    Answer, Child, Content, Facts, Kind, Node, Refusal, Source, Taken,
};

use super::HeadTree;

/// Numbers that no directory of an index has: there are fewer entries than numbers.
const GIT: Node = Node(0xffff_fffe);
const INDEX: Node = Node(0xffff_ffff);

/// Where the listing of the top goes on after `.git`, which comes last.
const AFTER_GIT: u64 = u64::MAX >> 1;

#[derive(Debug)]
pub struct WorkTree {
    files: HeadTree,
}

impl WorkTree {
    pub fn new(files: HeadTree) -> Self {
        Self { files }
    }

    fn index_facts(&self) -> Answer<Facts> {
        let status = self.files.0.file.metadata();
        Ok(Facts {
            kind: Kind::Plain,
            size: status.map_err(|_| Refusal::Unavailable)?.len(),
            // Later than what it knows of any file, so that git believes it.
            modified: self.files.0.time,
            changed: self.files.0.time,
        })
    }
}

impl Source for WorkTree {
    fn facts(&self, node: Node) -> Answer<Facts> {
        match node {
            GIT => self.files.facts(Node::ROOT),
            INDEX => self.index_facts(),
            other => self.files.facts(other),
        }
    }

    fn look_up(&self, directory: Node, name: &OsStr) -> Answer<Node> {
        match directory {
            Node::ROOT if name == ".git" => Ok(GIT),
            GIT if name == "index" => Ok(INDEX),
            GIT => Err(Refusal::Absent),
            INDEX => Err(Refusal::WrongKind),
            other => self.files.look_up(other, name),
        }
    }

    fn list(
        &self,
        directory: Node,
        from: u64,
        take: &mut dyn FnMut(Child<'_>) -> Taken,
    ) -> Answer<()> {
        let only = |name, node| Child {
            name: OsStr::new(name),
            node,
            next: AFTER_GIT,
        };
        match directory {
            Node::ROOT if from < AFTER_GIT => {
                let mut is_full = false;
                self.files.list(directory, from, &mut |child| {
                    let taken = take(child);
                    is_full = taken == Taken::Full;
                    taken
                })?;
                if !is_full {
                    take(only(".git", GIT));
                }
            }
            GIT if from < AFTER_GIT => {
                take(only("index", INDEX));
            }
            Node::ROOT | GIT => {}
            INDEX => return Err(Refusal::WrongKind),
            other => return self.files.list(other, from, take),
        }
        Ok(())
    }

    fn content(&self, node: Node) -> Answer<Content> {
        match node {
            GIT => Err(Refusal::WrongKind),
            INDEX => {
                let file = self.files.0.file.try_clone();
                Ok(Content::File {
                    file: OwnedFd::from(file.map_err(|_| Refusal::Unavailable)?),
                    size: self.index_facts()?.size,
                })
            }
            other => self.files.content(other),
        }
    }
}
