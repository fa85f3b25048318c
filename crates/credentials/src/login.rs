//! A subscriber's tokens, in the file of the program that they belong to.
//!
//! Whoever renews them replaces the refresh token as well, and the old one is worth nothing from then on. So there is
//! one renewal at a time: among all sandboxes by a lock of our own, and with the program's own instances outside by the
//! convention that it has for that. Whoever gets the lock looks first whether somebody else has renewed meanwhile.

mod document;
mod lock;
mod oauth;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use wardian_policy::login::{Expiry, TokenEndpoint};
use wardian_policy::{Login, VisiblePath};
use zeroize::Zeroizing;

pub use document::DocumentError;
pub(crate) use document::{Document, set as document_set};
pub(crate) use oauth::claims_of;

use crate::value::{Value, ValueError};
use lock::{ClientLock, OurLock};

/// What opens the one connection that a renewal needs: over verified TLS, to this endpoint and nowhere else.
pub trait Transport {
    /// `body` is a secret: it holds the refresh token.
    fn post(
        &self,
        endpoint: &TokenEndpoint,
        content_type: &str,
        body: &[u8],
    ) -> Result<Answer, TransportError>;
}

/// What the endpoint says. The body holds new tokens.
pub struct Answer {
    pub status: u16,
    pub body: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({})", self.status)
    }
}

/// No answer came. Says nothing of what was sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub String);

#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("cannot take the lock for renewing {}: {source}", .path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("somebody else is renewing the login, and does not finish ({})", .0.display())]
    Busy(PathBuf),
    #[error("cannot reach {host}: {source}")]
    Transport {
        host: String,
        source: TransportError,
    },
    /// The refresh token is no longer good for anything.
    #[error("{host} does not renew the login: {why}")]
    Refused { host: String, why: String },
    #[error("{host} answered {status}")]
    Answered { host: String, status: u16 },
    #[error("{host} answered something else than tokens")]
    NoTokens { host: String },
    #[error("the login has no refresh token")]
    NotRenewable,
    #[error("the token: {0}")]
    Value(#[from] ValueError),
}

/// A token, and how long it holds.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) token: Value,
    pub(crate) expires: Option<SystemTime>,
}

/// One login of this account.
#[derive(Debug)]
pub(crate) struct LoginFile {
    login: Login,
    home: PathBuf,
    /// A file that exists to be locked.
    lock: PathBuf,
}

impl LoginFile {
    /// `locks` is a directory of ours; `name` tells logins apart.
    pub(crate) fn new(login: Login, home: &Path, locks: &Path, name: &str) -> Self {
        Self {
            login,
            home: home.to_owned(),
            lock: locks.join(format!("{name}.lock")),
        }
    }

    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    pub(crate) fn path(&self) -> PathBuf {
        place(&self.login.file, &self.home)
    }

    /// What is in the file; `None` if there is no login in it that we know how to use.
    pub(crate) fn read(&self) -> Result<Option<Document>, LoginError> {
        let document = match Document::read(&self.path()) {
            Ok(Some(document)) => document,
            Ok(None) | Err(DocumentError::NotJson(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let token = document.text(&self.login.access).unwrap_or_default();
        Ok((!token.is_empty()).then_some(document))
    }

    pub(crate) fn access(&self, document: &Document) -> Result<Access, LoginError> {
        let token = document.text(&self.login.access).unwrap_or_default();
        Ok(Access {
            token: Value::new(token)?,
            expires: match &self.login.expiry {
                Expiry::Milliseconds(pointer) => document.number(pointer).map(since_epoch_ms),
                Expiry::Jwt => claims_of(token)
                    .and_then(|claims| claims.get("exp")?.as_u64())
                    .map(|seconds| since_epoch_ms(seconds.saturating_mul(1000))),
            },
        })
    }

    /// A token that is not `stale`, whoever renewed it.
    pub(crate) fn renew(
        &self,
        stale: &Value,
        transport: &dyn Transport,
    ) -> Result<Access, LoginError> {
        let lock = |source| LoginError::Lock {
            path: self.lock.clone(),
            source,
        };
        let _ours = OurLock::take(&self.lock).map_err(lock)?;
        if let Some(fresh) = self.fresh(stale)? {
            return Ok(fresh);
        }
        let _theirs = match &self.login.lock {
            Some(path) => Some(ClientLock::take(&place(path, &self.home))?),
            None => None,
        };
        if let Some(fresh) = self.fresh(stale)? {
            return Ok(fresh);
        }
        let mut document = self.read()?.ok_or(LoginError::NotRenewable)?;
        let renewed = oauth::renew(&self.login, &document, transport)?;
        renewed.put_into(&self.login, &mut document, SystemTime::now());
        document.replace(&self.path())?;
        self.access(&document)
    }

    /// What somebody else has renewed.
    fn fresh(&self, stale: &Value) -> Result<Option<Access>, LoginError> {
        let Some(document) = self.read()? else {
            return Err(LoginError::NotRenewable);
        };
        let access = self.access(&document)?;
        Ok((access.token != *stale).then_some(access))
    }
}

pub(crate) fn place(path: &VisiblePath, home: &Path) -> PathBuf {
    match path {
        VisiblePath::Home(below) => home.join(below),
        VisiblePath::Absolute(path) => PathBuf::from(path),
    }
}

fn since_epoch_ms(milliseconds: u64) -> SystemTime {
    // Far enough away for anything; beyond, the addition could overflow.
    const MOST: u64 = 1 << 53;
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds.min(MOST))
}
