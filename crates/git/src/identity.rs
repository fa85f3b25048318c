//! Who the user is to git, without the keys that prove it.

use gix::bstr::ByteSlice;

use crate::repository::config::Config;
use crate::repository::{Places, Repository, RepositoryError};
use crate::session;

/// What of the user's configuration a sandbox gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `user.name`; `None` if git would have to guess.
    pub name: Option<String>,
    /// `user.email`
    pub email: Option<String>,
    /// Text for `~/.gitconfig` inside: the user's settings that hold for all repositories, as far as they
    /// name no command, file or key.
    pub gitconfig: Vec<u8>,
    pub signing: Signing,
}

/// Whether commits and tags would be signed outside. The keys stay there, so inside they are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signing {
    NeverOn,
    /// These settings say that it is on outside; they are off inside.
    TurnedOff(Vec<&'static str>),
}

impl Identity {
    /// In a repository: its own settings and conditional includes count.
    pub fn in_repository(repository: &Repository) -> Self {
        Self::of_config(repository.config())
    }

    /// Outside of any repository.
    pub fn of_user(places: &Places) -> Result<Self, RepositoryError> {
        Config::of_user(places).map(|config| Self::of_config(&config))
    }

    fn of_config(config: &Config) -> Self {
        let text = |key| {
            let value = config.text(key)?;
            Some(value.to_str_lossy().into_owned())
        };
        Self {
            name: text("user.name"),
            email: text("user.email"),
            gitconfig: session::config::of_user(config),
            signing: session::config::signing(config),
        }
    }
}
