//! HEAD's files without a checkout: [`filesystem::snapshot`](wardian_filesystem::snapshot) of a git tree.
//!
//! ```text
//! base.index ──▶ names, modes, times, and sizes where it knows them        [`layout`]
//! objects    ──▶ what is in the files, decoded when somebody reads them    [`objects`]
//! .gitattributes of the tree, the user's line endings, lfs/objects
//!            ──▶ what git would have made of it on the way to disk         [`conversion`], [`lfs`]
//! ```
//!
//! What stat(2) says of a file is what the index says, so that git finds it to be fresh and reads nothing;
//! [`WorkTree`] shows that index as well. Where the index knows nothing of a file on disk, its time is that
//! of `base.json`, the start of the session, and its size is that of the content.
//!
//! No program runs for this: a filter that would need one is left out, and the file is as git stores it.
//! Objects that the repository does not have, as in a partial clone, are files that cannot be read.
//! A panic while a damaged object is decoded costs that one file.

mod conversion;
mod layout;
mod lfs;
mod objects;
mod spool;
mod work_tree;

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use gix::index::entry::Mode;
use rustix::fs::{Mode as FileMode, OFlags};
use thiserror::Error;
use wardian_filesystem::snapshot::{
    Answer, Child, Content, Facts, Kind, Node, Refusal, Source, Taken,
};
use wardian_linux::SyscallError;

use crate::base::{self, Base};
use crate::pointer::{LARGEST_POINTER, Pointer};
use conversion::{Converter, Treatment};
use layout::{Directory, Found, Layout};
use objects::{Failure, Objects};

pub use conversion::{AutoCrlf, Conversion, Eol};
pub use work_tree::WorkTree;

#[derive(Debug, Error)]
pub enum SnapshotError {
    #[error("unknown object format {0:?}")]
    UnknownFormat(String),
    #[error(transparent)]
    System(#[from] SyscallError),
    #[error("no index of the session's start: {0}")]
    NoIndex(String),
}

/// Something that cannot be shown as it should be. Reported once for each kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Trouble {
    #[error("{index:?} cannot be read: {why}")]
    Index { index: PathBuf, why: String },
    #[error("{path:?} cannot be read: the repository lacks object {id}")]
    Missing { path: BString, id: ObjectId },
    #[error("{path:?} cannot be read: {why}")]
    Damaged { path: BString, why: String },
}

/// The tree of the commit that a session started from.
pub struct HeadTree(Shared);

struct Shared {
    index: PathBuf,
    file: File,
    /// Of directories, and of what the index knows no time of.
    time: SystemTime,
    objects: Objects,
    conversion: Conversion,
    lfs: lfs::Store,
    reporter: Reporter,
    /// Decoded when somebody asks for a file: that takes a while, and many programs never do.
    ready: OnceLock<Option<Ready>>,
}

struct Ready {
    layout: Layout,
    converter: Converter,
}

impl HeadTree {
    /// Opens what `session::create` left in the workspace's state directory: `base.index`, and the objects
    /// that `base` names. Large files are decoded into `state`, as files without a name.
    ///
    /// Returns at once; the index is decoded later. `report` hears of what cannot be shown.
    pub fn open(
        state: &Path,
        base: &Base,
        conversion: Conversion,
        report: impl Fn(Trouble) + Send + Sync + 'static,
    ) -> Result<Self, SnapshotError> {
        let format = base
            .object_format
            .parse()
            .map_err(|_| SnapshotError::UnknownFormat(base.object_format.clone()))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let spool = rustix::fs::open(state, flags, FileMode::empty())
            .map_err(|errno| SyscallError::new(format!("open({state:?}, O_PATH)"), errno))?;
        let (file, index) = base::index::open(state, base).map_err(SnapshotError::NoIndex)?;
        let start = state.join("base.json");
        let time = fs::metadata(&start)
            .and_then(|status| status.modified())
            .map_err(|error| SyscallError::new(format!("stat({start:?})"), error))?;
        Ok(Self(Shared {
            index,
            file,
            time,
            objects: Objects::new(base.objects.clone(), format, spool),
            conversion,
            lfs: lfs::Store::new(base.common_dir.join("lfs/objects")),
            reporter: Reporter::new(report),
            ready: OnceLock::new(),
        }))
    }
}

impl Shared {
    fn ready(&self) -> Answer<&Ready> {
        let ready = self.ready.get_or_init(|| match self.read_index() {
            Ok(ready) => Some(ready),
            Err(why) => {
                let index = self.index.clone();
                self.reporter.report(Trouble::Index { index, why });
                None
            }
        });
        ready.as_ref().ok_or(Refusal::Unavailable)
    }

    fn read_index(&self) -> Result<Ready, String> {
        let format = self.objects.format();
        // It lies where nothing that runs inside can write, so its checksum is not looked at.
        let index = gix::index::File::at(&self.index, format, true, Default::default())
            .map_err(|error| error.to_string())?;
        let layout = Layout::new(index.into_parts().0)?;
        let converter = Converter::new(&layout, &self.objects, self.conversion);
        Ok(Ready { layout, converter })
    }

    /// A file or symlink, by its position.
    fn content(&self, ready: &Ready, position: usize) -> Answer<Content> {
        self.read(ready, position)
            .map_err(|failure| self.refuse(ready, position, failure))
    }

    fn read(&self, ready: &Ready, position: usize) -> Result<Content, Failure> {
        let Ready {
            layout, converter, ..
        } = ready;
        let id = &layout.entry(position).id;
        match converter.treatment(&self.objects, layout, position) {
            Treatment::AsIs => self.objects.content(id, layout.size(position)),
            Treatment::Converted | Treatment::Foreign => {
                let bytes = self.objects.bytes(id)?;
                let path = layout.path(position);
                let bytes = converter.convert(&self.objects, path, id, bytes)?;
                self.objects.keep(bytes)
            }
            Treatment::Large => match self.large_file(layout, position)? {
                Some(content) => Ok(content),
                None => self.objects.content(id, layout.size(position)),
            },
        }
    }

    /// In bytes. Costs nothing where the index knows it.
    fn size(&self, ready: &Ready, position: usize) -> Result<u64, Failure> {
        let Ready {
            layout, converter, ..
        } = ready;
        let id = &layout.entry(position).id;
        let told = layout.size(position);
        match (converter.treatment(&self.objects, layout, position), told) {
            (Treatment::AsIs | Treatment::Converted, Some(size)) => Ok(size),
            (Treatment::Converted, None) => {
                let content = self.read(ready, position)?;
                Ok(content.size())
            }
            // Line endings in what was meant for a program are rare: put right once it is read.
            (Treatment::AsIs | Treatment::Foreign, _) => self.objects.size(id),
            (Treatment::Large, _) => match self.large_file(layout, position)? {
                Some(content) => Ok(content.size()),
                None => self.objects.size(id),
            },
        }
    }

    /// What a pointer of Git LFS stands for, if the repository has it and the user's work tree does not have
    /// the pointer instead.
    fn large_file(&self, layout: &Layout, position: usize) -> Result<Option<Content>, Failure> {
        let id = &layout.entry(position).id;
        let stored = self.objects.size(id)?;
        if stored > LARGEST_POINTER || layout.size(position) == Some(stored) {
            return Ok(None);
        }
        let pointer = Pointer::parse(&self.objects.bytes(id)?);
        Ok(pointer.and_then(|pointer| self.lfs.open(&pointer)))
    }

    fn refuse(&self, ready: &Ready, position: usize, failure: Failure) -> Refusal {
        let path = ready.layout.path(position).to_owned();
        self.reporter.report(match failure {
            Failure::Missing => Trouble::Missing {
                path,
                id: ready.layout.entry(position).id,
            },
            Failure::Damaged(why) => Trouble::Damaged { path, why },
        });
        Refusal::Unavailable
    }

    fn facts_of_file(&self, ready: &Ready, position: usize) -> Facts {
        let (modified, changed) = ready
            .layout
            .times(position)
            .unwrap_or((self.time, self.time));
        let size = self.size(ready, position).unwrap_or_else(|failure| {
            self.refuse(ready, position, failure);
            // Not 0: an empty file is never read, and reading has to fail.
            1
        });
        Facts {
            kind: match ready.layout.entry(position).mode {
                Mode::SYMLINK => Kind::Symlink,
                Mode::FILE_EXECUTABLE => Kind::Executable,
                _ => Kind::Plain,
            },
            size,
            modified,
            changed,
        }
    }
}

impl Source for HeadTree {
    fn facts(&self, node: Node) -> Answer<Facts> {
        let directory = Facts {
            kind: Kind::Directory,
            size: 0,
            modified: self.0.time,
            changed: self.0.time,
        };
        // A mount is ready before the index is.
        if node == Node::ROOT {
            return Ok(directory);
        }
        let ready = self.0.ready()?;
        match ready.layout.find(node).ok_or(Refusal::UnknownNode)? {
            Found::File(position) => Ok(self.0.facts_of_file(ready, position)),
            Found::Directory(_) => Ok(directory),
        }
    }

    fn look_up(&self, directory: Node, name: &OsStr) -> Answer<Node> {
        let ready = self.0.ready()?;
        let directory = ready.directory(directory)?;
        let found = ready.layout.look_up(directory, name.as_bytes().as_bstr());
        found.ok_or(Refusal::Absent)
    }

    fn list(
        &self,
        directory: Node,
        from: u64,
        take: &mut dyn FnMut(Child<'_>) -> Taken,
    ) -> Answer<()> {
        let ready = self.0.ready()?;
        let directory = ready.directory(directory)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for (name, node, next) in ready.layout.list(directory, from) {
            let child = Child {
                name: OsStr::from_bytes(name),
                node,
                next: next as u64,
            };
            if take(child) == Taken::Full {
                break;
            }
        }
        Ok(())
    }

    fn content(&self, node: Node) -> Answer<Content> {
        let ready = self.0.ready()?;
        match ready.layout.find(node).ok_or(Refusal::UnknownNode)? {
            Found::File(position) => self.0.content(ready, position),
            Found::Directory(_) => Err(Refusal::WrongKind),
        }
    }
}

impl Ready {
    fn directory(&self, node: Node) -> Answer<Directory> {
        match self.layout.find(node).ok_or(Refusal::UnknownNode)? {
            Found::Directory(directory) => Ok(directory),
            Found::File(_) => Err(Refusal::WrongKind),
        }
    }
}

impl fmt::Debug for HeadTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadTree")
            .field("index", &self.0.index)
            .finish_non_exhaustive()
    }
}

/// Says a thing of each kind once.
struct Reporter {
    report: Box<dyn Fn(Trouble) + Send + Sync>,
    said: [AtomicBool; 3],
}

impl Reporter {
    fn new(report: impl Fn(Trouble) + Send + Sync + 'static) -> Self {
        Self {
            report: Box::new(report),
            said: Default::default(),
        }
    }

    fn report(&self, trouble: Trouble) {
        let said = match &trouble {
            Trouble::Index { .. } => &self.said[0],
            Trouble::Missing { .. } => &self.said[1],
            Trouble::Damaged { .. } => &self.said[2],
        };
        if !said.swap(true, Ordering::Relaxed) {
            (self.report)(trouble);
        }
    }
}
