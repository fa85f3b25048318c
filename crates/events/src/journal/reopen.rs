//! Going on with a journal whose writer has died, or has stopped its sandbox in order.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};

use super::{Bounds, Journal, JournalError, Start};
use crate::chain::{Anchor, Digest};
use crate::clock::Clock;
use crate::event::{Event, JournalReopened, TornTail};
use crate::segments::{Segments, first_record, tidy};
use crate::verify::{End, Expect, Verified, VerifyError, verify_segments};

/// A journal to go on with, and how it was found.
#[derive(Debug)]
pub struct Reopened {
    pub journal: Journal,
    /// As it was before the `journal_reopened` record; `end` says whether the sandbox had been stopped in order.
    pub found: Verified,
    pub torn: Option<TornTail>,
}

/// Why a journal cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum ReopenError {
    #[error("open({path:?}, {flags})")]
    Open {
        path: PathBuf,
        flags: &'static str,
        source: io::Error,
    },
    /// The chain is broken: a record added to it would give it a look of being whole.
    #[error("the journal cannot be continued")]
    Verify(#[from] VerifyError),
    #[error("the torn last line cannot be moved to {to:?}")]
    Torn { to: PathBuf, source: io::Error },
    #[error("what a writer that died left of a segment cannot be taken back")]
    Tidy(#[source] io::Error),
    #[error("the journal's anchor cannot be read")]
    Anchor(#[source] io::Error),
    #[error(transparent)]
    Append(#[from] JournalError),
}

impl Journal {
    /// Verifies the journal of the sandbox `sandbox` at `path`, moves a torn last line out to a file
    /// `<path>.torn-<record>` beside it, and records that it did, unless the sandbox had been stopped in order. Only
    /// for who holds the sandbox's lock.
    pub fn reopen(
        path: &Path,
        sandbox: &str,
        clock: impl Clock + 'static,
    ) -> Result<Reopened, ReopenError> {
        Self::reopen_bounded(path, sandbox, clock, Bounds::default())
    }

    /// As [`reopen`](Self::reopen); what was written before counts for nothing in `bounds.run`.
    pub fn reopen_bounded(
        path: &Path,
        sandbox: &str,
        clock: impl Clock + 'static,
        bounds: Bounds,
    ) -> Result<Reopened, ReopenError> {
        const FLAGS: &str = "O_RDWR|O_APPEND|O_NOFOLLOW|O_CLOEXEC";
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(
            |errno| ReopenError::Open {
                path: path.to_owned(),
                flags: FLAGS,
                source: errno.into(),
            },
        )?);
        let anchors = Anchor::load_for(path).map_err(ReopenError::Anchor)?;
        tidy(path, &file).map_err(ReopenError::Tidy)?;
        let growing = file.try_clone().map_err(ReopenError::Tidy)?;
        let mut segments = Segments::with_growing(path, growing, 1).map_err(VerifyError::Open)?;
        let expect = Expect {
            sandbox: Some(sandbox),
            anchors: anchors.as_slice(),
        };
        let found = verify_segments(&mut segments, &expect)?;
        let length = found.length - segments.start_of_growing();
        let torn = match found.torn_tail {
            Some(_) => Some(set_aside(&mut file, path, &found, length)?),
            None => None,
        };
        let first = match first_record(&file).map_err(ReopenError::Tidy)? {
            Some(first) => first,
            None => found.anchor.records + 1,
        };
        let start = Start {
            anchor: found.anchor,
            length,
            first,
            path: Some(path.to_owned()),
        };
        let journal = Self::start_at(start, Arc::new(file), clock, bounds);
        if found.end == End::Open || torn.is_some() {
            let torn = torn.clone();
            journal.append(&Event::JournalReopened(JournalReopened { torn }))?;
        }
        Ok(Reopened {
            journal,
            found,
            torn,
        })
    }
}

impl Reopened {
    /// Had the sandbox been stopped in order when its journal was left?
    pub fn was_stopped(&self) -> bool {
        self.found.end == End::Stopped
    }
}

fn set_aside(
    file: &mut File,
    path: &Path,
    found: &Verified,
    length: u64,
) -> Result<TornTail, ReopenError> {
    let (mut aside, to, kept_as) = create_beside(path, found.anchor.records + 1)?;
    let (bytes, sha256) =
        move_tail(file, length, &mut aside).map_err(|source| ReopenError::Torn { to, source })?;
    Ok(TornTail {
        bytes,
        sha256,
        kept_as,
    })
}

/// Copies what is past `from` and then cuts it off.
fn move_tail(file: &mut File, from: u64, aside: &mut File) -> io::Result<(u64, Digest)> {
    file.seek(SeekFrom::Start(from))?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut buffer = [0; 8192];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        aside.write_all(&buffer[..read])?;
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
    // The copy must last before the original goes.
    aside.sync_all()?;
    file.set_len(from)?;
    Ok((bytes, Digest::from(hash)))
}

/// A new file beside the journal. More than one attempt, for one that died between copying and cutting off.
fn create_beside(path: &Path, record: u64) -> Result<(File, PathBuf, String), ReopenError> {
    let mut attempt = 1;
    loop {
        let mut name = OsString::from(path.file_name().unwrap_or_default());
        name.push(format!(".torn-{record}"));
        if attempt > 1 {
            name.push(format!("-{attempt}"));
        }
        let to = path.with_file_name(&name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(&to, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok((file.into(), to, name.to_string_lossy().into_owned())),
            Err(rustix::io::Errno::EXIST) if attempt < 100 => attempt += 1,
            Err(errno) => {
                return Err(ReopenError::Torn {
                    to,
                    source: errno.into(),
                });
            }
        }
    }
}
