pub(super) mod place;

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use clap::Args;
use wardian_events::{Anchor as Point, Digest, Event, ReadError, Timestamp, follow, read};

use self::place::{Kept, Place};
use crate::failure::{BAD_NEWS, Failure, Outcome};
use crate::output::{self, Tone};
use crate::sandboxes::{self, Sandbox};

/// Keep an anchor of a sandbox's record where the sandbox's machine cannot take it back
///
/// An anchor is the number of records and the SHA-256 of the last one. Whoever
/// holds one can show that nothing up to it was changed, and that nothing was cut
/// off: see `wardian verify --anchor`.
///
/// WHERE is a file to append to, a URL to POST to, or `git:DIR#REF`: a commit on a
/// ref of its own in a repository (refs/wardian/anchors unless given), to be pushed
/// where it cannot be rewritten. With `--follow` an anchor is kept every ten seconds
/// while records arrive, and a last one when the sandbox has stopped.
///
/// Examples:
///
///   wardian anchor claude --to /mnt/worm/anchors.jsonl
///   wardian anchor claude --follow --to https://log.example.org/anchors
///   wardian anchor claude --to git:../audit
///   wardian verify claude --anchor git:../audit
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Anchor {
    /// The sandbox
    name: String,
    /// FILE, https://..., or git:DIR#REF
    #[arg(long, value_name = "WHERE")]
    to: Place,
    /// Go on until the sandbox stops
    #[arg(long, short)]
    follow: bool,
}

/// A follower keeps an anchor this often, if there are new records.
const EVERY: Duration = Duration::from_secs(10);
/// How long to wait for an event before looking whether the sandbox still lives.
const TICK: Duration = Duration::from_millis(500);

impl Anchor {
    pub(crate) fn run(self) -> Outcome {
        let sandbox = sandboxes::find(&self.name)?;
        place::refuse_within_reach(&self.to, &sandbox)?;
        match self.follow {
            true => self.follow(&sandbox),
            false => {
                let now = now(&sandbox)?;
                self.to.keep(&now)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    fn follow(&self, sandbox: &Sandbox) -> Outcome {
        let mut follow = follow(&sandbox.journal())?;
        let mut at = Position::default();
        let mut kept = 0;
        let mut due = Instant::now();
        let mut stopped = false;
        loop {
            let alive = sandbox.is_alive();
            let over = match follow.next(Duration::ZERO) {
                Ok(None) => stopped || !alive,
                Ok(Some(entry)) => {
                    at.pass(&entry.raw);
                    stopped = matches!(entry.record.event, Event::SandboxStopped(_));
                    continue;
                }
                // The chain is over bytes; but of these the reader keeps none.
                Err(error) => return Err(error.into()),
            };
            if at.records > kept && (over || Instant::now() >= due) {
                due = Instant::now() + EVERY;
                match self.to.keep(&at.kept(sandbox, stopped)) {
                    Ok(()) => kept = at.records,
                    Err(error) if over => {
                        output::say(Tone::Bad, "error", &format!("{error:#}"));
                        return Ok(ExitCode::from(BAD_NEWS));
                    }
                    // There is a next time.
                    Err(error) => {
                        output::say(Tone::Warning, "warning", &format!("{error:#}"));
                    }
                }
            }
            if over {
                return Ok(ExitCode::SUCCESS);
            }
            if let Ok(Some(entry)) = follow.next(TICK) {
                at.pass(&entry.raw);
                stopped = matches!(entry.record.event, Event::SandboxStopped(_));
            }
        }
    }
}

/// How far a record was read.
#[derive(Debug, Default)]
struct Position {
    records: u64,
    first: Option<Digest>,
    head: Option<Digest>,
}

impl Position {
    fn pass(&mut self, line: &str) {
        let digest = Digest::of(line.as_bytes());
        self.records += 1;
        self.first.get_or_insert(digest);
        self.head = Some(digest);
    }

    fn kept(&self, sandbox: &Sandbox, stopped: bool) -> Kept {
        let genesis = Digest::genesis(sandbox.name());
        Kept {
            sandbox: sandbox.name().to_owned(),
            journal: self.first.unwrap_or(genesis),
            anchor: Point {
                records: self.records,
                head: self.head.unwrap_or(genesis),
            }
            .to_string(),
            time: Timestamp::from(SystemTime::now()),
            stopped,
        }
    }
}

/// Where the record stands at this moment.
fn now(sandbox: &Sandbox) -> Result<Kept, Failure> {
    let mut at = Position::default();
    let mut stopped = false;
    for entry in read(&sandbox.journal())? {
        match entry {
            Ok(entry) => {
                at.pass(&entry.raw);
                stopped = matches!(entry.record.event, Event::SandboxStopped(_));
            }
            Err(ReadError::Torn { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(at.kept(sandbox, stopped))
}

/// What names the journal of a sandbox among those that had its name: the digest of its first record.
pub(super) fn identity(sandbox: &Sandbox) -> anyhow::Result<Option<Digest>> {
    let first = read(&sandbox.journal())?.next();
    let first = first
        .transpose()
        .context("the first record cannot be read")?;
    Ok(first.map(|entry| Digest::of(entry.raw.as_bytes())))
}
