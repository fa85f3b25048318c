//! The user's own prices of language models.

use std::fs;
use std::io::ErrorKind;

use anyhow::Context;
use wardian_egress::model::prices::Prices;

use crate::home::home;
use crate::manifests::user_directory;

/// The text of the user's table, which is one. None: there is none.
pub(super) fn own() -> anyhow::Result<Option<String>> {
    let Some(home) = home() else {
        return Ok(None);
    };
    let path = user_directory(&home).join("prices.toml");
    let read = match fs::read_to_string(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        read => read,
    };
    let text = read.with_context(|| format!("cannot read {}", path.display()))?;
    Prices::with_own(&text).with_context(|| format!("cannot use {}", path.display()))?;
    Ok(Some(text))
}
