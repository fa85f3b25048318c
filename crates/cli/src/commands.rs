//! The verbs. Each is one file: a struct whose doc comment is its `--help`, and a `run` that does it.

mod anchor;
mod apply;
mod completions;
mod cp;
mod custodian;
mod diff;
mod doctor;
mod events;
mod export;
mod gc;
mod llm;
mod ls;
mod man;
mod policy;
mod report;
mod resume;
mod rm;
mod run;
mod schema;
mod supervise;
mod trust;
mod verify;
mod volume;

use clap::Subcommand;

pub(crate) use run::join_words;

use crate::failure::Outcome;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<run::Run>),
    Resume(Box<resume::Resume>),
    Ls(ls::Ls),
    Diff(diff::Diff),
    Apply(apply::Apply),
    Cp(cp::Cp),
    Events(events::Events),
    Report(report::Report),
    Export(export::Export),
    Anchor(anchor::Anchor),
    Llm(llm::Llm),
    Verify(verify::Verify),
    Rm(rm::Rm),
    Volume(volume::Volume),
    Gc(gc::Gc),
    Trust(trust::Trust),
    Policy(policy::Policy),
    Schema(schema::Schema),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(man::Man),
    #[command(hide = true)]
    Supervise(supervise::Supervise),
    #[command(hide = true)]
    Custodian(custodian::Custodian),
}

impl Command {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Command::Run(verb) => verb.run(),
            Command::Resume(verb) => verb.run(),
            Command::Diff(verb) => verb.run(),
            Command::Apply(verb) => verb.run(),
            Command::Cp(verb) => verb.run(),
            Command::Rm(verb) => verb.run(),
            Command::Volume(verb) => verb.run(),
            Command::Gc(verb) => verb.run(),
            Command::Trust(verb) => verb.run(),
            Command::Policy(verb) => verb.run(),
            Command::Schema(verb) => verb.run(),
            Command::Doctor(verb) => verb.run(),
            Command::Supervise(verb) => verb.run(),
            Command::Custodian(verb) => verb.run(),
            Command::Ls(verb) => verb.run(),
            Command::Events(verb) => verb.run(),
            Command::Report(verb) => verb.run(),
            Command::Export(verb) => verb.run(),
            Command::Anchor(verb) => verb.run(),
            Command::Llm(verb) => verb.run(),
            Command::Verify(verb) => verb.run(),
            Command::Completions(verb) => verb.run(),
            Command::Man(verb) => verb.run(),
        }
    }
}
