mod jq;
pub(super) mod lines;
pub(super) mod processes;
mod select;

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use wardian_events::{Entry, Event, ReadError, follow, read};

use self::jq::Jq;
use self::lines::{Exchanges, Line};
use self::select::{Places, Select};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Colour, Tone};
use crate::sandboxes::{self, Sandbox};

/// Show what a sandbox did and what was refused
///
/// One line for each exchange, in the order in which they end: when it began, the
/// verdict, what and where, the status or the reason, the rule, bytes and time.
/// Times are in UTC. What only prepares an exchange (an allowed name that was
/// looked up, a connection whose requests are listed) is left out here, and so is
/// every program that was executed, unless `--kind` asks for it; `--json` gives every
/// record, as it stands in the journal.
///
/// `--jq` runs a filter of jq over each record: texts are printed as they are,
/// other results as JSON. See docs/events.md for what a record holds.
///
/// Characters that a terminal would obey or hide are spelled out: \x1b, \u{202e}.
///
/// Examples:
///
///   wardian events claude
///   wardian events claude --follow --denied
///   wardian events claude --kind process_started,request
///   wardian events claude --host '*.github.com' --since 2h
///   wardian events claude --kind request --jq .event.host | sort | uniq -c
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Events {
    /// The sandbox
    name: String,
    /// Go on as events come, until the sandbox stops
    #[arg(long, short)]
    follow: bool,
    /// Print the records of the journal, one JSON object a line
    #[arg(long)]
    json: bool,
    /// Print what a filter of jq makes of each record
    #[arg(long, value_name = "FILTER", conflicts_with = "json")]
    jq: Option<String>,
    #[command(flatten)]
    select: Select,
}

/// How long to wait for an event before looking whether the sandbox still lives.
const TICK: Duration = Duration::from_millis(500);
/// A follower sees an exchange that is still open after this long.
const OPEN_AFTER: Duration = Duration::from_secs(1);

impl Events {
    pub(crate) fn run(self) -> Outcome {
        let jq = self.jq.as_deref().map(Jq::compile).transpose()?;
        let sandbox = sandboxes::find(&self.name)?;
        let mut printer = Printer::new(&self, jq);
        let journal = sandbox.journal();
        let done = match self.follow {
            true => printer.follow(&sandbox, &journal),
            false => printer.read(&journal),
        };
        done.map_err(|failure| match failure {
            Stop::Read(ReadError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Failure::from(anyhow::anyhow!("sandbox `{}` has no journal", self.name))
                    .hint("its start failed before there was anything to record, or it is starting this moment")
            }
            Stop::Read(error) => Failure::from(error),
            Stop::Write(error) => Failure::from(error),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Why printing ended early.
enum Stop {
    Read(ReadError),
    Write(io::Error),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

struct Printer {
    out: BufWriter<io::StdoutLock<'static>>,
    colour: Colour,
    form: Form,
    select: Select,
    places: Places,
    exchanges: Exchanges,
    probes: Probes,
}

/// How events are shown.
enum Form {
    Lines,
    Json,
    Jq(Jq),
}

/// What is refused before the self-probe is over was provoked by it, to prove that it is refused.
enum Probes {
    /// Held back until it is known whether there was a self-probe that succeeded.
    Running(Vec<Entry>),
    Over,
}

impl Printer {
    fn new(verb: &Events, jq: Option<Jq>) -> Self {
        Self {
            out: BufWriter::new(io::stdout().lock()),
            colour: Colour::stdout(),
            form: match jq {
                Some(jq) => Form::Jq(jq),
                None if verb.json => Form::Json,
                None => Form::Lines,
            },
            select: verb.select.clone(),
            places: Places::default(),
            exchanges: Exchanges::default(),
            probes: match verb.select.denied {
                true => Probes::Running(Vec::new()),
                false => Probes::Over,
            },
        }
    }

    fn read(&mut self, journal: &Path) -> Result<(), Stop> {
        for entry in read(journal)? {
            match entry {
                Ok(entry) => self.show(&entry)?,
                Err(error @ (ReadError::Unknown { .. } | ReadError::Torn { .. })) => {
                    self.warn(&error)?
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.finish()
    }

    fn follow(&mut self, sandbox: &Sandbox, journal: &Path) -> Result<(), Stop> {
        let mut follow = follow(journal)?;
        let mut stopped = false;
        loop {
            // Asked before the journal is, so that what was written last is seen before we leave.
            let alive = sandbox.is_alive();
            let entry = match follow.next(Duration::ZERO) {
                Ok(None) if stopped || !alive => return self.finish(),
                Ok(None) => {
                    let open = self.exchanges.open_for(OPEN_AFTER);
                    self.print(open)?;
                    self.out.flush()?;
                    follow.next(TICK)
                }
                entry => entry,
            };
            match entry {
                Ok(Some(entry)) => {
                    self.show(&entry)?;
                    stopped = matches!(entry.record.event, Event::SandboxStopped(_));
                }
                Ok(None) => {}
                Err(error @ ReadError::Unknown { .. }) => self.warn(&error)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn finish(&mut self) -> Result<(), Stop> {
        self.end_probes()?;
        let open = std::mem::take(&mut self.exchanges).finish();
        self.print(open)?;
        Ok(self.out.flush()?)
    }

    fn show(&mut self, entry: &Entry) -> io::Result<()> {
        if let Probes::Running(held) = &mut self.probes {
            match entry.record.event {
                Event::SelfProbe(_) => self.probes = Probes::Over,
                Event::CommandStarted(_) | Event::SandboxStopped(_) => self.end_probes()?,
                _ => {
                    held.push(entry.clone());
                    return Ok(());
                }
            }
        }
        self.show_one(entry)
    }

    fn end_probes(&mut self) -> io::Result<()> {
        if let Probes::Running(held) = std::mem::replace(&mut self.probes, Probes::Over) {
            for entry in &held {
                self.show_one(entry)?;
            }
        }
        Ok(())
    }

    fn show_one(&mut self, entry: &Entry) -> io::Result<()> {
        let is_wanted = self.select.wants(&entry.record, &mut self.places);
        match &self.form {
            Form::Lines => {
                let lines = self.exchanges.take(&entry.record);
                self.print(lines)
            }
            Form::Json if is_wanted => writeln!(self.out, "{}", entry.raw),
            Form::Jq(jq) if is_wanted => jq.write(&entry.raw, &mut self.out).map_err(jq::as_io),
            Form::Json | Form::Jq(_) => Ok(()),
        }
    }

    fn print(&mut self, lines: Vec<Line>) -> io::Result<()> {
        for line in lines {
            if !matches!(self.form, Form::Lines) || !self.select.wants_line(&line) {
                continue;
            }
            let time = self.colour.paint(Tone::Faint, &line.time.to_string());
            let tag = self.colour.paint(line.tone(), line.tag);
            let gap = " ".repeat(9_usize.saturating_sub(line.tag.len()));
            writeln!(
                self.out,
                "{time}  {tag}{gap}{}",
                self.colour.paint(Tone::Plain, &line.text)
            )?;
        }
        Ok(())
    }

    fn warn(&mut self, error: &ReadError) -> io::Result<()> {
        self.out.flush()?;
        let cause = std::error::Error::source(error)
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        output::say(Tone::Warning, "warning", &format!("{error}{cause}"));
        Ok(())
    }
}
