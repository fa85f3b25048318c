use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::json;
use wardian_events::chain::BadAnchor;
use wardian_events::verify::End;
use wardian_events::{Anchor, Broken, Expect, Verified, VerifyError, verify};

use super::anchor;
use super::anchor::place::{self, Place};
use crate::failure::{BAD_NEWS, Failure, Outcome};
use crate::output::{self, Colour, Tone};
use crate::sandboxes::{self, Sandbox};
use crate::units;

/// Check that a sandbox's record is whole and unchanged
///
/// Each record carries the SHA-256 of the one before, so a record that was
/// changed, removed, added or moved breaks the chain; the first place where it
/// breaks is named. When a sandbox stops, an anchor (the number of records and
/// the last one's SHA-256) is kept beside its journal, which covers the last
/// record and the journal's end as well.
///
/// An anchor that you keep elsewhere proves more: that even somebody who could
/// write all of the sandbox's directory has not changed anything before the
/// anchor was taken. Give it as it is, or where `wardian anchor` keeps them.
///
/// Exit status: 0 if the record is whole, 1 if it is not, 2 if that cannot be
/// told.
///
/// Examples:
///
///   wardian verify claude
///   wardian verify claude --json | jq -r .anchor > claude.anchor
///   wardian verify claude --anchor "$(cat claude.anchor)"
///   wardian verify claude --anchor git:../audit
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Verify {
    /// The sandbox
    name: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// RECORDS:SHA256, to be found again in the record; or a FILE or git:DIR#REF with such anchors
    #[arg(long, value_name = "ANCHOR")]
    anchor: Option<Given>,
}

/// A record that is being written this moment looks torn; it will not, this long after.
const SETTLE: Duration = Duration::from_millis(50);

impl Verify {
    pub(crate) fn run(self) -> Outcome {
        let sandbox = sandboxes::find(&self.name)?;
        let anchors = match &self.anchor {
            None => Vec::new(),
            Some(Given::One(anchor)) => vec![*anchor],
            Some(Given::Kept(place)) => kept(place, &sandbox)?,
        };
        let answer = check(&sandbox, &anchors)
            .with_context(|| format!("cannot verify the record of `{}`", self.name))?;
        match (&answer, self.json) {
            (Ok(verified), false) => tell(&sandbox, verified)?,
            (Err(broken), false) => {
                let verdict = Colour::stdout().paint(Tone::Bad, "broken");
                let place = broken.to_string();
                writeln!(
                    io::stdout(),
                    "{}: {verdict} at {}",
                    self.name,
                    Colour::Off.paint(Tone::Plain, &place)
                )?;
            }
            (answer, true) => output::print_json(&as_json(&sandbox, answer))?,
        }
        Ok(if answer.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(BAD_NEWS)
        })
    }
}

/// One anchor, or where many are kept.
#[derive(Debug, Clone)]
enum Given {
    One(Anchor),
    Kept(Place),
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.split_once(':').map_or("", |(number, _)| number);
        match !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text
                .parse()
                .map(Self::One)
                .map_err(|error: BadAnchor| error.to_string()),
            false => text.parse().map(Self::Kept),
        }
    }
}

/// The anchors of this sandbox's journal, of which there must be some.
fn kept(place: &Place, sandbox: &Sandbox) -> Result<Vec<Anchor>, Failure> {
    place::refuse_within_reach(place, sandbox)?;
    let name = sandbox.name();
    let mut kept = place.read().context("the anchors cannot be read")?;
    kept.retain(|kept| kept.sandbox == name);
    if kept.is_empty() {
        return Err(anyhow!("{place} holds no anchor of `{name}`").into());
    }
    let identity = anchor::identity(sandbox)?;
    let all = kept.len() as u64;
    kept.retain(|kept| Some(kept.journal) == identity);
    if kept.is_empty() {
        let anchors = units::count(all, "anchor");
        let other = anyhow!("{place} holds {anchors} of `{name}`, none of them of this record");
        return Err(Failure::from(other)
            .hint("it was written anew; or a sandbox that had this name before was removed")
            .status(BAD_NEWS));
    }
    let anchors = kept.iter().map(|kept| kept.anchor.parse());
    Ok(anchors
        .collect::<Result<_, _>>()
        .context("the anchors cannot be read")?)
}

/// Checks a sandbox's record, against the anchor beside it and `anchors`.
pub(super) fn check(
    sandbox: &Sandbox,
    anchors: &[Anchor],
) -> anyhow::Result<Result<Verified, Broken>> {
    let path = sandbox.journal();
    let kept = Anchor::load_for(&path).context("the anchor beside it cannot be read")?;
    let anchors: Vec<Anchor> = kept.into_iter().chain(anchors.iter().copied()).collect();
    let expect = Expect {
        sandbox: Some(sandbox.name()),
        anchors: &anchors,
    };
    let mut attempts = 0..3;
    loop {
        return match verify(&path, &expect) {
            Ok(verified)
                if verified.torn_tail.is_some()
                    && sandbox.is_alive()
                    && attempts.next().is_some() =>
            {
                std::thread::sleep(SETTLE);
                continue;
            }
            Ok(verified) => Ok(Ok(verified)),
            Err(VerifyError::Broken(broken)) => Ok(Err(broken)),
            Err(error) => Err(error.into()),
        };
    }
}

/// How a journal ends, in a word.
fn end(sandbox: &Sandbox, verified: &Verified) -> &'static str {
    match verified.end {
        End::Stopped => "stopped",
        End::Open if sandbox.is_alive() => "running",
        End::Open => "open",
    }
}

fn tell(sandbox: &Sandbox, verified: &Verified) -> io::Result<()> {
    let colour = Colour::stdout();
    let records = units::count(verified.anchor.records, "record");
    let span = match (verified.first, verified.last) {
        (Some(first), Some(last)) => format!(", {first} to {last}"),
        _ => String::new(),
    };
    let end = match end(sandbox, verified) {
        "stopped" => "the sandbox was stopped in order",
        "running" => "the sandbox is running",
        _ => "open: the sandbox was not stopped in order, or the end of its record was cut off",
    };
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{}: {}",
        sandbox.name(),
        colour.paint(Tone::Good, "whole")
    )?;
    writeln!(out, "  records  {records}{span}")?;
    writeln!(out, "  end      {end}")?;
    writeln!(out, "  anchor   {}", verified.anchor)?;
    out.flush()?;

    let warn = |text: String| output::say(Tone::Warning, "warning", &text);
    if let Some(bytes) = verified.torn_tail {
        let bytes = units::count(bytes, "byte");
        warn(format!(
            "torn tail: {bytes} behind the last record are of one that was not written to its end"
        ));
    }
    if verified.reopened > 0 {
        let times = units::count(verified.reopened, "time");
        warn(format!(
            "the record was continued {times} after its writer had died"
        ));
    }
    if let Some((first, count)) = verified.clock_back {
        let records = units::count(count, "record");
        warn(format!(
            "the clock went back at {records}, first at record {first}"
        ));
    }
    Ok(())
}

fn as_json(sandbox: &Sandbox, answer: &Result<Verified, Broken>) -> serde_json::Value {
    match answer {
        Ok(verified) => {
            let Verified {
                anchor,
                length,
                end: _,
                torn_tail,
                reopened,
                clock_back,
                first,
                last,
            } = verified;
            json!({
                "sandbox": sandbox.name(),
                "whole": true,
                "records": anchor.records,
                "anchor": anchor.to_string(),
                "end": end(sandbox, verified),
                "bytes": length,
                "torn_tail_bytes": torn_tail,
                "reopened": reopened,
                "clock_back": clock_back.map(|(first, records)| json!({ "first": first, "records": records })),
                "first": first,
                "last": last,
            })
        }
        Err(Broken {
            line,
            file,
            offset,
            seq,
            reason,
        }) => json!({
            "sandbox": sandbox.name(),
            "whole": false,
            "line": line,
            "file": file,
            "offset": offset,
            "seq": seq,
            "reason": reason.name(),
            "detail": reason.to_string(),
        }),
    }
}
