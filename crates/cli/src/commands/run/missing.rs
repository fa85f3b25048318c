//! Why a program that is there outside was not found inside: version managers put small programs on `PATH`
//! that start others, and those may lie in parts of the home that are not shown.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use wardian_sandbox::SandboxSpec;
use wardian_sandbox::builtin::Ended;
use wardian_sandbox::image::HostImage;
use wardian_supervisor::protocol::How;

use super::environment;
use crate::output::{self, Tone};

/// A shell's exit statuses for a command that it could not execute, and for one that it did not find.
const NOT_STARTED: [i32; 2] = [126, 127];
/// A longer file is no script that only starts another program.
const LONGEST_SCRIPT: u64 = 64 << 10;
/// Paths named before the rest is left out.
const MAX_SHOWN: usize = 4;

/// Says what a program may have looked for, if it ended as if it had not found something, and something
/// is there outside and hidden inside.
pub(super) fn explain(how: &How, spec: &SandboxSpec) {
    let How::Program(Ended::Code(status)) = how else {
        return;
    };
    if !NOT_STARTED.contains(status) {
        return;
    }
    let Ok(image) = HostImage::discover() else {
        return;
    };
    let view = View {
        image: &image,
        spec,
    };
    let hidden = view.missing();
    if hidden.is_empty() {
        return;
    }
    let home = &spec.user.home;
    let shown: Vec<String> = hidden
        .iter()
        .take(MAX_SHOWN)
        .map(|path| match path.strip_prefix(home) {
            Ok(below) => format!("~/{}", below.display()),
            Err(_) => path.display().to_string(),
        })
        .collect();
    let it = match shown.len() {
        1 => "This is",
        _ => "These are",
    };
    let text = format!(
        "status {status} means that a program was not found or could not be started. {it} on your machine but not inside: {}",
        shown.join(", ")
    );
    output::say(Tone::Good, "hint", &text);
    let visible: Vec<String> = shown.iter().map(|path| format!("{path:?}")).collect();
    let text = format!(
        "to show it, read-only: `--policy FILE` with `visible = [{}]`",
        visible.join(", ")
    );
    output::say(Tone::Good, "hint", &text);
}

/// What of the host a sandbox shows.
struct View<'a> {
    image: &'a HostImage,
    spec: &'a SandboxSpec,
}

impl View<'_> {
    /// Directories of programs that are not shown: those that the program itself names, if it is a script;
    /// else those of `PATH`.
    fn missing(&self) -> BTreeSet<PathBuf> {
        let named = self.named_by(&self.spec.program);
        if !named.is_empty() {
            return named;
        }
        let search = environment::search_path();
        std::env::split_paths(&search)
            .filter(|directory| directory.is_absolute() && self.hides(directory))
            .collect()
    }

    /// Whether `path` exists outside and lies in nothing that is shown.
    fn hides(&self, path: &Path) -> bool {
        let Ok(real) = fs::canonicalize(path) else {
            return false;
        };
        let shown = &self.spec.visible;
        !self.image.shows(&real)
            && !self.spec.workspaces.contain(&real)
            && !shown.iter().any(|place| real.starts_with(place))
    }

    /// The directories of hidden files that a script names by their whole paths.
    fn named_by(&self, program: &Path) -> BTreeSet<PathBuf> {
        let is_short = fs::metadata(program).is_ok_and(|file| file.len() <= LONGEST_SCRIPT);
        let text = match is_short {
            true => fs::read_to_string(program).unwrap_or_default(),
            false => String::new(),
        };
        if !text.starts_with("#!") {
            return BTreeSet::new();
        }
        paths_in(&text, &self.spec.user.home)
            .filter(|path| path.is_file() && self.hides(path))
            .filter_map(|path| path.parent().map(Path::to_owned))
            .collect()
    }
}

/// What looks like an absolute path, with the usual ways to write the home.
fn paths_in<'a>(script: &'a str, home: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
    let ends_word = |c: char| c.is_whitespace() || "\"'`;:=()<>|&".contains(c);
    script.split(ends_word).filter_map(move |word| {
        let below_home = ["~/", "$HOME/", "${HOME}/"]
            .iter()
            .find_map(|home| word.strip_prefix(home));
        match below_home {
            Some(below) => Some(home.join(below)),
            None => word.starts_with('/').then(|| PathBuf::from(word)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_paths_in_several_ways() {
        let script = "#!/usr/bin/env bash\nX=\"/opt/a b\"; exec \"$HOME/.real/bin/tool\" \"$@\" || ~/x ${HOME}/y\n";
        let found: Vec<PathBuf> = paths_in(script, Path::new("/home/ann")).collect();
        let wanted = [
            "/opt/a",
            "/home/ann/.real/bin/tool",
            "/home/ann/x",
            "/home/ann/y",
        ];
        assert_eq!(found, wanted.map(PathBuf::from));
    }
}
