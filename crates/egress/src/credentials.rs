//! The real credentials, held by the door only.

use std::collections::HashMap;
use std::fmt;

use wardian_policy::{CredentialName, CredentialSpec};
use zeroize::Zeroizing;

/// One secret, the stand-in that the sandbox sees, and where it may go.
///
/// Its `Debug` shows the name's specification and nothing of the secret; it is neither `Clone` nor `Serialize`.
pub struct Credential {
    placeholder: String,
    secret: Zeroizing<String>,
    spec: CredentialSpec,
}

impl Credential {
    pub fn new(placeholder: String, secret: Zeroizing<String>, spec: CredentialSpec) -> Self {
        Self {
            placeholder,
            secret,
            spec,
        }
    }

    pub fn placeholder(&self) -> &str {
        &self.placeholder
    }

    /// The real value. It may be written to a verified upstream and nowhere else.
    pub fn expose_secret(&self) -> &str {
        &self.secret
    }

    pub fn spec(&self) -> &CredentialSpec {
        &self.spec
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("placeholder", &self.placeholder)
            .field("secret", &"[redacted]")
            .finish()
    }
}

/// The credentials of one sandbox by name.
#[derive(Debug, Default)]
pub struct Credentials {
    by_name: HashMap<CredentialName, Credential>,
}

impl Credentials {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces; the replaced secret is wiped.
    pub fn insert(&mut self, name: CredentialName, credential: Credential) {
        self.by_name.insert(name, credential);
    }

    pub fn get(&self, name: &CredentialName) -> Option<&Credential> {
        self.by_name.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&CredentialName, &Credential)> {
        self.by_name.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}
