//! Files that are left outside for their names: logins and keys that programs, or people, keep beside settings.

/// Names before the first dot, in lower case, of data that is a secret.
const STEMS: [&str; 20] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "credential",
    "credentials",
    "git-credentials",
    "netrc",
    "npmrc",
    "passwd",
    "password",
    "passwords",
    "pgpass",
    "pypirc",
    "refresh_token",
    "secret",
    "secrets",
    "token",
    "tokens",
];

/// Names that begin so are secrets, as data.
const BEGINNINGS: [&str; 4] = [
    "oauth",
    "client_secret",
    "service-account",
    "service_account",
];

/// Endings of data, in which a secret would stand. A program of such a name is about secrets and holds none.
const DATA: [&str; 16] = [
    "",
    "bak",
    "cfg",
    "conf",
    "db",
    "env",
    "ini",
    "json",
    "jsonc",
    "old",
    "properties",
    "sqlite",
    "toml",
    "xml",
    "yaml",
    "yml",
];

/// Endings of keys and stores of keys.
const KEYS: [&str; 8] = ["jks", "kdbx", "key", "keystore", "p12", "pem", "pfx", "ppk"];

/// Variants of `.env` that are made to be shown.
const EXAMPLES: [&str; 5] = ["dist", "example", "sample", "template", "tmpl"];

pub(super) fn could_hold_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let bare = name.strip_prefix('.').unwrap_or(&name);
    let (stem, _) = bare.split_once('.').unwrap_or((bare, ""));
    let ending = bare.rsplit_once('.').map_or("", |(_, ending)| ending);
    if stem == "env" && name.starts_with('.') || ending == "env" {
        return !EXAMPLES.contains(&ending);
    }
    let is_data = DATA.contains(&ending);
    let is_private_key = stem.starts_with("id_") && ending != "pub";
    KEYS.contains(&ending)
        || is_data && (STEMS.contains(&stem) || is_private_key)
        || is_data && BEGINNINGS.iter().any(|start| stem.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in [
            ".credentials.json",
            "credentials.json",
            "auth.json",
            "Auth.JSON",
            "oauth_creds.json",
            "oauth",
            "token",
            "tokens.json",
            ".env",
            ".env.local",
            "prod.env",
            "id_ed25519",
            "server.pem",
            "tls.key",
            ".netrc",
            ".npmrc",
            ".git-credentials",
            "client_secret_123.json",
            "secrets.yaml",
        ] {
            assert!(could_hold_a_secret(name), "{name}");
        }
        for name in [
            "SKILL.md",
            "oauth.md",
            "auth.py",
            "tokens.ts",
            "design-tokens.json",
            ".env.example",
            "environment.json",
            "id_ed25519.pub",
            "settings.json",
            "author.json",
            "keys.md",
            "",
            ".",
        ] {
            assert!(!could_hold_a_secret(name), "{name}");
        }
    }
}
