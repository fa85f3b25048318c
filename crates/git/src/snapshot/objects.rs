//! Objects of the user's repository, from several threads.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use gix::ObjectId;
use gix::objs::{Data, Exists as _, Find, Kind};
use gix::odb::find::Header;
use gix::odb::{HandleArc, Header as _, Store, pack};
use wardian_filesystem::snapshot::Content;

use super::spool;

/// Blobs of more bytes are not kept in memory.
const LARGE: u64 = 4 << 20;

/// Bytes of objects that others are a difference to, kept by each thread that decodes.
const BASES: usize = 8 << 20;

/// Why there is no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    Missing,
    Damaged(String),
}

/// What lies in the object directories of a repository. Those that it lacks are looked for again each time,
/// so that packs may come and go.
pub(super) struct Objects {
    directories: Vec<PathBuf>,
    format: gix::hash::Kind,
    /// Where large blobs are decoded to.
    spool: OwnedFd,
    stores: OnceLock<Vec<Arc<Store>>>,
    /// As many as there were threads that asked at the same time.
    idle: Mutex<Vec<Handles>>,
}

impl Objects {
    /// Nothing is opened so far.
    pub(super) fn new(directories: Vec<PathBuf>, format: gix::hash::Kind, spool: OwnedFd) -> Self {
        Self {
            directories,
            format,
            spool,
            stores: OnceLock::new(),
            idle: Mutex::default(),
        }
    }

    pub(super) fn format(&self) -> gix::hash::Kind {
        self.format
    }

    /// A blob as it is. `told` is its size, if somebody knows.
    pub(super) fn content(&self, id: &ObjectId, told: Option<u64>) -> Result<Content, Failure> {
        if told.is_none_or(|size| size > LARGE)
            && let Some(content) = self.stream(id)?
        {
            return Ok(content);
        }
        self.keep(self.bytes(id)?)
    }

    pub(super) fn bytes(&self, id: &ObjectId) -> Result<Vec<u8>, Failure> {
        self.with(|handles| {
            let mut buffer = Vec::new();
            let length = match handles.try_find(id, &mut buffer).map_err(damaged)? {
                Some(found) if found.kind == Kind::Blob => found.data.len(),
                Some(_) => return Err(Failure::Damaged("its object is no blob".to_owned())),
                None => return Err(Failure::Missing),
            };
            // Of a loose object, the buffer has the header as well.
            let header = buffer.len() - length;
            buffer.drain(..header);
            Ok(buffer)
        })
    }

    /// Of a blob, in bytes.
    pub(super) fn size(&self, id: &ObjectId) -> Result<u64, Failure> {
        self.with(|handles| Ok(handles.header(id)?.size()))
    }

    /// Content that was made here, on disk if there is much of it.
    pub(super) fn keep(&self, bytes: Vec<u8>) -> Result<Content, Failure> {
        if bytes.len() as u64 <= LARGE {
            return Ok(Content::Memory(bytes));
        }
        spool::keep(&self.spool, &bytes).map_err(damaged)
    }

    /// Asks with what is kept between questions. A panic on damaged data is a failure like others.
    pub(super) fn with<T>(
        &self,
        ask: impl FnOnce(&Handles) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let idle = lock(&self.idle).pop();
        let handles = idle.unwrap_or_else(|| self.handles());
        // What was in use is dropped with the panic.
        let asked = catch_unwind(AssertUnwindSafe(|| {
            let answer = ask(&handles);
            (answer, handles)
        }));
        match asked {
            Ok((answer, handles)) => {
                lock(&self.idle).push(handles);
                answer
            }
            Err(_) => Err(Failure::Damaged("its object cannot be decoded".to_owned())),
        }
    }

    fn handles(&self) -> Handles {
        let stores = self.stores.get_or_init(|| {
            let open = |directory: &PathBuf| {
                let options = Default::default();
                Store::at_opts(
                    directory.clone(),
                    self.format,
                    &mut None.into_iter(),
                    options,
                )
            };
            let stores = self.directories.iter().filter_map(|path| open(path).ok());
            stores.map(Arc::new).collect()
        });
        let cached = |store: &Arc<Store>| {
            let create = || Box::new(pack::cache::lru::MemoryCappedHashmap::new(BASES)) as _;
            store.to_cache_arc().with_pack_cache(create)
        };
        Handles(stores.iter().map(cached).collect())
    }

    /// A large blob decoded piece by piece; `None` if it is small or a difference to others.
    fn stream(&self, id: &ObjectId) -> Result<Option<Content>, Failure> {
        let header = self.with(|handles| handles.header(id))?;
        if header.size() <= LARGE {
            return Ok(None);
        }
        let mut directories = self.directories.iter();
        match header {
            Header::Loose { size, .. } => {
                let file = directories.find_map(|path| File::open(loose(path, id)).ok());
                let stream = file.map(|file| spool::Stream::Loose(BufReader::new(file)));
                self.inflate(stream, size)
            }
            Header::Packed(outcome) if outcome.num_deltas == 0 => {
                let file = directories.find_map(|path| self.packed(path, id));
                let stream = file.map(|file| spool::Stream::Packed(BufReader::new(file)));
                self.inflate(stream, outcome.object_size)
            }
            Header::Packed(_) => Ok(None),
        }
    }

    fn inflate(
        &self,
        stream: Option<spool::Stream>,
        size: u64,
    ) -> Result<Option<Content>, Failure> {
        match stream {
            Some(stream) => spool::inflate(&self.spool, stream, size)
                .map(Some)
                .map_err(damaged),
            // An alternate that is not listed, or gone since it was found.
            None => Ok(None),
        }
    }

    /// A pack that has the object whole, at the start of what it has of it.
    fn packed(&self, directory: &Path, id: &ObjectId) -> Option<File> {
        let packs = std::fs::read_dir(directory.join("pack")).ok()?;
        packs.flatten().find_map(|found| {
            let path = found.path();
            if path.extension().is_none_or(|extension| extension != "idx") {
                return None;
            }
            let index = pack::index::File::at(&path, self.format).ok()?;
            let offset = index.pack_offset_at_index(index.lookup(id)?);
            let path = path.with_extension("pack");
            let entry = pack::data::File::at(&path, self.format)
                .ok()?
                .entry(offset)
                .ok()?;
            if entry.header.is_delta() {
                return None;
            }
            let mut file = File::open(path).ok()?;
            file.seek(SeekFrom::Start(entry.data_offset)).ok()?;
            Some(file)
        })
    }
}

/// What one thread reads with.
pub(super) struct Handles(Vec<HandleArc>);

impl Handles {
    fn header(&self, id: &ObjectId) -> Result<Header, Failure> {
        for handle in &self.0 {
            if let Some(header) = handle.try_header(id).map_err(damaged)? {
                return Ok(header);
            }
        }
        Err(Failure::Missing)
    }
}

impl Find for Handles {
    fn try_find<'a>(
        &self,
        id: &gix::oid,
        buffer: &'a mut Vec<u8>,
    ) -> gix::Result<Option<Data<'a>>> {
        let Some((last, others)) = self.0.split_last() else {
            return Ok(None);
        };
        let has_it = others.iter().find(|handle| handle.exists(id));
        Find::try_find(has_it.unwrap_or(last), id, buffer)
    }
}

fn loose(directory: &Path, id: &ObjectId) -> PathBuf {
    let hex = id.to_hex().to_string();
    directory.join(&hex[..2]).join(&hex[2..])
}

pub(super) fn damaged(error: impl ToString) -> Failure {
    Failure::Damaged(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only ever pushed to and popped from.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
