//! Directories that are being read. Nobody opens one here: the kernel asks for a directory's entries by
//! its node and goes on where it was, so what was listed is kept until it has all of it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::sync::Arc;

use fuser::FileAttr;

use super::nodes::Place;

/// How many directories can be read at a time without being listed anew for each piece.
const KEPT: usize = 16;

#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: OsString,
    pub(super) place: Place,
    /// With the number that the place would get.
    pub(super) attributes: FileAttr,
}

/// The latest listings, the newest last.
#[derive(Debug, Default)]
pub(super) struct Listings(VecDeque<(u64, Arc<[Listed]>)>);

impl Listings {
    pub(super) fn get(&self, node: u64) -> Option<Arc<[Listed]>> {
        let mut kept = self.0.iter().rev();
        kept.find(|(of, _)| *of == node)
            .map(|(_, entries)| entries.clone())
    }

    pub(super) fn keep(&mut self, node: u64, entries: Arc<[Listed]>) {
        self.discard(node);
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back((node, entries));
    }

    pub(super) fn discard(&mut self, node: u64) {
        self.0.retain(|(of, _)| *of != node);
    }
}
