//! What of this machine no sandbox may see: secrets, other users' files, sockets that lead out.

use std::fs;
use std::path::{Path, PathBuf};

/// Below the home. A sandbox makes none of these itself.
const IN_HOME: [&str; 46] = [
    ".aws",
    ".azure",
    ".bash_history",
    ".bashrc",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".claude.json",
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".config/chromium",
    ".config/gcloud",
    ".config/gh",
    ".config/git/credentials",
    ".config/github-copilot",
    ".config/google-chrome",
    ".config/op",
    ".config/rclone",
    ".config/sops",
    ".config/wardian",
    ".docker/config.json",
    ".gem/credentials",
    ".gemini/oauth_creds.json",
    ".git-credentials",
    ".gitconfig",
    ".gnupg",
    ".kube",
    ".local/share/keyrings",
    ".local/share/opencode/auth.json",
    ".m2/settings.xml",
    ".mozilla/firefox/profiles.ini",
    ".mysql_history",
    ".netrc",
    ".npmrc",
    ".password-store",
    ".pgpass",
    ".profile",
    ".psql_history",
    ".pypirc",
    ".python_history",
    ".ssh",
    ".terraform.d",
    ".thunderbird",
    ".vault-token",
    ".viminfo",
    ".zsh_history",
    ".zshrc",
];

const IN_SYSTEM: [&str; 26] = [
    "/boot",
    "/dev/kmsg",
    "/dev/kvm",
    "/dev/mem",
    "/dev/sda",
    "/dev/vda",
    "/etc/gshadow",
    "/etc/shadow",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/sudoers",
    "/lost+found",
    "/run/containerd/containerd.sock",
    "/run/dbus/system_bus_socket",
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/systemd/private",
    "/run/user",
    "/sys/fs/cgroup",
    "/sys/kernel",
    "/var/backups",
    "/var/lib/docker",
    "/var/log/auth.log",
    "/var/log/btmp",
    "/var/log/journal",
    "/var/log/syslog",
    "/var/spool/cron",
];

/// Variables that name sockets.
const SOCKETS: [&str; 4] = [
    "SSH_AUTH_SOCK",
    "GPG_AGENT_INFO",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
];

/// Those that exist here, and so can be missing inside.
pub(super) fn paths(home: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = IN_HOME.iter().map(|path| home.join(path)).collect();
    paths.extend(IN_SYSTEM.iter().map(PathBuf::from));
    paths.extend(
        SOCKETS
            .iter()
            .filter_map(std::env::var_os)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute()),
    );
    paths.extend(temporary_sockets());
    paths.extend(other_homes(home));
    paths.sort();
    paths.dedup();
    // Told to the program inside as text.
    paths.retain(|path| path.to_str().is_some() && fs::symlink_metadata(path).is_ok());
    paths
}

/// The directories in which tmux, ssh-agent, X and others keep their sockets.
fn temporary_sockets() -> Vec<PathBuf> {
    let entries = fs::read_dir("/tmp").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            [".X11-unix", ".ICE-unix", "tmux-", "ssh-", "dbus-"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        })
        .map(|entry| entry.path())
        .collect()
}

fn other_homes(home: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir("/home").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .chain([PathBuf::from("/root")])
        .filter(|other| !home.starts_with(other))
        .collect()
}
