//! The cache of downloads, which all of a user's sandboxes share by way of their doors.

use std::io;
use std::path::{Path, PathBuf};

use wardian_egress::cache::store::MOST;
use wardian_egress::cache::{Cache, Store};
use wardian_policy::Policy;

pub use wardian_egress::cache::Freed;

/// `$XDG_CACHE_HOME/wardian/downloads`, or below `~/.cache`.
pub fn directory(home: &Path) -> PathBuf {
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .unwrap_or_else(|| home.join(".cache"))
        .join("wardian/downloads")
}

/// Brings what is in `directory` down to what it may hold, and sweeps what crashes left there.
pub fn trim(directory: &Path) -> io::Result<Freed> {
    match Store::existing(directory) {
        Ok(store) => store.trim(MOST),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Freed::default()),
        Err(error) => Err(error),
    }
}

/// The cache that `policy` asks for. The error says why there is none, without which the sandbox can do.
pub(crate) fn open(policy: &Policy, directory: Option<&Path>) -> Result<Option<Cache>, String> {
    match (policy.cache(), directory) {
        ([], _) | (_, None) => Ok(None),
        (kinds, Some(directory)) => Cache::open(directory, kinds)
            .map(Some)
            .map_err(|error| format!("{}: {error}", directory.display())),
    }
}
