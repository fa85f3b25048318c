//! `--bind DIR`, besides `--bind=DIR`, though `--bind COMMAND` means the current directory.
//!
//! A word after `--bind` is a directory if it is spelled as a path and there is one. So `--bind ../lib:ro -- make`
//! and `--bind make` both do what they look like.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::Command;

/// The words of a `wardian run`, options up to its command, as clap takes them. `is_directory` is asked about
/// words after `--bind`.
pub(crate) fn join(
    words: impl IntoIterator<Item = OsString>,
    run: &Command,
    is_directory: impl Fn(&Path) -> bool,
) -> Vec<OsString> {
    let mut words = words.into_iter().peekable();
    let mut joined: Vec<_> = words.by_ref().take(2).collect();
    if joined.get(1).is_none_or(|verb| verb != "run") {
        joined.extend(words);
        return joined;
    }
    while let Some(word) = words.next() {
        let is_option = word.as_bytes().starts_with(b"-") && word != "-" && word != "--";
        if !is_option {
            joined.push(word);
            break;
        }
        if word == "--bind"
            && let Some(next) = words.next_if(|next| names_directory(next, &is_directory))
        {
            let mut both = OsString::from("--bind=");
            both.push(next);
            joined.push(both);
            continue;
        }
        let takes_next = takes_next(&word, run);
        joined.push(word);
        if takes_next {
            joined.extend(words.next());
        }
    }
    joined.extend(words);
    joined
}

fn names_directory(word: &OsStr, is_directory: impl Fn(&Path) -> bool) -> bool {
    let bytes = word.as_bytes();
    let path = [&b":ro"[..], b":rw"]
        .iter()
        .find_map(|suffix| bytes.strip_suffix(*suffix))
        .unwrap_or(bytes);
    let is_path = path.contains(&b'/') || path == b"." || path == b"..";
    is_path && is_directory(Path::new(OsStr::from_bytes(path)))
}

/// Whether the word after this option is its value.
fn takes_next(word: &OsStr, run: &Command) -> bool {
    let Some(name) = word.to_str().and_then(|word| word.strip_prefix("--")) else {
        return false;
    };
    let mut options = run.get_arguments();
    options.any(|option| {
        option.get_long() == Some(name)
            && option.get_action().takes_values()
            && !option.is_require_equals_set()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Args;

    fn joined(line: &str) -> String {
        let words = line.split(' ').map(OsString::from);
        let run = super::super::Run::augment_args(Command::new("run"));
        let is_directory = |path: &Path| {
            ["../lib", ".", "/srv", "./make", "a/b", ".."]
                .map(Path::new)
                .contains(&path)
        };
        let words = join(words, &run, is_directory);
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn a_directory_is_told_from_a_command() {
        let changes = [
            (
                "w run --bind ../lib:ro -- make",
                "w run --bind=../lib:ro -- make",
            ),
            ("w run --bind ../lib make", "w run --bind=../lib make"),
            (
                "w run --bind . --bind /srv:ro make",
                "w run --bind=. --bind=/srv:ro make",
            ),
            (
                "w run -q --name x --bind a/b:rw make",
                "w run -q --name x --bind=a/b:rw make",
            ),
            (
                "w run --allow --bind --bind .. make",
                "w run --allow --bind --bind=.. make",
            ),
        ];
        for (line, wanted) in changes {
            assert_eq!(joined(line), wanted);
        }
        for line in [
            "w run --bind make",
            "w run --bind make ./make",
            "w run --bind ./missing -x",
            "w run --bind -- /srv",
            "w run make --bind /srv",
            "w run -- --bind /srv",
            "w run --bind=. /srv",
            "w run --name --bind /srv",
            "w events --bind /srv",
            "w",
        ] {
            assert_eq!(joined(line), line);
        }
    }
}
