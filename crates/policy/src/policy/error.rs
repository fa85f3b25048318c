//! Why sources do not make a policy.

use crate::allow::AllowError;
use crate::credential::CredentialName;
use crate::environment::EnvName;
use crate::limits::{LimitError, LimitKind};
use crate::manifest::ManifestError;
use crate::rule::RuleId;

/// Why no policy could be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Something in the manifest does not fit the rest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No preset has this name.
    #[error("there is no preset `{name}`{}", did_you_mean(*.nearest))]
    UnknownPreset {
        /// As given.
        name: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// No manifest has a sandbox of this name.
    #[error("there is no sandbox `{name}`{}", did_you_mean_or(nearest.as_deref(), known))]
    UnknownSandbox {
        /// As given.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
        /// All that there are.
        known: Vec<String>,
    },
    /// Only a manifest that nobody vouches for has it.
    #[error("the sandbox `{0}` is one of this project's wardian.toml, which is not trusted")]
    UntrustedSandbox(String),
    /// A value of `--allow`.
    #[error("--allow {text:?}: {source}")]
    Allow {
        /// As given.
        text: String,
        /// What is wrong with it.
        source: AllowError,
    },
    /// A limit of the command line.
    #[error("--{kind}: {source}")]
    Limit {
        /// Which one.
        kind: LimitKind,
        /// What is wrong with it.
        source: LimitError,
    },
    /// A value of `--env`. The value is not repeated, since it may be a secret.
    #[error("--env: `{name}` is no name of an environment variable, or its value has a NUL byte")]
    Env {
        /// What stands before `=`.
        name: String,
    },
    /// `require` names a limit that nothing sets.
    #[error("the limit `{0}` is required but not set")]
    RequiredLimitUnset(LimitKind),
    /// An uninspected connection would hide what a deny rule is about.
    #[error(
        "rule {allow} passes connections uninspected that rule {deny}, which denies some requests, must see: \
         put {allow} first or make the deny rule narrower"
    )]
    UninspectedDeny {
        /// The deny rule.
        deny: RuleId,
        /// The later rule without inspection.
        allow: RuleId,
    },
    /// Two presets declare one name differently.
    #[error("two presets declare the credential `{0}` in different ways")]
    CredentialConflict(CredentialName),
    /// The real value of a credential would get in.
    #[error(
        "the variable {outside} holds the credential `{credential}`, whose real value stays outside: \
         leave {inside} out, or give it {{ credential = \"{credential}\" }} in a manifest"
    )]
    SecretInEnvironment {
        /// The variable inside.
        inside: EnvName,
        /// The variable outside.
        outside: EnvName,
        /// The credential that has it as its source.
        credential: CredentialName,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

fn did_you_mean_or(nearest: Option<&str>, known: &[String]) -> String {
    match (nearest, known) {
        (Some(_), _) => did_you_mean(nearest),
        (None, []) => "; no manifest has any".to_owned(),
        (None, known) => format!("; there are {}", known.join(", ")),
    }
}
