//! Where people keep toolchains in their homes, beside which no credentials lie.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::visible::VisiblePath;

/// A place below the home that sandboxes on the host's image may see, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolchainPath {
    path: VisiblePath,
    reason: String,
}

impl ToolchainPath {
    /// The place.
    pub fn path(&self) -> &VisiblePath {
        &self.path
    }

    /// What lies there.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    toolchain: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    reason: String,
}

static TOOLCHAINS: LazyLock<Vec<ToolchainPath>> = LazyLock::new(|| {
    let file: File = toml::from_str(include_str!("../toolchains.toml"))
        .unwrap_or_else(|error| panic!("the list of toolchains is valid (tested): {error}"));
    let convert = |entry: Entry| ToolchainPath {
        path: VisiblePath::parse(&entry.path)
            .unwrap_or_else(|error| panic!("toolchain paths are valid (tested): {error}")),
        reason: entry.reason,
    };
    file.toolchain.into_iter().map(convert).collect()
});

/// Every known place, whether or not it exists on this machine.
pub fn toolchain_paths() -> &'static [ToolchainPath] {
    &TOOLCHAINS
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_list_is_valid_and_has_no_doubles() {
        let mut seen = HashSet::new();
        for toolchain in toolchain_paths() {
            assert!(matches!(toolchain.path, VisiblePath::Home(_)));
            assert!(!toolchain.reason.is_empty());
            assert!(seen.insert(&toolchain.path), "{} twice", toolchain.path);
        }
        assert!(seen.len() > 20);
    }
}
