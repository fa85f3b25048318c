//! The user's own prices of language models.

use std::path::PathBuf;
use std::{fs, io};

use anyhow::Context;
use wardian_egress::model::prices::Prices;

use crate::home::home;

/// The text of the user's table, which is one. None: there is none.
pub(super) fn own() -> anyhow::Result<Option<String>> {
    let Some(path) = place() else {
        return Ok(None);
    };
    let read = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read,
    };
    let text = read.with_context(|| format!("cannot read {}", path.display()))?;
    Prices::with_own(&text).with_context(|| format!("cannot use {}", path.display()))?;
    Ok(Some(text))
}

/// `$XDG_CONFIG_HOME/wardian/prices.toml`, or below `~/.config`.
fn place() -> Option<PathBuf> {
    let from_environment = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = from_environment
        .filter(|path| path.is_absolute())
        .or_else(|| home().map(|home| home.join(".config")))?;
    Some(config.join("wardian/prices.toml"))
}
