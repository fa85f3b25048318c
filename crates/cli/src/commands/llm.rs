mod conversation;
mod totals;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};
use wardian_egress::model::conversation::{Listing, ReadError, listing, read};
use wardian_events::{Digest, Event, ModelCall, Timestamp, visible_json};

use self::conversation::Spoken;
use self::totals::Totals;
use crate::failure::{Failure, Outcome};
use crate::output::{Colour, Table, Tone};
use crate::sandboxes::{self, Sandbox};
use crate::units::{self, milliseconds};

/// Show what a sandbox asked language models, and what that took
///
/// One line for each call: the model, tokens as its vendor counted them, what they
/// cost at list prices, the time to the first token and to the last, and why the
/// model stopped. Of the input, CACHED was read from a cache.
///
/// A sandbox whose policy says `record = "full"` has the text as well: `--call 3`
/// shows the third call with its messages, its tool calls and its answer. Text whose
/// record was altered is not shown.
///
/// Your own prices: ~/.config/wardian/prices.toml.
///
/// Characters that a terminal would obey or hide are spelled out: \x1b, \u{202e}.
///
/// Examples:
///
///   wardian llm claude
///   wardian llm claude --call 3
///   wardian llm claude --json | jq -s 'map(.cost_micro_usd) | add'
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Llm {
    /// The sandbox
    name: String,
    /// Print one JSON object for each call
    #[arg(long)]
    json: bool,
    /// One call, by its number, with what was said in it
    #[arg(long, value_name = "NUMBER")]
    call: Option<usize>,
}

/// A call as the journal has it.
struct Call {
    /// From 1.
    number: usize,
    /// When it was over.
    time: Timestamp,
    event: ModelCall,
}

impl Llm {
    pub(crate) fn run(self) -> Outcome {
        let sandbox = sandboxes::find(&self.name)?;
        let calls = calls(&sandbox)?;
        let mut out = BufWriter::new(io::stdout().lock());
        match self.call {
            None if self.json => {
                for call in &calls {
                    print_json(&mut out, &call.json())?;
                }
            }
            None => print_table(&mut out, &calls)?,
            Some(number) => {
                let call = number.checked_sub(1).and_then(|at| calls.get(at));
                let call = call.ok_or_else(|| {
                    let made = units::count(calls.len() as u64, "call");
                    let error = anyhow!("`{}` has no call {number}", self.name);
                    Failure::from(error).hint(format!("it has made {made}"))
                })?;
                let text = Text::of(&sandbox, call)?;
                match self.json {
                    true => print_json(&mut out, &text.json(call))?,
                    false => text.print(&mut out, call)?,
                }
            }
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn calls(sandbox: &Sandbox) -> Result<Vec<Call>, Failure> {
    let mut calls = Vec::new();
    for entry in wardian_events::read(&sandbox.journal())? {
        // `wardian verify` says what is wrong with a record.
        let Ok(entry) = entry else { continue };
        if let Event::ModelCall(event) = entry.record.event {
            calls.push(Call {
                number: calls.len() + 1,
                time: entry.record.time,
                event: *event,
            });
        }
    }
    Ok(calls)
}

impl Call {
    fn json(&self) -> Value {
        let mut value = json!({"call": self.number, "time": self.time.to_string()});
        if let (Value::Object(all), Ok(Value::Object(event))) =
            (&mut value, serde_json::to_value(&self.event))
        {
            all.extend(event);
        }
        value
    }

    fn model(&self) -> &str {
        let ModelCall {
            model, answered_by, ..
        } = &self.event;
        answered_by.as_deref().or(model.as_deref()).unwrap_or("?")
    }

    /// Why it ended: the vendor's word, or what became of it instead.
    fn end(&self) -> (Tone, String) {
        let ModelCall {
            stop,
            error,
            undecoded,
            ..
        } = &self.event;
        match (error, undecoded, stop) {
            (Some(error), ..) => (Tone::Bad, error.clone()),
            (None, Some(why), _) => (Tone::Warning, format!("not read: {why}")),
            (None, None, Some(stop)) => (Tone::Plain, stop.clone()),
            (None, None, None) => (Tone::Plain, String::new()),
        }
    }
}

fn print_json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{}", visible_json(&value.to_string()))
}

fn print_table(out: &mut impl Write, calls: &[Call]) -> io::Result<()> {
    let colour = Colour::stdout();
    let mut table = Table::new([
        "CALL", "TIME", "MODEL", "INPUT", "CACHED", "OUTPUT", "COST", "FIRST", "TOTAL", "END",
    ]);
    let mut totals = Totals::default();
    for call in calls {
        let ModelCall {
            tokens,
            cost_micro_usd,
            milliseconds_to_first_token,
            milliseconds: total,
            ..
        } = &call.event;
        totals.add(&call.event);
        let number = |count: Option<u64>| count.map_or("-".into(), |it| it.to_string());
        let plain = |text: String| (Tone::Plain, text);
        table.row([
            plain(call.number.to_string()),
            (Tone::Faint, call.time.to_string()),
            plain(call.model().to_owned()),
            plain(number(tokens.input)),
            plain(number(tokens.cached_read)),
            plain(number(tokens.output)),
            plain(cost_micro_usd.map_or("-".into(), units::dollars)),
            plain(milliseconds_to_first_token.map_or("-".into(), milliseconds)),
            plain(milliseconds(*total)),
            call.end(),
        ]);
    }
    if !calls.is_empty() {
        table.write(out, colour)?;
        writeln!(out)?;
    }
    writeln!(out, "{totals}")
}

/// What was said in a call.
struct Text {
    /// None: it is not kept.
    listing: Option<Listing>,
    system: Option<Value>,
    tools: Option<Value>,
    messages: Vec<Value>,
    answer: Option<Value>,
}

impl Text {
    fn of(sandbox: &Sandbox, call: &Call) -> Result<Self, Failure> {
        let mut text = Self {
            listing: None,
            system: None,
            tools: None,
            messages: Vec::new(),
            answer: None,
        };
        let Some(kept) = &call.event.conversation else {
            return Ok(text);
        };
        let directory = sandbox.directory();
        let value = |digest: &Digest| -> Result<Value, ReadError> {
            let text = read(directory, digest)?;
            let lossy = || Value::from(String::from_utf8_lossy(&text));
            Ok(serde_json::from_slice(&text).unwrap_or_else(|_| lossy()))
        };
        let listing = listing(directory, &kept.sha256)?;
        text.system = listing.system.as_ref().map(value).transpose()?;
        text.tools = listing.tools.as_ref().map(value).transpose()?;
        text.messages = listing
            .messages
            .iter()
            .map(value)
            .collect::<Result<_, _>>()?;
        text.answer = Some(value(&listing.answer)?);
        text.listing = Some(listing);
        Ok(text)
    }

    fn json(&self, call: &Call) -> Value {
        let mut value = call.json();
        if self.listing.is_some() {
            value["system"] = json!(self.system);
            value["tools"] = json!(self.tools);
            value["messages"] = json!(self.messages);
            value["answer"] = json!(self.answer);
        }
        value
    }

    fn print(&self, out: &mut impl Write, call: &Call) -> io::Result<()> {
        let colour = Colour::stdout();
        let mut totals = Totals::default();
        totals.add(&call.event);
        let (tone, end) = call.end();
        let heading = format!("call {} of {}", call.number, call.model());
        writeln!(out, "{}", colour.paint(Tone::Heading, &heading))?;
        writeln!(out, "{totals}")?;
        if !end.is_empty() {
            writeln!(out, "{}", colour.paint(tone, &end))?;
        }
        for tool in &call.event.tool_calls {
            let text = format!("tool call {} {}", tool.name, tool.id);
            writeln!(out, "{}", colour.paint(Tone::Plain, &text))?;
        }
        let Some(listing) = &self.listing else {
            let why = match &call.event.conversation_absent {
                Some(why) => format!("what was said is not kept: {why}"),
                None => {
                    "what was said is not kept; `record = \"full\"` in the policy keeps it".into()
                }
            };
            return writeln!(out, "\n{}", colour.paint(Tone::Faint, &why));
        };
        if let Some(previous) = &listing.previous {
            let text = format!("goes on from {previous}, which the vendor keeps");
            writeln!(out, "{}", colour.paint(Tone::Faint, &text))?;
        }
        let mut spoken = Vec::new();
        if let Some(system) = &self.system {
            conversation::read_as("system", system, &mut spoken);
        }
        for message in &self.messages {
            conversation::read(message, &mut spoken);
        }
        if let Some(answer) = &self.answer {
            spoken.push(Spoken::line());
            conversation::read(answer, &mut spoken);
        }
        conversation::print(out, colour, &spoken)
    }
}
