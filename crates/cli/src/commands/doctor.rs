//! `wardian doctor`: what this host offers, and whether sandboxes started here keep what is promised.
//!
//! ```text
//! host ─────────────▶ Check  what the kernel and the system offer, read from /proc and asked of the kernel
//! Stage ─▶ Trial ───▶ Facts  a sandbox made by `wardian run`; this binary looks around inside (inside.rs)
//!            │          │
//!            └─ journal ┴──▶ Check  judged outside, by what a program inside saw and what was recorded
//! ```

mod advice;
mod check;
mod confinement;
mod door;
mod files;
mod host;
mod inside;
mod limits;
mod private;
mod programs;
mod progress;
mod report;
mod residue;
mod secrets;
mod stage;
mod terminal;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::failure::{BAD_NEWS, Outcome};
use advice::Advice;
use check::{Check, Finding, Promise};
use inside::{Facts, Look};
use progress::Progress;
use report::Report;
use secrets::Evidence;
use stage::Stage;
use trial::Trial;

/// Prove on this machine that sandboxes keep what they promise
///
/// Starts real sandboxes, as `wardian run` would for you, has a program look around
/// inside, and compares with what is seen and recorded outside. Tells what holds,
/// what this machine limits, what does not hold, and how to fix it. Needs no network
/// and leaves nothing behind.
///
/// Exit status: 0 if all that is promised holds, 1 if something does not, 2 if that
/// cannot be told.
///
/// Examples:
///
///   wardian doctor
///   wardian doctor --json | jq '.checks[] | select(.outcome != "holds")'
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Be the program that looks around inside
    #[arg(long, hide = true, value_name = "TASK")]
    inside: Option<PathBuf>,
}

impl Doctor {
    pub(crate) fn run(self) -> Outcome {
        if let Some(task) = self.inside {
            inside::run(&task)?;
            return Ok(ExitCode::SUCCESS);
        }
        let report = examine()?;
        if self.json {
            report.write_json()?;
        } else {
            report.write()?;
        }
        Ok(if report.holds() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(BAD_NEWS)
        })
    }
}

fn examine() -> anyhow::Result<Report> {
    let advice = Advice::for_this_host();
    let mut progress = Progress::begin();
    progress.at("what this machine offers");
    let mut checks = host::checks(&advice);
    let stage = Stage::set()?;

    progress.at("a sandbox from inside");
    let look = stage.look()?;
    let trial = Trial::run(&stage, &stage.options(), "look")?;
    let start = match trial.facts::<Facts>() {
        Ok(facts) => {
            checks.push(Check::holds(
                Promise::Host,
                "sandboxes start",
                "a program looked around inside",
            ));
            judge(&mut checks, &stage, &look, &facts, &trial)?;
            trial.remove()?;
            progress.at("root inside");
            checks.extend(confinement::superuser(&stage, &advice)?);
            progress.at("a terminal");
            checks.push(terminal::check(&stage)?);
            progress.at("limits");
            checks.extend(limits::checks(&stage)?);
            progress.at("what stays after an end");
            checks.push(residue::after_a_failed_start(&stage)?);
            checks.extend(residue::after_kills(&stage)?);
            progress.at("how long a start takes");
            Some(trial::start_time(&stage)?)
        }
        Err(why) => {
            let fix = host::explain_failed_start(&checks, trial.hint());
            checks.push(Check::fails(Promise::Host, "sandboxes start", why, fix));
            trial.remove()?;
            None
        }
    };
    progress.end();
    checks.sort_by_key(|check| check.promise);
    Ok(Report { checks, start })
}

/// Everything that one look around shows.
fn judge(
    checks: &mut Vec<Check>,
    stage: &Stage,
    look: &Look,
    facts: &Facts,
    trial: &Trial,
) -> anyhow::Result<()> {
    let events = trial.events()?;
    checks.extend(door::sealed(facts, stage.visitors()));
    checks.extend(door::default_deny(look, facts, &events));
    checks.extend(confinement::checks(facts));
    checks.extend(secrets::checks(Evidence {
        planted: &stage.planted,
        facts,
        files: &files::with_planted(&stage.planted, trial)?,
        heard: &stage.heard(),
        certificate: stage.certificate(),
        sandbox: trial.directory.name().as_str(),
        events: &events,
    }));
    checks.extend(files::record(facts, trial)?);
    checks.push(programs::check(&events));
    checks.extend(files::host_files(look, facts, stage, trial));
    checks.extend(residue::after_an_end(facts, trial)?);
    Ok(())
}

impl Report {
    fn holds(&self) -> bool {
        self.checks
            .iter()
            .all(|check| check.outcome != Finding::Fails)
    }
}
