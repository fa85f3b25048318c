//! The custodian's life.

use std::collections::HashMap;
use std::error::Error;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, Signal};
use wardian_credentials::{Current, Keeper, Renewed, Surroundings, Value};
use wardian_linux::process;
use wardian_policy::CredentialName;

use super::outside::Outside;
use super::{Ask, Begin, Gathered, Held, LookAlike, Tell, to_milliseconds, wire};

/// Serves whoever is at the other end of `socket`, and returns when nobody is.
pub fn serve(socket: OwnedFd) {
    // Until it is detached it is its client's.
    if process::die_with_parent().is_err() || keep_secrets_in().is_err() {
        return;
    }
    let stream = Arc::new(UnixStream::from(socket));
    let Some(keeper) = gather(&stream) else {
        return;
    };
    let keeper = Arc::new(keeper);
    let line = Arc::new(Line {
        stream: stream.clone(),
        sending: Mutex::new(()),
    });
    while let Ok(Some((ask, _))) = wire::receive(&stream) {
        match ask {
            Ask::Detach => detach(),
            Ask::Current { id, name } => line.answer(id, keeper.current(&name).ok_or("unknown")),
            Ask::Renew {
                id,
                name,
                generation,
            } => {
                // A command or an endpoint may take its time.
                let (keeper, line) = (keeper.clone(), line.clone());
                std::thread::spawn(move || line.answer(id, keeper.renew(&name, generation)));
            }
            Ask::Begin(_) | Ask::Given { .. } | Ask::Gather => break,
        }
    }
    // Commands that still run are nobody's any more. This process is of their group, once it is detached.
    if rustix::process::getpgrp() == rustix::process::getpid() {
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    }
}

/// No core dump, and no look into its memory by others of the same user.
fn keep_secrets_in() -> Result<(), Box<dyn Error>> {
    process::forbid_dump()?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(rustix::process::setrlimit(Resource::Core, none)?)
}

/// From the caller's terminal to a session of its own: nothing is asked any more.
fn detach() {
    // Fails only for the leader of a session, which is what is wanted.
    let _ = rustix::process::setsid();
    let _ = rustix::process::set_parent_process_death_signal(None);
    if let Ok(null) = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
    {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

fn gather(stream: &UnixStream) -> Option<Keeper<Outside>> {
    let Ok(Some((Ask::Begin(begin), _))) = wire::receive(stream) else {
        return None;
    };
    let mut given: HashMap<CredentialName, Value> = HashMap::new();
    loop {
        match wire::receive(stream) {
            Ok(Some((Ask::Given { name }, Some(value)))) => {
                given.insert(CredentialName::new(&name)?, value);
            }
            Ok(Some((Ask::Gather, _))) => break,
            _ => return None,
        }
    }
    let (told, keeper) = match read(*begin, given) {
        Ok(keeper) => (Tell::Gathered(gathered(&keeper)), Some(keeper)),
        Err(error) => (Tell::NotGathered(chain(&*error)), None),
    };
    wire::send(stream, &told, None).ok()?;
    keeper
}

fn read(
    begin: Begin,
    given: HashMap<CredentialName, Value>,
) -> Result<Keeper<Outside>, Box<dyn Error>> {
    let Begin {
        policy,
        home,
        workspace,
        locks,
    } = begin;
    let policy = policy.build()?;
    let surroundings = Surroundings {
        home,
        workspace,
        locks,
    };
    let outside = Outside(policy.clone());
    Ok(Keeper::gather(
        policy.credentials(),
        given,
        &surroundings,
        outside,
    )?)
}

fn gathered(keeper: &Keeper<Outside>) -> Gathered {
    let held = keeper.present().map(|present| Held {
        name: present.name.to_string(),
        placeholder: present.placeholder.clone(),
        renewable: present.renewable,
    });
    let files = keeper.imitations().cloned().map(|it| LookAlike {
        path: it.path,
        content: it.content,
        replaces: it.renewed == Renewed::AtEachStart,
    });
    Gathered {
        held: held.collect(),
        files: files.collect(),
    }
}

/// Answers go out one at a time.
struct Line {
    stream: Arc<UnixStream>,
    sending: Mutex<()>,
}

impl Line {
    fn answer(&self, id: u64, answer: Result<Current, impl std::fmt::Display>) {
        let _one = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody may be there any more to hear it; the next receive tells.
        let _ = match answer {
            Ok(Current {
                value,
                generation,
                expires,
            }) => {
                let expires = expires.map(to_milliseconds);
                let told = Tell::Value {
                    id,
                    generation,
                    expires,
                };
                wire::send(&self.stream, &told, Some(&value))
            }
            Err(error) => {
                let why = error.to_string();
                wire::send(&self.stream, &Tell::Refused { id, why }, None)
            }
        };
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text += &format!(": {error}");
        next = error.source();
    }
    text
}
