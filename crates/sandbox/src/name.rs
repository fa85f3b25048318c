//! A sandbox's name: its directory, its host name inside, and what a person types.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// 1 to 48 characters of `a-z`, `0-9`, `-` and `_`, the first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxName(String);

#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a sandbox name: use 1 to 48 of a-z, 0-9, '-' and '_', starting with a letter or digit"
)]
pub struct InvalidName(String);

impl SandboxName {
    pub const MAX_LENGTH: usize = 48;

    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let ordinary = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let valid = bytes.len() <= Self::MAX_LENGTH
            && bytes.first().is_some_and(ordinary)
            && bytes
                .iter()
                .all(|byte| ordinary(byte) || matches!(byte, b'-' | b'_'));
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName(text.to_owned()))
        }
    }

    /// A fresh name for a run of `program`: `claude-7f3k2q`.
    pub fn generate(program: &str) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let stem: String = program
            .bytes()
            .map(|byte| byte.to_ascii_lowercase())
            .filter(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            .take(20)
            .map(char::from)
            .collect();
        let stem = if stem.is_empty() { "run" } else { &stem };
        let mut random = [0u8; 6];
        getrandom::fill(&mut random).expect("the kernel's random source answers once it is seeded");
        let suffix: String = random
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
            .collect();
        Self(format!("{stem}-{suffix}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SandboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SandboxName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl From<SandboxName> for String {
    fn from(name: SandboxName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_is_safe_as_directory_and_host_name() {
        for good in ["claude", "a", "0-x_y", &"x".repeat(48)] {
            assert!(SandboxName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            ".",
            "..",
            "a/b",
            "A",
            "é",
            "a b",
            "a\n",
            &"x".repeat(49),
        ] {
            assert!(SandboxName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn generates_valid_names() {
        for program in ["claude", "/usr/bin/python3.11", "ПРОГРАММА", ""] {
            let name = SandboxName::generate(program);
            assert_eq!(SandboxName::parse(name.as_str()).as_ref(), Ok(&name));
        }
    }
}
