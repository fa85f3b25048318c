use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use wardian_supervisor::sweep::{remove, sweep};

use crate::failure::{Failure, Outcome};
use crate::output::visible_path;
use crate::sandboxes;

/// Remove sandboxes that have ended, with their records and kept changes
///
/// Asks before it removes changes that a program made to its workspace. A running
/// sandbox is not removed: end its `wardian run` first.
///
/// Examples:
///
///   wardian rm claude-7f3k2q
///   wardian rm --force one two
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Rm {
    /// Remove kept changes without asking
    #[arg(long, short)]
    force: bool,

    /// Sandboxes to remove
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Rm {
    pub(crate) fn run(self) -> Outcome {
        let root = sandboxes::state_root()?;
        sweep(&root)?;
        for name in &self.names {
            let sandbox = sandboxes::find(name)?;
            let directory = sandbox.state();
            let Some(lock) = directory.try_lock()? else {
                return Err(Failure::from(anyhow!("{name} is running"))
                    .hint("end its program, or the `wardian run` that started it"));
            };
            let record = directory.read_record()?;
            let kept = record
                .and_then(|record| record.ended)
                .map(|ended| ended.kept);
            if let [path, ..] = kept.unwrap_or_default().as_slice()
                && !self.force
                && !confirm(&format!(
                    "{name} holds changes in {}. Remove them?",
                    visible_path(path)
                ))?
            {
                return Err(Failure::from(anyhow!("{name} was not removed"))
                    .hint("`wardian rm --force` removes without asking"));
            }
            remove(directory, lock)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Without a terminal nobody can say yes.
fn confirm(question: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
