//! An account on this host, with a home and a project of its own, from which `wardian` is run.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::certificates::authority_pem;
use crate::mode::Mode;
use crate::process::{Finished, Input, Running};
use crate::residue;
use crate::run::Run;

/// Where `cargo xtask setup` puts agents and Python packages.
pub const TOOLS: &str = "/opt/wardian-tests";

/// The ordinary user of a suite that runs as root; made by `cargo xtask setup`.
const USER: &str = "wardian-test";

/// Most commands take far less; agents and package managers ask for more.
pub const LIMIT: Duration = Duration::from_secs(40);

/// Checks when dropped that nothing is left of what ran under it.
#[derive(Debug)]
pub struct Host {
    mode: Mode,
    base: tempfile::TempDir,
    uid: u32,
    gid: u32,
    /// Set by a test that leaves something behind on purpose.
    leaves_residue: std::cell::Cell<bool>,
}

fn suite_is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Host {
    pub fn new(mode: Mode) -> Self {
        assert!(
            mode == Mode::Rootless || suite_is_root(),
            "this test must run as root; `cargo xtask test --rootless-only` leaves such tests out"
        );
        let (uid, gid) = match mode {
            Mode::Rootless if suite_is_root() => test_user(),
            _ => (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
        };
        // Not below /tmp, of which a sandbox has its own.
        let homes = if suite_is_root() {
            PathBuf::from("/home")
        } else {
            std::env::home_dir().unwrap()
        };
        let base = tempfile::Builder::new()
            .prefix("wt.")
            .rand_bytes(8)
            .tempdir_in(homes)
            .unwrap();
        let this = Self {
            mode,
            base,
            uid,
            gid,
            leaves_residue: false.into(),
        };
        fs::set_permissions(this.base(), fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["home", "home/project", "run", "tmp"] {
            this.make_directory(&this.base().join(directory));
        }
        fs::set_permissions(this.base().join("run"), fs::Permissions::from_mode(0o700)).unwrap();
        this.write(&this.ca_file(), authority_pem());
        this
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub fn uid(&self) -> u32 {
        self.uid
    }

    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Holds all that belongs to this account.
    pub fn base(&self) -> &Path {
        self.base.path()
    }

    pub fn home(&self) -> PathBuf {
        self.base().join("home")
    }

    /// The current directory of commands, and so the workspace.
    pub fn project(&self) -> PathBuf {
        self.home().join("project")
    }

    /// The certificate of the authority that signs the origins' leaves.
    pub fn ca_file(&self) -> PathBuf {
        self.base().join("ca.pem")
    }

    pub fn state(&self, sandbox: &str) -> PathBuf {
        self.home()
            .join(".local/share/wardian/sandboxes")
            .join(sandbox)
    }

    /// Makes a file that belongs to the account.
    pub fn write(&self, path: &Path, content: impl AsRef<[u8]>) {
        if let Some(parent) = path.parent()
            && !parent.exists()
        {
            self.make_directory(parent);
        }
        fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.give(path);
    }

    /// An executable script or program.
    pub fn write_program(&self, path: &Path, content: impl AsRef<[u8]>) {
        self.write(path, content);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn make_directory(&self, path: &Path) {
        if let Some(parent) = path.parent()
            && !parent.exists()
        {
            self.make_directory(parent);
        }
        fs::create_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.give(path);
    }

    /// Makes the account the owner.
    pub fn give(&self, path: &Path) {
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid)).unwrap();
    }

    /// A program run as this account, without any sandbox: for controls and preparations.
    pub fn command<I: AsRef<std::ffi::OsStr>>(
        &self,
        words: impl IntoIterator<Item = I>,
    ) -> Command {
        let mut words = words.into_iter();
        let program = words.next().unwrap();
        let mut command = if self.mode == Mode::Rootless && suite_is_root() {
            let mut command = Command::new("/usr/bin/setpriv");
            command
                .arg(format!("--reuid={}", self.uid))
                .arg(format!("--regid={}", self.gid));
            command
                .args(["--init-groups", "--inh-caps=-all", "--"])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(words).current_dir(self.project()).env_clear();
        let name = if self.mode == Mode::Root {
            "root"
        } else {
            USER
        };
        command.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command
            .env("HOME", self.home())
            .env("USER", name)
            .env("LOGNAME", name)
            .env("SHELL", "/bin/bash");
        command
            .env("TERM", "dumb")
            .env("LANG", "C.UTF-8")
            .env("TMPDIR", self.base().join("tmp"));
        if self.mode == Mode::Rootless {
            command.env("XDG_RUNTIME_DIR", self.base().join("run"));
        }
        command
    }

    /// Runs without a sandbox.
    pub fn outside<I: AsRef<std::ffi::OsStr>>(
        &self,
        words: impl IntoIterator<Item = I>,
    ) -> Finished {
        Running::start(self.command(words), Input::Nothing).wait(LIMIT)
    }

    /// `wardian` with these arguments.
    pub fn wardian_command(&self, arguments: &[&str]) -> Command {
        let binary = wardian_binary();
        let mut words = vec![binary.as_os_str()];
        words.extend(arguments.iter().map(std::ffi::OsStr::new));
        self.command(words)
    }

    /// `wardian` with these arguments, to the end.
    pub fn wardian(&self, arguments: &[&str]) -> Finished {
        Running::start(self.wardian_command(arguments), Input::Nothing).wait(LIMIT)
    }

    /// A `wardian run` of `words`, still to be adjusted and started. The sandbox's name is unique on this host.
    pub fn run<S: Into<String>>(&self, words: impl IntoIterator<Item = S>) -> Run<'_> {
        Run::new(self, words.into_iter().map(Into::into).collect())
    }

    /// A `wardian run` of a shell script.
    pub fn shell(&self, script: &str) -> Run<'_> {
        self.run(["sh", "-c", script])
    }

    /// A `wardian run` of a Python program (Debian's, not one of a user's).
    pub fn python(&self, program: &str) -> Run<'_> {
        self.run(["/usr/bin/python3", "-c", program])
    }

    /// What is left of everything that ran here, once it had a moment to go.
    pub fn residue(&self) -> Vec<String> {
        residue::of(self.base())
    }

    pub fn leave_residue(&self) {
        self.leaves_residue.set(true);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let left = self.residue();
        residue::clear(self.base());
        if suite_is_root() || self.mode == Mode::Root {
            let _ = fs::remove_dir_all(self.base());
        }
        if !left.is_empty() && !self.leaves_residue.get() && !std::thread::panicking() {
            panic!("left behind:\n{}", left.join("\n"));
        }
    }
}

fn test_user() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd
        .lines()
        .find(|line| line.starts_with(&format!("{USER}:")));
    let line = line.unwrap_or_else(|| panic!("there is no user {USER}; run `cargo xtask setup`"));
    let ids: Vec<u32> = line
        .split(':')
        .skip(2)
        .take(2)
        .map(|field| field.parse().unwrap())
        .collect();
    (ids[0], ids[1])
}

/// The binary under test: `$WARDIAN_BIN`, or what the same `cargo` built beside this test. As root it is copied to
/// where the test user can run it, since a checkout may lie below a home that only its owner may enter.
pub fn wardian_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let built =
            std::env::var_os("WARDIAN_BIN").map_or_else(|| beside_us("wardian"), PathBuf::from);
        assert!(
            built.is_file(),
            "{} is not there; run `cargo build -p wardian-cli`",
            built.display()
        );
        if suite_is_root() {
            copy_for_all(&built)
        } else {
            built
        }
    })
}

/// A program built by the same `cargo` into the same directory.
pub fn beside_us(name: &str) -> PathBuf {
    let us = std::env::current_exe().unwrap();
    // target/<profile>/deps/e2e-<hash>
    us.parent().and_then(Path::parent).unwrap().join(name)
}

/// Puts a program below [`TOOLS`], which every user can read and every sandbox shows.
pub fn copy_for_all(program: &Path) -> PathBuf {
    let metadata = fs::metadata(program).unwrap();
    let directory = Path::new(TOOLS).join("bin");
    fs::create_dir_all(&directory).unwrap();
    let name = program.file_name().unwrap().to_string_lossy();
    // A name for each build: another test may be running the last one.
    let copy = directory
        .join(format!(
            "{name}-{}-{}.{}",
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec()
        ))
        .join(&*name);
    if copy.is_file() {
        return copy;
    }
    let version = copy.parent().unwrap().to_owned();
    forget_older(&directory, &format!("{name}-"));
    fs::create_dir_all(&version).unwrap();
    let temporary = version.join(format!("{name}.{}", std::process::id()));
    fs::copy(program, &temporary).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&temporary, &copy).unwrap();
    copy
}

/// Removes copies that no test of the last two hours made.
fn forget_older(directory: &Path, prefix: &str) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        if entry.file_name().to_string_lossy().starts_with(prefix)
            && old.is_some_and(|age| age > Duration::from_secs(7200))
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
