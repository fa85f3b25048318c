//! A user's repository and a session's beside it, both made by git itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gix::ObjectId;
use gix::refs::FullName;
use wardian_git::confined::{Git, SessionRepository};
use wardian_git::transfer::{Brought, Signature, TransferError, Wanted, bring};
use wardian_git::{Base, Head};

/// An ordinary user of the host, for tests that start as root.
const ORDINARY: u32 = 60_123;
const AS_ORDINARY: &str = "WARDIAN_TESTS_AS_ORDINARY";

/// Runs `body` as this user, and if that is root, the test again as an ordinary one.
#[allow(dead_code, reason = "each test binary uses a part of it")]
pub(crate) fn as_each_user(test: &str, body: impl FnOnce()) {
    body();
    if rustix::process::geteuid().is_root() {
        again(test)
            .uid(ORDINARY)
            .gid(ORDINARY)
            .env(AS_ORDINARY, "1")
            .succeed();
    } else {
        assert!(
            std::env::var_os(AS_ORDINARY).is_some(),
            "these tests must be started as root"
        );
    }
}

/// This test binary once more, for one test.
#[allow(dead_code, reason = "each test binary uses a part of it")]
pub(crate) fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command
}

pub(crate) trait Run {
    fn succeed(&mut self) -> Output;
}

impl Run for Command {
    fn succeed(&mut self) -> Output {
        let output = self.output().unwrap();
        assert!(
            output.status.success(),
            "{self:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }
}

/// Git as its users run it: the repository's own configuration counts.
pub(crate) fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .env_clear()
        .current_dir(directory)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "ada@example.com")
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@example.com");
    command
}

/// A git repository with a worktree.
#[derive(Debug, Clone)]
pub(crate) struct Repo(pub(crate) PathBuf);

#[allow(dead_code, reason = "each test binary uses a part of it")]
impl Repo {
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = git(&self.0).args(arguments).succeed();
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// What it says, whether it succeeds or not.
    pub(crate) fn try_git(&self, arguments: &[&str]) -> (bool, String) {
        let output = git(&self.0).args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    pub(crate) fn feed(&self, arguments: &[&str], input: &[u8]) -> String {
        use std::io::Write;
        let mut command = git(&self.0);
        command
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {complaint}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn commit(&self, path: &str, content: impl AsRef<[u8]>) -> ObjectId {
        self.write(path, content);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", &format!("Change {path}")]);
        self.id("HEAD")
    }

    pub(crate) fn id(&self, name: &str) -> ObjectId {
        let hex = self.git(&["rev-parse", "--verify", name]);
        ObjectId::from_hex(hex.as_bytes()).unwrap()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Every ref.
    pub(crate) fn refs(&self) -> String {
        self.git(&["for-each-ref"])
    }

    pub(crate) fn fsck(&self) {
        let (clean, said) = self.try_git(&["fsck", "--strict", "--no-dangling"]);
        assert!(clean && !said.contains("error"), "{said}");
    }
}

pub(crate) struct Fixture {
    root: tempfile::TempDir,
    pub(crate) base: Base,
    pub(crate) user: Repo,
    /// Its worktree is the workspace's upper layer.
    pub(crate) session: Repo,
    pub(crate) git: Git,
}

#[allow(dead_code, reason = "each test binary uses a part of it")]
impl Fixture {
    pub(crate) fn new() -> Self {
        Self::of_format("sha1")
    }

    pub(crate) fn of_format(format: &str) -> Self {
        let root = open_directory();
        let user = Repo(root.path().join("user"));
        fs::create_dir(&user.0).unwrap();
        let object_format = format!("--object-format={format}");
        user.git(&["init", "--quiet", "-b", "main", &object_format]);
        user.commit("README", "first\n");
        user.commit("src/lib.rs", "fn main() {}\n".repeat(200));
        Self::around(root, user, format)
    }

    /// `user` is a repository below `root`.
    pub(crate) fn around(root: tempfile::TempDir, user: Repo, format: &str) -> Self {
        let absolute = |what: &str| {
            let path = user.git(&["rev-parse", "--path-format=absolute", what]);
            PathBuf::from(path)
        };
        let common_dir = absolute("--git-common-dir");
        let base = Base {
            worktree: user.0.clone(),
            git_dir: absolute("--git-dir"),
            objects: vec![common_dir.join("objects")],
            common_dir,
            object_format: format.to_owned(),
            head: Head::Branch("main".to_owned()),
            commit: Some(user.git(&["rev-parse", "HEAD"])),
            tree: Some(user.git(&["rev-parse", "HEAD^{tree}"])),
            branch: "wardian/a".to_owned(),
            auto_crlf: None,
            eol: None,
        };
        let session = Self::session(root.path(), &user, &base, format);
        Self {
            git: Git::find("/usr/local/bin:/usr/bin".as_ref()).unwrap(),
            root,
            base,
            user,
            session,
        }
    }

    fn session(root: &Path, user: &Repo, base: &Base, format: &str) -> Repo {
        let workspace = root.join("state/workspaces/0");
        let session = Repo(workspace.join("upper"));
        fs::create_dir_all(&session.0).unwrap();
        let object_format = format!("--object-format={format}");
        session.git(&["init", "--quiet", "-b", "wardian/a", &object_format]);
        let alternates = format!("{}\n", base.objects[0].display());
        session.write(".git/objects/info/alternates", alternates);
        if let Ok(text) = fs::read(base.common_dir.join("shallow")) {
            session.write(".git/shallow", text);
        }
        let refs = user.git(&["for-each-ref", "--format=%(objectname) %(refname)"]);
        fs::write(workspace.join("base.refs"), format!("{refs}\n")).unwrap();
        session.write(".git/packed-refs", format!("{refs}\n"));
        session.git(&["update-ref", "HEAD", base.commit.as_ref().unwrap()]);
        // In a partial clone there is nothing to check out.
        session.try_git(&["reset", "--quiet", "--hard"]);
        session
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.root().join("state/workspaces/0")
    }

    pub(crate) fn open(&self) -> SessionRepository {
        SessionRepository::open(&self.workspace()).unwrap()
    }

    pub(crate) fn bring(&self, tip: ObjectId, name: &str) -> Result<Brought, TransferError> {
        self.bring_over(tip, name, None)
    }

    pub(crate) fn bring_over(
        &self,
        tip: ObjectId,
        name: &str,
        expected: Option<ObjectId>,
    ) -> Result<Brought, TransferError> {
        let wanted = [Wanted {
            tip,
            name: full_name(name),
            expected,
        }];
        let session = self.open();
        bring(
            &self.git,
            &self.base,
            &session,
            &wanted,
            &signature(),
            "wardian: apply a",
        )
    }

    /// Nothing of ours is in the user's repository but what was asked for.
    pub(crate) fn assert_no_leftovers(&self) {
        let find = |directory: &Path| {
            let mut found = Vec::new();
            let mut todo = vec![directory.to_owned()];
            while let Some(directory) = todo.pop() {
                for entry in fs::read_dir(directory).unwrap() {
                    let entry = entry.unwrap();
                    let name = entry.file_name().to_string_lossy().into_owned();
                    let odd = ["tmp_", "wardian-"]
                        .iter()
                        .any(|prefix| name.starts_with(prefix))
                        || [".lock", ".keep"]
                            .iter()
                            .any(|suffix| name.ends_with(suffix));
                    if odd {
                        found.push(entry.path());
                    }
                    if entry.file_type().unwrap().is_dir() {
                        todo.push(entry.path());
                    }
                }
            }
            found
        };
        assert_eq!(find(&self.base.common_dir), Vec::<PathBuf>::new());
    }
}

pub(crate) fn signature() -> Signature {
    Signature {
        name: "Ada".to_owned(),
        email: "ada@example.com".to_owned(),
    }
}

pub(crate) fn full_name(name: &str) -> FullName {
    FullName::try_from(name).unwrap()
}

/// A temporary directory that everybody can enter.
pub(crate) fn open_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}
