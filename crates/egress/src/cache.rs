//! Downloads of package managers, kept between sandboxes.
//!
//! The door sees each download over TLS that it verified itself. So what it keeps is what the registry sent, whoever asked
//! for it, and no sandbox needs to be trusted with a directory that others read.
//!
//! ```text
//! request ── policy ── key ─┬─ fresh entry ───────────────▶ the program       no connection at all
//!                           ├─ stale entry ─ 304 ─────────▶ the program       its origin confirmed it
//!                           └─ nothing ─ origin ─┬────────▶ the program
//!                                                └─ keeper ─ writer ─ store
//! ```
//!
//! - `kind`: which requests are downloads, by the shape of their URL alone. No registry is named.
//! - [`key`]: a digest of *everything* that reaches the origin. An answer cannot depend on anything else, so no request
//!   can be made in which the answer to another is changed.
//! - [`freshness`]: what RFC 9111 lets a shared cache keep, and how long. Stricter where it costs little.
//! - [`entry`], [`store`]: files on disk, checked against their digest before a byte of them is served.
//! - `writer`: one thread and a bounded queue. A disk that is too slow costs the entry, never the program's time.
//! - `keeper`: the [tap](crate::http) that feeds it.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{Semaphore, oneshot};
use wardian_policy::CacheKind;

pub mod entry;
pub mod freshness;
pub(crate) mod keeper;
pub mod key;
pub(crate) mod kind;
pub mod store;
mod writer;

pub use store::{Freed, Store};

use entry::Meta;
use key::Key;
use store::{Body, Found};
use writer::Writer;

/// Entries that are read and checked at once.
const READERS: usize = 4;

/// One door's use of the store.
pub struct Cache {
    kinds: Vec<CacheKind>,
    store: Arc<Store>,
    writer: Writer,
    readers: Semaphore,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// Keeps downloads of these kinds below `directory`, which is made if it is missing.
    pub fn open(directory: &Path, kinds: &[CacheKind]) -> io::Result<Self> {
        let store = Arc::new(Store::open(directory)?);
        Ok(Self {
            kinds: kinds.to_vec(),
            writer: Writer::new(Arc::clone(&store)),
            store,
            readers: Semaphore::new(READERS),
        })
    }

    pub(crate) fn kinds(&self) -> &[CacheKind] {
        &self.kinds
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// The entry for `key`, whole and unchanged. What is damaged is removed, and was never there.
    pub(crate) async fn find(&self, key: Key) -> Option<Hit> {
        let _reader = self.readers.acquire().await.ok()?;
        let store = Arc::clone(&self.store);
        let found = tokio::task::spawn_blocking(move || store.find(key)).await;
        match found {
            Ok(Ok(found)) => found.map(|Found { meta, body }| Hit { key, meta, body }),
            Ok(Err(error)) => {
                tracing::warn!(%error, "an entry of the download cache cannot be read");
                None
            }
            Err(_) => None,
        }
    }

    /// Keeps `hit` with the head that its origin has just confirmed it with.
    pub(crate) fn refresh(&self, hit: &Hit) {
        if let Ok(body) = hit.body.try_clone() {
            self.writer.refresh(hit.key, hit.meta.clone(), body);
        }
    }

    /// Waits until all is kept that was to be kept up to now.
    pub(crate) async fn settle(&self) {
        self.writer.settle().await;
    }

    pub(crate) fn remove(&self, key: Key) {
        self.writer.remove(key);
    }
}

/// An entry that was checked.
#[derive(Debug)]
pub(crate) struct Hit {
    key: Key,
    pub(crate) meta: Meta,
    pub(crate) body: Body,
}

impl Hit {
    pub(crate) fn key(&self) -> Key {
        self.key
    }
}

/// Whether an answer was kept, told once it is.
pub(crate) type Kept = oneshot::Receiver<()>;

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
