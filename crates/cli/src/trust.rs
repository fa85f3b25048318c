//! Which manifests of projects the user has seen and agreed to: each by its place and its very text.
//!
//! A repository can bring a `wardian.toml` that grants itself everything, and a program in a sandbox can write one. So
//! a grant counts only while path and SHA-256 are those that the user has agreed to.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};
use wardian_events::Digest;

use crate::failure::Failure;
use crate::manifests::Document;

/// What the user has agreed to.
#[derive(Debug)]
pub(crate) struct Pins {
    path: PathBuf,
    file: Pinned,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinned {
    /// By canonical path.
    manifests: BTreeMap<PathBuf, Digest>,
}

impl Pins {
    pub(crate) fn load(home: &Path) -> Result<Self, Failure> {
        let path = place(home);
        let file = match fs::read(&path) {
            Ok(text) => {
                refuse_others_file(&path)?;
                serde_json::from_slice(&text).with_context(|| path.display().to_string())?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Pinned::default(),
            Err(error) => return Err(anyhow!(error).context(path.display().to_string()).into()),
        };
        Ok(Self { path, file })
    }

    /// Whether the user agreed to this text at this place.
    pub(crate) fn holds(&self, document: &Document) -> bool {
        self.file.manifests.get(&document.path) == Some(&document.sha256)
    }

    /// Whether the user agreed to another text at this place.
    pub(crate) fn held_before(&self, document: &Document) -> bool {
        self.file.manifests.contains_key(&document.path) && !self.holds(document)
    }

    pub(crate) fn pin(&mut self, document: &Document) -> Result<(), Failure> {
        let pins = &mut self.file.manifests;
        pins.insert(document.path.clone(), document.sha256);
        self.store()
    }

    /// Whether there was something to take back.
    pub(crate) fn revoke(&mut self, path: &Path) -> Result<bool, Failure> {
        let was = self.file.manifests.remove(path).is_some();
        if was {
            self.store()?;
        }
        Ok(was)
    }

    /// Whole or not at all: who reads it meanwhile sees the old one.
    fn store(&self) -> Result<(), Failure> {
        let failed = || format!("cannot write {}", self.path.display());
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(failed)?;
        let new = self
            .path
            .with_extension(format!("{}.new", std::process::id()));
        let text = serde_json::to_vec_pretty(&self.file)?;
        let written = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| {
                file.write_all(&text)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        Ok(written.with_context(failed)?)
    }
}

/// What somebody else could have written says nothing about the user.
fn refuse_others_file(path: &Path) -> Result<(), Failure> {
    let metadata = fs::metadata(path).with_context(|| path.display().to_string())?;
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if own && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    let error = anyhow!("{} can be changed by other users", path.display());
    Err(Failure::from(error).hint(format!("chmod 600 {}", path.display())))
}

fn place(home: &Path) -> PathBuf {
    directory(home).join("trust.json")
}

/// `$XDG_STATE_HOME/wardian`.
pub(crate) fn directory(home: &Path) -> PathBuf {
    std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .unwrap_or_else(|| home.join(".local/state"))
        .join("wardian")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins(directory: &Path) -> Pins {
        Pins {
            path: directory.join("deep/trust.json"),
            file: Pinned::default(),
        }
    }

    fn document(path: &str, text: &str) -> Document {
        Document {
            path: path.into(),
            text: text.to_owned(),
            sha256: Digest::of(text.as_bytes()),
        }
    }

    #[test]
    fn place_and_text_are_pinned_together() {
        let base = tempfile::tempdir().unwrap();
        let mut pins = pins(base.path());
        let agreed = document("/a/wardian.toml", "1");
        pins.pin(&agreed).unwrap();
        assert!(pins.holds(&agreed));
        let changed = document("/a/wardian.toml", "2");
        assert!(!pins.holds(&changed) && pins.held_before(&changed));
        assert!(!pins.holds(&document("/b/wardian.toml", "1")));
        let stored = fs::metadata(&pins.path).unwrap();
        assert_eq!(stored.mode() & 0o777, 0o600);
        assert!(pins.revoke(&agreed.path).unwrap());
        assert!(!pins.holds(&agreed) && !pins.revoke(&agreed.path).unwrap());
    }

    #[test]
    fn a_file_that_others_can_write_says_nothing() {
        let base = tempfile::tempdir().unwrap();
        let mut pins = pins(base.path());
        pins.pin(&document("/a/wardian.toml", "1")).unwrap();
        assert!(refuse_others_file(&pins.path).is_ok());
        let writable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(&pins.path, writable).unwrap();
        assert!(refuse_others_file(&pins.path).is_err());
    }
}
