use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::failure::Outcome;

/// Print a script that completes wardian's command line
///
/// Load it from the start-up file of your shell, or put it where the shell looks
/// for completions.
///
/// Examples:
///
///   source <(wardian completions bash)
///   wardian completions zsh > ~/.zfunc/_wardian
///   wardian completions fish > ~/.config/fish/completions/wardian.fish
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Completions {
    /// The shell to complete for
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut crate::Cli::command(),
            "wardian",
            &mut script,
        );
        io::stdout().write_all(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
