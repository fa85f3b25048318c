use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use wardian_git::confined::{Binary, FileStat};

use crate::failure::Outcome;
use crate::output::{self, Colour, Tone};
use crate::review::{self, Reviewed};
use crate::sandboxes;

/// Show what a sandbox changed in its workspaces
///
/// Commits and what is not committed, as one patch against what the session started
/// from. Nothing of the session is executed or trusted for it: its hooks, settings
/// and filters have no effect. What cannot come back, and what would run on your
/// machine once it is there, is named on stderr.
///
/// Examples:
///
///   wardian diff claude-7f3k2q
///   wardian diff --stat claude-7f3k2q
///   wardian diff claude-7f3k2q > work.patch
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Diff {
    /// Count the lines that changed in each file
    #[arg(long)]
    stat: bool,

    /// The sandbox
    #[arg(value_name = "NAME")]
    name: String,
}

impl Diff {
    pub(crate) fn run(self) -> Outcome {
        let sandbox = sandboxes::find(&self.name)?;
        let workspaces = review::review(&sandbox)?;
        let mut out = Shown::stdout();
        for workspace in &workspaces {
            output::say(
                Tone::Heading,
                &output::visible_path(&workspace.path),
                &workspace.summary(),
            );
            workspace.say_commits();
            if self.stat {
                stat(workspace, &mut out)?;
            } else {
                patch(workspace, &mut out)?;
            }
            out.flush()?;
            let refs = [
                workspace.review.wanted_branches(),
                workspace.review.wanted_loose_ends(),
            ];
            workspace.say_warnings(&refs.concat())?;
            workspace.say_loose_ends();
        }
        let has_loose_ends = |workspace: &Reviewed| !workspace.review.loose_ends.is_empty();
        if workspaces.iter().any(has_loose_ends) {
            let take = format!("`wardian apply --all {}` brings it as well", self.name);
            output::say(Tone::Faint, "hint", &take);
        }
        if workspaces.is_empty() {
            output::say(Tone::Plain, "note", "nothing is kept of its workspaces");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn patch(workspace: &Reviewed, out: &mut Shown) -> anyhow::Result<()> {
    let review = &workspace.review;
    let binary = if out.is_exact() {
        Binary::Whole
    } else {
        Binary::Named
    };
    Ok(review
        .git()
        .patch(review.start(), review.end(), binary, out)?)
}

fn stat(workspace: &Reviewed, out: &mut Shown) -> anyhow::Result<()> {
    let review = &workspace.review;
    for FileStat {
        path,
        old_path,
        lines,
    } in review.git().stat(review.start(), review.end())?
    {
        match lines {
            Some((added, removed)) => write!(
                out,
                "{:>8} {:>8}  ",
                format!("+{added}"),
                format!("-{removed}")
            )?,
            None => write!(out, "{:>17}  ", "binary")?,
        }
        if let Some(old) = old_path {
            out.write_all(&old)?;
            out.write_all(b" => ")?;
        }
        out.write_all(&path)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Bytes of a session on their way to the user: exact for a file or pipe, visible and in colour for a terminal.
struct Shown {
    out: io::Stdout,
    colour: Colour,
    is_terminal: bool,
    line: Vec<u8>,
}

/// Longer lines come in pieces.
const LONGEST_LINE: usize = 1 << 16;

impl Shown {
    fn stdout() -> Self {
        Self {
            out: io::stdout(),
            colour: Colour::stdout(),
            is_terminal: io::stdout().is_terminal(),
            line: Vec::new(),
        }
    }

    fn is_exact(&self) -> bool {
        !self.is_terminal && self.colour == Colour::Off
    }

    fn end_line(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let tone = match line.first() {
            Some(b'+') if !line.starts_with(b"+++ ") => Tone::Good,
            Some(b'-') if !line.starts_with(b"--- ") => Tone::Bad,
            Some(b'@') => Tone::Faint,
            Some(b'd' | b'+' | b'-') => Tone::Heading,
            _ => Tone::Plain,
        };
        // A tab is what a person sees anyway.
        for (number, part) in line.split(|byte| *byte == b'\t').enumerate() {
            let tab = if number > 0 { "\t" } else { "" };
            let part = String::from_utf8_lossy(part);
            write!(self.out, "{tab}{}", self.colour.paint(tone, &part))?;
        }
        writeln!(self.out)
    }
}

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_exact() {
            return self.out.write(bytes);
        }
        for byte in bytes {
            match byte {
                b'\n' => self.end_line()?,
                byte => self.line.push(*byte),
            }
            if self.line.len() >= LONGEST_LINE {
                self.end_line()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.line.is_empty() {
            self.end_line()?;
        }
        self.out.flush()
    }
}
