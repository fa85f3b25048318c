//! Paths of the host that a sandbox may see, read-only.

use std::fmt;

/// A path that is visible inside at the same place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VisiblePath {
    /// Relative to the user's home, without leading slash.
    Home(String),
    /// Absolute.
    Absolute(String),
}

impl fmt::Display for VisiblePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home(path) => write!(f, "~/{path}"),
            Self::Absolute(path) => f.write_str(path),
        }
    }
}
