//! The supervisor's log: how much is to be in it, and what was in it last.

use std::fs;

use wardian_sandbox::state::SandboxDirectory;
use wardian_supervisor::log::LogLevel;

use crate::failure::Failure;

const VARIABLE: &str = "WARDIAN_LOG";

pub(super) fn level() -> Result<LogLevel, Failure> {
    let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) else {
        return Ok(LogLevel::default());
    };
    text.to_string_lossy().parse().map_err(|error| {
        let names = LogLevel::NAMES.join(", ");
        Failure::from(error).hint(format!("{VARIABLE} is one of {names}"))
    })
}

/// The last line that a supervisor wrote, if it may say what it died of.
pub(super) fn last_words(directory: &SandboxDirectory) -> Option<String> {
    let text = fs::read(directory.log()).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    // Lines of ours begin with a time and a level; others come from the language's runtime.
    let level = line.split_whitespace().nth(1);
    let is_routine = level.is_some_and(|level| ["INFO", "DEBUG", "TRACE"].contains(&level));
    (!is_routine).then(|| line.to_owned())
}
