//! The report for a terminal.

use std::io::{self, Write};

use wardian_events::{ChangeKind, FilesChanged};

use super::story::{Host, Model, Story};
use super::{Checked, dollars, verdict_of};
use crate::output::{Colour, Table, Tone};
use crate::units::{self, bytes, milliseconds};

/// So many rows of each part are shown; the page has more.
const SHOWN: usize = 15;

pub(super) fn write(
    name: &str,
    story: &Story,
    checked: &Checked,
    colour: Colour,
    out: &mut impl Write,
) -> io::Result<()> {
    let (verdict, class) = verdict_of(checked);
    let tone = match class {
        "good" => Tone::Good,
        "bad" => Tone::Bad,
        _ => Tone::Warning,
    };
    writeln!(
        out,
        "{}  {}",
        colour.paint(Tone::Heading, name),
        colour.paint(tone, &verdict)
    )?;
    if let Some((time, started)) = &story.first {
        let command = shortened(&units::command(&started.command), 160);
        let line = format!("{command}  in {}", started.workspace);
        writeln!(out, "{}", colour.paint(Tone::Plain, &line))?;
        let last = story.last.unwrap_or(*time);
        writeln!(out, "{time} to {last}")?;
    }
    let mut report = Report { out, colour };
    report.denials(story)?;
    report.hosts(story)?;
    report.models(story)?;
    report.commands(story)?;
    report.files(story)?;
    report.limits(story)
}

struct Report<'a, W> {
    out: &'a mut W,
    colour: Colour,
}

impl<W: Write> Report<'_, W> {
    fn heading(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "\n{}", self.colour.paint(Tone::Heading, text))
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "  {}", self.colour.paint(Tone::Plain, text))
    }

    fn table<const N: usize>(&mut self, table: &Table<N>) -> io::Result<()> {
        let mut text = Vec::new();
        table.write(&mut text, self.colour)?;
        for line in String::from_utf8_lossy(&text).lines() {
            writeln!(self.out, "  {}", line.trim_end())?;
        }
        Ok(())
    }

    fn more(&mut self, all: usize, what: &str) -> io::Result<()> {
        match all.saturating_sub(SHOWN) {
            0 => Ok(()),
            more => self.line(&format!("and {}", units::count(more as u64, what))),
        }
    }

    fn denials(&mut self, story: &Story) -> io::Result<()> {
        let denied = story.count(|host| host.denied);
        if denied == 0 {
            return self.heading("Nothing was denied");
        }
        self.heading(&format!("Denied ({denied})"))?;
        let denials = story.by_denials();
        let mut table = Table::new(["TIMES", "PLACE", "REASON", "THE FIRST", "TO ALLOW IT"]);
        for (key, denial) in denials.iter().take(SHOWN) {
            let allow = denial.allow.clone().unwrap_or_else(|| "-".to_owned());
            table.row([
                (Tone::Plain, denial.count.to_string()),
                (Tone::Bad, key.place.clone()),
                (Tone::Plain, key.reason.clone()),
                (Tone::Plain, shortened(&denial.example, 50)),
                (Tone::Plain, allow),
            ]);
        }
        self.table(&table)?;
        self.more(denials.len(), "more place")?;
        match story.further_denials {
            0 => Ok(()),
            further => self.line(&format!("and {further} at places that were only counted")),
        }
    }

    fn hosts(&mut self, story: &Story) -> io::Result<()> {
        let hosts = story.by_traffic();
        let reached = hosts.into_iter().filter(|(_, host)| host.allowed > 0);
        let reached: Vec<_> = reached.collect();
        if reached.is_empty() {
            return Ok(());
        }
        self.heading(&format!("Allowed ({})", story.count(|host| host.allowed)))?;
        let mut table = Table::new(["HOST", "ALLOWED", "FAILED", "SENT", "RECEIVED"]);
        for (name, host) in reached.iter().take(SHOWN) {
            let Host {
                allowed,
                denied: _,
                up,
                down,
                failed,
            } = host;
            table.row([
                (Tone::Plain, (*name).to_owned()),
                (Tone::Plain, allowed.to_string()),
                (Tone::Plain, failed.to_string()),
                (Tone::Plain, bytes(*up)),
                (Tone::Plain, bytes(*down)),
            ]);
        }
        self.table(&table)?;
        self.more(reached.len(), "more host")?;
        for ((credential, host), count) in story.credentials.iter().take(SHOWN) {
            let times = units::count(*count, "time");
            self.line(&format!(
                "credential {credential} was put in for {host} {times}"
            ))?;
        }
        Ok(())
    }

    fn models(&mut self, story: &Story) -> io::Result<()> {
        if story.models.is_empty() {
            return Ok(());
        }
        self.heading(&format!(
            "Models ({} at list prices)",
            dollars(story.micro_usd())
        ))?;
        let mut table = Table::new(["MODEL", "CALLS", "TOKENS IN", "CACHED", "OUT", "COST"]);
        for (name, model) in story.models.iter().take(SHOWN) {
            let Model {
                calls,
                input,
                cached,
                output,
                micro_usd,
                unpriced,
                ..
            } = model;
            let cost = match unpriced {
                0 => dollars(*micro_usd),
                count if count == calls => "unknown".to_owned(),
                count => format!("{} and {count} unknown", dollars(*micro_usd)),
            };
            table.row([
                (Tone::Plain, name.clone()),
                (Tone::Plain, calls.to_string()),
                (Tone::Plain, input.to_string()),
                (Tone::Plain, cached.to_string()),
                (Tone::Plain, output.to_string()),
                (Tone::Plain, cost),
            ]);
        }
        self.table(&table)?;
        self.more(story.models.len(), "more model")
    }

    fn commands(&mut self, story: &Story) -> io::Result<()> {
        if story.commands.is_empty() {
            return Ok(());
        }
        self.heading("Commands")?;
        for command in story.commands.iter().take(SHOWN) {
            let argv = shortened(&units::command(&command.started.argv), 160);
            let how = match &command.exited {
                None => "has not ended".to_owned(),
                Some(exited) => {
                    let exit = serde_json::to_value(exited.exit).unwrap_or_default();
                    let exit = exit.to_string().replace(['{', '}', '"'], "");
                    format!("{exit} after {}", milliseconds(exited.milliseconds))
                }
            };
            self.line(&format!("{argv}  {}", how.replace(':', " ")))?;
        }
        let programs = story.by_runs();
        if !programs.is_empty() {
            let counted: Vec<_> = programs
                .iter()
                .take(SHOWN)
                .map(|(name, count)| match count {
                    1 => (*name).to_owned(),
                    count => format!("{name} ({count})"),
                })
                .collect();
            let more = match programs.len() > SHOWN || story.further_programs > 0 {
                true => ", ...",
                false => "",
            };
            self.line(&format!("executed inside: {}{more}", counted.join(", ")))?;
        }
        Ok(())
    }

    fn files(&mut self, story: &Story) -> io::Result<()> {
        for changed in &story.files {
            let FilesChanged {
                place,
                added,
                changed: written,
                removed,
                files,
                ..
            } = changed;
            self.heading(&format!(
                "Files in {place} ({added} added, {written} changed, {removed} removed)"
            ))?;
            for file in files.iter().take(SHOWN) {
                let (mark, tone) = match file.change {
                    ChangeKind::Added => ("+", Tone::Good),
                    ChangeKind::Changed => ("~", Tone::Warning),
                    ChangeKind::Removed => ("-", Tone::Bad),
                    ChangeKind::LeftOut => ("!", Tone::Bad),
                };
                let size = file.after.map(|size| format!("  {}", bytes(size)));
                writeln!(
                    self.out,
                    "  {} {}",
                    self.colour.paint(tone, mark),
                    self.colour.paint(
                        Tone::Plain,
                        &(file.path.clone() + &size.unwrap_or_default())
                    )
                )?;
            }
            let all = files.len() as u64 + changed.further;
            if let Some(more @ 1..) = all.checked_sub(SHOWN as u64) {
                self.line(&format!("and {}", units::count(more, "more file")))?;
            }
            if let Some(why) = &changed.unknown {
                self.line(&format!("not told in full: {why}"))?;
            }
        }
        Ok(())
    }

    fn limits(&mut self, story: &Story) -> io::Result<()> {
        if story.limits.len() + story.not_enforced.len() == 0 {
            return Ok(());
        }
        self.heading("Limits")?;
        for reached in &story.limits {
            self.line(&format!(
                "{} {} reached: {}",
                reached.limit, reached.value, reached.action
            ))?;
        }
        for missing in &story.not_enforced {
            self.line(&format!(
                "{} {} not enforced: {}",
                missing.limit, missing.requested, missing.why
            ))?;
        }
        Ok(())
    }
}

/// The beginning of a text, at most so many characters.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}...", &text[..at]),
    }
}
