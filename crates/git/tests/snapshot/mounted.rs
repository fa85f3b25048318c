//! A snapshot mounted by a real kernel, with real git at work in it: as root, and as an ordinary user in a
//! user namespace.
//!
//! Each test runs its own program again, twice: to make a repository, and to work in the session's view
//! of it in a mount namespace that ends with it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use wardian_filesystem::snapshot::{
    Answer, Child, Content, Facts, Node, Owner, Snapshot, Source, Taken,
};
use wardian_git::snapshot::{Conversion, HeadTree, WorkTree};
use wardian_linux::mount::{Depth, DetachedMount, make_private};

use crate::fixture::{Repository, assert_same, entries, git, noise};

/// An ordinary user of the host.
const ORDINARY: u32 = 60_123;
const PHASE: &str = "WARDIAN_TEST_PHASE";
const PLACE: &str = "WARDIAN_TEST_PLACE";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    Root,
    /// Root of a user namespace of its own.
    User,
}

/// Runs `prepare` as the user, then `inside` in namespaces of its own.
fn run(test: &str, who: As, prepare: impl FnOnce(&Repository), inside: impl FnOnce(&Session)) {
    match std::env::var(PHASE).as_deref() {
        Ok("prepare") => {
            let repository = Repository::at(&place());
            prepare(&repository);
            Session::prepare(&repository);
        }
        Ok(_) => inside(&Session::mount(Repository::existing(&place()))),
        Err(_) => {
            let directory = tempfile::tempdir().unwrap();
            if who == As::User {
                chown(directory.path(), Some(ORDINARY), Some(ORDINARY)).unwrap();
            }
            again(test, who, "prepare", directory.path());
            again(test, who, "inside", directory.path());
        }
    }
}

fn place() -> PathBuf {
    std::env::var_os(PLACE).unwrap().into()
}

fn again(test: &str, who: As, phase: &str, place: &Path) {
    let id = ORDINARY.to_string();
    let mut words: Vec<&str> = Vec::new();
    if who == As::User {
        words.extend(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
    }
    match (phase, who) {
        ("prepare", _) => {}
        (_, As::Root) => words.extend(["unshare", "--mount"]),
        (_, As::User) => words.extend(["unshare", "--mount", "--map-root-user"]),
    }
    let program = std::env::current_exe().unwrap();
    words.push(program.to_str().unwrap());
    words.extend(["--exact", test, "--nocapture"]);
    let output = Command::new(words[0])
        .args(&words[1..])
        .current_dir("/")
        .env(PHASE, phase)
        .env(PLACE, place)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    let ran = output.status.success() && printed.contains("1 passed");
    assert!(ran, "{who:?}, {phase}:\n{printed}\n{errors}");
}

/// What a sandbox has: the user's work tree covered by the session's own view of it.
struct Session {
    repository: Repository,
    reads: Reads,
    _mounts: Vec<OwnedFd>,
}

/// Which nodes were read.
type Reads = Arc<Mutex<BTreeSet<Node>>>;

struct Counting {
    tree: WorkTree,
    reads: Reads,
}

impl Session {
    /// A `.git` that has the index and reads the user's objects elsewhere.
    fn prepare(repository: &Repository) {
        let path = repository.path();
        let original = path.join("original");
        let copied = Command::new("cp")
            .arg("-a")
            .args([repository.worktree(), original])
            .status();
        assert!(copied.unwrap().success());
        for name in ["upper", "work", "lower", "objects"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        let upper = path.join("upper");
        git(&upper, &["init", "-q", "-b", "session"]);
        let alternates = upper.join(".git/objects/info/alternates");
        fs::write(alternates, path.join("objects").to_str().unwrap()).unwrap();
        let head = repository.git(&["rev-parse", "HEAD"]);
        // By hand: the objects come later.
        fs::write(upper.join(".git/refs/heads/session"), head + "\n").unwrap();
        let index = repository.git_dir().join("index");
        fs::copy(&index, repository.state().join("base.index")).unwrap();
        fs::write(repository.state().join("base.json"), "").unwrap();
        // The uid and the inode number may be others inside.
        git(&upper, &["config", "core.checkStat", "minimal"]);
    }

    fn mount(repository: Repository) -> Self {
        make_private().unwrap();
        let base = repository.base();
        let report = |trouble| panic!("{trouble}");
        let tree = HeadTree::open(&repository.state(), &base, Conversion::default(), report);
        let reads = Reads::default();
        let source = Counting {
            tree: WorkTree::new(tree.unwrap()),
            reads: reads.clone(),
        };
        let path = repository.path();
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = OwnedFd::from(device.unwrap());
        let lower = DetachedMount::fuse(device.as_fd(), (0, 0)).unwrap();
        let owner = Owner { uid: 0, gid: 0 };
        Snapshot { source, owner }.serve(device, |_| {}).unwrap();
        let lower = lower.attach_at(&path.join("lower")).unwrap();

        let objects = repository.git_dir().join("objects");
        let objects = DetachedMount::bind(&objects, Depth::ThisMount).unwrap();
        let objects = objects.attach_at(&path.join("objects")).unwrap();
        let upper = File::open(path.join("upper")).unwrap();
        let work = File::open(path.join("work")).unwrap();
        let view = DetachedMount::overlay(&[lower.as_fd()], upper.as_fd(), work.as_fd()).unwrap();
        let view = view.attach_at(&repository.worktree()).unwrap();
        Self {
            repository,
            reads,
            _mounts: vec![lower, objects, view],
        }
    }

    fn view(&self) -> PathBuf {
        self.repository.worktree()
    }

    fn git(&self, arguments: &[&str]) -> String {
        self.repository.git(arguments)
    }

    fn sh(&self, script: &str) -> String {
        let output = Command::new("sh")
            .args(["-ec", script])
            .current_dir(self.view())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let errors = text(&output.stderr);
        assert!(output.status.success(), "{script}: {errors}");
        text(&output.stdout)
    }
}

impl Source for Counting {
    fn facts(&self, node: Node) -> Answer<Facts> {
        self.tree.facts(node)
    }

    fn look_up(&self, directory: Node, name: &OsStr) -> Answer<Node> {
        self.tree.look_up(directory, name)
    }

    fn list(
        &self,
        directory: Node,
        from: u64,
        take: &mut dyn FnMut(Child<'_>) -> Taken,
    ) -> Answer<()> {
        self.tree.list(directory, from, take)
    }

    fn content(&self, node: Node) -> Answer<Content> {
        self.reads.lock().unwrap().insert(node);
        self.tree.content(node)
    }
}

fn fill(repository: &Repository) {
    repository.write(".gitignore", "*.o\n");
    repository.write("README", "read me\n");
    repository.write("empty", "");
    repository.write_executable("bin/run", "#!/bin/sh\necho run \"$0\"\n");
    let program = fs::read("/bin/true").unwrap();
    repository.write_executable("bin/true", program);
    for number in 0..300 {
        repository.write(
            &format!("many/{}/file-{number}", number % 7),
            number.to_string(),
        );
    }
    repository.write("large", noise(9_000_001));
    repository.write(&format!("{}deep", "d/".repeat(60)), "deep");
    repository.link("link", "README");
    repository.commit();
    repository.git(&["gc", "-q"]);
}

fn git_finds_nothing_to_do(session: &Session) {
    assert_eq!(session.git(&["status", "--porcelain"]), "");
    let read: Vec<_> = session.reads.lock().unwrap().iter().copied().collect();
    let names = [".gitignore", ".gitattributes"];
    let [ignore, index] = [names[0], ".git/index"].map(|name| {
        let status = session.view().join(name).metadata();
        Node(status.unwrap().ino())
    });
    assert_eq!(read, [index, ignore], "git reads no file but its own");
    assert_eq!(session.git(&["diff", "HEAD"]), "");

    // Control: what was written is found.
    session.sh("echo more >> README");
    assert_eq!(session.git(&["status", "--porcelain"]), " M README");
}

fn the_index_can_be_replaced_and_removed(session: &Session) {
    let below = session.repository.path().join("lower/.git/index");
    let before = fs::read(&below).unwrap();
    let original = session.repository.path().join("original/.git/index");
    assert_eq!(before, fs::read(original).unwrap());
    session
        .sh("touch README && rm empty && git add -A && test $(git ls-files | grep -c empty) = 0");
    session.sh("rm .git/index && test -z \"$(ls .git | grep index)\" && git reset -q");
    assert_eq!(session.git(&["status", "--porcelain"]), " D empty");
    session.sh(
        "rm -r .git && test ! -e .git && test -e README && git init -q && test ! -e .git/index",
    );
    assert_eq!(fs::read(&below).unwrap(), before);
}

fn files_are_those_of_a_checkout(session: &Session) {
    let original = session.repository.path().join("original");
    assert_same(&entries(&session.view()), &entries(&original));
    let compare = format!("diff -r --no-dereference -x .git . {}", original.display());
    assert_eq!(session.sh(&compare), "");
    assert_eq!(session.sh("bin/run"), "run bin/run");
    session.sh("bin/true");
    let hash = session.git(&["hash-object", "large"]);
    assert_eq!(hash, session.git(&["rev-parse", "HEAD:large"]));
    let status = session.view().join("large").metadata().unwrap();
    assert_eq!(
        (status.uid(), status.gid(), status.mode()),
        (0, 0, 0o100644)
    );
    session.sh("cp -a . ../copy && diff -r --no-dereference . ../copy");
    // What was not there, and what may not be written in the lower layer.
    session.sh("test ! -e nothing && test ! -e nothing");
    session.sh("! touch ../lower/new 2> /dev/null && ! rm -f ../lower/README 2> /dev/null");
}

fn git_works(session: &Session) {
    session.sh("echo changed > README; rm empty; chmod -x bin/run; echo new > many/new");
    session.sh("mv many/0 elsewhere; ln -sf large link; rm -r d; mkdir d; echo d > d/d");
    session.git(&["mv", "large", "larger"]);
    session.git(&["add", "-A"]);
    session.git(&["commit", "-q", "-m", "All kinds of changes"]);
    assert_eq!(session.git(&["status", "--porcelain"]), "");
    let copy = session.repository.path().join("clone");
    session.git(&["clone", "-q", ".", copy.to_str().unwrap()]);
    session.sh("diff -r --no-dereference -x .git . ../clone");

    session.git(&["checkout", "-q", "HEAD~1"]);
    let original = session.repository.path().join("original");
    let compare = format!("diff -r --no-dereference -x .git . {}", original.display());
    assert_eq!(session.sh(&compare), "");
    session.git(&["checkout", "-q", "session"]);
    session.sh("diff -r --no-dereference -x .git . ../clone");
    session.git(&["reset", "-q", "--hard", "HEAD~1"]);
    session.git(&["stash", "list"]);
    session.git(&["clean", "-fdq"]);
    assert_eq!(session.git(&["status", "--porcelain"]), "");
    session.git(&["fsck"]);
}

/// The index of these was written with other line endings, or says nothing as a program was involved.
fn fill_with_wrong_sizes(repository: &Repository) {
    repository.write("shrinks", "one\ntwo\n".repeat(1000));
    repository.write(".gitattributes", "*.key filter=secret text eol=crlf\n");
    repository.write("grows.key", "one\ntwo\n".repeat(1000));
    repository.commit();
    repository.git(&["config", "core.autocrlf", "true"]);
    repository.git(&["rm", "-q", "--cached", "shrinks"]);
    repository.git(&["reset", "-q", "--hard"]);
}

fn sizes_are_put_right(session: &Session) {
    let size = |name| session.view().join(name).metadata().unwrap().len();
    assert_eq!(
        (size("shrinks"), size("grows.key")),
        (10_000, 8_000),
        "control"
    );
    for (name, line_length) in [("shrinks", 4), ("grows.key", 5)] {
        let read = fs::read(session.view().join(name)).unwrap();
        assert_eq!(read.len(), 2000 * line_length, "{name}");
        assert_eq!(size(name), read.len() as u64, "{name}");
        assert_eq!(read, fs::read(session.view().join(name)).unwrap());
    }
}

macro_rules! as_root_and_user {
    ($($name:ident($prepare:ident);)*) => {
        mod root {
            $(#[test]
            fn $name() {
                let test = concat!("mounted::root::", stringify!($name));
                super::run(test, super::As::Root, super::$prepare, super::$name);
            })*
        }

        mod user {
            $(#[test]
            fn $name() {
                let test = concat!("mounted::user::", stringify!($name));
                super::run(test, super::As::User, super::$prepare, super::$name);
            })*
        }
    };
}

as_root_and_user! {
    git_finds_nothing_to_do(fill);
    the_index_can_be_replaced_and_removed(fill);
    files_are_those_of_a_checkout(fill);
    git_works(fill);
    sizes_are_put_right(fill_with_wrong_sizes);
}
