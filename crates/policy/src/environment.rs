//! Environment variables of the sandbox.

use std::fmt;

use crate::credential::CredentialName;
use crate::rule::Origin;

/// The name of an environment variable: letters, digits and `_`, not beginning with a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvName(String);

impl EnvName {
    /// `None` if the text is no such name.
    pub fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty()
            && text.len() <= 255
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        fits.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EnvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a variable's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// Written in the policy.
    Literal(String),
    /// The variable of this name outside; absent inside if it is unset there.
    FromHost(EnvName),
    /// The placeholder of a credential; absent inside if an optional credential has no value.
    Placeholder(CredentialName),
    /// What a person answers to this question before the start.
    Prompt(String),
}

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvVar {
    pub(crate) name: EnvName,
    pub(crate) value: EnvValue,
    pub(crate) origin: Origin,
}

impl EnvVar {
    /// Its name inside.
    pub fn name(&self) -> &EnvName {
        &self.name
    }

    /// Its value.
    pub fn value(&self) -> &EnvValue {
        &self.value
    }

    /// Who set it.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}
