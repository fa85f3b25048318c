use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use wardian_events::Digest;
use wardian_policy::manifest::{ManifestSummary, SandboxSummary};
use wardian_policy::policy::CredentialSummary;
use wardian_policy::{Level, Manifest};

use super::rm::confirm;
use super::run::{describe_rule, refused};
use crate::failure::{BAD_NEWS, Failure, Outcome};
use crate::home::home;
use crate::manifests::{self, Document};
use crate::output::{self, Colour, Tone};
use crate::trust::Pins;

/// Trust the wardian.toml of a project, once you have seen what it grants
///
/// What a project's wardian.toml grants counts only if you have agreed to its very
/// text: a repository can bring any, and a program in a sandbox can write one. Until
/// then, and again after each change, only what it denies and limits counts.
///
/// Prints all that it says, and asks. Without a terminal, give the SHA-256 that you
/// have agreed to; `wardian run --trust-hash` does so for one run.
///
/// Examples:
///
///   wardian trust
///   wardian trust --show ../api
///   wardian trust --revoke
///
/// Exit status: 1 if it is not trusted afterwards.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Trust {
    /// Print what it grants, and whether it is trusted; change nothing
    #[arg(long, conflicts_with_all = ["hash", "revoke"])]
    show: bool,

    /// Trust it without asking if it has this SHA-256
    #[arg(long, value_name = "SHA256", conflicts_with = "revoke")]
    hash: Option<Digest>,

    /// Trust it no longer
    #[arg(long)]
    revoke: bool,

    /// A directory of the project
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

impl Trust {
    pub(crate) fn run(self) -> Outcome {
        let home = home().unwrap_or_default();
        let directory = std::fs::canonicalize(&self.directory)
            .with_context(|| self.directory.display().to_string())?;
        let mut pins = Pins::load(&home)?;
        let Some(document) = manifests::project(&directory, &home)? else {
            return Err(anyhow!("{} has no wardian.toml", directory.display()).into());
        };
        if self.revoke {
            let was = pins.revoke(&document.path)?;
            let told = if was {
                "no longer trusted"
            } else {
                "was not trusted"
            };
            output::say(
                Tone::Good,
                "done",
                &format!("{} {told}", document.path.display()),
            );
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(hash) = self.hash {
            if hash != document.sha256 {
                return Err(Failure::from(anyhow!(
                    "{} has the SHA-256 {}",
                    document.path.display(),
                    document.sha256
                ))
                .hint("`wardian trust --show` shows what it grants"));
            }
            // What cannot be used is not worth a word of trust.
            parse(&document)?;
            pins.pin(&document)?;
            return Ok(ExitCode::SUCCESS);
        }
        let manifest = parse(&document)?;
        let mut out = io::stdout().lock();
        write(&document, &manifest.describe(), &mut out, Colour::stdout())?;
        out.flush()?;
        if pins.holds(&document) {
            output::say(Tone::Good, "note", "it is trusted");
            return Ok(ExitCode::SUCCESS);
        }
        if pins.held_before(&document) {
            output::say(Tone::Warning, "note", "it has changed since you trusted it");
        }
        if self.show {
            output::say(Tone::Warning, "note", "it is not trusted");
            return Ok(ExitCode::from(BAD_NEWS));
        }
        if !io::stdin().is_terminal() {
            return Err(
                Failure::from(anyhow!("there is no terminal to ask on")).hint(format!(
                    "`wardian trust --hash {}` trusts this very text",
                    document.sha256
                )),
            );
        }
        if !confirm("Grant this?")? {
            output::say(Tone::Warning, "note", "it is not trusted");
            return Ok(ExitCode::from(BAD_NEWS));
        }
        pins.pin(&document)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn parse(document: &Document) -> Result<Manifest, Failure> {
    let name = document.path.display().to_string();
    Manifest::parse(Level::Project, &name, &document.text).map_err(refused)
}

fn write(
    document: &Document,
    summary: &ManifestSummary,
    out: &mut impl Write,
    colour: Colour,
) -> io::Result<()> {
    let path = document.path.display().to_string();
    writeln!(out, "{}", colour.paint(Tone::Heading, &path))?;
    writeln!(out, "SHA-256 {}", document.sha256)?;
    for sandbox in &summary.sandboxes {
        let is_default = summary.default.as_ref() == Some(&sandbox.name);
        let default = if is_default { ", the default" } else { "" };
        let title = format!("Sandbox {}{default}", sandbox.name);
        writeln!(out, "\n{}", colour.paint(Tone::Heading, &title))?;
        write_sandbox(sandbox, out, colour)?;
    }
    for agent in &summary.agents {
        let title = format!("Agent {}", agent.name);
        writeln!(out, "\n{}", colour.paint(Tone::Heading, &title))?;
        let mut line = |label, text: &str| line(out, colour, label, text);
        line("runs", &words(&agent.command))?;
        line(
            "in",
            agent.sandbox.as_deref().unwrap_or("the default sandbox"),
        )?;
        for skill in &agent.skills {
            line("skill", skill)?;
        }
        if let Some(prompt) = &agent.prompt {
            line("is told", prompt)?;
        }
    }
    for credential in &summary.credentials {
        let CredentialSummary {
            name,
            source,
            from,
            hosts,
            inject,
            ..
        } = credential;
        let title = format!("Credential {name}");
        writeln!(out, "\n{}", colour.paint(Tone::Heading, &title))?;
        let read = match *source {
            "command" => format!("from what `{}` prints, run on this machine", words(from)),
            source => format!("from the {source} {}", from.join(", ")),
        };
        line(out, colour, "read", &read)?;
        line(out, colour, "sent to", &hosts.join(", "))?;
        line(out, colour, "as", inject)?;
    }
    Ok(())
}

fn write_sandbox(sandbox: &SandboxSummary, out: &mut impl Write, colour: Colour) -> io::Result<()> {
    let SandboxSummary {
        extends,
        presets,
        rules,
        workspaces,
        visible,
        environment,
        limits,
        nested,
        cache,
        record,
        ..
    } = sandbox;
    let mut line = |label, text: &str| line(out, colour, label, text);
    let mut all = |label, texts: &[String]| texts.iter().try_for_each(|text| line(label, text));
    all("extends", extends)?;
    all("preset", presets)?;
    all("works on", workspaces)?;
    all("sees", visible)?;
    all("variable", environment)?;
    all("limit", limits)?;
    for rule in rules {
        let label = if rule.action == "allow" {
            "reaches"
        } else {
            "denies"
        };
        line(
            label,
            &format!("{}:{} {}", rule.host, rule.ports, describe_rule(rule)),
        )?;
    }
    match nested {
        Some(true) => line("nested", "programs inside may make namespaces of their own")?,
        Some(false) => line("nested", "no namespaces inside")?,
        None => {}
    }
    if !cache.is_empty() {
        line("keeps", &format!("downloads of {}", cache.join(", ")))?;
    }
    if *record == Some("full") {
        line("keeps", "whole conversations with models")?;
    }
    Ok(())
}

fn line(out: &mut impl Write, colour: Colour, label: &str, text: &str) -> io::Result<()> {
    let label = format!("{label:<9}");
    let label = colour.paint(Tone::Faint, &label);
    writeln!(out, "  {label} {}", colour.paint(Tone::Plain, text))
}

/// A command as a shell would read it.
fn words(command: &[String]) -> String {
    let plain = |word: &String| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_./=:@%+,".contains(&b))
    };
    let quoted = command.iter().map(|word| match plain(word) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}
