//! Which cgroup hierarchies are mounted where, read from `/proc/self/mountinfo` and
//! `/proc/self/cgroup`. See proc_pid_mountinfo(5), cgroups(7).

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{SyscallError, SyscallResult};
use crate::mountinfo::{self, Mount};

/// What keeps one kind of limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    Memory,
    Cpu,
    Pids,
}

impl Controller {
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    /// As the kernel spells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// The mount point.
    pub(super) mount: PathBuf,
    /// The cgroup of this process, at or below `mount`; `None` if it lies outside of what is mounted.
    pub(super) own: Option<PathBuf>,
}

/// What this process sees of cgroups. Both versions can be there at once ("hybrid"); each
/// controller is in at most one hierarchy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) v2: Option<Hierarchy>,
    v1: Vec<(Controller, Hierarchy)>,
}

impl Layout {
    pub(super) fn read() -> SyscallResult<Self> {
        let read = |path: &str| {
            std::fs::read(path)
                .map_err(|source| SyscallError::new(format!("open({path:?})"), source))
        };
        let mounts = read("/proc/self/mountinfo")?;
        let own = match read("/proc/self/cgroup") {
            // A kernel without cgroups.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            own => own?,
        };
        Ok(Self::parse(&mounts, &own))
    }

    /// Lines that make no sense are passed over.
    pub(super) fn parse(mountinfo: &[u8], own: &[u8]) -> Self {
        let memberships: Vec<_> = lines(own).filter_map(Membership::parse).collect();
        let mut layout = Self::default();
        for mount in &mountinfo::parse(mountinfo) {
            if mount.kind == "cgroup2" {
                let member = memberships
                    .iter()
                    .find(|member| member.controllers.is_empty());
                // A second mount of the hierarchy is somebody's view of a part of it.
                layout
                    .v2
                    .get_or_insert_with(|| hierarchy(mount, member.map(|member| member.path)));
            }
            if mount.kind != "cgroup" {
                continue;
            }
            for controller in Controller::ALL {
                if !names(mount.super_options.as_bytes(), controller)
                    || layout.v1(controller).is_some()
                {
                    continue;
                }
                let member = memberships
                    .iter()
                    .find(|member| names(member.controllers, controller));
                let hierarchy = hierarchy(mount, member.map(|member| member.path));
                layout.v1.push((controller, hierarchy));
            }
        }
        layout
    }

    pub(super) fn v1(&self, controller: Controller) -> Option<&Hierarchy> {
        self.v1
            .iter()
            .find(|(of, _)| *of == controller)
            .map(|(_, hierarchy)| hierarchy)
    }
}

/// `member` is where /proc/self/cgroup says that this process is. It counts from the root of this
/// process's cgroup namespace, as does the root of the mount.
fn hierarchy(mount: &Mount, member: Option<&Path>) -> Hierarchy {
    let plain = |path: &&Path| !path.components().any(|part| part == Component::ParentDir);
    let root = Some(mount.root.as_path()).filter(plain);
    let own = member
        .filter(plain)
        .zip(root)
        .and_then(|(member, root)| member.strip_prefix(root).ok())
        .map(|below| match below.as_os_str().is_empty() {
            true => mount.point.clone(),
            false => mount.point.join(below),
        });
    Hierarchy {
        mount: mount.point.clone(),
        own,
    }
}

/// A line of /proc/self/cgroup: `4:memory:/a/b`, in version 2 `0::/a/b`.
struct Membership<'a> {
    controllers: &'a [u8],
    path: &'a Path,
}

impl<'a> Membership<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let _id = fields.next()?;
        let controllers = fields.next()?;
        let path = Path::new(std::ffi::OsStr::from_bytes(fields.next()?));
        path.is_absolute().then_some(Self { controllers, path })
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn names(list: &[u8], controller: Controller) -> bool {
    list.split(|byte| *byte == b',')
        .any(|name| name == controller.name().as_bytes())
}

#[cfg(test)]
mod tests;
