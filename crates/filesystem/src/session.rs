//! What every file system of ours has in common on its way to the kernel.

use std::io;
use std::os::fd::OwnedFd;
use std::time::UNIX_EPOCH;

use fuser::{Config, FileAttr, FileType, Filesystem, INodeNo, Session, SessionACL};

/// Two, so that a slow disk, or much to decode, under one request does not hold up all others.
const THREADS: usize = 2;

/// For names that are not there.
pub(crate) const NOTHING: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: UNIX_EPOCH,
    mtime: UNIX_EPOCH,
    ctime: UNIX_EPOCH,
    crtime: UNIX_EPOCH,
    kind: FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 0,
    flags: 0,
};

/// Greets the kernel on `device`, an open `/dev/fuse` that was mounted. No request is answered yet.
pub(crate) fn open<A: Filesystem>(adapter: A, device: OwnedFd) -> io::Result<Session<A>> {
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    // What the program may do is decided by overlayfs and `default_permissions`.
    Session::from_fd(adapter, device, SessionACL::All, config)
}

/// Answers from threads of its own, of which the first is called `name`. They end when the mount does;
/// `ended` hears how.
pub(crate) fn run<A: Filesystem + Send + 'static>(
    session: Session<A>,
    name: &str,
    ended: impl FnOnce(io::Result<()>) + Send + 'static,
) -> io::Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || ended(session.run()))
        .map(drop)
}
