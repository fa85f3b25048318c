use std::env;
use std::path::{Path, PathBuf};

/// Where the user's own git configuration lies, and whom the user trusts to own a repository.
///
/// The only part of the environment that counts: `GIT_DIR`, `GIT_INDEX_FILE` and their like are set
/// when git itself started us, from a hook or an alias, and would lead to another repository.
#[derive(Debug, Clone, Default)]
pub struct Places {
    pub home: Option<PathBuf>,
    /// Configuration of the machine, in the order in which git reads it.
    pub system: Vec<PathBuf>,
    /// Configuration of the user, in the order in which git reads it.
    pub user: Vec<PathBuf>,
    /// User-level patterns of files to ignore, unless `core.excludesFile` names others.
    pub ignore: Option<PathBuf>,
    /// Owners of repositories that are taken without `safe.directory`.
    pub owners: Vec<u32>,
}

impl Places {
    /// Those of the user who runs this process, see "FILES" in git-config(1).
    ///
    /// `/etc/gitconfig` is the system's, wherever git was built to look: to ask git is to execute it.
    pub fn of_process() -> Self {
        let path = |name: &str| {
            let value = env::var_os(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        let home = path("HOME");
        let below_home = home.as_ref().map(|home| home.join(".config"));
        let directory = path("XDG_CONFIG_HOME").or(below_home);
        let directory = directory.map(|directory| directory.join("git"));
        let system = path("GIT_CONFIG_SYSTEM").unwrap_or_else(|| "/etc/gitconfig".into());
        let without_system = path("GIT_CONFIG_NOSYSTEM").is_some_and(|value| {
            !["0", "false", "no", "off"]
                .iter()
                .any(|no| value == Path::new(no))
        });
        let user = match path("GIT_CONFIG_GLOBAL") {
            Some(only) => vec![only],
            None => {
                let first = directory.as_ref().map(|directory| directory.join("config"));
                let second = home.as_ref().map(|home| home.join(".gitconfig"));
                first.into_iter().chain(second).collect()
            }
        };
        Self {
            home,
            system: if without_system { vec![] } else { vec![system] },
            user,
            ignore: directory.map(|directory| directory.join("ignore")),
            owners: owners(),
        }
    }
}

/// Oneself, and for root whoever became root by `sudo`, as git has it.
fn owners() -> Vec<u32> {
    let own = rustix::process::geteuid().as_raw();
    let by_sudo = || env::var("SUDO_UID").ok()?.parse().ok();
    let other = if own == 0 { by_sudo() } else { None };
    [own].into_iter().chain(other).collect()
}
