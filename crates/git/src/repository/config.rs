//! Git's configuration as a flat list, in the order in which git reads it. Nothing that it names is
//! executed, and of a repository's own configuration nothing is believed that leads to files.

mod includes;
mod parse;

use std::path::{Path, PathBuf};

use gix::bstr::{BStr, BString, ByteSlice};

use super::{Places, RepositoryError};

/// Whose setting it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    System,
    User,
    /// `config` and `config.worktree`. Unlike the others, it may come from a stranger.
    Repository,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub scope: Scope,
    /// From an `includeIf`: holds for this repository and perhaps for no other.
    pub conditional: bool,
    /// Lower case.
    pub section: String,
    pub subsection: Option<BString>,
    /// Lower case.
    pub key: String,
    /// `None`: only the key is there, which means "true".
    pub value: Option<BString>,
}

/// All settings that hold for a repository, or for no repository.
#[derive(Debug, Clone, Default)]
pub struct Config {
    settings: Vec<Setting>,
}

/// What conditions of `includeIf` are about.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    pub(super) git_dir: Option<PathBuf>,
    /// Without `refs/heads/`.
    pub(super) branch: Option<BString>,
}

impl Config {
    /// The user's and the system's settings, as they are outside of any repository.
    pub fn of_user(places: &Places) -> Result<Self, RepositoryError> {
        Self::read(places, &[], &Context::default())
    }

    /// With those of the repository's files on top.
    pub(super) fn read(
        places: &Places,
        repository: &[PathBuf],
        context: &Context,
    ) -> Result<Self, RepositoryError> {
        let scoped = |scope, paths: &[PathBuf]| -> Vec<_> {
            paths.iter().map(|path| (scope, path.clone())).collect()
        };
        let mut files = scoped(Scope::System, &places.system);
        files.extend(scoped(Scope::User, &places.user));
        files.extend(scoped(Scope::Repository, repository));
        let settings = includes::read_all(&files, places, context)?;
        Ok(Self { settings })
    }

    /// One file, without what it includes.
    pub(super) fn of_file(path: &Path) -> Result<Self, RepositoryError> {
        let settings = parse::file(path, Scope::Repository, false)?.unwrap_or_default();
        Ok(Self { settings })
    }

    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The settings of all of `scopes`, in order.
    pub fn of_scopes(&self, scopes: &'static [Scope]) -> impl Iterator<Item = &Setting> {
        self.settings
            .iter()
            .filter(move |setting| scopes.contains(&setting.scope))
    }

    /// The setting that holds: the last. `key` is `section.key`, lower case.
    pub fn last(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().rev().find(|setting| setting.is(key))
    }

    pub fn text(&self, key: &str) -> Option<&BStr> {
        self.last(key)?.value.as_ref().map(|value| value.as_bstr())
    }

    /// `None` if the setting is absent or no boolean.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        self.last(key)?.boolean()
    }
}

impl Setting {
    /// Whether it is `section.key`, without a subsection.
    pub fn is(&self, key: &str) -> bool {
        self.subsection.is_none() && key.split_once('.') == Some((&self.section, &self.key))
    }

    /// See "Values" in git-config(1).
    pub fn boolean(&self) -> Option<bool> {
        let Some(value) = &self.value else {
            return Some(true);
        };
        let value = value.to_str().ok()?.to_ascii_lowercase();
        match value.as_str() {
            "true" | "yes" | "on" => Some(true),
            "" | "false" | "no" | "off" => Some(false),
            number => number.parse::<i64>().ok().map(|number| number != 0),
        }
    }
}

/// `~/` is the user's home. Other users' homes and git's own directory are not resolved.
pub(crate) fn interpolate(path: &BStr, places: &Places) -> Option<PathBuf> {
    let path = path.to_path().ok()?;
    match path.strip_prefix("~") {
        Ok(rest) => Some(places.home.as_ref()?.join(rest)),
        Err(_) if path.as_os_str().is_empty() => None,
        Err(_) if path.starts_with("%(prefix)") => None,
        Err(_) if path.to_string_lossy().starts_with('~') => None,
        Err(_) => Some(path.to_owned()),
    }
}
