//! Between the kernel's requests and the tree: decodes and encodes, decides nothing.

use std::ffi::OsStr;
use std::io;

use fuser::{
    AccessFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr,
    Request,
};

use super::error::Refusal;
use super::nodes::Content;
use super::tree::{Listing, Taken, Tree};
use super::{MAX_READ, TIME_TO_LIVE};
use crate::session::NOTHING;

/// What makes reading fast, where the kernel knows it.
const WANTED: [InitFlags; 7] = [
    InitFlags::FUSE_AUTO_INVAL_DATA,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_NO_OPENDIR_SUPPORT,
    InitFlags::FUSE_CACHE_SYMLINKS,
    // A number of a node is none that could be kept beyond its lifetime.
    InitFlags::FUSE_NO_EXPORT_SUPPORT,
];

/// Requests that the kernel sends ahead of need, such as readahead.
const MAX_BACKGROUND: u16 = 64;

/// Numbers are never used for something else while the kernel knows them.
const GENERATION: Generation = Generation(0);

#[derive(Debug)]
pub(super) struct Adapter(Tree);

impl Adapter {
    pub(super) fn new(tree: Tree) -> Self {
        Self(tree)
    }
}

impl From<Refusal> for Errno {
    fn from(refusal: Refusal) -> Self {
        Errno::from_i32(refusal.errno())
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in WANTED {
            // Older kernels do without.
            let _ = config.add_capabilities(flag);
        }
        // Within bounds, all three; the size of a write bounds that of a read as well.
        let _ = config.set_max_write(MAX_READ);
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.0.look_up(parent.0, name) {
            Ok(attributes) => reply.entry(&TIME_TO_LIVE, &attributes, GENERATION),
            // Node 0 lets the kernel remember that there is nothing.
            Err(Refusal::Absent) => reply.entry(&TIME_TO_LIVE, &NOTHING, GENERATION),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn forget(&self, _: &Request, node: INodeNo, lookups: u64) {
        self.0.forget(node.0, lookups);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.attributes(node.0) {
            Ok(attributes) => reply.attr(&TIME_TO_LIVE, &attributes),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        match self.0.read_link(node.0) {
            Ok(target) => reply.data(&target),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn open(&self, _: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Refusal::ReadOnly.into());
        }
        match self.0.open(node.0) {
            Ok((handle, Content::Same)) => {
                reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Ok((handle, Content::New)) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read(handle.0, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.release(handle.0);
        reply.ok();
    }

    /// `ENOSYS`: from then on the kernel opens directories by itself, and keeps what it has read of them
    /// until their time of change does not match any more.
    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn readdir(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.0.list(node.0, offset, Listing::Names, |entry| {
            let FileAttr { ino, kind, .. } = *entry.attributes;
            taken(reply.add(ino, entry.next, kind, entry.name))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.0.list(node.0, offset, Listing::Nodes, |entry| {
            taken(reply.add(
                entry.attributes.ino,
                entry.next,
                entry.name,
                &TIME_TO_LIVE,
                entry.attributes,
                GENERATION,
            ))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn statfs(&self, _: &Request, node: INodeNo, reply: ReplyStatfs) {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        match self.0.capacity(node.0) {
            Ok(of) => reply.statfs(
                of.f_blocks,
                of.f_bfree,
                of.f_bavail,
                of.f_files,
                of.f_ffree,
                small(of.f_bsize),
                small(of.f_namemax),
                small(of.f_frsize),
            ),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    // `ENOSYS` for the next two: the kernel then answers `EOPNOTSUPP` by itself. Overlayfs asks for its
    // own attributes at each lookup.

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    /// Never asked: the mount has `default_permissions`.
    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }
}

fn taken(full: bool) -> Taken {
    if full { Taken::Full } else { Taken::Yes }
}
