//! `wardian run`: from a command line to a sandbox, and back to an exit status.

mod agent;
mod briefing;
mod dry_run;
mod environment;
mod followers;
mod host;
mod identity;
mod log;
mod missing;
mod places;
mod plan;
mod prices;
mod prompt;
mod recorded;
mod relay;
mod resumed;
mod secrets;
mod session;
mod sources;
mod summary;
mod volumes;
mod words;
mod workspaces;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;
use serde::{Deserialize, Serialize};

pub(super) use dry_run::describe_rule;
pub(super) use resumed::{Again, resume};
pub(super) use sources::{Sources, current_directory, preset_of, refused};
pub(crate) use words::join as join_words;

use crate::failure::Outcome;

/// Run a program in a sealed sandbox
///
/// The program works at full autonomy on a copy of the current directory, with
/// this machine's own tools. It reaches the network only where its policy allows,
/// sees placeholders instead of credentials, and all it does is on record. What it
/// changed is kept, and the last lines say where.
///
/// Known agents (claude, codex, gemini, opencode) bring the rules, credentials and
/// flags that they need. Everything else starts with no network at all; `--allow`
/// opens it host by host. A wardian.toml can hold all of this under names: sandboxes,
/// and agents that `wardian run AGENT` starts.
///
/// Examples:
///
///   wardian run claude
///   wardian run codex exec "fix the failing test"
///   wardian run --allow github.com --allow '*.example.org' -- make test
///   wardian run --bind ../lib:ro --volume data -- make
///   wardian run --root -- apt-get install -y jq
///   wardian run --policy policy.toml --dry-run claude
///   wardian run --sandbox gitea claude
///
/// Exit status: the program's own (128+n if a signal ended it); 124 if its time was
/// up, 125 if the sandbox could not be made, 126 or 127 if the program could not be
/// executed or found.
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Run {
    /// Name of the sandbox, which can then be resumed even without work in it; made up unless given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    reach: Reach,

    /// Work on a directory itself instead of a copy: the current one, or DIR; `:ro` to read only.
    /// After a space, DIR has to be spelled as a path that is there, such as ../lib
    #[arg(
        long,
        value_name = "DIR[:ro]",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "."
    )]
    bind: Vec<String>,

    /// Work on a copy of the directory as it is, not on a clone, though it is a git repository
    #[arg(long, conflicts_with_all = ["with_changes", "include"])]
    overlay: bool,

    /// Another repository to work on, as a clone at its own path
    #[arg(long, value_name = "DIR")]
    repo: Vec<std::path::PathBuf>,

    /// Bring changes that are not committed, and files that git does not know yet
    #[arg(long)]
    with_changes: bool,

    /// Bring this file or directory though git ignores it, such as `.env`
    #[arg(long, value_name = "PATH")]
    include: Vec<std::path::PathBuf>,

    /// Show the volume NAME at PATH, or at /volumes/NAME; it is made at its first use, and outlives
    /// the sandbox; `:ro` to read only
    #[arg(long, value_name = "NAME[:PATH][:ro]")]
    volume: Vec<String>,

    /// Be uid 0 inside, so that package managers work; never root of this machine
    #[arg(long)]
    root: bool,

    /// Let programs inside make namespaces of their own (containers, browsers)
    #[arg(long)]
    nested: bool,

    /// Start a known agent without the flags that make it ask nothing
    #[arg(long)]
    no_autonomy: bool,

    #[command(flatten)]
    bounds: Bounds,

    #[command(flatten)]
    readers: followers::Readers,

    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Say nothing but errors
    #[arg(long, short)]
    quiet: bool,

    /// The program and its arguments, or the name of an agent of a wardian.toml and more arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

// No doc comments here: they would become the help of the verbs.

// What a policy is made of, limits apart.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Reach {
    /// Take this sandbox of a wardian.toml, instead of its default one
    #[arg(long, value_name = "NAME")]
    pub(super) sandbox: Option<String>,

    /// Trust the project's wardian.toml for this run if it has this SHA-256
    #[arg(long, value_name = "SHA256")]
    pub(super) trust_hash: Option<wardian_events::Digest>,

    /// Reach this place: HOST, HOST:PORT, '*.DOMAIN', or 'METHOD https://HOST/PATH/**'
    #[arg(long, value_name = "PLACE")]
    pub(super) allow: Vec<String>,

    /// Rules, credentials, limits and variables from a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<std::path::PathBuf>,

    /// Add a built-in set of rules, such as `github`
    #[arg(long, value_name = "NAME")]
    pub(super) preset: Vec<String>,

    /// Set a variable inside; NAME alone takes its value from outside
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<String>,

    /// Keep downloads of cargo, npm, pip or go for other sandboxes, and use those that are kept
    #[arg(long, value_name = "KIND,...", value_delimiter = ',')]
    pub(super) cache: Vec<String>,
}

// Limits, as text.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
pub(super) struct Bounds {
    /// Most memory, such as 4G
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<String>,

    /// Most processors, such as 2 or 0.5
    #[arg(long, value_name = "COUNT")]
    pub(super) cpus: Option<String>,

    /// Most processes and threads
    #[arg(long, value_name = "COUNT")]
    pub(super) pids: Option<String>,

    /// Most open files of one process
    #[arg(long, value_name = "COUNT")]
    pub(super) files: Option<String>,

    /// Most disk space for what the program writes, such as 10G
    #[arg(long, value_name = "SIZE")]
    pub(super) disk: Option<String>,

    /// Longest time, such as 90s or 2h
    #[arg(long, value_name = "TIME")]
    pub(super) time: Option<String>,

    /// Most that one run may write on its record, 1G unless given; the sandbox ends when it is full
    #[arg(long, value_name = "SIZE")]
    #[serde(default)]
    pub(super) journal: Option<String>,
}

impl Run {
    pub(crate) fn run(self) -> Outcome {
        let planned = plan::Planned::from(&self)?;
        if self.dry_run {
            dry_run::print(&planned)?;
            return Ok(ExitCode::SUCCESS);
        }
        session::run(planned, session::Place::New, self.quiet)
    }
}
