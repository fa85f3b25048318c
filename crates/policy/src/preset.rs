//! Built-in presets: what well-known agents and forges need, as readable files under `presets/`.

use std::sync::LazyLock;

use crate::login::Login;
use crate::manifest::{Fragment, PresetFile};
use crate::visible::VisiblePath;

/// A named set of rules, credentials and variables.
#[derive(Debug)]
pub struct Preset {
    name: &'static str,
    file: PresetFile,
}

/// A file of settings, of which a sandbox gets a copy with some keys only: the others may hold secrets, or name programs
/// that are not inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsFile {
    /// JSON, with comments perhaps, or TOML, as its name says.
    pub path: VisiblePath,
    /// Those that are carried over: `model`, or `permissions.deny` for a key of a table.
    pub keys: Vec<String>,
}

const FILES: &[(&str, &str)] = &[
    ("claude", include_str!("../presets/claude.toml")),
    ("codex", include_str!("../presets/codex.toml")),
    ("gemini", include_str!("../presets/gemini.toml")),
    ("github", include_str!("../presets/github.toml")),
    ("github-write", include_str!("../presets/github-write.toml")),
    ("opencode", include_str!("../presets/opencode.toml")),
];

static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let parse = |(name, text): &(&'static str, &str)| Preset {
        name,
        file: PresetFile::parse(name, text)
            .unwrap_or_else(|error| panic!("built-in presets are valid (tested): {error}")),
    };
    FILES.iter().map(parse).collect()
});

impl Preset {
    /// Every preset, sorted by name.
    pub fn all() -> &'static [Self] {
        &PRESETS
    }

    /// Every preset's name, sorted.
    pub fn names() -> Vec<&'static str> {
        FILES.iter().map(|(name, _)| *name).collect()
    }

    /// The preset of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::all().iter().find(|preset| preset.name == name)
    }

    /// The preset for a program, by its file name without directories: `claude` for `/usr/local/bin/claude`.
    pub fn for_program(program: &str) -> Option<&'static Self> {
        let file_name = program.rsplit('/').next().unwrap_or(program);
        Self::all()
            .iter()
            .find(|preset| preset.file.programs.iter().any(|known| known == file_name))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// One line for lists.
    pub fn description(&self) -> &str {
        &self.file.description
    }

    /// File names of the programs that it is for.
    pub fn programs(&self) -> &[String] {
        &self.file.programs
    }

    /// How the program is started when only the preset was named.
    pub fn command(&self) -> &[String] {
        &self.file.command
    }

    /// Arguments with which the program works without asking, for `wardian run NAME` to add. Never added silently to a
    /// command that the user wrote out.
    pub fn autonomy_args(&self) -> &[String] {
        &self.file.autonomy_args
    }

    /// Paths of the host that hold the program itself.
    pub fn visible_paths(&self) -> impl Iterator<Item = &VisiblePath> {
        self.file.fragment.visible.iter().map(|path| &path.value)
    }

    /// The file inside from which its program reads what it should know of its surroundings, whatever it works on.
    pub fn briefing(&self) -> Option<&VisiblePath> {
        self.file.briefing.as_ref()
    }

    /// Files and directories of the user's own, such as skills, that its program finds inside as well: as copies.
    pub fn copies(&self) -> &[VisiblePath] {
        &self.file.copies
    }

    /// The directory of those in which its program looks for skills.
    pub fn skills(&self) -> Option<&VisiblePath> {
        let mut copies = self.file.copies.iter();
        copies.find(|path| path.to_string().ends_with("/skills"))
    }

    /// Settings of the user's own that its program finds inside as well, in part.
    pub fn settings(&self) -> &[SettingsFile] {
        &self.file.settings
    }

    /// Where its program keeps a subscriber's login.
    pub fn login(&self) -> Option<&Login> {
        self.file.login.as_ref()
    }

    pub(crate) fn fragment(&self) -> &Fragment {
        &self.file.fragment
    }
}

#[cfg(test)]
mod tests;
