//! The settings that a sandbox may know. Everything else stays outside: what names a command, a helper, a
//! hook, a file, a header or a key, and whatever a later git may bring.

use gix::bstr::{BString, ByteSlice};

use super::url::without_credentials;
use crate::repository::config::{Scope, Setting};

/// Bytes of a value.
const LONGEST: usize = 4096;

/// Whose settings count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Everyone,
    /// They make sense for one repository only.
    Repository,
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
enum Value {
    /// One line.
    Text,
    Boolean,
    /// Goes in without credentials.
    Url,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// Between section and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    None,
    Any,
}

use Name::{Any, None as Bare};
use Of::{Everyone, Repository};
use Value::{Boolean, Text, Url, Word};

const TABLE: &[(&str, Name, &[&str], Value, Of)] = &[
    (
        "core",
        Bare,
        &[
            "autocrlf",
            "eol",
            "safecrlf",
            "whitespace",
            "abbrev",
            "commentchar",
            "commentstring",
        ],
        Text,
        Everyone,
    ),
    ("core", Bare, &["quotepath"], Boolean, Everyone),
    (
        "core",
        Bare,
        &[
            "filemode",
            "symlinks",
            "ignorecase",
            "precomposeunicode",
            "protecthfs",
            "protectntfs",
            "sparsecheckout",
            "sparsecheckoutcone",
        ],
        Boolean,
        Repository,
    ),
    ("index", Bare, &["sparse"], Boolean, Repository),
    (
        "remote",
        Any,
        &["url", "pushurl", "lfsurl", "lfspushurl"],
        Url,
        Repository,
    ),
    (
        "remote",
        Any,
        &["fetch", "partialclonefilter", "tagopt"],
        Text,
        Repository,
    ),
    (
        "remote",
        Any,
        &["promisor", "prune", "prunetags"],
        Boolean,
        Repository,
    ),
    ("remote", Bare, &["pushdefault"], Url, Everyone),
    ("branch", Any, &["remote", "pushremote"], Url, Repository),
    ("branch", Any, &["merge", "rebase"], Text, Repository),
    (
        "branch",
        Bare,
        &["autosetupmerge", "autosetuprebase", "sort"],
        Text,
        Everyone,
    ),
    ("submodule", Any, &["url"], Url, Repository),
    (
        "submodule",
        Any,
        &["branch", "ignore", "fetchrecursesubmodules"],
        Text,
        Repository,
    ),
    ("submodule", Any, &["active"], Boolean, Repository),
    (
        "submodule",
        Any,
        &["update"],
        Word(&["checkout", "rebase", "merge", "none"]),
        Repository,
    ),
    ("submodule", Bare, &["recurse"], Boolean, Everyone),
    ("submodule", Bare, &["active"], Text, Repository),
    ("lfs", Bare, &["url", "pushurl"], Url, Repository),
    ("user", Bare, &["name", "email"], Text, Everyone),
    ("author", Bare, &["name", "email"], Text, Everyone),
    ("committer", Bare, &["name", "email"], Text, Everyone),
    ("init", Bare, &["defaultbranch"], Text, Everyone),
    ("pull", Bare, &["rebase", "ff"], Text, Everyone),
    (
        "push",
        Bare,
        &["default", "followtags", "recursesubmodules"],
        Text,
        Everyone,
    ),
    ("push", Bare, &["autosetupremote"], Boolean, Everyone),
    ("fetch", Bare, &["prune", "prunetags"], Boolean, Everyone),
    ("fetch", Bare, &["recursesubmodules"], Text, Everyone),
    (
        "merge",
        Bare,
        &["conflictstyle", "ff", "renames", "directoryrenames", "log"],
        Text,
        Everyone,
    ),
    (
        "diff",
        Bare,
        &[
            "algorithm",
            "renames",
            "colormoved",
            "context",
            "submodule",
            "ignoresubmodules",
            "wserrorhighlight",
        ],
        Text,
        Everyone,
    ),
    (
        "diff",
        Bare,
        &["mnemonicprefix", "noprefix", "indentheuristic"],
        Boolean,
        Everyone,
    ),
    (
        "rerere",
        Bare,
        &["enabled", "autoupdate"],
        Boolean,
        Everyone,
    ),
    (
        "rebase",
        Bare,
        &["autostash", "autosquash", "updaterefs"],
        Boolean,
        Everyone,
    ),
    (
        "rebase",
        Bare,
        &["rebasemerges", "missingcommitscheck"],
        Text,
        Everyone,
    ),
    ("commit", Bare, &["cleanup", "verbose"], Text, Everyone),
    (
        "status",
        Bare,
        &["showuntrackedfiles", "submodulesummary"],
        Text,
        Everyone,
    ),
    (
        "status",
        Bare,
        &["short", "branch", "showstash", "relativepaths"],
        Boolean,
        Everyone,
    ),
    ("log", Bare, &["date", "decorate"], Text, Everyone),
    (
        "log",
        Bare,
        &["abbrevcommit", "follow", "mailmap", "showroot"],
        Boolean,
        Everyone,
    ),
    ("tag", Bare, &["sort"], Text, Everyone),
    ("blame", Bare, &["date"], Text, Everyone),
    (
        "grep",
        Bare,
        &["linenumber", "column", "extendedregexp"],
        Boolean,
        Everyone,
    ),
    ("grep", Bare, &["patterntype"], Text, Everyone),
    ("color", Bare, &["ui"], Text, Everyone),
    ("column", Bare, &["ui"], Text, Everyone),
    (
        "i18n",
        Bare,
        &["commitencoding", "logoutputencoding"],
        Text,
        Everyone,
    ),
];

/// The value that goes into a sandbox, or `None` if the setting stays outside.
pub(super) fn admitted(setting: &Setting) -> Option<BString> {
    let name = match setting.subsection {
        Some(_) => Any,
        None => Bare,
    };
    let (.., value, _) = TABLE.iter().find(|(section, subsection, keys, _, of)| {
        *section == setting.section
            && *subsection == name
            && keys.contains(&setting.key.as_str())
            && (*of == Everyone || setting.scope == Scope::Repository)
    })?;
    let named = setting.subsection.iter().flat_map(|name| name.iter());
    if named.into_iter().any(u8::is_ascii_control) {
        return None;
    }
    let text = || match &setting.value {
        Some(value) => value.clone(),
        None => "true".into(),
    };
    match value {
        Boolean => setting.boolean().map(|on| BString::from(on.to_string())),
        Url => without_credentials(setting.value.as_ref()?.as_bstr()),
        Word(words) => Some(text()).filter(|value| words.iter().any(|word| value == *word)),
        Text => Some(text()).filter(|value| {
            value.len() <= LONGEST
                && !value
                    .iter()
                    .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        }),
    }
}
