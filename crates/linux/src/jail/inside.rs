//! Pid 1 of a jail: builds the root, confines itself, and executes the program.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Component, Path};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Timespec};
use rustix::io::Errno;

use super::{Access, Content, Entry, Jail, Program, Source, restrict};
use crate::error::{SyscallError, SyscallResult, failed};
use crate::mount::{self, Depth, DetachedMount, Restrictions};
use crate::process;
use crate::userns::{self, SupplementaryGroups};

/// Returns only on failure.
pub(super) fn execute(
    jail: &Jail,
    program: &Program,
    (uid, gid): (u32, u32),
    keeper: &UnixStream,
) -> SyscallResult<Infallible> {
    userns::set_ids(uid, gid, SupplementaryGroups::Keep)?;
    process::die_with_parent()?;
    require_keeper(keeper)?;
    build(&jail.entries)?;
    rustix::process::chdir(&program.directory)
        .map_err(failed!("chdir({:?})", program.directory))?;
    rustix::process::setsid().map_err(failed!("setsid()"))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    restrict::restrict(&jail.entries, &jail.limits)?;
    process::execve(&program.path, &program.arguments, &program.environment)
}

/// Had the keeper ended before `die_with_parent`, nothing would end this process.
fn require_keeper(keeper: &UnixStream) -> SyscallResult<()> {
    let mut ready = [PollFd::new(keeper, PollFlags::HUP)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut ready, Some(&now)).map_err(failed!("poll(<keeper>)"))?;
    match ready[0].revents().is_empty() {
        true => Ok(()),
        false => Err(SyscallError::from_errno("poll(<keeper>)", libc::ESRCH)),
    }
}

fn build(entries: &[Entry]) -> SyscallResult<()> {
    mount::make_private()?;
    // Before anything is mounted over: sources may lie below what the new root covers.
    let binds = entries
        .iter()
        .map(|entry| match &entry.content {
            Content::Bind { source, access } => bind(source, *access).map(Some),
            _ => Ok(None),
        })
        .collect::<SyscallResult<Vec<_>>>()?;
    let root = new_root()?;
    for (entry, bind) in entries.iter().zip(binds) {
        place(root.as_fd(), entry, bind)?;
    }
    let root = DetachedMount::from(root);
    root.restrict(Restrictions::NO_SUID_DEV.read_only(), Depth::ThisMount)?;
    mount::pivot_into(root.as_fd())
}

/// An empty file system in memory, attached where only this namespace sees it.
fn new_root() -> SyscallResult<OwnedFd> {
    let place = ["/tmp", "/var", "/usr"]
        .into_iter()
        .find(|path| Path::new(path).is_dir())
        .unwrap_or("/usr");
    DetachedMount::new(
        "tmpfs",
        &[("mode", "0755"), ("size", "4M"), ("nr_inodes", "4k")],
        Restrictions::NO_SUID_DEV,
    )?
    .attach_at(Path::new(place))
}

fn bind(source: &Source, access: Access) -> SyscallResult<DetachedMount> {
    let found = match source {
        Source::Path(path) => rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed!("open({path:?}, O_PATH)"))?,
        Source::Beneath { root, path } => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(root, flags, Mode::empty())
                .map_err(failed!("open({root:?}, O_PATH|O_DIRECTORY)"))?;
            open_beneath(root.as_fd(), path, flags)?
        }
    };
    let mount = DetachedMount::bind_fd(found.as_fd(), Depth::WithSubmounts)?;
    let restrictions = match access {
        Access::Execute => Restrictions::NO_SUID_DEV.read_only(),
        Access::Read => Restrictions::NO_SUID_DEV_EXEC.read_only(),
        Access::Write => Restrictions::NO_SUID_DEV_EXEC,
        Access::Device => Restrictions::NO_SUID_EXEC,
    };
    mount.restrict(restrictions, Depth::WithSubmounts)?;
    Ok(mount)
}

fn place(root: BorrowedFd<'_>, entry: &Entry, bind: Option<DetachedMount>) -> SyscallResult<()> {
    let target = &entry.target;
    let (parent, name) = match (target.parent(), target.file_name()) {
        (Some(parent), Some(name)) => (make_directories(root, parent)?, name),
        _ => {
            return Err(SyscallError::from_errno(
                format!("openat({target:?})"),
                libc::EINVAL,
            ));
        }
    };
    match &entry.content {
        Content::Directory => make_directories(root, target).map(drop),
        Content::File(bytes) => {
            let file = make_file(&parent, name)?;
            write_all(&file, bytes).map_err(failed!("write({target:?})"))
        }
        Content::Symlink(to) => rustix::fs::symlinkat(to, &parent, name)
            .map_err(failed!("symlinkat({to:?}, {target:?})")),
        Content::Memory { bytes } => {
            let target = make_directories(root, target)?;
            let size = bytes.to_string();
            let options = [("mode", "0700"), ("size", size.as_str())];
            DetachedMount::new("tmpfs", &options, Restrictions::NO_SUID_DEV_EXEC)?
                .attach(target.as_fd())
                .map(drop)
        }
        Content::Bind { .. } => {
            let mount = bind.expect("made for each entry of this kind");
            let status = rustix::fs::fstat(mount.as_fd()).map_err(failed!("fstat(<source>)"))?;
            let target = match FileType::from_raw_mode(status.st_mode) {
                FileType::Directory => make_directories(root, target)?,
                _ => make_file(&parent, name).map(drop).and_then(|()| {
                    open_beneath(
                        parent.as_fd(),
                        Path::new(name),
                        OFlags::PATH | OFlags::CLOEXEC,
                    )
                })?,
            };
            mount.attach(target.as_fd()).map(drop)
        }
        Content::Cover => cover(parent.as_fd(), name),
    }
}

fn cover(parent: BorrowedFd<'_>, name: &OsStr) -> SyscallResult<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(errno) => Err(SyscallError::new(
            format!("openat({name:?}, O_PATH)"),
            errno,
        )),
        Ok(directory) => DetachedMount::new(
            "tmpfs",
            &[("mode", "0755"), ("nr_inodes", "1")],
            Restrictions::NO_SUID_DEV_EXEC.read_only(),
        )?
        .attach(directory.as_fd())
        .map(drop),
    }
}

/// Opens a directory below the new root, making what is missing; no symlink is followed.
fn make_directories(root: BorrowedFd<'_>, path: &Path) -> SyscallResult<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut current = rustix::fs::openat(root, ".", flags, Mode::empty())
        .map_err(failed!("openat(<new root>, O_PATH|O_DIRECTORY)"))?;
    for component in path.components() {
        let Component::Normal(name) = component else {
            continue;
        };
        match rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(0o755)) {
            // Read-only: below a bind, where the directory must be there.
            Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
            Err(errno) => return Err(SyscallError::new(format!("mkdirat({name:?})"), errno)),
        }
        current = open_beneath(current.as_fd(), Path::new(name), flags)?;
    }
    Ok(current)
}

fn make_file(parent: &OwnedFd, name: &OsStr) -> SyscallResult<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644))
        .map_err(failed!("openat({name:?}, O_CREAT|O_EXCL)"))
}

fn open_beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> SyscallResult<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve).map_err(failed!(
        "openat2({path:?}, RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS)"
    ))
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = rustix::io::write(file, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}
