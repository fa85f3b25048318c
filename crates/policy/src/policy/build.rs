//! Puts a policy together from its sources.

use super::Policy;
use crate::limits::LimitKind;
use crate::manifest::Manifest;

/// Everything that a policy is built from.
#[derive(Debug, Clone, Default)]
pub struct PolicyInputs {
    /// The manifest given with `--policy`.
    pub manifest: Option<Manifest>,
    /// Presets by name, beside those that the manifest names.
    pub presets: Vec<String>,
    /// The values of `--allow`.
    pub allow: Vec<String>,
    /// Limits of the command line, which replace those of the manifest.
    pub limits: Vec<(LimitKind, String)>,
    /// The values of `--env`: `NAME=VALUE`, or `NAME` to pass the host's value on.
    pub env: Vec<String>,
}

/// Why no policy could be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No preset has this name.
    #[error("there is no preset `{0}`")]
    UnknownPreset(String),
}

impl Policy {
    /// Builds a policy.
    pub fn build(_inputs: &PolicyInputs) -> Result<Self, PolicyError> {
        Err(PolicyError::UnknownPreset("skeleton".to_owned()))
    }
}
