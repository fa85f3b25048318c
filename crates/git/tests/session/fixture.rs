//! Repositories made with git in a home of their own, and sessions put to use as if they were inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wardian_git::Repository;
use wardian_git::repository::Places;
use wardian_git::session::{self, Changes, Created, Options};

/// Where object directories would be bound.
pub(crate) const INSIDE: &str = "/run/wardian/repositories/0";
pub(crate) const BRANCH: &str = "wardian/test-1";

pub(crate) struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(fixture.path("home")).unwrap();
        fixture
    }

    /// With a repository `repo` of a few files and commits.
    pub(crate) fn with_repository(init: &str) -> Self {
        let fixture = Self::new();
        fixture.shell(&format!(
            "git init -q -b main {init} repo && cd repo
             mkdir -p d/e f && echo one >one && echo two >d/two && echo three >d/e/three
             printf '#!/bin/sh\\n' >f/run && chmod +x f/run && ln -s one link
             printf '*.log\\n/out/\\n' >.gitignore && git add . && git commit -qm first
             git tag -a -m tagged v1 && git tag light && git branch side
             echo more >>one && git commit -qam second
             find . -not -path './.git*' -exec touch -h -d '2020-01-01' {{}} + && git update-index -q --refresh"
        ));
        fixture
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    /// Runs a script in the fixture's directory, and gives what it prints.
    pub(crate) fn shell(&self, script: &str) -> String {
        self.shell_in(self.directory.path(), script)
    }

    pub(crate) fn shell_in(&self, directory: &Path, script: &str) -> String {
        let output = self.command(directory, script).output().unwrap();
        assert!(
            output.status.success(),
            "{script}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self, directory: &Path, script: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-euc", script])
            .current_dir(directory)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ALLOW_PROTOCOL", "file")
            .env("GIT_AUTHOR_NAME", "Author")
            .env("GIT_AUTHOR_EMAIL", "author@example.com")
            .env("GIT_COMMITTER_NAME", "Committer")
            .env("GIT_COMMITTER_EMAIL", "committer@example.com")
            .env("LC_ALL", "C");
        command
    }

    pub(crate) fn places(&self) -> Places {
        Places {
            home: Some(self.path("home")),
            system: vec![self.path("etc-gitconfig")],
            user: vec![
                self.path("home/.config/git/config"),
                self.path("home/.gitconfig"),
            ],
            ignore: Some(self.path("home/.config/git/ignore")),
            owners: vec![rustix::process::geteuid().as_raw()],
        }
    }

    pub(crate) fn repository(&self, name: &str) -> Repository {
        Repository::discover_with(&self.path(name), self.places())
            .unwrap()
            .unwrap()
    }

    pub(crate) fn options() -> Options {
        Options {
            branch: BRANCH.to_owned(),
            inside: INSIDE.into(),
            changes: Changes::Leave,
            include: Vec::new(),
        }
    }

    pub(crate) fn session(&self, repository: &Repository, options: &Options) -> Session<'_> {
        let state = tempfile::tempdir_in(self.directory.path()).unwrap().keep();
        let created = session::create(repository, &state, options).unwrap();
        Session {
            fixture: self,
            created,
            state,
        }
    }
}

pub(crate) struct Session<'a> {
    pub(crate) fixture: &'a Fixture,
    pub(crate) created: Created,
    /// With `base.json` and the upper layer.
    pub(crate) state: PathBuf,
}

impl Session<'_> {
    pub(crate) fn upper(&self) -> PathBuf {
        self.state.join("upper")
    }

    pub(crate) fn git_file(&self, name: &str) -> String {
        fs::read_to_string(self.upper().join(".git").join(name)).unwrap()
    }

    /// A work tree as the session would find it, with the objects where they really are: the commit's files,
    /// the upper layer above them, and none of what is removed.
    pub(crate) fn inside(&self) -> PathBuf {
        let place = self.state.join("inside");
        fs::create_dir(&place).unwrap();
        // Git writes the lower files with an index of its own; then what lies above replaces them.
        let script = format!(
            "cp -a upper/. inside/ && cp base.index below.index
             [ -e inside/.git/index ] || cp base.index inside/.git/index
             sed -i {rewrites} inside/.git/objects/info/alternates
             mkdir below && export GIT_DIR=$PWD/inside/.git
             if [ -e inside/.git/refs/heads/{BRANCH} ]; then
                 GIT_INDEX_FILE=$PWD/below.index GIT_WORK_TREE=below git checkout-index -a -f
             fi",
            rewrites = self.rewrites(),
        );
        self.fixture.shell_in(&self.state, &script);
        lay_below(&self.state.join("below"), &place);
        for path in &self.created.brought.removed {
            let path = place.join(path);
            match path.symlink_metadata().unwrap().is_dir() {
                true => fs::remove_dir_all(path).unwrap(),
                false => fs::remove_file(path).unwrap(),
            }
        }
        place
    }

    fn rewrites(&self) -> String {
        let mounts = session::object_mounts(&self.created.base.objects, Path::new(INSIDE));
        let rewrites = mounts.iter().map(|mount| {
            let (inside, host) = (mount.inside.display(), mount.host.display());
            format!("-e 's|^{inside}$|{host}|'")
        });
        rewrites.collect::<Vec<_>>().join(" ")
    }
}

/// What an overlay does: what is not above shows through, directories are merged.
fn lay_below(below: &Path, above: &Path) {
    for entry in fs::read_dir(below).unwrap() {
        let entry = entry.unwrap();
        let above = above.join(entry.file_name());
        match above.symlink_metadata() {
            Err(_) => fs::rename(entry.path(), above).unwrap(),
            Ok(status) if status.is_dir() && entry.file_type().unwrap().is_dir() => {
                lay_below(&entry.path(), &above);
            }
            Ok(_) => {}
        }
    }
}
