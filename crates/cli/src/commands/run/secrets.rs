//! Credentials are read by a process that keeps them: it is started here, told what to read, and handed on to the
//! supervisor. No value comes back.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, anyhow};
use wardian_credentials::Value;
use wardian_policy::{
    CredentialName, CredentialSource, CredentialSpec, Policy, Presence, Preset, VisiblePath,
};
use wardian_sandbox::parcel::{Label, Occupied, Parcel};
use wardian_sandbox::state::StateRoot;
use wardian_supervisor::custody::{self, Begin, GatherError, Held, LookAlike};
use wardian_supervisor::protocol::PolicySources;

/// What credentials have a value, and who holds it.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    pub(super) held: Vec<Held>,
    /// What programs find in place of their logins.
    pub(super) files: Vec<LookAlike>,
    custodian: Option<Custodian>,
}

/// A process that ends when nobody is at the other end of its socket any more.
#[derive(Debug)]
struct Custodian {
    /// Until it is the supervisor's.
    stream: Option<UnixStream>,
    process: Child,
}

impl Credentials {
    /// Has the credentials of `policy` read, and logins looked up. `workspace` is where the program will work.
    pub(super) fn gather(
        policy: &Policy,
        sources: &PolicySources,
        home: &Path,
        workspace: &Path,
    ) -> anyhow::Result<Self> {
        if !policy.credentials().any(|spec| is_wanted(spec, home)) {
            return Ok(Self::default());
        }
        let given = policy
            .credentials()
            .filter_map(|spec| Some((spec.name().clone(), variable(spec)?)))
            .map(|(name, value)| match value {
                Ok(value) => Ok((name, value)),
                Err(error) => Err(error.context(format!("cannot read the credential `{name}`"))),
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let root = StateRoot::discover(home)?;
        let custodian = Custodian::start(policy)?;
        let begin = Begin {
            policy: sources.clone(),
            home: home.to_owned(),
            workspace: workspace.to_owned(),
            locks: root.path().with_file_name("logins"),
        };
        let stream = custodian.stream.as_ref().context("it was handed on")?;
        let gathered = custody::gather(stream, begin, &given).map_err(|error| match error {
            GatherError::NotGathered(why) => anyhow!(why),
            error => anyhow!(error),
        })?;
        Ok(Self {
            held: gathered.held,
            files: gathered.files,
            custodian: Some(custodian),
        })
    }

    pub(super) fn placeholder(&self, name: &CredentialName) -> Option<&str> {
        let is_it = |held: &&Held| held.name == name.as_str();
        self.held
            .iter()
            .find(is_it)
            .map(|it| it.placeholder.as_str())
    }

    /// Look-alikes of logins, for the program to find.
    pub(super) fn pack(&self, parcel: &mut Parcel) -> io::Result<()> {
        for LookAlike {
            path,
            content,
            replaces,
        } in &self.files
        {
            let label = Label {
                path: path.clone(),
                mode: 0o600,
                occupied: match replaces {
                    true => Occupied::Replace,
                    false => Occupied::Leave,
                },
            };
            parcel.add(label, content.as_bytes())?;
        }
        Ok(())
    }

    /// For the supervisor, if there is anything to hold.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        let stream = self.custodian.as_ref()?.stream.as_ref()?;
        (!self.held.is_empty()).then(|| stream.as_fd())
    }

    /// It is the supervisor's from here on.
    pub(super) fn handed_over(&mut self) {
        if let Some(custodian) = &mut self.custodian {
            custodian.stream = None;
        }
    }
}

impl Custodian {
    /// The same binary again. Of the environment it gets what commands may need, and no variable that is a credential.
    fn start(policy: &Policy) -> anyhow::Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket")?;
        let runs = |spec: &CredentialSpec| matches!(spec.source(), CredentialSource::Command(_));
        let environment: Vec<(OsString, OsString)> = match policy.credentials().any(runs) {
            true => std::env::vars_os()
                .filter(|(name, _)| !policy.credentials().any(|spec| is_source(spec, name)))
                .collect(),
            false => Vec::new(),
        };
        let process = Command::new("/proc/self/exe")
            .arg("custodian")
            .env_clear()
            .envs(environment)
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .context("cannot start the custodian")?;
        Ok(Self {
            stream: Some(ours),
            process,
        })
    }
}

impl Drop for Custodian {
    /// It goes with the supervisor, or with our end of its socket.
    fn drop(&mut self) {
        self.stream = None;
        let _ = self.process.wait();
    }
}

fn is_source(spec: &CredentialSpec, variable: &std::ffi::OsStr) -> bool {
    match spec.source() {
        CredentialSource::Env(names) => names.iter().any(|name| variable == name.as_str()),
        CredentialSource::File(_) | CredentialSource::Command(_) | CredentialSource::Login(_) => {
            false
        }
    }
}

/// Whether there may be something to read, or somebody has to be told that there is not.
fn is_wanted(spec: &CredentialSpec, home: &Path) -> bool {
    spec.presence() == Presence::Required
        || match spec.source() {
            CredentialSource::Env(names) => names.iter().any(|name| is_set(name)),
            CredentialSource::Login(preset) => {
                login_file(preset, home).is_some_and(|it| it.exists())
            }
            CredentialSource::File(_) | CredentialSource::Command(_) => true,
        }
}

pub(super) fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Where the program of a preset keeps its login.
pub(super) fn login_file(preset: &str, home: &Path) -> Option<PathBuf> {
    let login = Preset::find(preset)?.login()?;
    Some(match &login.file {
        VisiblePath::Home(below) => home.join(below),
        VisiblePath::Absolute(path) => PathBuf::from(path),
    })
}

/// The first of its variables that is set and not empty.
fn variable(spec: &CredentialSpec) -> Option<anyhow::Result<Value>> {
    let CredentialSource::Env(names) = spec.source() else {
        return None;
    };
    let mut values = names.iter().filter_map(std::env::var_os);
    let value = values.find(|value| !value.is_empty())?;
    let Some(text) = value.to_str() else {
        return Some(Err(anyhow!("the variable is not UTF-8")));
    };
    let text = text.trim_end_matches(['\r', '\n']);
    (!text.is_empty()).then(|| Value::new(text).map_err(Into::into))
}

pub(super) use wardian_credentials::expand;
