//! How a sandbox was started, as `wardian resume` needs it. It lies in the sandbox's state and holds no secret:
//! of variables that were given a value, the names alone.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};
use wardian_events::Digest;
use wardian_sandbox::SandboxName;
use wardian_sandbox::state::SandboxDirectory;

use super::followers::Readers;
use super::sources::Asked;
use super::{Again, Bounds, Reach, Run};
use crate::failure::Failure;

const FILE: &str = "start.json";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recorded {
    /// As the person typed it.
    command: Vec<Word>,
    /// Where the program starts; absolute.
    pub(super) directory: PathBuf,
    /// Of a manifest, if one was asked for.
    #[serde(default)]
    sandbox: Option<String>,
    /// Of a manifest of the project that was trusted for that run alone.
    #[serde(default)]
    trust_hash: Option<Digest>,
    allow: Vec<String>,
    presets: Vec<String>,
    policy: Option<PolicyFile>,
    /// Variables that take their value from outside.
    passed: Vec<String>,
    /// Variables that were given a value.
    given: Vec<String>,
    limits: Bounds,
    #[serde(default)]
    cache: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
    root: bool,
    nested: bool,
    no_autonomy: bool,
}

/// Text, if it is some.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Bytes(Vec<u8>),
}

/// It may hold secrets too, so it is read again.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    /// Absolute.
    path: PathBuf,
    /// A program that works on the directory in which the file lies may have changed it.
    sha256: Digest,
}

impl Recorded {
    pub(super) fn of(asked: &Asked) -> Result<Self, Failure> {
        let Asked {
            run,
            typed,
            sources,
            directory: _,
            agent: _,
        } = asked;
        let Run {
            reach,
            bounds,
            volume,
            root,
            nested,
            no_autonomy,
            ..
        } = run;
        let policy = match (&reach.policy, &sources.policy.file) {
            (Some(path), Some((_, text))) => Some(PolicyFile {
                path: std::path::absolute(path)
                    .with_context(|| format!("cannot tell where {} is", path.display()))?,
                sha256: Digest::of(text.as_bytes()),
            }),
            _ => None,
        };
        let (given, passed): (Vec<_>, Vec<_>) =
            reach.env.iter().partition(|text| text.contains('='));
        Ok(Self {
            command: typed.iter().cloned().map(Word::from).collect(),
            directory: PathBuf::new(),
            sandbox: reach.sandbox.clone(),
            trust_hash: reach.trust_hash,
            allow: reach.allow.clone(),
            presets: reach.preset.clone(),
            policy,
            passed: passed.into_iter().cloned().collect(),
            given: given.into_iter().map(|text| name_of(text)).collect(),
            limits: bounds.clone(),
            cache: reach.cache.clone(),
            volumes: volume.clone(),
            root: *root,
            nested: *nested,
            no_autonomy: *no_autonomy,
        })
    }

    /// `start` is where the program starts.
    pub(super) fn store(
        &mut self,
        directory: &SandboxDirectory,
        start: &Path,
    ) -> anyhow::Result<()> {
        start.clone_into(&mut self.directory);
        let path = directory.path().join(FILE);
        let text = serde_json::to_vec_pretty(self)?;
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(&text))
            .with_context(|| path.display().to_string())
    }

    pub(super) fn load(directory: &SandboxDirectory) -> Result<Self, Failure> {
        let path = directory.path().join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(
                    anyhow!("how {} was started is not on record", directory.name()).into(),
                );
            }
            Err(error) => return Err(anyhow!("{}: {error}", path.display()).into()),
        };
        Ok(serde_json::from_slice(&text).with_context(|| path.display().to_string())?)
    }

    /// The same run again, but for what is asked for now. With it, what a person should know.
    pub(super) fn again(
        self,
        name: &SandboxName,
        again: &Again,
    ) -> Result<(Run, Vec<String>), Failure> {
        let mut notes = Vec::new();
        let policy = match (&again.reach.policy, self.policy) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(file)) => Some(file.unchanged(name)?),
            (None, None) => None,
        };
        let is_old = |variable: &String| {
            let now = again.reach.env.iter();
            now.map(|text| name_of(text)).all(|name| name != *variable)
        };
        let mut env: Vec<_> = self.passed.into_iter().filter(is_old).collect();
        let (outside, lost): (Vec<_>, Vec<_>) = self
            .given
            .into_iter()
            .filter(is_old)
            .partition(|variable| std::env::var_os(variable).is_some());
        if let [first, ..] = lost.as_slice() {
            let lost = lost.join(", ");
            let error =
                anyhow!("values given with --env are not kept, and {lost} is not set outside");
            return Err(Failure::from(error).hint(format!(
                "give it again: `wardian resume --env {first}=VALUE {name}`"
            )));
        }
        for variable in outside {
            notes.push(format!(
                "{variable} has its value from outside: what was given with --env is not kept"
            ));
            env.push(variable);
        }
        env.extend(again.reach.env.iter().cloned());
        let more =
            |old: Vec<String>, new: &[String]| old.into_iter().chain(new.iter().cloned()).collect();
        let run = Run {
            name: Some(name.to_string()),
            reach: Reach {
                sandbox: again.reach.sandbox.clone().or(self.sandbox),
                trust_hash: again.reach.trust_hash.or(self.trust_hash),
                allow: more(self.allow, &again.reach.allow),
                policy,
                preset: more(self.presets, &again.reach.preset),
                env,
                cache: more(self.cache, &again.reach.cache),
            },
            bind: Vec::new(),
            overlay: false,
            repo: Vec::new(),
            with_changes: false,
            include: Vec::new(),
            volume: self.volumes,
            root: self.root,
            nested: self.nested,
            no_autonomy: self.no_autonomy,
            bounds: again.bounds.or(self.limits),
            readers: Readers::default(),
            dry_run: false,
            quiet: again.quiet,
            command: match again.command.as_slice() {
                [] => self.command.into_iter().map(OsString::from).collect(),
                command => command.to_vec(),
            },
        };
        Ok((run, notes))
    }
}

impl From<OsString> for Word {
    fn from(word: OsString) -> Self {
        match word.into_string() {
            Ok(text) => Self::Text(text),
            Err(word) => Self::Bytes(word.into_vec()),
        }
    }
}

impl From<Word> for OsString {
    fn from(word: Word) -> Self {
        match word {
            Word::Text(text) => text.into(),
            Word::Bytes(bytes) => Self::from_vec(bytes),
        }
    }
}

impl PolicyFile {
    /// Its path, if it says what it said then.
    fn unchanged(self, name: &SandboxName) -> Result<PathBuf, Failure> {
        let Self { path, sha256 } = self;
        let shown = path.display();
        let hint = format!("`wardian resume --policy {shown} {name}` takes it as it is now");
        let text = fs::read(&path).with_context(|| format!("cannot read the policy {shown}"))?;
        if Digest::of(&text) != sha256 {
            let changed = anyhow!("the policy {shown} has changed since {name} was started");
            return Err(Failure::from(changed).hint(hint));
        }
        Ok(path)
    }
}

impl Bounds {
    /// What is given here, and `old` for the rest.
    fn or(&self, old: Self) -> Self {
        let Self {
            memory,
            cpus,
            pids,
            files,
            disk,
            time,
            journal,
        } = self.clone();
        Self {
            memory: memory.or(old.memory),
            cpus: cpus.or(old.cpus),
            pids: pids.or(old.pids),
            files: files.or(old.files),
            disk: disk.or(old.disk),
            time: time.or(old.time),
            journal: journal.or(old.journal),
        }
    }
}

/// Of `NAME=VALUE` or `NAME`.
fn name_of(variable: &str) -> String {
    let name = variable.split_once('=').map_or(variable, |(name, _)| name);
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    fn recorded(words: &[&str], policy: Option<&str>) -> Recorded {
        let words = std::iter::once("run").chain(words.iter().copied());
        let base = tempfile::tempdir().unwrap();
        let mut asked = Asked::of(&Line::parse_from(words).run, base.path()).unwrap();
        asked.sources.policy.file = policy.map(|text| ("policy.toml".into(), text.into()));
        Recorded::of(&asked).unwrap()
    }

    fn name() -> SandboxName {
        SandboxName::parse("fix").unwrap()
    }

    #[test]
    fn no_value_is_written_down() {
        let recorded = recorded(&["--env", "TOKEN=hunter2", "--env", "HOME", "true"], None);
        let text = serde_json::to_string(&recorded).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("TOKEN") && text.contains("HOME"), "{text}");
        assert_eq!(serde_json::from_str::<Recorded>(&text).unwrap(), recorded);
    }

    #[test]
    fn a_command_is_written_down_byte_by_byte() {
        let words = [OsString::from("ünï"), OsString::from_vec(vec![0xff, b'a'])];
        let kept = words.clone().map(Word::from);
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(text, r#"["ünï",[255,97]]"#);
        let read: [Word; 2] = serde_json::from_str(&text).unwrap();
        assert_eq!(read.map(OsString::from), words);
    }

    #[test]
    fn a_value_is_given_again_or_comes_from_outside() {
        let recorded = || {
            recorded(
                &["--env", "WARDIAN_UNSET=a", "--env", "PATH=/b", "true"],
                None,
            )
        };
        assert!(recorded().again(&name(), &Again::default()).is_err());
        let mut again = Again::default();
        again.reach.env = vec!["WARDIAN_UNSET=c".to_owned()];
        let (run, notes) = recorded().again(&name(), &again).unwrap();
        assert_eq!(run.reach.env, ["PATH", "WARDIAN_UNSET=c"]);
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn what_is_asked_for_now_comes_first() {
        let words = [
            "--allow",
            "a.example",
            "--memory",
            "1G",
            "--time",
            "1h",
            "--cache",
            "npm,pip",
            "--root",
            "claude",
            "-p",
            "x",
        ];
        let mut again = Again::default();
        again.reach.allow = vec!["b.example".to_owned()];
        again.reach.cache = vec!["go".to_owned()];
        again.bounds.time = Some("2h".to_owned());
        let (run, _) = recorded(&words, None).again(&name(), &again).unwrap();
        assert_eq!(run.reach.allow, ["a.example", "b.example"]);
        assert_eq!(run.reach.cache, ["npm", "pip", "go"]);
        assert_eq!(run.bounds.memory.as_deref(), Some("1G"));
        assert_eq!(run.bounds.time.as_deref(), Some("2h"));
        assert_eq!(run.command, ["claude", "-p", "x"]);
        assert!(run.root);
        again.command = vec!["claude".into(), "--continue".into()];
        let (run, _) = recorded(&words, None).again(&name(), &again).unwrap();
        assert_eq!(run.command, ["claude", "--continue"]);
    }

    #[test]
    fn a_policy_that_has_changed_is_not_taken_unseen() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("policy.toml");
        fs::write(&path, "# as it was\n").unwrap();
        let words = ["--policy", path.to_str().unwrap(), "true"];
        let again = |again: &Again| recorded(&words, Some("# as it was\n")).again(&name(), again);
        let (run, _) = again(&Again::default()).unwrap();
        assert_eq!(run.reach.policy.as_ref(), Some(&path));
        fs::write(&path, "allow = ['*']\n").unwrap();
        assert!(again(&Again::default()).is_err());
        let mut named = Again::default();
        named.reach.policy = Some(path.clone());
        assert_eq!(again(&named).unwrap().0.reach.policy, Some(path));
    }
}
