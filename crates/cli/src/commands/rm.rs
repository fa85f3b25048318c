use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use wardian_events::visible;
use wardian_sandbox::state::SandboxDirectory;
use wardian_supervisor::sweep::{remove, sweep};
use wardian_supervisor::work;

use crate::failure::{Failure, Outcome};
use crate::kept;
use crate::sandboxes::{self, Sandbox};

/// Remove sandboxes that have ended, with their records and their work
///
/// Asks before it removes work that `wardian apply` has not brought home, and says what
/// it is. A running sandbox is not removed: end its `wardian run` first.
///
/// Examples:
///
///   wardian rm claude-7f3k2q
///   wardian rm --force one two
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Rm {
    /// Remove work without asking
    #[arg(long, short)]
    force: bool,

    /// Sandboxes to remove
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Rm {
    pub(crate) fn run(self) -> Outcome {
        let sandboxes: Vec<_> = self
            .names
            .iter()
            .map(|name| sandboxes::find(name))
            .collect::<Result<_, _>>()?;
        // What keeps one from being cleaned up does not keep it, nor another, from being removed.
        sweep(&sandboxes::state_root()?)?;
        for sandbox in &sandboxes {
            self.remove(sandbox)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn remove(&self, sandbox: &Sandbox) -> Result<(), Failure> {
        let (name, directory) = (sandbox.name(), sandbox.state());
        if !directory.path().exists() {
            // The sweep found nothing in it worth keeping.
            return Ok(());
        }
        let Some(lock) = directory.try_lock()? else {
            return Err(Failure::from(anyhow!("{name} is running"))
                .hint("end its program, or the `wardian run` that started it"));
        };
        if !self.force
            && let Some(loss) = loss(directory)
            && !confirm(&format!("{name}: {loss}. Remove it all the same?"))?
        {
            let failure = Failure::from(anyhow!("{name} was not removed: {loss}"));
            return Err(failure
                .hint(format!("`wardian diff {name}` shows it"))
                .hint(format!(
                    "`wardian rm --force {name}` removes it without asking"
                )));
        }
        Ok(remove(directory, lock)?)
    }
}

/// What would be lost with a sandbox besides its record.
fn loss(directory: &SandboxDirectory) -> Option<String> {
    let record = match directory.read_record() {
        Ok(record) => record?,
        Err(error) => {
            let error = error.to_string();
            return Some(format!("what it holds cannot be told: {}", visible(&error)));
        }
    };
    let mut kept = match record.ended {
        Some(ended) => ended.kept,
        // It could not be cleaned up after.
        None => work::find(directory, &record).kept,
    };
    kept.retain(|kept| !kept.applied);
    kept::in_words(&kept).map(|work| format!("it holds work ({work})"))
}

/// Without a terminal nobody can say yes.
pub(super) fn confirm(question: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
