//! Which directories of the host become layers, and what else the sandbox's root holds.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use thiserror::Error;
use wardian_linux::SyscallError;
use wardian_linux::mount::Depth;

use super::mounts::Mounts;
use crate::plan::{Access, Content, FilesystemPlan, Place, SNAPSHOT, TreeId, TreeRole};
use crate::spec::{SandboxSpec, Workspace, WorkspaceMode};
use crate::state::workspace_layer;

/// Directories that are layered whole, where the host has them.
const LAYERED: [&str; 4] = ["usr", "etc", "opt", "var"];
/// Symlinks into `usr` on a merged-usr host, directories elsewhere (Alpine, older Debian).
const MAYBE_MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// The system directories of this host.
#[derive(Debug)]
pub struct HostImage {
    directories: Vec<String>,
    links: Vec<(String, PathBuf)>,
}

#[derive(Debug, Error)]
pub enum ImageError {
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    #[error(transparent)]
    Syscall(#[from] SyscallError),
    #[error("{0} lies on {1}, which cannot hold the layers that a sandbox writes to")]
    NoUpper(PathBuf, String),
    #[error(
        "the system of this host lies in {0}, which the image `host` cannot layer: its programs are links out of /usr and /bin"
    )]
    UnsupportedLayout(&'static str),
    #[error("this host has no {0}: the image `host` needs one with a dynamic loader and a shell")]
    Missing(&'static str),
    #[error("the workspace {0} is or holds {1}, which must stay hidden")]
    WorkspaceTooWide(PathBuf, &'static str),
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ImageError + '_ {
    move |source| ImageError::Io(path.to_owned(), source)
}

impl HostImage {
    pub fn discover() -> Result<Self, ImageError> {
        Self::discover_below(Path::new("/"))
    }

    fn discover_below(root: &Path) -> Result<Self, ImageError> {
        if root.join("etc/NIXOS").exists() {
            return Err(ImageError::UnsupportedLayout("/nix/store"));
        }
        if root.join("gnu/store").exists() && !root.join("usr/bin/sh").exists() {
            return Err(ImageError::UnsupportedLayout("/gnu/store"));
        }
        let mut directories = Vec::new();
        let mut links = Vec::new();
        for name in LAYERED.into_iter().chain(MAYBE_MERGED) {
            let path = root.join(name);
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            if metadata.is_dir() {
                directories.push(name.to_owned());
            } else if metadata.is_symlink() {
                let to = fs::read_link(&path).map_err(io_error(&path))?;
                links.push((name.to_owned(), to));
            }
        }
        for needed in ["usr", "etc"] {
            if !directories.iter().any(|name| name == needed) {
                return Err(ImageError::Missing(match needed {
                    "usr" => "/usr",
                    _ => "/etc",
                }));
            }
        }
        if !root.join("bin/sh").exists() {
            return Err(ImageError::Missing("/bin/sh"));
        }
        Ok(Self { directories, links })
    }

    /// Whether `path` lies in a directory that the image shows anyway.
    pub fn shows(&self, path: &Path) -> bool {
        let first = path.components().find_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        first.is_some_and(|first| {
            self.directories.iter().any(|name| first == name.as_str())
                || self.links.iter().any(|(name, _)| first == name.as_str())
        })
    }

    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.directories.iter().map(String::as_str)
    }
}

/// The writable side of a sandbox: `<state>/layers`.
#[derive(Debug, Clone)]
pub struct LayerDirectories {
    root: PathBuf,
}

impl LayerDirectories {
    /// Makes the directories that the plan will name. They must not exist yet, unless resumed.
    pub fn create(
        root: PathBuf,
        image: &HostImage,
        spec: &SandboxSpec,
    ) -> Result<Self, ImageError> {
        let layers = Self { root };
        layers.make("", 0o700)?;
        if let Some(kind) = Mounts::read()?.refused_as_upper(&layers.root)? {
            return Err(ImageError::NoUpper(layers.root, kind));
        }
        for name in image.directories() {
            layers.make_overlay(name)?;
        }
        layers.make("home", 0o755)?;
        layers.make("workspaces", 0o755)?;
        for (number, workspace) in spec.workspaces.iter() {
            if !workspace.mode.is_layered() {
                continue;
            }
            let name = workspace_layer(number);
            layers.make_overlay(&name)?;
            // The root of an overlay has its upper layer's attributes.
            copy_attributes(&workspace.path, &layers.upper(&name))?;
        }
        Ok(layers)
    }

    /// The directories as they would be made, to plan with. Nothing is touched.
    pub fn planned(root: PathBuf) -> Self {
        Self { root }
    }

    fn make_overlay(&self, name: &str) -> Result<(), ImageError> {
        self.make(name, 0o755)?;
        self.make(&format!("{name}/upper"), 0o755)?;
        self.make(&format!("{name}/work"), 0o700)
    }

    fn make(&self, path: &str, mode: u32) -> Result<(), ImageError> {
        let path = self.root.join(path);
        match fs::DirBuilder::new().mode(mode).create(&path) {
            Ok(()) => {
                use std::os::unix::fs::PermissionsExt;
                // The umask took its share.
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                    .map_err(io_error(&path))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(io_error(&path)(error)),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The upper layer of a layered directory such as `etc`.
    pub fn upper(&self, name: &str) -> PathBuf {
        self.root.join(name).join("upper")
    }

    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }
}

fn copy_attributes(from: &Path, to: &Path) -> Result<(), ImageError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(from).map_err(io_error(from))?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(to, Some(metadata.uid()), Some(metadata.gid()))
            .map_err(io_error(to))?;
    }
    match fs::set_permissions(to, metadata.permissions()) {
        // Resumed: whoever was there as superuser has given it to another id.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done.map_err(io_error(to)),
    }
}

/// Lays out the whole root.
pub fn plan(
    image: &HostImage,
    layers: &LayerDirectories,
    spec: &SandboxSpec,
) -> Result<FilesystemPlan, ImageError> {
    for (_, workspace) in spec.workspaces.iter() {
        refuse_wide_workspace(&workspace.path, spec, layers)?;
    }
    let mut plan = FilesystemPlan::default();
    let own = plan.tree(layers.root(), Depth::ThisMount, TreeRole::Layers);

    for name in image.directories() {
        let lower = plan.tree(
            Path::new("/").join(name),
            Depth::ThisMount,
            TreeRole::System,
        );
        plan.add(
            Path::new("/").join(name),
            overlay(own, name, lower.join("")),
        );
    }
    for (name, to) in &image.links {
        plan.add(
            Path::new("/").join(name),
            Content::Symlink { to: to.clone() },
        );
    }
    if Path::new("/nix/store").is_dir() {
        bind(&mut plan, Path::new("/nix"), Access::ReadOnly);
    }
    plan.add("/proc", Content::Proc);
    plan.add("/sys", Content::Sys);
    plan.add("/dev", Content::Devices);
    for (path, percent, mode) in [("/tmp", 25, 0o1777), ("/run", 5, 0o755)] {
        plan.add(path, Content::Memory { percent, mode });
    }
    plan.add("/run/lock", Content::Directory { mode: 0o1777 });
    for path in ["/home", "/media", "/mnt", "/srv"] {
        plan.add(path, Content::Directory { mode: 0o755 });
    }
    plan.add(
        &spec.user.home,
        Content::Bind {
            source: own.join("home"),
            access: Access::ReadWrite,
            depth: Depth::ThisMount,
        },
    );
    for path in &spec.visible {
        bind(&mut plan, path, Access::ReadOnly);
    }
    for (path, to) in &spec.links {
        plan.add(path, Content::Symlink { to: to.clone() });
    }

    for mount in &spec.mounts {
        bind_at(&mut plan, &mount.source, &mount.target, mount.access);
    }
    let mut workspaces: Vec<_> = spec.workspaces.iter().collect();
    // One may lie in another.
    workspaces.sort_by(|a, b| a.1.path.cmp(&b.1.path));
    for (number, Workspace { path, mode }) in workspaces {
        let name = workspace_layer(number);
        match mode {
            WorkspaceMode::Clone => {
                let state = layers.root().join(&name);
                let lower = plan.tree(state, Depth::ThisMount, TreeRole::Snapshot);
                plan.add(path, overlay(own, &name, lower.join(SNAPSHOT)));
            }
            WorkspaceMode::Overlay => {
                let lower = plan.tree(path, Depth::ThisMount, TreeRole::Workspace);
                plan.add(path, overlay(own, &name, lower.join("")));
            }
            WorkspaceMode::Bind => bind(&mut plan, path, Access::ReadWrite),
            WorkspaceMode::BindReadOnly => bind(&mut plan, path, Access::ReadOnly),
        }
    }
    for path in &spec.removed {
        plan.add(path, Content::Removed);
    }
    Ok(plan)
}

fn overlay(own: TreeId, name: &str, lower: Place) -> Content {
    Content::Overlay {
        lowers: vec![lower],
        upper: own.join(format!("{name}/upper")),
        work: own.join(format!("{name}/work")),
    }
}

fn bind(plan: &mut FilesystemPlan, path: &Path, access: Access) {
    bind_at(plan, path, path, access);
}

fn bind_at(plan: &mut FilesystemPlan, source: &Path, target: &Path, access: Access) {
    let tree = plan.tree(source, Depth::WithSubmounts, TreeRole::Whole);
    plan.add(
        target,
        Content::Bind {
            source: tree.join(""),
            access,
            depth: Depth::WithSubmounts,
        },
    );
}

/// A workspace that contains the home directory would show all that the private home hides.
fn refuse_wide_workspace(
    path: &Path,
    spec: &SandboxSpec,
    layers: &LayerDirectories,
) -> Result<(), ImageError> {
    let too_wide = |what| Err(ImageError::WorkspaceTooWide(path.to_owned(), what));
    if path == Path::new("/") {
        return too_wide("the host's root directory");
    }
    if spec.user.home.starts_with(path) {
        return too_wide("your home directory");
    }
    if layers.root().starts_with(path) || path.starts_with(layers.root()) {
        return too_wide("Wardian's own state");
    }
    for system in [
        "/proc", "/sys", "/dev", "/run", "/boot", "/etc", "/var", "/usr",
    ] {
        let runs_programs = ["/usr", "/var"].contains(&system);
        let system = Path::new(system);
        if path == system || (!runs_programs && path.starts_with(system)) {
            return too_wide("a system directory");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn fake(layout: &[&str], links: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for path in layout {
            fs::create_dir_all(root.path().join(path)).unwrap();
        }
        for (name, to) in links {
            symlink(to, root.path().join(name)).unwrap();
        }
        root
    }

    #[test]
    fn merged_usr_and_split_layouts() {
        let merged = fake(&["usr/bin", "etc", "var"], &[("bin", "usr/bin")]);
        fs::write(merged.path().join("usr/bin/sh"), "").unwrap();
        let image = HostImage::discover_below(merged.path()).unwrap();
        assert_eq!(
            image.directories().collect::<Vec<_>>(),
            ["usr", "etc", "var"]
        );
        assert!(image.shows(Path::new("/bin/sh")));
        assert!(!image.shows(Path::new("/home/ada/x")));

        let alpine = fake(&["usr", "etc", "bin", "lib"], &[]);
        fs::write(alpine.path().join("bin/sh"), "").unwrap();
        let image = HostImage::discover_below(alpine.path()).unwrap();
        assert_eq!(
            image.directories().collect::<Vec<_>>(),
            ["usr", "etc", "bin", "lib"]
        );
    }

    #[test]
    fn nixos_gets_a_clear_answer() {
        let nixos = fake(&["nix/store", "etc", "usr/bin"], &[]);
        fs::write(nixos.path().join("etc/NIXOS"), "").unwrap();
        let error = HostImage::discover_below(nixos.path()).unwrap_err();
        assert!(error.to_string().contains("/nix/store"), "{error}");
    }
}
