//! The nodes that the kernel holds on to.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use super::error::{Answer, Refusal};
use super::files::Stamp;

/// The mount's root, which is never looked up and never forgotten.
pub(super) const TOP: u64 = 1;

/// More files than any host has in its system directories: the kernel's cache is what really bounds
/// the table.
const MAX_NODES: usize = 1 << 22;

/// Numbers of this many bits are exact in every language's idea of a number.
const NUMBER_BITS: u32 = 52;

/// What a node stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// The mount's root, which lists the exports.
    Top,
    /// Below an export, by its index; the empty path is the export itself.
    Below { export: usize, path: Arc<Path> },
}

impl Place {
    /// What `name` is in this directory below an export.
    pub(super) fn child(&self, name: &OsStr) -> Option<Self> {
        match self {
            Place::Top => None,
            Place::Below { export, path } => Some(Place::Below {
                export: *export,
                path: path.join(name).into(),
            }),
        }
    }

    /// The number that a node of this place gets unless another place has it: the same at each look, for
    /// programs compare inode numbers over time.
    pub(super) fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        let number = hasher.finish() >> (u64::BITS - NUMBER_BITS);
        number.max(TOP + 1)
    }
}

#[derive(Debug)]
struct Node {
    place: Place,
    /// How often the kernel was told of it and has not forgotten it since.
    lookups: u64,
    /// What was opened last: pages that the kernel keeps are of this.
    opened: Option<Stamp>,
}

#[derive(Debug, Default)]
pub(super) struct Nodes(HashMap<u64, Node>);

impl Nodes {
    pub(super) fn place(&self, number: u64) -> Answer<Place> {
        if number == TOP {
            return Ok(Place::Top);
        }
        let node = self.0.get(&number).ok_or(Refusal::UnknownNode)?;
        Ok(node.place.clone())
    }

    /// The node of `place`, which the kernel is about to be told of.
    pub(super) fn look_up(&mut self, place: Place) -> Answer<u64> {
        let count = self.0.len();
        let mut number = place.number();
        loop {
            match self.0.entry(number) {
                Entry::Occupied(mut entry) if entry.get().place == place => {
                    let lookups = &mut entry.get_mut().lookups;
                    *lookups = lookups.saturating_add(1);
                    return Ok(number);
                }
                // Two paths, one hash.
                Entry::Occupied(_) => number = number.saturating_add(1),
                Entry::Vacant(_) if count >= MAX_NODES => return Err(Refusal::TooMany),
                Entry::Vacant(entry) => {
                    entry.insert(Node {
                        place,
                        lookups: 1,
                        opened: None,
                    });
                    return Ok(number);
                }
            }
        }
    }

    pub(super) fn forget(&mut self, number: u64, lookups: u64) {
        if let Entry::Occupied(mut entry) = self.0.entry(number) {
            let left = entry.get().lookups.saturating_sub(lookups);
            if left == 0 {
                entry.remove();
            } else {
                entry.get_mut().lookups = left;
            }
        }
    }

    /// Notes what was opened; whether it is what was opened last time.
    pub(super) fn opened(&mut self, number: u64, stamp: Stamp) -> Content {
        let Some(node) = self.0.get_mut(&number) else {
            return Content::New;
        };
        match node.opened.replace(stamp) {
            Some(last) if last == stamp => Content::Same,
            _ => Content::New,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Whether pages that the kernel has of a file are still its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Same,
    New,
}
