pub(super) mod store;

use std::io;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde::Serialize;

use self::store::{VolumeName, Volumes};
use crate::commands::rm::confirm;
use crate::failure::{Failure, Outcome};
use crate::output::{Colour, Table, Tone, print_json, visible_path};

/// List and remove volumes
///
/// A volume is a directory with a name that outlives sandboxes, and that several can
/// share: `wardian run --volume NAME` makes it and shows it at /volumes/NAME. What a
/// program leaves there, programs of other sandboxes find.
///
/// Examples:
///
///   wardian run --volume models -- ls /volumes/models
///   wardian run --volume data:/srv/data:ro -- make report
///   wardian volume ls
///   wardian volume rm models
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Volume {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List volumes
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove volumes with all that is in them
    Rm {
        /// Do not ask
        #[arg(long, short)]
        force: bool,

        /// Volumes to remove
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// A volume as `--json` has it.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    in_use: bool,
    path: String,
}

impl Volume {
    pub(crate) fn run(self) -> Outcome {
        let volumes = Volumes::discover()?;
        match self.verb {
            Verb::Ls { json } => list(&volumes, json),
            Verb::Rm { force, names } => {
                for name in &names {
                    remove(&volumes, name, force)?;
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn list(volumes: &Volumes, json: bool) -> Outcome {
    let mut all = Vec::new();
    for name in volumes.all()? {
        all.push(Shown {
            in_use: volumes.is_in_use(&name)?,
            path: volumes.data(&name).to_string_lossy().into_owned(),
            name: name.as_str().to_owned(),
        });
    }
    if json {
        print_json(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["NAME", "STATE", "PATH"]);
    for Shown { name, in_use, path } in all {
        let state = match in_use {
            true => (Tone::Good, "in use".to_owned()),
            false => (Tone::Faint, "idle".to_owned()),
        };
        table.row([(Tone::Plain, name), state, (Tone::Plain, path)]);
    }
    table.write(&mut io::stdout().lock(), Colour::stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn remove(volumes: &Volumes, name: &str, force: bool) -> Result<(), Failure> {
    let name = VolumeName::parse(name)?;
    if !volumes.exists(&name) {
        let none = anyhow!("there is no volume named `{}`", name.as_str());
        return Err(Failure::from(none).hint("`wardian volume ls` lists them"));
    }
    let shown = name.as_str();
    if volumes.is_in_use(&name)? {
        let used = anyhow!("a sandbox uses the volume {shown}");
        return Err(
            Failure::from(used).hint("end that sandbox first; `wardian ls` shows those that run")
        );
    }
    let path = visible_path(&volumes.data(&name));
    if !force
        && !confirm(&format!(
            "{shown}: all that is in {path} would be lost. Remove it?"
        ))?
    {
        return Err(
            Failure::from(anyhow!("{shown} was not removed")).hint(format!(
                "`wardian volume rm --force {shown}` removes it without asking"
            )),
        );
    }
    Ok(volumes.remove(&name)?)
}
