use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use wardian_policy::Explanation;

use super::run::{Bounds, Reach, Sources, current_directory, describe_rule, preset_of, refused};
use crate::failure::Outcome;
use crate::output::{self, Colour, Table, Tone};

/// Show what a sandbox would be allowed to do, and why
///
/// Examples:
///
///   wardian policy show
///   wardian policy show --sandbox gitea claude
///   wardian policy show --policy policy.toml --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Policy {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Show(Box<Show>),
}

/// Print the policy of a run, each part with the file and the line that it comes from
///
/// Takes what `wardian run` takes: options, a program that has a preset, an agent.
/// Nothing is started, and no credential is read.
///
/// Rules are in the order in which they are tried: the first that matches decides.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct Show {
    #[command(flatten)]
    reach: Reach,

    #[command(flatten)]
    bounds: Bounds,

    /// As JSON
    #[arg(long)]
    json: bool,

    /// The program or the agent
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Policy {
    pub(crate) fn run(self) -> Outcome {
        match self.verb {
            Verb::Show(verb) => verb.run(),
        }
    }
}

impl Show {
    fn run(self) -> Outcome {
        let Self {
            reach,
            bounds,
            json,
            command,
        } = self;
        let mut sources = Sources::read(&reach, &bounds, &current_directory()?)?;
        let agent = sources.agent(command.first())?;
        let program = match &agent {
            Some(agent) => agent.command().first().map(OsString::from),
            None => command.first().cloned(),
        };
        if let Some(agent) = &agent {
            let sandbox = &mut sources.policy.sandbox;
            *sandbox = sandbox.take().or(agent.sandbox().map(str::to_owned));
        }
        sources.add_preset_of(program.and_then(preset_of));
        let inputs = sources.policy.inputs().map_err(refused)?;
        let explained = wardian_policy::Policy::explain(&inputs).map_err(refused)?;
        if json {
            output::print_json(&explained)?;
        } else {
            let mut out = io::stdout().lock();
            write(&explained, &mut out, Colour::stdout())?;
            out.flush()?;
        }
        if let Some(note) = sources.note() {
            output::say(Tone::Warning, "note", &note);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write(explained: &Explanation, out: &mut impl Write, colour: Colour) -> io::Result<()> {
    let Explanation {
        order,
        policy,
        places,
        ..
    } = explained;
    let mut table = Table::new(["NEAREST FIRST", "FILE", "MAY"]);
    for layer in order {
        let may = match layer.trusted {
            true => (Tone::Plain, "grant and narrow"),
            false => (Tone::Warning, "narrow: not trusted"),
        };
        table.row([
            (Tone::Plain, layer.name.clone()),
            (Tone::Plain, layer.file.clone().unwrap_or_default()),
            (may.0, may.1.to_owned()),
        ]);
    }
    table.write(out, colour)?;

    heading(out, colour, "Rules")?;
    let mut table = Table::new(["RULE", "ACTION", "WHERE", "WHAT", "FROM"]);
    for (rule, place) in policy.rules.iter().zip(&places.rules) {
        let tone = match rule.action {
            "allow" => Tone::Good,
            _ => Tone::Bad,
        };
        table.row([
            (Tone::Plain, rule.id.clone()),
            (tone, rule.action.to_owned()),
            (Tone::Plain, format!("{}:{}", rule.host, rule.ports)),
            (Tone::Plain, describe_rule(rule)),
            (Tone::Faint, place.clone()),
        ]);
    }
    if policy.rules.is_empty() {
        writeln!(out, "none: no network at all")?;
    } else {
        table.write(out, colour)?;
    }

    let credentials = policy.credentials.iter().map(|credential| {
        let from = format!("{} {}", credential.source, credential.from.join(", "));
        format!(
            "{}: {from}, for {}",
            credential.name,
            credential.hosts.join(", ")
        )
    });
    list(
        out,
        colour,
        "Credentials",
        credentials.zip(&places.credentials),
    )?;
    let variables = policy.environment.iter();
    let variables = variables.map(|variable| format!("{}: {}", variable.name, variable.value));
    list(out, colour, "Variables", variables.zip(&places.environment))?;
    let limits = policy.limits.iter().map(|limit| {
        let required = if limit.required { ", required" } else { "" };
        format!("{} {}{required}", limit.name, limit.value)
    });
    list(out, colour, "Limits", limits.zip(&places.limits))?;

    let nested = places
        .nested
        .as_ref()
        .map(|place| (format!("nested {}", policy.nested), place));
    let works = policy.workspaces.join("; ");
    let works = places.workspaces.as_ref().map(|place| (works, place));
    let record = places
        .record
        .as_ref()
        .map(|place| (format!("record {}", policy.record), place));
    let visible = policy.visible.iter().map(|path| format!("visible {path}"));
    let cache = policy.cache.iter().map(|kind| format!("cache {kind}"));
    let rest = works.into_iter().chain(nested).chain(record);
    let rest = rest
        .chain(visible.zip(&places.visible))
        .chain(cache.zip(&places.cache));
    list(out, colour, "Besides", rest)
}

fn heading(out: &mut impl Write, colour: Colour, text: &str) -> io::Result<()> {
    writeln!(out, "\n{}", colour.paint(Tone::Heading, text))
}

fn list<'a>(
    out: &mut impl Write,
    colour: Colour,
    title: &str,
    entries: impl Iterator<Item = (String, &'a String)>,
) -> io::Result<()> {
    let mut table = Table::new(["WHAT", "FROM"]);
    let mut is_empty = true;
    for (what, place) in entries {
        is_empty = false;
        table.row([(Tone::Plain, what), (Tone::Faint, place.clone())]);
    }
    if is_empty {
        return Ok(());
    }
    heading(out, colour, title)?;
    table.write(out, colour)
}
