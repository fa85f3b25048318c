//! Between the kernel's requests and the view: decodes and encodes, decides nothing.

use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, OnceLock};

use fuser::{
    AccessFlags, Errno, FileHandle, FileType, Filesystem, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, Notifier, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use super::error::Refusal;
use super::source::{Node, Source, Taken};
use super::view::{Size, View};
use super::{MAX_READ, TIME_TO_LIVE};
use crate::session::NOTHING;

/// What makes reading fast, where the kernel knows it.
const WANTED: [InitFlags; 7] = [
    // Lets a corrected size reach programs that have the file open.
    InitFlags::FUSE_AUTO_INVAL_DATA,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_NO_OPEN_SUPPORT,
    InitFlags::FUSE_NO_OPENDIR_SUPPORT,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_NO_EXPORT_SUPPORT,
];

/// Requests that the kernel sends ahead of need, such as readahead.
const MAX_BACKGROUND: u16 = 64;

/// A number always stands for the same file.
const GENERATION: Generation = Generation(0);

pub(super) struct Adapter<S> {
    view: View<S>,
    /// Set before the first request is read.
    notifier: Arc<OnceLock<Notifier>>,
}

impl<S: Source> Adapter<S> {
    pub(super) fn new(view: View<S>, notifier: Arc<OnceLock<Notifier>>) -> Self {
        Self { view, notifier }
    }

    /// Lets the kernel ask for attributes again. It keeps the pages that it has, some of which are being
    /// read right now.
    fn forget_attributes(&self, node: INodeNo) {
        if let Some(notifier) = self.notifier.get() {
            // Fails if the kernel does not know the file any more.
            let _ = notifier.inval_inode(node, -1, 0);
        }
    }
}

impl From<Refusal> for Errno {
    fn from(refusal: Refusal) -> Self {
        Errno::from_i32(refusal.errno())
    }
}

impl<S: Source> Filesystem for Adapter<S> {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in WANTED {
            // Older kernels do without.
            let _ = config.add_capabilities(flag);
        }
        // Within bounds, both; the size of a write bounds that of a read as well.
        let _ = config.set_max_write(MAX_READ);
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.view.look_up(Node(parent.0), name) {
            Ok(attributes) => reply.entry(&TIME_TO_LIVE, &attributes, GENERATION),
            // Node 0 lets the kernel remember that there is nothing.
            Err(Refusal::Absent) => reply.entry(&TIME_TO_LIVE, &NOTHING, GENERATION),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    /// Nothing is counted.
    fn forget(&self, _: &Request, _: INodeNo, _: u64) {}

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.view.attributes(Node(node.0)) {
            Ok(attributes) => reply.attr(&TIME_TO_LIVE, &attributes),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        match self.view.read_link(Node(node.0)) {
            Ok(target) => reply.data(&target),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    // `ENOSYS` for the next two: from then on the kernel opens files and directories by itself, and keeps
    // what it has read of them.

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.view.read(Node(node.0), offset, size) {
            Ok(read) => {
                // Before, so that the program that reads goes on after what it took for the end.
                if read.size == Size::Longer {
                    self.forget_attributes(node);
                }
                reply.data(&read.bytes);
                // After, as the kernel takes a short answer for the end unless its attributes are newer.
                if read.size == Size::Shorter {
                    self.forget_attributes(node);
                }
            }
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.view.list(Node(node.0), offset, |child| {
            let kind = self.view.kind(child.node).unwrap_or(FileType::RegularFile);
            taken(reply.add(INodeNo(child.node.0), child.next, kind, child.name))
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
        let mut failed = Ok(());
        let listed = self.view.list(Node(node.0), offset, |child| {
            match self.view.attributes(child.node) {
                Ok(attributes) => taken(reply.add(
                    attributes.ino,
                    child.next,
                    child.name,
                    &TIME_TO_LIVE,
                    &attributes,
                    GENERATION,
                )),
                Err(refusal) => {
                    failed = Err(refusal);
                    Taken::Full
                }
            }
        });
        match listed.and(failed) {
            Ok(()) => reply.ok(),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    /// Nothing is free here, and how much there is nobody knows.
    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, 0, 0, 4096, 255, 4096);
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
