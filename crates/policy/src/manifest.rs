//! Manifests: what people write.

/// A manifest that was parsed.
#[derive(Debug, Clone)]
pub struct Manifest {}

/// Where and why a manifest was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}:{line}:{column}: {message}")]
pub struct ManifestError {
    /// The name given to `parse`.
    pub source_name: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl Manifest {
    /// Parses TOML, or JSON if the name ends in `.json` or the text begins with `{`.
    pub fn parse(source_name: &str, _text: &str) -> Result<Self, ManifestError> {
        Err(ManifestError {
            source_name: source_name.to_owned(),
            line: 1,
            column: 1,
            message: "skeleton".to_owned(),
        })
    }
}
