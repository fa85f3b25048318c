//! `include` and `includeIf`, see "Includes" in git-config(1).

use std::path::{Path, PathBuf};

use gix::bstr::{BStr, BString, ByteSlice, ByteVec};
use gix::glob::wildmatch::Mode;

use super::{Context, Scope, Setting, interpolate, parse};
use crate::repository::{Places, RepositoryError, files};

/// As deep as git goes.
const DEEPEST: usize = 10;

/// Settings of all files and of what they include, in git's order. A missing file has none.
pub(super) fn read_all(
    files: &[(Scope, PathBuf)],
    places: &Places,
    context: &Context,
) -> Result<Vec<Setting>, RepositoryError> {
    let mut reader = Reader {
        places,
        context,
        remotes: None,
        asks_for_remotes: false,
        settings: Vec::new(),
    };
    reader.read_files(files)?;
    if reader.asks_for_remotes {
        // `hasconfig` is about all files, but not about those that such a condition includes.
        reader.remotes = Some(reader.urls());
        reader.settings.clear();
        reader.read_files(files)?;
    }
    Ok(reader.settings)
}

struct Reader<'a> {
    places: &'a Places,
    context: &'a Context,
    /// URLs of all remotes; `None` in the first pass, in which no condition on them holds.
    remotes: Option<Vec<BString>>,
    asks_for_remotes: bool,
    settings: Vec<Setting>,
}

impl Reader<'_> {
    fn read_files(&mut self, files: &[(Scope, PathBuf)]) -> Result<(), RepositoryError> {
        files
            .iter()
            .try_for_each(|(scope, path)| self.read(path, *scope, false, 0))
    }

    fn read(
        &mut self,
        path: &Path,
        scope: Scope,
        conditional: bool,
        depth: usize,
    ) -> Result<(), RepositoryError> {
        if depth > DEEPEST {
            let problem = format!("more than {DEEPEST} files that include each other");
            return Err(RepositoryError::malformed(path, problem));
        }
        for setting in parse::file(path, scope, conditional)?.unwrap_or_default() {
            let included = match (setting.section.as_str(), &setting.subsection) {
                ("include", None) => Some(conditional),
                ("includeif", Some(condition)) => {
                    self.holds(condition.as_bstr(), path).then_some(true)
                }
                _ => None,
            };
            let value = setting.value.clone().filter(|_| setting.key == "path");
            self.settings.push(setting);
            let (Some(conditional), Some(value)) = (included, value) else {
                continue;
            };
            if let Some(file) = interpolate(value.as_bstr(), self.places) {
                let file = beside(path, &file);
                self.read(&file, scope, conditional, depth + 1)?;
            }
        }
        Ok(())
    }

    fn holds(&mut self, condition: &BStr, file: &Path) -> bool {
        let Some((kind, pattern)) = condition.split_once_str(":") else {
            return false;
        };
        let pattern = pattern.as_bstr();
        match kind {
            b"gitdir" => self.in_git_dir(pattern, file, Mode::empty()),
            b"gitdir/i" => self.in_git_dir(pattern, file, Mode::IGNORE_CASE),
            b"onbranch" => self.context.branch.as_ref().is_some_and(|branch| {
                let pattern = with_rest(pattern.to_owned());
                matches(pattern, branch.as_bstr(), Mode::empty())
            }),
            b"hasconfig" => pattern.strip_prefix(b"remote.*.url:").is_some_and(|glob| {
                self.asks_for_remotes = true;
                let urls = self.remotes.iter().flatten();
                urls.into_iter()
                    .any(|url| matches(glob.as_bstr(), url.as_bstr(), Mode::empty()))
            }),
            _ => false,
        }
    }

    fn in_git_dir(&self, pattern: &BStr, file: &Path, mode: Mode) -> bool {
        let Some(git_dir) = &self.context.git_dir else {
            return false;
        };
        let pattern = match pattern.strip_prefix(b"./") {
            Some(rest) => {
                // Unlike for a path to include, git looks where a symlinked file really lies.
                let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
                let mut pattern =
                    files::as_bytes(file.parent().unwrap_or(Path::new("/"))).to_owned();
                pattern.push_byte(b'/');
                pattern.push_str(rest);
                pattern
            }
            None => match interpolate(pattern, self.places) {
                Some(path) if path.is_absolute() => {
                    let mut absolute = files::as_bytes(&path).to_owned();
                    if pattern.ends_with(b"/") && !absolute.ends_with(b"/") {
                        absolute.push_byte(b'/');
                    }
                    absolute
                }
                _ => {
                    let mut anywhere = BString::from("**/");
                    anywhere.push_str(pattern);
                    anywhere
                }
            },
        };
        matches(with_rest(pattern), files::as_bytes(git_dir), mode)
    }

    fn urls(&self) -> Vec<BString> {
        let urls = self.settings.iter().filter(|setting| {
            setting.section == "remote" && setting.subsection.is_some() && setting.key == "url"
        });
        urls.filter_map(|setting| setting.value.clone()).collect()
    }
}

/// A relative path is relative to the file that names it.
fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("/")).join(path)
}

/// A pattern that ends with a slash means everything below.
fn with_rest(mut pattern: BString) -> BString {
    if pattern.ends_with(b"/") {
        pattern.push_str("**");
    }
    pattern
}

fn matches(pattern: impl AsRef<[u8]>, text: &BStr, mode: Mode) -> bool {
    let mode = mode | Mode::NO_MATCH_SLASH_LITERAL;
    gix::glob::wildmatch(pattern.as_ref().as_bstr(), text, mode)
}
