use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use wardian_supervisor::downloads::{self, Freed};
use wardian_supervisor::sweep::{Sweep, sweep};

use crate::failure::{BAD_NEWS, Outcome};
use crate::home::home;
use crate::kept;
use crate::output::{self, Tone};
use crate::sandboxes;
use crate::units;

/// Clean up after sandboxes whose supervisor was killed, and the cache of downloads
///
/// Every `wardian run` does this too. Work is never removed: it is kept, and named.
/// Records of sandboxes that ended, and their work, stay until `wardian rm` removes
/// them. Of the cache, the downloads go that were not used for longest, until the
/// rest is at most 10 GiB.
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
        let downloads =
            downloads::directory(&home().ok_or_else(|| anyhow!("the user has no home directory"))?);
        let freed = downloads::trim(&downloads)
            .with_context(|| format!("cannot clean up {}", downloads.display()))?;
        if freed != Freed::default() {
            let Freed { entries, bytes } = freed;
            let bytes = units::bytes(bytes);
            writeln!(out, "downloads: removed {entries}, which had {bytes}")?;
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
