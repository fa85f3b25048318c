//! What a person is shown of a policy.

use super::Policy;

/// A policy in words, for `--dry-run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySummary {
    /// In the order in which they are tried.
    pub rules: Vec<RuleSummary>,
    /// Sorted by name.
    pub credentials: Vec<CredentialSummary>,
    /// Sorted by name.
    pub environment: Vec<EnvSummary>,
    /// `memory`, `4G`.
    pub limits: Vec<(&'static str, String)>,
}

/// One rule in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSummary {
    /// `claude#2`.
    pub id: String,
}

/// One credential in words, without any secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialSummary {
    /// Its name.
    pub name: String,
}

/// One variable in words, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvSummary {
    /// Its name.
    pub name: String,
}

impl Policy {
    /// The policy as one deterministic JSON text, whose digest names it in the journal. Secrets are not part of it.
    pub fn canonical_json(&self) -> String {
        String::new()
    }
}
