//! The thread that writes entries. What is queued for it is bounded: beyond that, entries are given up.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::entry::Meta;
use super::key::Key;
use super::store::{Body, Draft, MOST, Store};

/// Bytes that wait to be written, of all entries together.
const MOST_WAITING: usize = 32 << 20;
/// Entries that are written at once, each with an open file. Further ones are not kept.
const MOST_DRAFTS: usize = 256;
/// After how many bytes the size of the whole store is looked at. Each door counts its own, so this is also how much
/// each can be over.
const BETWEEN_TRIMS: u64 = 256 << 20;

/// Tells one draft from another.
type Id = u64;

#[derive(Debug)]
enum Job {
    Begin(Id),
    Data(Id, Vec<u8>),
    Publish(Id, Key, Box<Meta>, oneshot::Sender<()>),
    Discard(Id),
    Refresh(Key, Box<Meta>, Body),
    Remove(Key),
    Tell(oneshot::Sender<()>),
    Stop,
}

#[derive(Debug)]
pub(crate) struct Writer {
    queue: Queue,
    next: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone)]
struct Queue {
    jobs: Sender<Job>,
    waiting: Arc<AtomicUsize>,
}

impl Writer {
    pub(super) fn new(store: Arc<Store>) -> Self {
        let (jobs, queued) = channel();
        let waiting = Arc::<AtomicUsize>::default();
        let queue = Queue {
            jobs,
            waiting: Arc::clone(&waiting),
        };
        let thread = std::thread::Builder::new()
            .name("downloads".to_owned())
            .spawn(move || {
                Writing {
                    store,
                    drafts: HashMap::new(),
                    // The first entry is reason to look.
                    since_trim: BETWEEN_TRIMS,
                }
                .run(&queued, &waiting);
            });
        if let Err(error) = &thread {
            tracing::warn!(%error, "nothing is added to the download cache");
        }
        Self {
            queue,
            next: AtomicU64::new(0),
            thread: thread.ok(),
        }
    }

    /// Begins an entry.
    pub(super) fn begin(&self) -> Entry {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.queue.put(Job::Begin(id));
        Entry {
            id,
            queue: self.queue.clone(),
            over: false,
        }
    }

    pub(super) fn refresh(&self, key: Key, meta: Meta, body: Body) {
        self.queue.put(Job::Refresh(key, Box::new(meta), body));
    }

    /// Waits until all is written that was asked for up to now.
    pub(super) async fn settle(&self) {
        let (sender, settled) = oneshot::channel();
        self.queue.put(Job::Tell(sender));
        // Without its thread nothing is written.
        let _ = settled.await;
    }

    pub(super) fn remove(&self, key: Key) {
        self.queue.put(Job::Remove(key));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.put(Job::Stop);
        if let Some(thread) = self.thread.take() {
            // It panicked: the panic was printed.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn put(&self, job: Job) {
        // Without its thread nothing is kept.
        let _ = self.jobs.send(job);
    }
}

/// An entry that is being written. Dropping it discards it.
#[derive(Debug)]
pub(super) struct Entry {
    id: Id,
    queue: Queue,
    over: bool,
}

/// The disk is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overrun;

impl Entry {
    pub(super) fn write(&self, data: &[u8]) -> Result<(), Overrun> {
        let before = self.queue.waiting.fetch_add(data.len(), Ordering::Relaxed);
        if before + data.len() > MOST_WAITING {
            self.queue.waiting.fetch_sub(data.len(), Ordering::Relaxed);
            return Err(Overrun);
        }
        self.queue.put(Job::Data(self.id, data.to_vec()));
        Ok(())
    }

    /// `kept` hears of it if it was kept, and is dropped if not.
    pub(super) fn publish(mut self, key: Key, meta: Meta, kept: oneshot::Sender<()>) {
        self.over = true;
        let job = Job::Publish(self.id, key, Box::new(meta), kept);
        self.queue.put(job);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.over {
            self.queue.put(Job::Discard(self.id));
        }
    }
}

struct Writing {
    store: Arc<Store>,
    /// Without those that could not be written.
    drafts: HashMap<Id, Draft>,
    since_trim: u64,
}

impl Writing {
    fn run(mut self, queued: &Receiver<Job>, waiting: &AtomicUsize) {
        while let Ok(job) = queued.recv() {
            let length = match &job {
                Job::Stop => return,
                Job::Data(_, data) => data.len(),
                _ => 0,
            };
            if let Err(error) = self.work(job) {
                tracing::warn!(%error, "a download was not added to the cache");
            }
            waiting.fetch_sub(length, Ordering::Relaxed);
        }
    }

    fn work(&mut self, job: Job) -> io::Result<()> {
        match job {
            Job::Begin(_) if self.drafts.len() >= MOST_DRAFTS => {}
            Job::Begin(id) => {
                let draft = self.store.draft()?;
                self.drafts.insert(id, draft);
            }
            Job::Data(id, data) => {
                if let Some(draft) = self.drafts.get_mut(&id)
                    && let Err(error) = draft.write(&data)
                {
                    self.drafts.remove(&id);
                    return Err(error);
                }
            }
            Job::Publish(id, key, meta, kept) => {
                if let Some(draft) = self.drafts.remove(&id) {
                    self.publish(draft, key, *meta)?;
                    // Whoever asked may be gone.
                    let _ = kept.send(());
                }
            }
            Job::Discard(id) => drop(self.drafts.remove(&id)),
            Job::Refresh(key, meta, body) => {
                let mut draft = self.store.draft()?;
                draft.copy(&body, meta.length)?;
                self.publish(draft, key, *meta)?;
            }
            Job::Remove(key) => self.store.remove(key)?,
            // Whoever asked may be gone.
            Job::Tell(settled) => drop(settled.send(())),
            Job::Stop => {}
        }
        Ok(())
    }

    fn publish(&mut self, draft: Draft, key: Key, meta: Meta) -> io::Result<()> {
        self.since_trim += draft.length;
        draft.publish(key, meta)?;
        if self.since_trim >= BETWEEN_TRIMS {
            self.since_trim = 0;
            self.store.trim(MOST)?;
        }
        Ok(())
    }
}
