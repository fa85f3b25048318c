//! What of the user's configuration comes along, and where it goes.
//!
//! ```text
//! repository's own ─────────────┐
//! user's, from an includeIf ────┴─ allowlist ─▶ the session's .git/config
//! user's, for all repositories ─── allowlist ─▶ ~/.gitconfig inside
//! ```

mod allowlist;
#[cfg(test)]
mod tests;
mod text;
mod url;

use std::collections::HashMap;

use gix::bstr::{BString, ByteSlice};

use crate::identity::Signing;
use crate::repository::Repository;
use crate::repository::config::{Config, Scope, Setting};
use text::ConfigText;

/// The user's, as opposed to a repository's.
const OWN: &[Scope] = &[Scope::System, Scope::User];

/// What `git lfs install` writes: the one filter that comes along, in words of ours. See git-lfs-install(1).
const LARGE_FILES: &[(&str, &str)] = &[
    ("clean", "git-lfs clean -- %f"),
    ("smudge", "git-lfs smudge -- %f"),
    ("process", "git-lfs filter-process"),
    ("required", "true"),
];

/// Text of the session's `.git/config`.
pub(super) fn of_session(repository: &Repository) -> Vec<u8> {
    let config = repository.config();
    let mut text = ConfigText::default();
    let core = [
        ("repositoryformatversion", version(repository)),
        ("bare", "false"),
        ("logallrefupdates", "true"),
        // Inodes, owners and ctimes are of the user's files; the session's are others.
        ("checkstat", "minimal"),
        ("trustctime", "false"),
    ];
    for (key, value) in core {
        put(&mut text, "core", key, value);
    }
    if repository.object_format() == gix::hash::Kind::Sha256 {
        put(&mut text, "extensions", "objectformat", "sha256");
    }
    if let Some(promisor) = repository.config().text("extensions.partialclone") {
        put(&mut text, "extensions", "partialclone", promisor);
    }
    let own = Own::sort(config);
    let repository = config.of_scopes(&[Scope::Repository]);
    for setting in own.of_this_repository.into_iter().chain(repository) {
        carry(&mut text, setting);
    }
    if filters_large_files(config.settings().iter()) {
        put_large_files(&mut text);
    }
    turn_off_signing(&mut text, &signing(config));
    text.into_bytes()
}

/// Text of the user's configuration inside, outside of any repository.
pub(crate) fn of_user(config: &Config) -> Vec<u8> {
    let mut text = ConfigText::default();
    for setting in Own::sort(config).of_all_repositories {
        carry(&mut text, setting);
    }
    if filters_large_files(config.of_scopes(OWN)) {
        put_large_files(&mut text);
    }
    let all = OWN.iter().copied();
    let on = signing_of(config, |scope| all.clone().any(|own| own == scope));
    turn_off_signing(&mut text, &on);
    text.into_bytes()
}

/// What would be signed, as far as the configuration says so.
pub(crate) fn signing(config: &Config) -> Signing {
    signing_of(config, |_| true)
}

fn signing_of(config: &Config, counts: impl Fn(Scope) -> bool) -> Signing {
    let keys = ["commit.gpgsign", "tag.gpgsign", "tag.forcesignannotated"];
    let is_on = |key: &&str| {
        let settings = config.settings().iter().rev();
        let mut settings = settings.filter(|setting| counts(setting.scope) && setting.is(key));
        settings.next().and_then(Setting::boolean) == Some(true)
    };
    let on: Vec<_> = keys.into_iter().filter(is_on).collect();
    match on.is_empty() {
        true => Signing::NeverOn,
        false => Signing::TurnedOff(on),
    }
}

fn turn_off_signing(text: &mut ConfigText, signing: &Signing) {
    let Signing::TurnedOff(keys) = signing else {
        return;
    };
    for (section, key) in keys.iter().filter_map(|key| key.split_once('.')) {
        put(text, section, key, "false");
    }
}

/// Without its filter, files of Git LFS that change inside would be committed whole.
fn filters_large_files<'a>(mut settings: impl Iterator<Item = &'a Setting>) -> bool {
    settings.any(|setting| {
        let subsection = setting.subsection.as_ref().map(|name| name.as_slice());
        let is_filter = setting.section == "filter" && subsection == Some(b"lfs");
        is_filter && matches!(setting.key.as_str(), "clean" | "process")
    })
}

fn put_large_files(text: &mut ConfigText) {
    for (key, value) in LARGE_FILES {
        let _ = text.set("filter", Some("lfs".into()), key, value);
    }
}

/// Extensions of the format count from version 1 on.
fn version(repository: &Repository) -> &'static str {
    let partial = repository.config().text("extensions.partialclone");
    match repository.object_format() {
        gix::hash::Kind::Sha1 if partial.is_none() => "0",
        _ => "1",
    }
}

fn put(text: &mut ConfigText, section: &str, key: &str, value: impl AsRef<[u8]>) {
    // These values come from us, or from a configuration, which has no NUL.
    let _ = text.set(section, None, key, value);
}

fn carry(text: &mut ConfigText, setting: &Setting) {
    if let Some(value) = allowlist::admitted(setting) {
        let subsection = setting.subsection.as_ref().map(|name| name.as_bstr());
        // The allowlist lets nothing through that cannot be written.
        let _ = text.set(&setting.section, subsection, &setting.key, value);
    }
}

/// The user's own settings by where they hold.
struct Own<'a> {
    of_all_repositories: Vec<&'a Setting>,
    /// They win over those for all repositories.
    of_this_repository: Vec<&'a Setting>,
}

impl<'a> Own<'a> {
    fn sort(config: &'a Config) -> Self {
        type Key<'a> = (&'a str, Option<&'a BString>, &'a str);
        let key = |setting: &'a Setting| -> Key<'a> {
            (&setting.section, setting.subsection.as_ref(), &setting.key)
        };
        // A condition that is overruled further down in the same files does not count.
        let mut last = HashMap::new();
        for setting in config.of_scopes(OWN) {
            last.insert(key(setting), setting.conditional);
        }
        let (conditional, always): (Vec<_>, Vec<_>) = config
            .of_scopes(OWN)
            .partition(|setting| setting.conditional);
        let wins = |setting: &&'a Setting| last.get(&key(setting)) == Some(&true);
        Self {
            of_all_repositories: always,
            of_this_repository: conditional.into_iter().filter(wins).collect(),
        }
    }
}
