//! What of the caller's environment the program gets: what describes the terminal, the language and
//! the toolchain. Everything else stays outside, for variables are where people keep secrets.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use wardian_sandbox::SandboxName;
use wardian_sandbox::image::{CA_BUNDLE, CA_VARIABLES};
use wardian_sandbox::spec::{Account, User};

/// Passed on as they are. Each is about how things look or where tools are, never who one is.
const PASSED: [&str; 37] = [
    "ASDF_DATA_DIR",
    "ASDF_DIR",
    "BUN_INSTALL",
    "CARGO_HOME",
    "COLORTERM",
    "DENO_INSTALL",
    "EDITOR",
    "FNM_DIR",
    "FORCE_COLOR",
    "GOPATH",
    "GOROOT",
    "JAVA_HOME",
    "LANG",
    "LANGUAGE",
    "LESS",
    "MISE_DATA_DIR",
    "NO_COLOR",
    "NVM_BIN",
    "NVM_DIR",
    "N_PREFIX",
    "PAGER",
    "PATH",
    "PNPM_HOME",
    "PYENV_ROOT",
    "RBENV_ROOT",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "SDKMAN_DIR",
    "TERM",
    "TERM_PROGRAM",
    "TERM_PROGRAM_VERSION",
    "TZ",
    "UV_PYTHON",
    "VIRTUAL_ENV",
    "VISUAL",
    "VOLTA_HOME",
    "CLICOLOR",
];

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The search path by which the program is found, outside and inside.
pub(super) fn search_path() -> OsString {
    std::env::var_os("PATH")
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| DEFAULT_PATH.into())
}

/// The program's variables before the policy adds its own.
pub(super) fn base(name: &SandboxName, user: &User, account: Account) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| is_passed(name))
        .collect();
    set(&mut variables, "PATH", search_path());
    let login = match account {
        Account::User => user.name.as_str(),
        Account::Superuser => "root",
    };
    for (name, value) in [
        ("HOME", user.home.as_os_str()),
        ("USER", OsStr::new(login)),
        ("LOGNAME", OsStr::new(login)),
        ("SHELL", OsStr::new(shell())),
        ("WARDIAN_SANDBOX", OsStr::new(name.as_str())),
    ] {
        set(&mut variables, name, value.to_owned());
    }
    for name in CA_VARIABLES {
        set(&mut variables, name, CA_BUNDLE.into());
    }
    variables
}

/// Sets a variable, replacing an earlier value.
pub(super) fn set(
    variables: &mut Vec<(OsString, OsString)>,
    name: impl Into<OsString>,
    value: OsString,
) {
    let name = name.into();
    variables.retain(|(known, _)| *known != name);
    variables.push((name, value));
}

fn is_passed(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| name.starts_with("LC_") || PASSED.contains(&name))
}

fn shell() -> &'static str {
    if Path::new("/bin/bash").exists() {
        "/bin/bash"
    } else {
        "/bin/sh"
    }
}
