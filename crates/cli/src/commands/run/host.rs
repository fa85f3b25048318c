//! What of the user's home the sandbox shows, read-only: toolchains, and what an agent's preset names.

use std::fs;
use std::path::{Path, PathBuf};

use wardian_sandbox::image::HostImage;

/// Paths to show and symlinks to recreate, without repeats.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) visible: Vec<PathBuf>,
    pub(super) links: Vec<(PathBuf, PathBuf)>,
}

impl Shown {
    /// Adds `path` if it exists and the image does not show it anyway. A symlink is recreated, and
    /// what it leads to is shown.
    pub(super) fn add(&mut self, path: &Path, image: &HostImage) {
        let Ok(real) = fs::canonicalize(path) else {
            return;
        };
        if real != path && !image.shows(path) {
            self.links.push((path.to_owned(), real.clone()));
        }
        if !image.shows(&real) {
            self.visible.push(real);
        }
    }

    /// Parents before children, and no child of a path that is shown whole. What lies in the
    /// workspace is there already.
    pub(super) fn finish(mut self, workspace: &Path, home: &Path) -> Self {
        self.visible.sort();
        let mut kept: Vec<PathBuf> = Vec::new();
        for path in self.visible {
            let covered = kept.last().is_some_and(|parent| path.starts_with(parent));
            let harmful = home.starts_with(&path);
            if !covered && !harmful && !path.starts_with(workspace) {
                kept.push(path);
            }
        }
        self.links.sort();
        self.links.dedup();
        self.links.retain(|(link, _)| {
            !link.starts_with(workspace) && !kept.iter().any(|parent| link.starts_with(parent))
        });
        Self {
            visible: kept,
            links: self.links,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_each_thing_once_and_never_the_home() {
        let base = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(base.path()).unwrap();
        fs::create_dir_all(home.join("tools/bin")).unwrap();
        fs::create_dir_all(home.join("project/.venv")).unwrap();
        std::os::unix::fs::symlink(home.join("tools"), home.join(".tools")).unwrap();
        let image = HostImage::discover().unwrap();
        let mut shown = Shown::default();
        for path in [
            "tools/bin",
            "tools",
            ".tools",
            "project/.venv",
            "",
            "missing",
        ] {
            shown.add(&home.join(path), &image);
        }
        let shown = shown.finish(&home.join("project"), &home);
        assert_eq!(shown.visible, [home.join("tools")]);
        assert_eq!(shown.links, [(home.join(".tools"), home.join("tools"))]);
    }
}
