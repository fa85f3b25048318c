//! Repositories made with git, and what a session's state directory has of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wardian_filesystem::snapshot::materialise;
use wardian_git::snapshot::{Conversion, HeadTree, Trouble};
use wardian_git::{Base, Head};

/// When all files of the fixtures were written: long before any index.
const WRITTEN: Duration = Duration::from_nanos(1_600_000_000_123_456_789);

pub(crate) struct Repository {
    place: Place,
    format: &'static str,
}

enum Place {
    Own(tempfile::TempDir),
    Given(PathBuf),
}

/// Troubles that were reported.
#[derive(Debug, Clone, Default)]
pub(crate) struct Troubles(Arc<Mutex<Vec<Trouble>>>);

impl Troubles {
    pub(crate) fn all(&self) -> Vec<Trouble> {
        self.0.lock().unwrap().clone()
    }
}

impl Repository {
    pub(crate) fn new() -> Self {
        Self::with_format("sha1")
    }

    pub(crate) fn with_format(format: &'static str) -> Self {
        Self::init(Place::Own(tempfile::tempdir().unwrap()), format)
    }

    /// In a directory that outlives it.
    pub(crate) fn at(path: &Path) -> Self {
        Self::init(Place::Given(path.to_owned()), "sha1")
    }

    /// One that [`at`](Self::at) made, in another process.
    pub(crate) fn existing(path: &Path) -> Self {
        Self {
            place: Place::Given(path.to_owned()),
            format: "sha1",
        }
    }

    fn init(place: Place, format: &'static str) -> Self {
        let repository = Self { place, format };
        fs::create_dir_all(repository.worktree()).unwrap();
        fs::create_dir(repository.state()).unwrap();
        let format = format!("--object-format={format}");
        repository.git(&["init", "-q", "-b", "main", &format]);
        repository
    }

    pub(crate) fn path(&self) -> &Path {
        match &self.place {
            Place::Own(directory) => directory.path(),
            Place::Given(path) => path,
        }
    }

    pub(crate) fn worktree(&self) -> PathBuf {
        self.path().join("worktree")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    pub(crate) fn git_dir(&self) -> PathBuf {
        self.worktree().join(".git")
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.worktree(), arguments)
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.worktree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + WRITTEN).unwrap();
    }

    pub(crate) fn write_executable(&self, path: &str, content: impl AsRef<[u8]>) {
        self.write(path, content);
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.worktree().join(path), mode).unwrap();
    }

    pub(crate) fn link(&self, path: &str, target: &str) {
        symlink(target, self.worktree().join(path)).unwrap();
        let status = Command::new("touch")
            .args(["-h", "-d", "2020-01-01", path])
            .current_dir(self.worktree())
            .status();
        assert!(status.unwrap().success());
    }

    pub(crate) fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "Change"]);
    }

    pub(crate) fn base(&self) -> Base {
        Base {
            worktree: self.worktree(),
            git_dir: self.git_dir(),
            common_dir: self.git_dir(),
            objects: vec![self.git_dir().join("objects")],
            object_format: self.format.to_owned(),
            head: Head::Branch("main".to_owned()),
            commit: Some(self.git(&["rev-parse", "HEAD"])),
            tree: Some(self.git(&["rev-parse", "HEAD^{tree}"])),
            branch: "wardian/test".to_owned(),
            auto_crlf: None,
            eol: None,
        }
    }

    /// As the session's start leaves it: a copy of the user's index, which is HEAD's tree here.
    pub(crate) fn snapshot(&self) -> (HeadTree, Troubles) {
        self.snapshot_with(&self.base(), Conversion::default())
    }

    pub(crate) fn snapshot_with(
        &self,
        base: &Base,
        conversion: Conversion,
    ) -> (HeadTree, Troubles) {
        let index = base.git_dir.join("index");
        fs::copy(index, self.state().join("base.index")).unwrap();
        self.snapshot_of_base_index(base, conversion)
    }

    pub(crate) fn snapshot_of_base_index(
        &self,
        base: &Base,
        conversion: Conversion,
    ) -> (HeadTree, Troubles) {
        fs::write(self.state().join("base.json"), "").unwrap();
        let troubles = Troubles::default();
        let heard = troubles.clone();
        let report = move |trouble| heard.0.lock().unwrap().push(trouble);
        let tree = HeadTree::open(&self.state(), base, conversion, report).unwrap();
        (tree, troubles)
    }

    /// What the snapshot shows, written out.
    pub(crate) fn materialised(&self, tree: &HeadTree) -> BTreeMap<Vec<u8>, Entry> {
        use std::os::fd::AsFd;
        let place = tempfile::tempdir_in(self.path()).unwrap();
        let parent = File::open(place.path()).unwrap();
        materialise(tree, parent.as_fd(), "tree".as_ref(), |_| {}).unwrap();
        entries(&place.path().join("tree"))
    }
}

pub(crate) fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = git_command(directory, arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "git {arguments:?}: {text}\n{errors}"
    );
    text
}

pub(crate) fn git_command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(directory)
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@example.org")
        .env("GIT_COMMITTER_NAME", "A")
        .env("GIT_COMMITTER_EMAIL", "a@example.org");
    command
}

/// A file, directory or symlink on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    File {
        executable: bool,
        content: Vec<u8>,
        modified: SystemTime,
    },
    Symlink(PathBuf),
    Directory,
}

/// All below a directory, but for `.git`.
pub(crate) fn entries(directory: &Path) -> BTreeMap<Vec<u8>, Entry> {
    let mut found = BTreeMap::new();
    collect(directory, Path::new(""), &mut found);
    found
}

fn collect(top: &Path, below: &Path, found: &mut BTreeMap<Vec<u8>, Entry>) {
    for entry in fs::read_dir(top.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_name() == ".git" {
            continue;
        }
        let status = entry.path().symlink_metadata().unwrap();
        let what = if status.is_symlink() {
            Entry::Symlink(fs::read_link(entry.path()).unwrap())
        } else if status.is_dir() {
            collect(top, &path, found);
            Entry::Directory
        } else {
            Entry::File {
                executable: status.mode() & 0o111 != 0,
                content: fs::read(entry.path()).unwrap(),
                modified: status.modified().unwrap(),
            }
        };
        found.insert(path.into_os_string().into_encoded_bytes(), what);
    }
}

/// Compares with names and lengths in the message instead of megabytes.
#[track_caller]
pub(crate) fn assert_same(found: &BTreeMap<Vec<u8>, Entry>, expected: &BTreeMap<Vec<u8>, Entry>) {
    let name = |path: &[u8]| path.escape_ascii().to_string();
    let names = |of: &BTreeMap<Vec<u8>, Entry>| of.keys().map(|key| name(key)).collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for (path, entry) in expected {
        if &found[path] != entry {
            panic!(
                "{}: {} instead of {}",
                name(path),
                shown(&found[path]),
                shown(entry)
            );
        }
    }
}

fn shown(entry: &Entry) -> String {
    match entry {
        Entry::File {
            executable,
            content,
            modified,
        } => format!(
            "{} bytes {:?}... (executable: {executable}, {modified:?})",
            content.len(),
            content[..content.len().min(60)].escape_ascii().to_string()
        ),
        other => format!("{other:?}"),
    }
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
