//! A directory of the user as it is now: what an overlay without git lies upon.

use gix::bstr::{BStr, BString, ByteSlice};

use super::base_tree::{BaseEntry, Found, Lower};
use super::{ChangesError, upper};
use crate::apply::{ApplyError, Present, UserTree};

/// Nothing in it is ignored: there is no git to say what can be made again.
#[derive(Debug)]
pub struct LiveTree<'a>(pub &'a UserTree);

impl Lower for LiveTree<'_> {
    fn object_hash(&self) -> gix::hash::Kind {
        self.0.hash()
    }

    fn find(&self, path: &BStr) -> Result<Found, ChangesError> {
        Ok(match self.0.look(path).map_err(from_apply)? {
            Present::File(version) => Found::File(BaseEntry {
                kind: version.kind,
                id: version.id,
            }),
            Present::Directory => Found::Directory,
            Present::Nothing | Present::Other | Present::OtherRepository => Found::Nothing,
        })
    }

    fn below(&self, directory: &BStr) -> Result<Vec<(BString, BaseEntry)>, ChangesError> {
        let files = self.0.files_below(directory).map_err(from_apply)?;
        let mut below = Vec::new();
        for path in files.ok_or(ChangesError::TooMany)? {
            if let Found::File(entry) = self.find(path.as_bstr())? {
                below.push((path, entry));
            }
        }
        below.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(below)
    }

    fn ignore_file(&self, _: &BStr) -> Option<Vec<u8>> {
        None
    }
}

fn from_apply(error: ApplyError) -> ChangesError {
    match error {
        ApplyError::Syscall { call, errno } => upper::failed(call, errno),
        other => ChangesError::Upper {
            call: "reading the directory".to_owned(),
            source: std::io::Error::other(other),
        },
    }
}
