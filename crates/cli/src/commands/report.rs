mod allow;
mod html;
mod story;
mod text;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use wardian_events::{Broken, ReadError, Verified, read};

use self::story::Story;
use crate::commands::verify::check;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Colour, Tone};
use crate::sandboxes::{self, Sandbox};

/// Tell what a sandbox did, from its record
///
/// What was denied and how it could be allowed, which hosts were reached, model
/// calls and what they cost, commands, and files that changed. The record is
/// verified first, and the report says whether it is whole.
///
/// `--html` writes one page that needs nothing else: no script, nothing from the
/// network. It holds what the record holds, so keep it as private.
///
/// Examples:
///
///   wardian report claude
///   wardian report claude --html claude.html
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Report {
    /// The sandbox
    name: String,
    /// Write a page to FILE, or to stdout if it is `-`
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What verifying came to.
type Checked = Result<Verified, Broken>;

impl Report {
    pub(crate) fn run(self) -> Outcome {
        let sandbox = sandboxes::find(&self.name)?;
        let checked = check(&sandbox, &[])
            .with_context(|| format!("cannot verify the record of `{}`", self.name))?;
        let story = tell(&sandbox)?;
        match &self.html {
            None => text::write(
                &self.name,
                &story,
                &checked,
                Colour::stdout(),
                &mut io::stdout().lock(),
            )?,
            Some(path) => {
                let page = html::page(&self.name, &story, &checked);
                write_page(path, &page)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn tell(sandbox: &Sandbox) -> Result<Story, Failure> {
    let mut story = Story::default();
    for entry in read(&sandbox.journal())? {
        match entry {
            Ok(entry) => story.take(&entry.record),
            // It is the check that says so.
            Err(ReadError::Torn { .. } | ReadError::TooLong { .. }) => break,
            Err(ReadError::Unknown { line, .. }) => {
                let text = format!("line {line} is of a newer version, and is left out");
                output::say(Tone::Warning, "warning", &text);
            }
            Err(error) => return Err(anyhow!(error).into()),
        }
    }
    story.finish();
    Ok(story)
}

fn write_page(path: &Path, page: &str) -> io::Result<()> {
    if path == Path::new("-") {
        return io::stdout().lock().write_all(page.as_bytes());
    }
    // Private: it tells as much as the record.
    let mut file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(page.as_bytes())
}

/// Whether the record is whole, in words, and in the word for its colour.
fn verdict_of(checked: &Checked) -> (String, &'static str) {
    use wardian_events::verify::End;
    match checked {
        Err(broken) => (format!("record broken at {broken}"), "bad"),
        Ok(verified) => {
            let records = crate::units::count(verified.anchor.records, "record");
            match verified.end {
                End::Stopped => (format!("record whole, {records}"), "good"),
                End::Open => (format!("record whole so far, {records}"), "open"),
            }
        }
    }
}

/// Millionths of a dollar as people read them.
fn dollars(micro: u64) -> String {
    match micro {
        0 => "$0".to_owned(),
        1..10_000 => format!("${:.4}", micro as f64 / 1e6),
        _ => format!("${:.2}", micro as f64 / 1e6),
    }
}
