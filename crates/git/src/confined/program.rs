//! Which git, and what of the host it needs to run.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{ConfinedError, View};

/// The oldest git that has every command and check used here.
pub const MINIMUM_VERSION: Version = Version(2, 34);

/// Major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Version {
    /// `git version 2.39.5 (Apple Git-154)`
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.strip_prefix("git version ")?.split(['.', ' ', '\n']);
        let mut next = || numbers.next()?.parse().ok();
        Some(Self(next()?, next()?))
    }
}

/// A git that runs in a jail; it was tried.
#[derive(Debug, Clone)]
pub struct Git {
    pub(super) program: PathBuf,
    /// What must be visible besides the system's directories.
    pub(super) installation: Option<PathBuf>,
    version: Version,
}

/// Directories of the system, where they exist. Links between them are kept.
pub(super) const SYSTEM: [&str; 7] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
];

/// Where every program needs libraries of other packages beside its own.
const STORES: [&str; 3] = ["/nix/store", "/gnu/store", "/home/linuxbrew/.linuxbrew"];

impl Git {
    /// The first git of `search`, a list such as `PATH`, that runs in a jail and is new enough. The system's own
    /// comes last, for whoever has a script in the place of git.
    pub fn find(search: &OsStr) -> Result<Self, ConfinedError> {
        let mut refused = ConfinedError::Missing;
        for program in candidates(search) {
            match Self::at(program) {
                Ok(git) => return Ok(git),
                // No other git would change that.
                Err(error @ ConfinedError::Jail(_)) => refused = error,
                Err(error @ ConfinedError::TooOld { .. }) => refused = error,
                Err(_) => {}
            }
        }
        Err(refused)
    }

    fn at(program: PathBuf) -> Result<Self, ConfinedError> {
        let mut git = Self {
            installation: installation(&program),
            program,
            version: MINIMUM_VERSION,
        };
        let view = View::empty();
        let said = git.on(&view).output(["version"], 1 << 10)?;
        let said = String::from_utf8_lossy(&said);
        git.version = Version::parse(&said).ok_or_else(|| ConfinedError::Unexpected {
            command: "version".to_owned(),
            output: said.clone().into_owned(),
        })?;
        if git.version < MINIMUM_VERSION {
            return Err(ConfinedError::TooOld {
                program: git.program,
                found: git.version,
            });
        }
        Ok(git)
    }

    pub fn version(&self) -> Version {
        self.version
    }
}

/// Without symlinks, each once.
fn candidates(search: &OsStr) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let system = ["/usr/bin", "/bin", "/usr/local/bin"].map(PathBuf::from);
    for directory in std::env::split_paths(search).chain(system) {
        if !directory.is_absolute() {
            continue;
        }
        if let Ok(program) = directory.join("git").canonicalize()
            && is_executable(&program)
            && !found.contains(&program)
        {
            found.push(program);
        }
    }
    found
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn installation(program: &Path) -> Option<PathBuf> {
    if SYSTEM
        .iter()
        .any(|directory| program.starts_with(directory))
    {
        return None;
    }
    if let Some(store) = STORES.iter().find(|store| program.starts_with(store)) {
        return Some(PathBuf::from(store));
    }
    // `<prefix>/bin/git`: never more than what looks like git's, for the prefix may be somebody's home.
    let prefix = program.parent().and_then(Path::parent);
    let is_gits = |prefix: &&Path| {
        ["libexec/git-core", "lib/git-core"]
            .iter()
            .any(|place| prefix.join(place).is_dir())
    };
    Some(prefix.filter(is_gits).unwrap_or(program).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        let version = |text| Version::parse(text);
        assert_eq!(version("git version 2.39.5\n"), Some(Version(2, 39)));
        assert_eq!(
            version("git version 2.50.1 (Apple Git-155)\n"),
            Some(Version(2, 50))
        );
        assert_eq!(version("git version 2.48.0.rc1\n"), Some(Version(2, 48)));
        assert_eq!(version("hub version 2.14"), None);
        assert!(Version(2, 9) < MINIMUM_VERSION);
    }

    #[test]
    fn a_home_is_never_taken_for_an_installation() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("bin/git");
        assert_eq!(installation(&program).as_ref(), Some(&program));
        std::fs::create_dir_all(home.path().join("libexec/git-core")).unwrap();
        assert_eq!(installation(&program).as_deref(), Some(home.path()));
        assert_eq!(installation(Path::new("/usr/local/bin/git")), None);
        let store = installation(Path::new("/nix/store/abc-git-2.50/bin/git"));
        assert_eq!(store, Some("/nix/store".into()));
    }
}
