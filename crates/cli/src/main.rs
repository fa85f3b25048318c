//! The `wardian` binary: parses the command line, runs one verb, exits.
//!
//! Each verb is a file of [`commands`]. Data goes to stdout; errors, hints and notes go to stderr. The exit status is 0
//! if all is well, 1 if the answer is bad news (a broken journal), 2 if the question could not be answered.

mod commands;
mod failure;
mod home;
mod kept;
mod manifests;
mod output;
mod review;
mod sandboxes;
mod trust;
mod units;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

/// Run AI coding agents at full autonomy in sealed, governed sandboxes.
///
/// An agent gets a workspace, the host's own tools, and exactly the reach that its policy grants. It never gets the
/// host, the real credentials, or a way around the policy, and all it does is on a record that it cannot touch.
#[derive(Debug, Parser)]
#[command(
    name = "wardian",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse_from(words());
    match cli.command.run() {
        Ok(status) => status,
        Err(failure) => failure.report(),
    }
}

/// The command line, with `--bind DIR` as one word.
fn words() -> Vec<OsString> {
    let words = std::env::args_os();
    let command = Cli::command();
    match command.find_subcommand("run") {
        Some(run) => commands::join_words(words, run, Path::is_dir),
        None => words.collect(),
    }
}
