//! The anchor that a journal leaves beside itself when its sandbox has stopped.
//!
//! It covers what the chain alone does not: the last record, and that nothing was cut off behind it. It lies in the same
//! directory as the journal, so it shows damage and clumsy changes; who wants to show more keeps a copy elsewhere.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::chain::Anchor;

impl Anchor {
    /// Where the anchor of the journal at `journal` is kept: `journal.anchor` beside `journal.jsonl`.
    pub fn path_for(journal: &Path) -> PathBuf {
        journal.with_extension("anchor")
    }

    /// The anchor kept for the journal at `journal`; `None` if there is none. What is no anchor is an error.
    pub fn load_for(journal: &Path) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::open(Self::path_for(journal), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let mut text = String::new();
        file.take(256).read_to_string(&mut text)?;
        text.parse().map(Some).map_err(io::Error::other)
    }

    /// Keeps the anchor for the journal at `journal`, in place of an earlier one.
    pub(super) fn save_for(&self, journal: &Path) -> io::Result<()> {
        let path = Self::path_for(journal);
        let new = path.with_extension("anchor.new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(format!("{self}\n").as_bytes())?;
        std::fs::rename(new, path)
    }
}
