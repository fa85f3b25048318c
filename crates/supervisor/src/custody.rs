//! Secrets in custody: a process beside the supervisor reads them, renews them, and hands out the values.
//!
//! ```text
//! client ── Begin, Given (values of variables), Gather ──▶ custodian     in the caller's terminal: commands may ask
//!        ◀── Gathered (names, placeholders, look-alike files) ──         nothing of it is a secret
//!        ── Detach, and this socket to the supervisor ──▶
//! supervisor ── Current, Renew ──▶ custodian                             in a session of its own, to the end
//!        ◀── Value / Refused ──
//! ```
//!
//! The supervisor parses hostile bytes, so that it may neither execute commands nor read the home; the custodian hears
//! nobody but its client and its supervisor. When they are gone, so is it.

mod custodian;
mod outside;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use wardian_credentials::{Current, Value};
use wardian_egress::credentials::{Renewal, Renewing};
use wardian_policy::CredentialName;

pub use custodian::serve;

use crate::failure::Failed;
use crate::protocol::PolicySources;

/// What a custodian is to read.
#[derive(Debug, Serialize, Deserialize)]
pub struct Begin {
    pub policy: PolicySources,
    pub home: PathBuf,
    /// The directory that the program inside works in.
    pub workspace: PathBuf,
    /// A directory of this account for locks.
    pub locks: PathBuf,
}

/// What it has found. No secret.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Gathered {
    pub held: Vec<Held>,
    pub files: Vec<LookAlike>,
}

/// A file that is to be there inside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookAlike {
    /// Absolute.
    pub path: PathBuf,
    pub content: String,
    /// What is there from an earlier start gives way to it.
    pub replaces: bool,
}

/// A credential that has a value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Held {
    pub name: String,
    pub placeholder: String,
    /// Whether it can be renewed.
    pub renewable: bool,
}

#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    Begin(Box<Begin>),
    /// With a value.
    Given {
        name: String,
    },
    Gather,
    Detach,
    Current {
        id: u64,
        name: String,
    },
    Renew {
        id: u64,
        name: String,
        generation: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
enum Tell {
    Gathered(Gathered),
    NotGathered(String),
    /// With a value.
    Value {
        id: u64,
        generation: u64,
        expires: Option<u64>,
    },
    Refused {
        id: u64,
        why: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    #[error("cannot talk to the custodian: {0}")]
    Io(#[from] io::Error),
    #[error("the custodian ended without a word")]
    Gone,
    /// As it says it.
    #[error("{0}")]
    NotGathered(String),
}

/// The client's half of the conversation. `given` are values that the client has read.
pub fn gather(
    stream: &UnixStream,
    begin: Begin,
    given: &[(CredentialName, Value)],
) -> Result<Gathered, GatherError> {
    wire::send(stream, &Ask::Begin(Box::new(begin)), None)?;
    for (name, value) in given {
        let name = name.to_string();
        wire::send(stream, &Ask::Given { name }, Some(value))?;
    }
    wire::send(stream, &Ask::Gather, None)?;
    match wire::receive(stream)? {
        Some((Tell::Gathered(gathered), _)) => {
            wire::send(stream, &Ask::Detach, None)?;
            Ok(gathered)
        }
        Some((Tell::NotGathered(why), _)) => Err(GatherError::NotGathered(why)),
        Some(_) | None => Err(GatherError::Gone),
    }
}

/// The supervisor's end: many may ask at once.
#[derive(Clone)]
pub(crate) struct Custody(Arc<Line>);

struct Line {
    stream: UnixStream,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    /// None before anybody listens, and once the custodian is gone.
    answers: Option<HashMap<u64, oneshot::Sender<Result<Current, String>>>>,
}

impl fmt::Debug for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custody").finish_non_exhaustive()
    }
}

impl Custody {
    /// `stream` leads to a custodian that has gathered.
    pub(crate) fn over(stream: UnixStream) -> Self {
        Self(Arc::new(Line {
            stream,
            waiting: Mutex::default(),
        }))
    }

    /// The value that the custodian has read. To be called before [`Custody::listen`].
    pub(crate) fn current(&self, name: &str) -> Result<Current, Failed> {
        let stream = &self.0.stream;
        let gone = |why: &dyn fmt::Display| {
            Failed::sandbox(format!("the custodian of the credentials is gone: {why}"))
        };
        let name = name.to_owned();
        wire::send(stream, &Ask::Current { id: 0, name }, None).map_err(|it| gone(&it))?;
        let told = wire::receive(stream).map_err(|error| gone(&error))?;
        match told.and_then(|(told, value)| answer(told, value)) {
            Some((_, Ok(current))) => Ok(current),
            Some((_, Err(why))) => Err(Failed::sandbox(why)),
            None => Err(gone(&"it says nothing")),
        }
    }

    /// From here on many may ask at once; the answers come in in a thread of their own. To be called when this process
    /// has confined itself, so that the thread is.
    pub(crate) fn listen(&self) -> Result<(), Failed> {
        self.0.waiting().answers = Some(HashMap::new());
        let line = self.0.clone();
        std::thread::Builder::new()
            .name("custody".to_owned())
            .spawn(move || line.listen())
            .map(drop)
            .map_err(Failed::sandbox)
    }

    fn ask(&self, ask: impl FnOnce(u64) -> Ask) -> oneshot::Receiver<Result<Current, String>> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.0.waiting();
        waiting.last += 1;
        let id = waiting.last;
        // A sender that is dropped says that the custodian is gone.
        if let Some(answers) = &mut waiting.answers
            && wire::send(&self.0.stream, &ask(id), None).is_ok()
        {
            answers.insert(id, sender);
        }
        receiver
    }
}

impl Line {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self) {
        while let Ok(Some((told, value))) = wire::receive(&self.stream) {
            let Some((id, answer)) = answer(told, value) else {
                break;
            };
            let waiting = self
                .waiting()
                .answers
                .as_mut()
                .and_then(|it| it.remove(&id));
            if let Some(waiting) = waiting {
                // Whoever asked may be cut off by now.
                let _ = waiting.send(answer);
            }
        }
        tracing::debug!("the custodian is gone");
        self.waiting().answers = None;
    }
}

fn answer(told: Tell, value: Option<Value>) -> Option<(u64, Result<Current, String>)> {
    match (told, value) {
        (
            Tell::Value {
                id,
                generation,
                expires,
            },
            Some(value),
        ) => {
            let current = Current {
                value,
                generation,
                expires: expires.map(|ms| UNIX_EPOCH + Duration::from_millis(ms)),
            };
            Some((id, Ok(current)))
        }
        (Tell::Refused { id, why }, _) => Some((id, Err(why))),
        _ => None,
    }
}

impl Renewal for Custody {
    fn renew(&self, name: &CredentialName, generation: u64) -> Renewing<'_> {
        let name = name.to_string();
        let answer = self.ask(|id| Ask::Renew {
            id,
            name,
            generation,
        });
        Box::pin(async {
            match answer.await {
                Ok(answer) => answer,
                Err(_) => Err("the custodian of the credentials is gone".to_owned()),
            }
        })
    }
}

fn to_milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
