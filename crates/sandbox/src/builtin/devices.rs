//! Inside: `/dev`, `/proc` and `/sys`.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use wardian_linux::SyscallError;
use wardian_linux::mount::{Depth, DetachedMount, Restrictions};

use super::filesystem::{make_directory, memory, open_directory};

/// Devices that give nothing but themselves. Everything else of the host's `/dev` is absent.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const DEV_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Host state that `/proc` shows in every pid namespace: read-only inside.
const PROC_READ_ONLY: [&str; 4] = ["sys", "bus", "fs", "irq"];

/// Of the terminals that all sandboxes and containers of a host have together, 3072 unless it was told
/// otherwise.
const MOST_TERMINALS: &str = "256";

/// What `/proc` tells about the host's memory, keys and devices: empty inside.
const PROC_MASKED: [&str; 19] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "kallsyms",
    "keys",
    "key-users",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "scsi",
    "slabinfo",
    "softirqs",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
    "kpagecount",
    "kpageflags",
];

/// What runtimes read of `/sys` to count processors and memory nodes.
const SYS_SHOWN: [&str; 2] = ["devices/system/cpu", "devices/system/node"];

/// Opened before the staging area covers anything.
pub(super) struct HostDevices {
    devices: Vec<(&'static str, OwnedFd)>,
    sys: Vec<(&'static str, OwnedFd)>,
}

impl HostDevices {
    pub(super) fn open() -> Result<Self, SyscallError> {
        let mut devices = Vec::new();
        for name in DEVICES {
            devices.push((name, open(&Path::new("/dev").join(name))?));
        }
        let mut sys = Vec::new();
        for name in SYS_SHOWN {
            // Machines without NUMA have no nodes.
            if let Ok(directory) = open(&Path::new("/sys").join(name)) {
                sys.push((name, directory));
            }
        }
        Ok(Self { devices, sys })
    }

    pub(super) fn mount_dev(&self, target: BorrowedFd<'_>) -> Result<(), SyscallError> {
        let dev = DetachedMount::new(
            "tmpfs",
            &[("mode", "0755"), ("size", "64k"), ("nr_inodes", "1k")],
            Restrictions::NO_SUID,
        )?;
        // Attached first: nothing can be mounted on a detached mount.
        let dev = dev.attach(target)?;
        for (name, source) in &self.devices {
            make_file(dev.as_fd(), name)?;
            bind(source.as_fd(), dev.as_fd(), name, Restrictions::NO_SUID)?;
        }
        for (name, to) in DEV_LINKS {
            rustix::fs::symlinkat(to, dev.as_fd(), name)
                .map_err(|errno| SyscallError::new(format!("symlinkat(\"/dev/{name}\")"), errno))?;
        }
        let terminals = DetachedMount::new(
            "devpts",
            &[
                ("newinstance", ""),
                ("ptmxmode", "0666"),
                ("mode", "0620"),
                ("max", MOST_TERMINALS),
            ],
            Restrictions::NO_SUID_EXEC,
        )?;
        attach(terminals, dev.as_fd(), "pts")?;
        attach(memory(25, 0o1777)?, dev.as_fd(), "shm")?;
        match DetachedMount::new("mqueue", &[], Restrictions::NO_SUID_DEV_EXEC) {
            Ok(queues) => attach(queues, dev.as_fd(), "mqueue")?,
            // Kernels without POSIX message queues.
            Err(error) if error.errno() == Some(Errno::NODEV.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(super) fn mount_sys(&self, target: BorrowedFd<'_>) -> Result<(), SyscallError> {
        let sys = DetachedMount::new(
            "tmpfs",
            &[("mode", "0555"), ("size", "64k")],
            Restrictions::NO_SUID_DEV_EXEC,
        )?;
        let sys = sys.attach(target)?;
        for (name, source) in &self.sys {
            let mut parent = open_directory(sys.as_fd(), Path::new(""))?;
            for component in Path::new(name).iter() {
                make_directory(parent.as_fd(), component, 0o755)?;
                parent = open_directory(parent.as_fd(), Path::new(component))?;
            }
            let mount = DetachedMount::bind_fd(source.as_fd(), Depth::WithSubmounts)?;
            mount.restrict(
                Restrictions::NO_SUID_DEV_EXEC.read_only(),
                Depth::WithSubmounts,
            )?;
            mount.attach(parent.as_fd())?;
        }
        DetachedMount::from(sys)
            .restrict(Restrictions::NO_SUID_DEV_EXEC.read_only(), Depth::ThisMount)
    }
}

/// procfs of the calling process's pid namespace.
pub(super) fn mount_proc(target: BorrowedFd<'_>) -> Result<(), SyscallError> {
    let proc = DetachedMount::new("proc", &[], Restrictions::NO_SUID_DEV_EXEC)?;
    let proc = proc.attach(target)?;
    let read_only = Restrictions::NO_SUID_DEV_EXEC.read_only();
    for name in PROC_READ_ONLY {
        if let Some(source) = open_if_there(proc.as_fd(), name)? {
            bind(source.as_fd(), proc.as_fd(), name, read_only)?;
        }
    }
    let null = open(Path::new("/dev/null"))?;
    for name in PROC_MASKED {
        if let Some(masked) = open_if_there(proc.as_fd(), name)? {
            mask(masked.as_fd(), proc.as_fd(), name, null.as_fd())?;
        }
    }
    Ok(())
}

/// Nothing in its place, as a file or as a directory.
fn mask(
    masked: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &str,
    null: BorrowedFd<'_>,
) -> Result<(), SyscallError> {
    let restrictions = Restrictions::NO_SUID.read_only();
    let status = rustix::fs::fstat(masked)
        .map_err(|errno| SyscallError::new(format!("fstat(\"/proc/{name}\")"), errno))?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        let options = [("mode", "0555"), ("size", "4k"), ("nr_inodes", "1")];
        DetachedMount::new("tmpfs", &options, restrictions)?
            .attach(masked)
            .map(drop)
    } else {
        bind(null, parent, name, restrictions)
    }
}

fn bind(
    source: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &str,
    restrictions: Restrictions,
) -> Result<(), SyscallError> {
    let mount = DetachedMount::bind_fd(source, Depth::ThisMount)?;
    mount.restrict(restrictions, Depth::ThisMount)?;
    let target = rustix::fs::openat(
        parent,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| SyscallError::new(format!("openat({name:?})"), errno))?;
    mount.attach(target.as_fd()).map(drop)
}

fn attach(mount: DetachedMount, parent: BorrowedFd<'_>, name: &str) -> Result<(), SyscallError> {
    make_directory(parent, OsStr::new(name), 0o755)?;
    let target = open_directory(parent, Path::new(name))?;
    mount.attach(target.as_fd()).map(drop)
}

fn make_file(parent: BorrowedFd<'_>, name: &str) -> Result<(), SyscallError> {
    rustix::fs::openat(
        parent,
        name,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o644),
    )
    .map(drop)
    .map_err(|errno| SyscallError::new(format!("openat(\"/dev/{name}\", O_CREAT)"), errno))
}

fn open(path: &Path) -> Result<OwnedFd, SyscallError> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SyscallError::new(format!("open({path:?}, O_PATH)"), errno))
}

fn open_if_there(parent: BorrowedFd<'_>, name: &str) -> Result<Option<OwnedFd>, SyscallError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(SyscallError::new(format!("open(\"/proc/{name}\")"), errno)),
    }
}
