//! Where on this host a sandbox's cgroups can go, and why not elsewhere.
//!
//! **Version 1**: each controller has a hierarchy of its own. Ours go below its root, which is only
//! root's to change, or else below the cgroup we are in.
//!
//! **Version 2**: one hierarchy, in which a controller must be enabled level by level on the way
//! down (`cgroup.subtree_control`), and only in cgroups that have no process themselves (the root
//! excepted). Ours go
//!
//! 1. below the root of the hierarchy, where that is ours to divide (root on the host);
//! 2. else beside the cgroup we are in, below the nearest ancestor that was delegated to this user:
//!    `app.slice` of the user's systemd manager, for instance;
//! 3. else below the cgroup we are in, if that was delegated (a container, a CI runner's service).
//!    It has processes then: if they are only this one and its ancestors, they step aside into a
//!    leaf, `wardian.outside`. Nobody else's are moved.
//!
//! See cgroups(7) and <https://systemd.io/CGROUP_DELEGATION>.

use std::path::{Path, PathBuf};

use super::file;
use super::layout::{Controller, Hierarchy, Layout};
use crate::error::{SyscallError, SyscallResult};

/// Holds us where our own cgroup is to be divided. No sandbox can have this name.
const OUTSIDE: &str = "wardian.outside";

/// Why something cannot be had, and what a person could do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) why: String,
    pub(super) fix: Option<String>,
}

impl Missing {
    fn new(why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            fix: Some(fix.into()),
        }
    }
}

impl From<SyscallError> for Missing {
    fn from(error: SyscallError) -> Self {
        Self {
            why: error.to_string(),
            fix: None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Sites {
    layout: Layout,
    unified: Option<Unified>,
}

/// Where one controller can limit a sandbox.
#[derive(Debug)]
pub(super) enum Site<'a> {
    /// Below this cgroup of the controller's own hierarchy.
    V1(PathBuf),
    V2(&'a Unified),
}

impl Sites {
    pub(super) fn find() -> SyscallResult<Self> {
        let layout = Layout::read()?;
        let unified = layout
            .v2
            .as_ref()
            .and_then(|v2| Unified::find(v2, file::is_ours_to_divide));
        Ok(Self { layout, unified })
    }

    pub(super) fn of(&self, controller: Controller) -> Result<Site<'_>, Missing> {
        let name = controller.name();
        if let Some(v2) = &self.layout.v2
            && file::lists(&v2.mount, "cgroup.controllers", name)
        {
            let unified = self.unified.as_ref().ok_or_else(|| not_ours(v2))?;
            return Ok(Site::V2(unified));
        }
        let Some(v1) = self.layout.v1(controller) else {
            return Err(absent(name));
        };
        self.v1_base(controller)
            .map(Site::V1)
            .ok_or_else(|| match file::is_read_only(&v1.mount) {
                true => read_only(&v1.mount),
                false => Missing::new(
                    format!("the {name} controller is on cgroup v1, which only root can use"),
                    "start wardian as root, or boot the host with cgroup v2 \
                     (systemd.unified_cgroup_hierarchy=1)",
                ),
            })
    }

    pub(super) fn unified(&self) -> Option<&Unified> {
        self.unified.as_ref()
    }

    pub(super) fn v1_base(&self, controller: Controller) -> Option<PathBuf> {
        let v1 = self.layout.v1(controller)?;
        [Some(&v1.mount), v1.own.as_ref()]
            .into_iter()
            .flatten()
            .find(|base| file::is_ours_to_divide(base))
            .cloned()
    }
}

/// Our place in the hierarchy of version 2.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unified {
    /// From the top down, the cgroups in which controllers are ours to enable. The last one is the
    /// one that our cgroups go below, and there always is one.
    levels: Vec<PathBuf>,
    own: Option<PathBuf>,
    /// The processes that may be moved: this one and its ancestors.
    us: Vec<i32>,
}

impl Unified {
    fn find(v2: &Hierarchy, ours: impl Fn(&Path) -> bool) -> Option<Self> {
        let found = |levels| Self {
            levels,
            own: v2.own.clone(),
            us: ancestors(),
        };
        if ours(&v2.mount) {
            return Some(found(vec![v2.mount.clone()]));
        }
        let own = v2.own.as_deref()?;
        let above = own
            .ancestors()
            .skip(1)
            .take_while(|level| *level != v2.mount && level.starts_with(&v2.mount));
        let mut levels: Vec<_> = above
            .skip_while(|level| !ours(level))
            .take_while(|level| ours(level))
            .map(Path::to_owned)
            .collect();
        levels.reverse();
        if levels.is_empty() && ours(own) {
            levels.push(own.to_owned());
        }
        (!levels.is_empty()).then(|| found(levels))
    }

    #[cfg(test)]
    pub(super) fn at(own: &Path, us: &[i32]) -> Self {
        Self {
            levels: vec![own.to_owned()],
            own: Some(own.to_owned()),
            us: us.to_owned(),
        }
    }

    pub(super) fn base(&self) -> &Path {
        self.levels.last().expect("there is a level at least")
    }

    /// Lets cgroups below the base use a controller.
    pub(super) fn enable(&self, controller: &str) -> Result<(), Missing> {
        self.offers(controller)?;
        for level in &self.levels {
            if file::lists(level, "cgroup.subtree_control", controller) {
                continue;
            }
            if self.must_step_aside(level) {
                self.step_aside(level)?;
            }
            enable_at(level, controller).map_err(|error| match error.errno() {
                Some(libc::EBUSY) => occupied(level),
                _ => error.into(),
            })?;
        }
        Ok(())
    }

    /// Why [`enable`](Self::enable) would fail, as far as can be seen without trying.
    pub(super) fn check(&self, controller: &str) -> Result<(), Missing> {
        self.offers(controller)?;
        for level in &self.levels {
            if file::lists(level, "cgroup.subtree_control", controller) || is_root(level) {
                continue;
            }
            if self.must_step_aside(level) {
                self.only_us(level)?;
            } else if !file::members(level)?.is_empty() {
                return Err(occupied(level));
            }
        }
        Ok(())
    }

    fn offers(&self, controller: &str) -> Result<(), Missing> {
        let top = self.levels.first().expect("there is a level at least");
        match file::lists(top, "cgroup.controllers", controller) {
            true => Ok(()),
            false => Err(not_delegated(controller)),
        }
    }

    fn must_step_aside(&self, level: &Path) -> bool {
        self.own.as_deref() == Some(level) && !is_root(level)
    }

    fn step_aside(&self, level: &Path) -> Result<(), Missing> {
        let processes = self.only_us(level)?;
        let leaf = level.join(OUTSIDE);
        match file::make_directory(&leaf) {
            Err(error) if !file::exists(&error) => return Err(error.into()),
            _ => {}
        }
        for process in processes {
            match file::write(&leaf, "cgroup.procs", &process.to_string()) {
                Err(error) if !file::is_gone(&error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// The processes in this cgroup, if there are no others.
    fn only_us(&self, level: &Path) -> Result<Vec<i32>, Missing> {
        let members = file::members(level)?;
        match members.iter().all(|member| self.us.contains(member)) {
            true => Ok(members),
            false => Err(occupied(level)),
        }
    }
}

pub(super) fn enable_at(level: &Path, controller: &str) -> SyscallResult<()> {
    file::write(level, "cgroup.subtree_control", &format!("+{controller}"))
}

/// The root of the whole hierarchy, not just of what a cgroup namespace shows.
fn is_root(level: &Path) -> bool {
    !level.join("cgroup.events").exists()
}

/// This process, its parent, and so on, as far as this pid namespace shows.
fn ancestors() -> Vec<i32> {
    let mut found = Vec::new();
    let mut next = i32::try_from(std::process::id()).ok();
    while let Some(process) = next.filter(|process| *process > 0 && !found.contains(process)) {
        found.push(process);
        next = parent(process);
    }
    found
}

fn parent(process: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

fn absent(controller: &str) -> Missing {
    Missing::new(
        format!("no cgroup hierarchy here has the {controller} controller"),
        format!(
            "mount the cgroup filesystem, and check that the kernel was not booted with \
             cgroup_disable={controller}"
        ),
    )
}

fn read_only(mount: &Path) -> Missing {
    Missing::new(
        format!("{} is mounted read-only", mount.display()),
        "have this container started with a writable cgroup filesystem",
    )
}

fn not_ours(v2: &Hierarchy) -> Missing {
    if file::is_read_only(&v2.mount) {
        return read_only(&v2.mount);
    }
    Missing::new(
        "no cgroup is delegated to this user here",
        "start wardian with `systemd-run --user --scope wardian ...`, or as root",
    )
}

fn not_delegated(controller: &str) -> Missing {
    Missing::new(
        format!("the {controller} controller is not delegated to this user"),
        "have root put `[Service]` and `Delegate=cpu memory pids` into \
         /etc/systemd/system/user@.service.d/delegate.conf, run `systemctl daemon-reload`, and log \
         in again",
    )
}

fn occupied(level: &Path) -> Missing {
    Missing::new(
        format!(
            "other processes are in {}, which therefore cannot be divided",
            level.display()
        ),
        "start wardian in a cgroup of its own: `systemd-run --user --scope -p Delegate=yes wardian ...`",
    )
}

#[cfg(test)]
mod tests;
