//! The `wardian.toml`s that there are: the user's own and the project's, and whether the project's is trusted.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use wardian_events::Digest;
use wardian_policy::Trust;
use wardian_policy::manifest::MAX_MANIFEST;
use wardian_sandbox::spec::{WorkspaceMode, Workspaces};
use wardian_supervisor::downloads;

use crate::failure::Failure;
use crate::trust::{self, Pins};

/// The same document in TOML or in JSON.
const NAMES: [&str; 2] = ["wardian.toml", "wardian.json"];

/// A manifest as it lies on disk.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// Canonical: a link is followed once, here.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) sha256: Digest,
}

/// What applies to a run in some directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) user: Option<Document>,
    pub(crate) project: Option<(Document, Trust)>,
}

impl Found {
    /// `vouched` is the digest of a project's manifest that is trusted for this run, besides those that are pinned.
    pub(crate) fn discover(
        directory: &Path,
        home: &Path,
        vouched: Option<Digest>,
    ) -> Result<Self, Failure> {
        let user = Document::in_directory(&user_directory(home))?;
        let project = project(directory, home)?;
        let project = project.filter(|project| {
            let is_users = |user: &Document| user.path == project.path;
            !user.as_ref().is_some_and(is_users)
        });
        let project = match project {
            Some(document) => {
                let pinned = Pins::load(home)?.holds(&document);
                let trust = match pinned || vouched == Some(document.sha256) {
                    true => Trust::Given,
                    false => Trust::NotGiven,
                };
                Some((document, trust))
            }
            None => None,
        };
        if let (Some(_), None | Some((_, Trust::NotGiven))) = (vouched, &project) {
            let what = match &project {
                Some((document, _)) => format!("{} has another", document.path.display()),
                None => "there is no wardian.toml here".to_owned(),
            };
            return Err(Failure::from(anyhow!(
                "nothing here has the SHA-256 of --trust-hash: {what}"
            ))
            .hint("`wardian trust --show` shows what there is, and its SHA-256"));
        }
        Ok(Self { user, project })
    }

    /// What a person should know: one line.
    pub(crate) fn note(&self) -> Option<String> {
        match &self.project {
            Some((document, Trust::NotGiven)) => Some(format!(
                "{} is not trusted: of what it says, only what denies and limits counts; `wardian trust` shows it and asks",
                document.path.display()
            )),
            _ => None,
        }
    }
}

impl Document {
    /// The manifest in this directory.
    fn in_directory(directory: &Path) -> Result<Option<Self>, Failure> {
        let mut found = None;
        for name in NAMES {
            let Some(document) = Self::read(&directory.join(name))? else {
                continue;
            };
            if found.is_some() {
                return Err(anyhow!(
                    "{} has a wardian.toml and a wardian.json: which one counts?",
                    directory.display()
                )
                .into());
            }
            found = Some(document);
        }
        Ok(found)
    }

    fn read(path: &Path) -> Result<Option<Self>, Failure> {
        let failed = || format!("cannot read {}", path.display());
        // A pipe or a device would be waited for.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let file = File::options()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path);
        let file = match file {
            Ok(file) => file,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(Failure::from(anyhow!(error).context(failed()))),
        };
        if !file.metadata().with_context(failed)?.is_file() {
            return Err(anyhow!("{} is no regular file", path.display()).into());
        }
        let mut text = String::new();
        let most = MAX_MANIFEST as u64 + 1;
        file.take(most)
            .read_to_string(&mut text)
            .with_context(failed)?;
        Ok(Some(Self {
            path: fs::canonicalize(path).with_context(failed)?,
            sha256: Digest::of(text.as_bytes()),
            text,
        }))
    }

    /// Paths in it are relative to this.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

/// The manifest of the project to which `directory` belongs: at the top of its repository, or in it.
pub(crate) fn project(directory: &Path, home: &Path) -> Result<Option<Document>, Failure> {
    Document::in_directory(top(directory, home))
}

/// A repository that holds the home is no project.
fn top<'a>(directory: &'a Path, home: &Path) -> &'a Path {
    directory
        .ancestors()
        .take_while(|above| !home.starts_with(above))
        .find(|above| fs::symlink_metadata(above.join(".git")).is_ok())
        .unwrap_or(directory)
}

/// Where the user's own manifest lies, and what else the user says for all sandboxes.
pub(crate) fn user_directory(home: &Path) -> PathBuf {
    std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .unwrap_or_else(|| home.join(".config"))
        .join("wardian")
}

/// A program that could write where trust is kept, or what counts without being asked for, would grant itself everything;
/// one that could write to the cache of downloads, every other sandbox whatever it likes.
pub(crate) fn refuse_exposed(workspaces: &Workspaces, home: &Path) -> Result<(), Failure> {
    let own = [
        user_directory(home),
        trust::directory(home),
        downloads::directory(home),
    ];
    for (_, workspace) in workspaces.iter() {
        if workspace.mode != WorkspaceMode::Bind {
            continue;
        }
        let bound = &workspace.path;
        for place in &own {
            let place = fs::canonicalize(place).unwrap_or_else(|_| place.clone());
            if place.starts_with(bound) || bound.starts_with(&place) {
                let error = anyhow!(
                    "{} itself cannot be worked on: the program could change {}, which Wardian relies on",
                    bound.display(),
                    place.display()
                );
                return Err(
                    Failure::from(error).hint("name a directory below it, or work on a copy")
                );
            }
        }
    }
    Ok(())
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_a_repository_or_a_directory() {
        let base = tempfile::tempdir().unwrap();
        let home = base.path().join("home");
        let inside = home.join("api/src");
        fs::create_dir_all(&inside).unwrap();
        assert_eq!(top(&inside, &home), inside);
        fs::create_dir(home.join("api/.git")).unwrap();
        assert_eq!(top(&inside, &home), home.join("api"));
        fs::remove_dir(home.join("api/.git")).unwrap();
        fs::create_dir(home.join(".git")).unwrap();
        assert_eq!(top(&inside, &home), inside);
        fs::create_dir(base.path().join(".git")).unwrap();
        assert_eq!(top(&inside, &home), inside);
    }

    #[test]
    fn only_a_regular_file_is_a_manifest() {
        let base = tempfile::tempdir().unwrap();
        let read = || Document::in_directory(base.path());
        assert!(read().unwrap().is_none());
        let path = base.path().join("wardian.toml");
        fs::create_dir(&path).unwrap();
        assert!(read().is_err());
        fs::remove_dir(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        assert!(read().is_err());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(read().unwrap().unwrap().sha256, Digest::of(b""));
        fs::write(base.path().join("wardian.json"), "{}").unwrap();
        assert!(read().is_err());
    }
}
