//! Paths of the host that a sandbox may see, read-only.

use std::fmt;

/// A path that is visible inside at the same place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VisiblePath {
    /// Relative to the user's home, without leading slash.
    Home(String),
    /// Absolute.
    Absolute(String),
}

/// Why a path cannot be made visible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VisiblePathError {
    /// Neither `/...` nor `~/...`.
    #[error("a visible path begins with `/` or `~/`")]
    Relative,
    /// `.`, `..`, `//` or control characters.
    #[error("a visible path has no `.`, `..`, empty or unprintable parts")]
    NotPlain,
    /// The whole home, the root, or a kernel file system.
    #[error("`{0}` is too much to show to a sandbox: name what it needs below it")]
    TooWide(String),
    /// A place where programs keep secrets.
    #[error("`{path}` would show `{secret}`, where secrets are kept")]
    Secret {
        /// As written.
        path: String,
        /// The known place of secrets.
        secret: &'static str,
    },
}

/// Where programs keep secrets, relative to a home.
const SECRETS: &[&str] = &[
    ".aws",
    ".azure",
    ".bash_history",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".claude.json",
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".config/BraveSoftware",
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
    ".docker",
    ".gem/credentials",
    ".gemini/oauth_creds.json",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".local/share/keyrings",
    ".local/share/opencode/auth.json",
    ".local/share/wardian",
    ".local/state/wardian",
    ".m2/settings.xml",
    ".mozilla",
    ".netrc",
    ".npmrc",
    ".password-store",
    ".pgpass",
    ".pypirc",
    ".ssh",
    ".terraform.d",
    ".thunderbird",
    ".vault-token",
    ".zsh_history",
];

/// Absolute paths that are never shown as a whole, with everything below where that is no better.
const TOO_WIDE: &[&str] = &[
    "/", "/home", "/root", "/var", "/etc", "/mnt", "/media", "/srv",
];
const NEVER: &[&str] = &[
    "/proc", "/sys", "/dev", "/run", "/var/run", "/tmp", "/var/tmp",
];

impl VisiblePath {
    /// Parses `~/.local/bin` or `/opt/tool`; one trailing slash is dropped.
    pub fn parse(text: &str) -> Result<Self, VisiblePathError> {
        let trimmed = match text.strip_suffix('/') {
            Some(shorter) if !shorter.is_empty() => shorter,
            _ => text,
        };
        let too_wide = || VisiblePathError::TooWide(text.to_owned());
        if trimmed == "~" || trimmed == "/" {
            return Err(too_wide());
        }
        let (parts, path) = if let Some(relative) = trimmed.strip_prefix("~/") {
            (relative, Self::Home(relative.to_owned()))
        } else if let Some(relative) = trimmed.strip_prefix('/') {
            (relative, Self::Absolute(trimmed.to_owned()))
        } else {
            return Err(VisiblePathError::Relative);
        };
        let plain = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && !part.chars().any(char::is_control)
        };
        if !parts.split('/').all(plain) {
            return Err(VisiblePathError::NotPlain);
        }
        if matches!(path, Self::Absolute(_)) {
            let a_home = trimmed.starts_with("/home/") && parts.split('/').count() == 2;
            if a_home
                || TOO_WIDE.contains(&trimmed)
                || NEVER.iter().any(|place| is_within(trimmed, place))
            {
                return Err(too_wide());
            }
        }
        match SECRETS.iter().find(|secret| shows(&path, parts, secret)) {
            Some(secret) => Err(VisiblePathError::Secret {
                path: text.to_owned(),
                secret,
            }),
            None => Ok(path),
        }
    }
}

/// Whether the path is, holds, or lies in the place of a secret. Any directory may be somebody's home, so an absolute
/// path is searched at every depth.
fn shows(path: &VisiblePath, parts: &str, secret: &str) -> bool {
    match path {
        VisiblePath::Home(_) => is_within(parts, secret) || is_within(secret, parts),
        VisiblePath::Absolute(_) => {
            let mut tail = Some(parts);
            while let Some(relative) = tail {
                if is_within(relative, secret) {
                    return true;
                }
                tail = relative.split_once('/').map(|(_, rest)| rest);
            }
            false
        }
    }
}

fn is_within(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Display for VisiblePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home(path) => write!(f, "~/{path}"),
            Self::Absolute(path) => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_places_are_shown() {
        for (text, shown) in [
            ("~/.local/bin", "~/.local/bin"),
            ("~/.cargo/bin/", "~/.cargo/bin"),
            ("~/.claude/local", "~/.claude/local"),
            ("/opt/tool", "/opt/tool"),
            ("/home/ada/tools", "/home/ada/tools"),
        ] {
            assert_eq!(VisiblePath::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn secrets_are_not_shown_in_any_spelling() {
        for text in [
            "~",
            "~/",
            "/",
            "~/.ssh",
            "~/.ssh/id_ed25519",
            "~/.ssh/",
            "~/.config",
            "~/.cargo",
            "~/.claude",
            "~/.codex",
            "~/.docker/config.json",
            "~/.netrc",
            "/home/ada",
            "/home/ada/",
            "/home/ada/.ssh",
            "/data/homes/ada/.aws/credentials",
            "/root",
            "/proc/1/root",
            "/run",
            "/dev/mem",
            "/etc",
            "~/../ada",
            "~/./.ssh",
            "~//.ssh",
            "a/b",
            "",
            "~root/.x",
            "~/a\nb",
            "~/a\0b",
        ] {
            assert!(VisiblePath::parse(text).is_err(), "{text:?}");
        }
    }
}
