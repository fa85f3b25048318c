use std::process::ExitCode;

use clap::Args;
use wardian_policy::manifest::{manifest_schema, policy_file_schema};

use crate::failure::Outcome;
use crate::output;

/// Print the JSON Schema of wardian.toml
///
/// Editors that know JSON Schema complete and check manifests with it, in TOML and in
/// JSON.
///
/// Examples:
///
///   wardian schema > wardian.schema.json
///   wardian schema --policy > policy.schema.json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Schema {
    /// Of the file of `--policy` instead
    #[arg(long)]
    policy: bool,
}

impl Schema {
    pub(crate) fn run(self) -> Outcome {
        let schema = match self.policy {
            true => policy_file_schema(),
            false => manifest_schema(),
        };
        output::print_json(&schema)?;
        Ok(ExitCode::SUCCESS)
    }
}
