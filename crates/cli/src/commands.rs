//! The verbs. Each is one file: a struct whose doc comment is its `--help`, and a `run` that does it.

mod completions;
mod events;
mod ls;
mod man;
mod verify;

use clap::Subcommand;

use crate::failure::Outcome;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Ls(ls::Ls),
    Events(events::Events),
    Verify(verify::Verify),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Command {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Command::Ls(verb) => verb.run(),
            Command::Events(verb) => verb.run(),
            Command::Verify(verb) => verb.run(),
            Command::Completions(verb) => verb.run(),
            Command::Man(verb) => verb.run(),
        }
    }
}
