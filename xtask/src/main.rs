//! Developer tasks: `cargo xtask <task>`. `cargo xtask help` lists them.

mod docs;
mod events_reference;
mod fuzz;
mod gate;
mod leftovers;
mod licences;
mod reference;
mod setup;
mod shell;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

pub(crate) const HELP: &str = "\
cargo xtask setup                  install what the tests need (Debian packages, agents, test user); needs root once
cargo xtask test [--quick]         the whole gate: format, lints, unit, property and end-to-end tests, docs, fuzzing
                 [--rootless-only] as an ordinary user: leave out the end-to-end tests that must run as root
cargo xtask e2e [FILTER...]        build and run only the end-to-end tests whose name contains a FILTER
cargo xtask fuzz [--seconds N]     run each fuzz target for N seconds (default 20)
cargo xtask docs [--write]         check links, commands and references in the documentation; renew the references
cargo xtask licences               check the licences of all dependencies against deny.toml
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["setup"] => setup::run(),
        ["test", options @ ..] => gate::run(&gate::Options::parse(options)?),
        ["e2e", filters @ ..] => gate::end_to_end_only(filters),
        ["fuzz"] => fuzz::run(20),
        ["fuzz", "--seconds", seconds] => {
            fuzz::run(seconds.parse().context("--seconds takes a whole number")?)
        }
        ["docs"] => docs::check(),
        ["docs", "--write"] => reference::write().and_then(|()| events_reference::write()),
        ["licences"] => licences::check(),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("unknown task {:?}; see `cargo xtask help`", other.join(" ")),
    }
}
