//! Where a doctor works.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use wardian_sandbox::remove::remove_tree;

/// A directory for one doctor, removed with all that had to be made for it.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) path: PathBuf,
    /// Parents that did not exist before, the nearest first.
    made: Vec<PathBuf>,
}

impl Base {
    /// In the user's cache, where a project could lie as well; or else where temporary files go.
    pub(super) fn make(home: &Path, token: &str) -> anyhow::Result<Self> {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| home.join(".cache"));
        let name = format!("wardian-doctor-{token}");
        Self::make_in(&cache, &name)
            .or_else(|_| Self::make_in(&std::env::temp_dir(), &name))
            .context("cannot make a directory in the cache, nor among temporary files")
    }

    fn make_in(parent: &Path, name: &str) -> io::Result<Self> {
        let made = parent
            .ancestors()
            .take_while(|path| !path.exists())
            .map(Path::to_owned)
            .collect();
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(parent)?;
        let parent = fs::canonicalize(parent)?;
        let path = parent.join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, made })
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        // Nobody is left to be told; what stays is named after the doctor.
        let _ = remove_tree(&self.path);
        for parent in &self.made {
            // Not if somebody else put something there.
            let _ = fs::remove_dir(parent);
        }
    }
}
