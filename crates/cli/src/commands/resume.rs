use std::ffi::OsString;

use clap::Args;

use super::run::{self, Again, Bounds, Reach};
use crate::failure::Outcome;
use crate::sandboxes;

/// Go on in a sandbox that has ended
///
/// The program finds its workspaces and its home as it left them, and its record goes
/// on. The system around them is new: what was installed or lay in /tmp is gone.
/// Without COMMAND, the first command is run again.
///
/// Policy, limits and account are those that it was started with. They are worked out
/// anew: credentials are read again, and a policy file has to be what it was. Options
/// given here are added, or take the place of the old ones, for this time only. Values
/// of `--env NAME=VALUE` are never kept: give them again, or set the variable outside.
///
/// A sandbox can be resumed if it was started with `--name`, or holds work.
///
/// Examples:
///
///   wardian resume fix
///   wardian resume fix -- claude --continue
///   wardian resume --allow github.com --time 1h fix -- cargo test
///
/// Exit status: as of `wardian run`.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Resume {
    #[command(flatten)]
    reach: Reach,

    #[command(flatten)]
    bounds: Bounds,

    /// Say nothing but errors
    #[arg(long, short)]
    quiet: bool,

    /// The sandbox
    #[arg(value_name = "NAME")]
    name: String,

    /// Another program and its arguments, after `--`
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Resume {
    pub(crate) fn run(self) -> Outcome {
        let Self {
            reach,
            bounds,
            quiet,
            name,
            command,
        } = self;
        let again = Again {
            reach,
            bounds,
            quiet,
            command,
        };
        run::resume(&sandboxes::find(&name)?, &again)
    }
}
