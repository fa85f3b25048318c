use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};

use crate::failure::Outcome;

/// Write the man pages, one for each verb, into a directory
///
/// Example:
///
///   wardian man /usr/local/share/man/man1
#[derive(Debug, Args)]
#[command(hide = true, verbatim_doc_comment)]
pub(crate) struct Man {
    /// Where to; made if it is not there
    directory: PathBuf,
}

impl Man {
    pub(crate) fn run(self) -> Outcome {
        let failed = || format!("cannot write man pages into {}", self.directory.display());
        std::fs::create_dir_all(&self.directory).with_context(failed)?;
        clap_mangen::generate_to(crate::Cli::command(), &self.directory).with_context(failed)?;
        Ok(ExitCode::SUCCESS)
    }
}
