use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use wardian_supervisor::sweep::{Sweep, sweep};

use crate::failure::{BAD_NEWS, Outcome};
use crate::kept;
use crate::output::{self, Tone};
use crate::sandboxes;

/// Clean up after sandboxes whose supervisor was killed
///
/// Every `wardian run` does this too. Work is never removed: it is kept, and named.
/// Records of sandboxes that ended, and their work, stay until `wardian rm` removes
/// them.
///
/// Examples:
///
///   wardian gc
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Gc {}

impl Gc {
    pub(crate) fn run(self) -> Outcome {
        let Sweep { swept, failed } = sweep(&sandboxes::state_root()?)?;
        let mut out = io::stdout().lock();
        for sandbox in swept {
            match kept::in_words(&sandbox.kept) {
                None => writeln!(out, "{}: cleaned up", sandbox.name)?,
                Some(work) => writeln!(out, "{}: cleaned up, kept: {work}", sandbox.name)?,
            }
        }
        out.flush()?;
        for (name, error) in &failed {
            output::say(Tone::Bad, "error", &format!("{name}: {error}"));
        }
        Ok(match failed.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(BAD_NEWS),
        })
    }
}
