//! All secrets of one sandbox.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use wardian_policy::{CredentialName, CredentialSource, CredentialSpec, Presence, Preset};

use crate::login::{Access, LoginError, LoginFile, Transport};
use crate::lookalike::{self, Imitation};
use crate::source::{self, Place, SourceError};
use crate::value::Value;

/// A login that was just refused is not tried again before this, unless its file changes.
const REST: Duration = Duration::from_secs(30);

/// What a credential has been found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    pub name: CredentialName,
    /// What stands in for it inside.
    pub placeholder: String,
    /// Whether asking again can give another value.
    pub renewable: bool,
}

/// A value, and how many came before it.
#[derive(Debug, Clone)]
pub struct Current {
    pub value: Value,
    pub generation: u64,
    /// When it should be renewed, if that is known.
    pub expires: Option<SystemTime>,
}

/// A credential without a value that must have one, or whose source does not work.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("cannot read the credential `{name}`")]
    Source {
        name: CredentialName,
        source: SourceError,
    },
    #[error("cannot read the credential `{name}`")]
    Login {
        name: CredentialName,
        source: LoginError,
    },
    #[error("the credential `{name}` has no value: {why}")]
    Empty { name: CredentialName, why: String },
}

/// Why there is no newer value.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    #[error("there is no such credential")]
    Unknown,
    #[error("its source never gives another value")]
    Fixed,
    #[error("its source gives the same value again")]
    Unchanged,
    #[error("its source gives no value any more")]
    Gone,
    #[error("it was refused moments ago")]
    Resting,
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Login(#[from] LoginError),
}

/// Holds the secrets of one sandbox, and what it takes to read them again.
#[derive(Debug)]
pub struct Keeper<T> {
    home: PathBuf,
    transport: T,
    kept: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    present: Present,
    source: CredentialSource,
    login: Option<LoginFile>,
    state: Mutex<State>,
    files: Vec<Imitation>,
}

#[derive(Debug)]
struct State {
    current: Current,
    /// When the endpoint last refused a renewal.
    refused: Option<Instant>,
}

impl<T: Transport> Keeper<T> {
    /// Reads everything. `given` are values that somebody else read: variables, and what a person typed.
    pub fn gather<'a>(
        specs: impl Iterator<Item = &'a CredentialSpec>,
        mut given: HashMap<CredentialName, Value>,
        surroundings: &Surroundings,
        transport: T,
    ) -> Result<Self, KeepError> {
        let mut kept = Vec::new();
        for spec in specs {
            let given = given.remove(spec.name());
            match Kept::read(spec, given, surroundings)? {
                Some(one) => kept.push(one),
                None if spec.presence() == Presence::Optional => {}
                None => {
                    return Err(KeepError::Empty {
                        name: spec.name().clone(),
                        why: why_empty(spec.source()),
                    });
                }
            }
        }
        Ok(Self {
            home: surroundings.home.clone(),
            transport,
            kept,
        })
    }

    pub fn present(&self) -> impl Iterator<Item = &Present> {
        self.kept.iter().map(|kept| &kept.present)
    }

    /// Files that are to be there inside.
    pub fn imitations(&self) -> impl Iterator<Item = &Imitation> {
        self.kept.iter().flat_map(|kept| &kept.files)
    }

    pub fn current(&self, name: &str) -> Option<Current> {
        Some(self.find(name)?.state().current.clone())
    }

    /// A value that is newer than `generation`. One caller at a time asks the source; the others get what it gave.
    pub fn renew(&self, name: &str, generation: u64) -> Result<Current, RenewError> {
        let kept = self.find(name).ok_or(RenewError::Unknown)?;
        let mut state = kept.state();
        if state.current.generation > generation {
            return Ok(state.current.clone());
        }
        let Access { token, expires } = match &kept.source {
            CredentialSource::Env(_) => return Err(RenewError::Fixed),
            CredentialSource::File(path) => {
                let path = source::expand(path, &self.home);
                again(&Place::File(&path))?
            }
            CredentialSource::Command(words) => again(&Place::Command(words))?,
            CredentialSource::Login(_) => {
                let login = kept.login.as_ref().ok_or(RenewError::Gone)?;
                if state.refused.is_some_and(|at| at.elapsed() < REST) {
                    return Err(RenewError::Resting);
                }
                match login.renew(&state.current.value, &self.transport) {
                    Ok(access) => access,
                    Err(error) => {
                        if matches!(error, LoginError::Refused { .. }) {
                            state.refused = Some(Instant::now());
                        }
                        return Err(error.into());
                    }
                }
            }
        };
        if token == state.current.value {
            return Err(RenewError::Unchanged);
        }
        state.current = Current {
            value: token,
            generation: state.current.generation + 1,
            expires,
        };
        state.refused = None;
        Ok(state.current.clone())
    }

    fn find(&self, name: &str) -> Option<&Kept> {
        let is_it = |kept: &&Kept| kept.present.name.as_str() == name;
        self.kept.iter().find(is_it)
    }
}

/// Where this account keeps things.
#[derive(Debug, Clone)]
pub struct Surroundings {
    pub home: PathBuf,
    /// The directory that the program inside works in.
    pub workspace: PathBuf,
    /// A directory of ours, for locks.
    pub locks: PathBuf,
}

impl Kept {
    fn read(
        spec: &CredentialSpec,
        given: Option<Value>,
        surroundings: &Surroundings,
    ) -> Result<Option<Self>, KeepError> {
        let name = spec.name();
        let failed = |source| KeepError::Source {
            name: name.clone(),
            source,
        };
        let simple = |value: Value, renewable| Self {
            present: Present {
                name: name.clone(),
                placeholder: lookalike::placeholder(spec.placeholder()),
                renewable,
            },
            source: spec.source().clone(),
            login: None,
            state: Mutex::new(State::of(Access {
                token: value,
                expires: None,
            })),
            files: Vec::new(),
        };
        match spec.source() {
            CredentialSource::Env(_) => Ok(given.map(|value| simple(value, false))),
            CredentialSource::File(path) => {
                let path = source::expand(path, &surroundings.home);
                let value = source::read(&Place::File(&path)).map_err(failed)?;
                Ok(value.map(|value| simple(value, true)))
            }
            CredentialSource::Command(words) => {
                let value = source::read(&Place::Command(words)).map_err(failed)?;
                Ok(value.map(|value| simple(value, true)))
            }
            CredentialSource::Login(preset) => Self::read_login(spec, preset, surroundings)
                .map_err(|source| KeepError::Login {
                    name: name.clone(),
                    source,
                }),
        }
    }

    fn read_login(
        spec: &CredentialSpec,
        preset: &str,
        surroundings: &Surroundings,
    ) -> Result<Option<Self>, LoginError> {
        let Some(login) = Preset::find(preset).and_then(Preset::login) else {
            return Ok(None);
        };
        let Surroundings {
            home,
            workspace,
            locks,
        } = surroundings;
        let file = LoginFile::new(login.clone(), home, locks, preset);
        let Some(document) = file.read()? else {
            return Ok(None);
        };
        let like = lookalike::look_alike(file.login(), &document, home, workspace);
        let access = file.access(&document)?;
        Ok(Some(Self {
            present: Present {
                name: spec.name().clone(),
                placeholder: like.placeholder,
                renewable: true,
            },
            source: spec.source().clone(),
            login: Some(file),
            state: Mutex::new(State::of(access)),
            files: like.files,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(Access { token, expires }: Access) -> Self {
        Self {
            current: Current {
                value: token,
                generation: 0,
                expires,
            },
            refused: None,
        }
    }
}

fn again(place: &Place<'_>) -> Result<Access, RenewError> {
    let token = source::read(place)?.ok_or(RenewError::Gone)?;
    Ok(Access {
        token,
        expires: None,
    })
}

/// For a source that gave nothing.
fn why_empty(source: &CredentialSource) -> String {
    match source {
        CredentialSource::Env(names) => format!("{} is not set, or empty", names.join(" or ")),
        CredentialSource::File(path) => format!("{path} is empty or does not exist"),
        CredentialSource::Command(_) => "its command printed nothing".to_owned(),
        CredentialSource::Login(preset) => match Preset::find(preset).and_then(Preset::login) {
            Some(_) => format!("nobody is logged in to {preset} on this machine"),
            None => format!("there is no preset `{preset}` with a login"),
        },
    }
}
