pub(crate) mod client;
mod ocsf;
mod otlp;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args};
use serde_json::Value;
use wardian_events::{Entry, Event, ReadError, follow, read};

use self::client::Client;
use self::otlp::{Converter, Item};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Tone};
use crate::sandboxes::{self, Sandbox};

/// Give a sandbox's record to other systems
///
/// `--otlp` sends it to an OpenTelemetry collector (OTLP over HTTP, as JSON): spans
/// for the sandbox, its commands, programs, requests, connections and calls of
/// models (with the conventions for generative AI), and log records for all else.
/// `--ocsf` prints Open Cybersecurity Schema Framework events, one a line.
///
/// With `--follow` it goes on as events come, until the sandbox stops. A collector
/// that is slow or gone holds nothing up: the sandbox does not wait for this.
///
/// Headers can be given in OTEL_EXPORTER_OTLP_HEADERS, where a token is not seen in
/// the list of processes.
///
/// Examples:
///
///   wardian export claude --otlp http://localhost:4318
///   wardian export claude --follow --otlp https://otel.example.org --header x-team=web
///   wardian export claude --ocsf > claude.ocsf.jsonl
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
#[command(group = ArgGroup::new("to").required(true))]
pub(crate) struct Export {
    /// The sandbox
    name: String,
    /// Send to the collector at this base URL; `/v1/traces` and `/v1/logs` are added
    #[arg(long, value_name = "URL", group = "to", value_parser = base_url)]
    otlp: Option<String>,
    /// Print OCSF events
    #[arg(long, group = "to")]
    ocsf: bool,
    /// Send this header with each request
    #[arg(long, value_name = "NAME=VALUE", requires = "otlp", value_parser = client::header)]
    header: Vec<(String, String)>,
    /// Go on as events come, until the sandbox stops
    #[arg(long, short)]
    follow: bool,
}

/// So many spans or log records, or bytes of them, go into one request.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// A follower sends what it has after this long.
const SOON: Duration = Duration::from_secs(2);
/// How long to wait for an event before looking whether the sandbox still lives.
const TICK: Duration = Duration::from_millis(500);

impl Export {
    pub(crate) fn run(self) -> Outcome {
        let sandbox = sandboxes::find(&self.name)?;
        let mut to: Box<dyn Exporter> = match &self.otlp {
            Some(url) => {
                let mut headers = client::headers_from("OTEL_EXPORTER_OTLP_HEADERS")?;
                headers.extend(self.header.clone());
                Box::new(Collector::new(url, sandbox.name(), headers)?)
            }
            None => Box::new(Printer {
                sandbox: sandbox.name().to_owned(),
                out: io::BufWriter::new(io::stdout().lock()),
            }),
        };
        match self.follow {
            true => follow_to(&sandbox, to.as_mut())?,
            false => read_to(&sandbox, to.as_mut())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

trait Exporter {
    fn take(&mut self, entry: &Entry) -> anyhow::Result<()>;
    /// Sends what is due; `all`: whatever there is.
    fn flush(&mut self, all: bool) -> anyhow::Result<()>;
}

fn read_to(sandbox: &Sandbox, to: &mut dyn Exporter) -> Result<(), Failure> {
    for entry in read(&sandbox.journal())? {
        match entry {
            Ok(entry) => to.take(&entry)?,
            Err(ReadError::Torn { .. }) => break,
            Err(error @ ReadError::Unknown { .. }) => left_out(&error),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(to.flush(true)?)
}

fn follow_to(sandbox: &Sandbox, to: &mut dyn Exporter) -> Result<(), Failure> {
    let mut follow = follow(&sandbox.journal())?;
    let mut stopped = false;
    loop {
        // Asked before the journal is, so that what was written last is seen before we leave.
        let alive = sandbox.is_alive();
        let entry = match follow.next(Duration::ZERO) {
            Ok(None) if stopped || !alive => return Ok(to.flush(true)?),
            Ok(None) => {
                to.flush(false)?;
                follow.next(TICK)
            }
            entry => entry,
        };
        match entry {
            Ok(Some(entry)) => {
                stopped = matches!(entry.record.event, Event::SandboxStopped(_));
                to.take(&entry)?;
            }
            Ok(None) => {}
            Err(error @ ReadError::Unknown { .. }) => left_out(&error),
            Err(error) => return Err(error.into()),
        }
    }
}

fn left_out(error: &ReadError) {
    output::say(
        Tone::Warning,
        "warning",
        &format!("{error}, and is left out"),
    );
}

struct Collector {
    client: Client,
    url: String,
    sandbox: String,
    converter: Converter,
    spans: Batch,
    logs: Batch,
    rejected: u64,
}

#[derive(Default)]
struct Batch {
    items: Vec<Value>,
    bytes: usize,
    since: Option<Instant>,
}

impl Batch {
    fn push(&mut self, item: Value) {
        self.bytes += item.to_string().len();
        self.items.push(item);
        self.since.get_or_insert_with(Instant::now);
    }

    fn is_full(&self) -> bool {
        self.items.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    fn is_due(&self) -> bool {
        self.is_full() || self.since.is_some_and(|since| since.elapsed() >= SOON)
    }
}

impl Collector {
    fn new(url: &str, sandbox: &str, headers: Vec<(String, String)>) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::new(headers)?,
            url: url.trim_end_matches('/').to_owned(),
            sandbox: sandbox.to_owned(),
            converter: Converter::new(sandbox),
            spans: Batch::default(),
            logs: Batch::default(),
            rejected: 0,
        })
    }

    fn send(&mut self, path: &str, body: &Value) -> anyhow::Result<()> {
        let url = format!("{}{path}", self.url);
        let answer = self.client.post(&url, body.to_string().as_bytes())?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let partial = &answer["partialSuccess"];
        for key in ["rejectedSpans", "rejectedLogRecords"] {
            let rejected = &partial[key];
            let count = rejected
                .as_u64()
                .or(rejected.as_str().and_then(|it| it.parse().ok()));
            if let Some(count @ 1..) = count {
                self.rejected += count;
                let why = partial["errorMessage"]
                    .as_str()
                    .unwrap_or("no reason given");
                let text = format!("the collector rejected {count} of what it was sent: {why}");
                output::say(Tone::Warning, "warning", &text);
            }
        }
        Ok(())
    }
}

impl Exporter for Collector {
    fn take(&mut self, entry: &Entry) -> anyhow::Result<()> {
        for item in self.converter.take(entry) {
            match item {
                Item::Span(span) => self.spans.push(span),
                Item::Log(log) => self.logs.push(log),
            }
        }
        match self.spans.is_full() || self.logs.is_full() {
            true => self.flush(false),
            false => Ok(()),
        }
    }

    fn flush(&mut self, all: bool) -> anyhow::Result<()> {
        if !self.spans.items.is_empty() && (all || self.spans.is_due()) {
            let spans = std::mem::take(&mut self.spans);
            self.send("/v1/traces", &otlp::traces(&self.sandbox, &spans.items))?;
        }
        if !self.logs.items.is_empty() && (all || self.logs.is_due()) {
            let logs = std::mem::take(&mut self.logs);
            self.send("/v1/logs", &otlp::logs(&self.sandbox, &logs.items))?;
        }
        Ok(())
    }
}

struct Printer {
    sandbox: String,
    out: io::BufWriter<io::StdoutLock<'static>>,
}

impl Exporter for Printer {
    fn take(&mut self, entry: &Entry) -> anyhow::Result<()> {
        for event in ocsf::events(&self.sandbox, entry) {
            let text = event.to_string();
            writeln!(self.out, "{}", wardian_events::visible_json(&text))?;
        }
        Ok(())
    }

    fn flush(&mut self, _all: bool) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }
}

pub(super) fn base_url(text: &str) -> Result<String, String> {
    let uri: ureq::http::Uri = text.parse().map_err(|error| format!("{error}"))?;
    match (uri.scheme_str(), uri.host(), uri.query()) {
        (Some("http" | "https"), Some(host), None) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("write http://HOST:PORT or https://HOST".to_owned()),
    }
}
