use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use wardian_supervisor::sweep::{Sweep, sweep};

use crate::failure::{BAD_NEWS, Outcome};
use crate::output::{self, Tone, visible_path};
use crate::sandboxes;

/// Clean up after sandboxes whose supervisor was killed
///
/// Every `wardian run` does this too. Nothing that a program inside wrote to its
/// workspace is lost: changes are kept, and named. Records of sandboxes that
/// ended stay until `wardian rm` removes them.
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
            match sandbox.kept.as_slice() {
                [] => writeln!(out, "{}: cleaned up", sandbox.name)?,
                kept => {
                    for path in kept {
                        writeln!(
                            out,
                            "{}: cleaned up, changes kept in {}",
                            sandbox.name,
                            visible_path(path)
                        )?;
                    }
                }
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
