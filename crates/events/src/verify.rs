//! Checking that a journal is whole: every record there, in order, unchanged.
//!
//! What the chain shows and what it does not: a record that was changed, removed, added or moved breaks it, and the
//! first place where it breaks is named. Three things need somebody to have kept an [`Anchor`]: that nothing was cut off
//! the end, that the last record is unchanged, and that the whole was not written anew. Unknown kinds of event are fine:
//! the chain is over bytes.

use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;

use crate::chain::{Anchor, Digest, Seq};
use crate::clock::Timestamp;
use crate::lines::{Line, Lines};
use crate::read::ReadError;
use crate::segments::Segments;

/// What the caller knows about a journal, to be held against it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expect<'a> {
    /// Whose journal it is. Without it the first record's `prev` is taken as it stands.
    pub sandbox: Option<&'a str>,
    /// Points that the journal must contain.
    pub anchors: &'a [Anchor],
}

/// A journal whose chain holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Where the journal stands; worth keeping elsewhere.
    pub anchor: Anchor,
    /// Bytes of the whole lines, of all segments.
    pub length: u64,
    pub end: End,
    /// Bytes behind the last whole line: a record that is being written, or whose writer died.
    pub torn_tail: Option<u64>,
    /// How often a later process went on with the journal after its writer had died.
    pub reopened: u64,
    /// The first record that is older than the one before it, and how many are. The host's clock was set back, usually.
    pub clock_back: Option<(Seq, u64)>,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
}

/// Whether the last record says that the sandbox has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Stopped,
    /// The sandbox runs, or its supervisor was killed, or the end of the journal was cut off.
    Open,
}

/// Where a chain breaks first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {reason}", in_file(.file))]
pub struct Broken {
    /// From 1, over all segments.
    pub line: u64,
    /// The sealed segment that it is in, if it is in one.
    pub file: Option<Box<str>>,
    /// Where the line starts in its file (unpacked), in bytes.
    pub offset: u64,
    /// The number that the record itself claims, if it can be read.
    pub seq: Option<Seq>,
    pub reason: BrokenReason,
}

fn in_file(file: &Option<Box<str>>) -> String {
    file.as_ref()
        .map(|file| format!(" (in {file})"))
        .unwrap_or_default()
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenReason {
    #[error("not a journal record: {0}")]
    NotARecord(String),
    #[error("too long to be a journal record")]
    TooLong,
    #[error("the segment cannot be unpacked: {0}")]
    Packing(String),
    #[error(
        "record {found} stands where record {expected} belongs: records were removed, added or moved"
    )]
    Sequence { expected: u64, found: u64 },
    #[error("the record does not continue the one before it: either of them was changed")]
    Prev { expected: Digest, found: Digest },
    #[error("the first record does not begin this sandbox's journal")]
    Genesis { expected: Digest, found: Digest },
    #[error(
        "the record is not the one that the anchor was taken at: it or an earlier one was changed"
    )]
    Anchor { expected: Digest, found: Digest },
    #[error(
        "the journal ends after record {records}, but the anchor was taken at record {anchored}: its end was cut off"
    )]
    CutOff { records: u64, anchored: u64 },
}

impl BrokenReason {
    /// A stable snake_case name.
    pub fn name(&self) -> &'static str {
        match self {
            BrokenReason::NotARecord(_) => "not_a_record",
            BrokenReason::TooLong => "too_long",
            BrokenReason::Packing(_) => "packing",
            BrokenReason::Sequence { .. } => "sequence",
            BrokenReason::Prev { .. } => "prev",
            BrokenReason::Genesis { .. } => "genesis",
            BrokenReason::Anchor { .. } => "anchor",
            BrokenReason::CutOff { .. } => "cut_off",
        }
    }
}

/// Why a journal could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Open(ReadError),
    #[error("read")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Checks the journal at `path`, with all its segments, up to its present end.
pub fn verify(path: &Path, expect: &Expect<'_>) -> Result<Verified, VerifyError> {
    verify_segments(
        &mut Segments::open(path).map_err(VerifyError::Open)?,
        expect,
    )
}

/// As [`verify_reader`]; what is broken is named by its file.
pub(crate) fn verify_segments(
    segments: &mut Segments,
    expect: &Expect<'_>,
) -> Result<Verified, VerifyError> {
    verify_reader(&mut *segments, expect).map_err(|error| match error {
        VerifyError::Broken(broken) => {
            let (file, offset) = segments.place(broken.offset);
            VerifyError::Broken(Broken {
                file: file.map(Box::from),
                offset,
                ..broken
            })
        }
        error => error,
    })
}

/// Checks a journal from any reader, in memory bounded by its longest line.
pub fn verify_reader(input: impl Read, expect: &Expect<'_>) -> Result<Verified, VerifyError> {
    let mut lines = Lines::new(input);
    let mut chain = Chain::new(expect);
    let torn_tail = loop {
        let (line, offset) = (lines.count() + 1, lines.offset());
        let broken = |(seq, reason)| Broken {
            line,
            file: None,
            offset,
            seq,
            reason,
        };
        match lines.next() {
            Ok(Line::Whole(bytes)) => chain.link(bytes).map_err(broken)?,
            Ok(Line::TooLong) => return Err(broken((None, BrokenReason::TooLong)).into()),
            Ok(Line::Torn(bytes)) => break Some(bytes.len() as u64),
            Ok(Line::End) => break None,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(broken((None, BrokenReason::Packing(error.to_string()))).into());
            }
            Err(error) => return Err(VerifyError::Read(error)),
        }
    };
    let (line, offset) = (lines.count() + 1, lines.offset());
    chain.finish(torn_tail, offset).map_err(|reason| {
        Broken {
            line,
            file: None,
            offset,
            seq: None,
            reason,
        }
        .into()
    })
}

/// What the chain needs of a record. The rest is in the digest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    seq: u64,
    time: Timestamp,
    prev: Digest,
    event: Kind,
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

struct Chain<'a> {
    anchors: &'a [Anchor],
    records: u64,
    /// The digest of the last line. None only before the first, if the sandbox is not known.
    head: Option<Digest>,
    end: End,
    reopened: u64,
    clock_back: Option<(Seq, u64)>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl<'a> Chain<'a> {
    fn new(expect: &Expect<'a>) -> Self {
        let unwritten = expect.anchors.iter().find(|anchor| anchor.records == 0);
        Self {
            anchors: expect.anchors,
            records: 0,
            head: expect
                .sandbox
                .map(Digest::genesis)
                .or(unwritten.map(|anchor| anchor.head)),
            end: End::Open,
            reopened: 0,
            clock_back: None,
            first: None,
            last: None,
        }
    }

    fn link(&mut self, line: &[u8]) -> Result<(), (Option<Seq>, BrokenReason)> {
        let Header {
            seq,
            time,
            prev,
            event,
        } = parse(line).map_err(|why| (None, BrokenReason::NotARecord(why)))?;
        let broken = |reason| (Some(Seq(seq)), reason);
        let expected = self.records + 1;
        if seq != expected {
            return Err(broken(BrokenReason::Sequence {
                expected,
                found: seq,
            }));
        }
        match self.head {
            Some(expected) if expected != prev && self.records == 0 => {
                return Err(broken(BrokenReason::Genesis {
                    expected,
                    found: prev,
                }));
            }
            Some(expected) if expected != prev => {
                return Err(broken(BrokenReason::Prev {
                    expected,
                    found: prev,
                }));
            }
            _ => {}
        }
        let head = Digest::of(line);
        if let Some(anchor) = self
            .anchors
            .iter()
            .find(|anchor| anchor.records == seq && anchor.head != head)
        {
            return Err(broken(BrokenReason::Anchor {
                expected: anchor.head,
                found: head,
            }));
        }
        if self.last.is_some_and(|last| time < last) {
            let (first, count) = self.clock_back.unwrap_or((Seq(seq), 0));
            self.clock_back = Some((first, count + 1));
        }
        self.records = seq;
        self.head = Some(head);
        self.end = if event.kind == "sandbox_stopped" {
            End::Stopped
        } else {
            End::Open
        };
        self.reopened += u64::from(event.kind == "journal_reopened");
        self.first = self.first.or(Some(time));
        self.last = Some(time);
        Ok(())
    }

    fn finish(self, torn_tail: Option<u64>, length: u64) -> Result<Verified, BrokenReason> {
        let Self {
            anchors,
            records,
            head,
            end,
            reopened,
            clock_back,
            first,
            last,
        } = self;
        // An empty journal of an unknown sandbox has no head; any value does, for there is nothing to continue.
        let head = head.unwrap_or_else(|| Digest::genesis(""));
        if let Some(anchor) = anchors.iter().find(|anchor| anchor.records > records) {
            return Err(BrokenReason::CutOff {
                records,
                anchored: anchor.records,
            });
        }
        let anchor = Anchor { records, head };
        Ok(Verified {
            anchor,
            length,
            end,
            torn_tail,
            reopened,
            clock_back,
            first,
            last,
        })
    }
}

fn parse(line: &[u8]) -> Result<Header, String> {
    // Skipped values are not checked for UTF-8 by the parser, so the whole line is, first.
    let line = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    serde_json::from_str(line).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
