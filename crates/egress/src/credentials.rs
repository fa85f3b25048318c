//! The real credentials, as the door holds them.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use wardian_credentials::Current;
use wardian_policy::{CredentialName, CredentialSpec};

/// A value that holds no longer than this is renewed before it is used.
const EARLY: Duration = Duration::from_secs(5 * 60);
/// After a renewal that failed, the next one is not tried before this.
const REST: Duration = Duration::from_secs(10);

/// Who gets newer values of credentials.
pub trait Renewal: fmt::Debug + Send + Sync {
    /// A value that is newer than `generation`, or why there is none.
    fn renew(&self, name: &CredentialName, generation: u64) -> Renewing<'_>;
}

pub type Renewing<'a> = Pin<Box<dyn Future<Output = Result<Current, String>> + Send + 'a>>;

/// One secret, the stand-in that the sandbox sees, and where it may go.
///
/// Its `Debug` shows the placeholder and nothing of the secret; it is neither `Clone` nor `Serialize`.
pub struct Credential {
    placeholder: String,
    spec: CredentialSpec,
    current: RwLock<Current>,
    renewal: Option<Arc<dyn Renewal>>,
    /// When the last renewal failed. Held while one is under way: there is one at a time.
    failed: tokio::sync::Mutex<Option<Instant>>,
}

impl Credential {
    pub fn new(
        placeholder: String,
        current: Current,
        spec: CredentialSpec,
        renewal: Option<Arc<dyn Renewal>>,
    ) -> Self {
        Self {
            placeholder,
            spec,
            current: RwLock::new(current),
            renewal,
            failed: tokio::sync::Mutex::default(),
        }
    }

    pub fn placeholder(&self) -> &str {
        &self.placeholder
    }

    /// The value of this moment. It may be written to a verified upstream and nowhere else.
    pub fn current(&self) -> Current {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn spec(&self) -> &CredentialSpec {
        &self.spec
    }

    /// Whether another value may be had when the host refuses this one.
    pub fn is_renewable(&self) -> bool {
        self.renewal.is_some()
    }

    /// Renews a value that is about to expire. One that cannot be renewed stays: its host decides what it is worth.
    pub async fn freshen(&self) {
        let Current {
            generation,
            expires,
            ..
        } = self.current();
        let soon = SystemTime::now() + EARLY;
        if self.is_renewable() && expires.is_some_and(|expires| expires < soon) {
            self.renew(generation).await;
        }
    }

    /// Sees to it that the value is newer than `generation`; whether it is.
    pub async fn renew(&self, generation: u64) -> bool {
        let Some(renewal) = &self.renewal else {
            return false;
        };
        let mut failed = self.failed.lock().await;
        if self.current().generation > generation {
            return true;
        }
        if failed.is_some_and(|at| at.elapsed() < REST) {
            return false;
        }
        let name = self.spec.name();
        match renewal.renew(name, generation).await {
            Ok(current) => {
                tracing::info!("the credential {name} was renewed");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
                *failed = None;
                true
            }
            Err(why) => {
                tracing::warn!("the credential {name} cannot be renewed: {why}");
                *failed = Some(Instant::now());
                false
            }
        }
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
