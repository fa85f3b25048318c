//! The tap that keeps an answer.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::entry::Meta;
use super::key::Key;
use super::store::MOST_OF_ONE;
use super::writer::Entry;
use super::{Kept, freshness, now};
use crate::context::Shared;
use crate::http::tap::{Answer, BodyEnds, End, Tap};

/// Waits for an answer that may be kept, and has it written.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    key: Key,
    url: String,
    address: IpAddr,
    keeping: Option<Keeping>,
    kept: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Keeping {
    entry: Entry,
    meta: Meta,
    /// As it was announced.
    length: Option<u64>,
    arrived: u64,
}

impl Keeper {
    /// For the answer of an origin at `address` that has proven to be who it is.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        key: Key,
        url: String,
        address: IpAddr,
    ) -> (Self, Kept) {
        let (sender, kept) = oneshot::channel();
        let keeper = Self {
            shared: Arc::clone(shared),
            key,
            url,
            address,
            keeping: None,
            kept: Some(sender),
        };
        (keeper, kept)
    }

    fn begin(&self, head: &Answer<'_>) -> Option<Keeping> {
        let cache = self.shared.cache.as_ref()?;
        let wanted = self.kept.as_ref().is_some_and(|kept| !kept.is_closed());
        if !wanted || head.status != 200 || head.ends != BodyEnds::Marked {
            return None;
        }
        let mut lengths = head.fields.all("content-length");
        let length = match lengths.next() {
            Some(length) => Some(std::str::from_utf8(length).ok()?.parse().ok()?),
            None => None,
        };
        if length.is_some_and(|length| length > MOST_OF_ONE) {
            return None;
        }
        let now = now();
        let lifetime = freshness::lifetime(head.fields.iter(), now)?;
        let mut meta = Meta::new(self.key, &self.url, self.address, head.fields.iter())?;
        meta.live(lifetime, now);
        Some(Keeping {
            entry: cache.writer().begin(),
            meta,
            length,
            arrived: 0,
        })
    }
}

impl Tap for Keeper {
    fn request_data(&mut self, _data: &[u8]) {}

    fn response_head(&mut self, head: &Answer<'_>) {
        self.keeping = self.begin(head);
    }

    fn response_data(&mut self, data: &[u8]) {
        let Some(keeping) = &mut self.keeping else {
            return;
        };
        keeping.arrived += data.len() as u64;
        if keeping.arrived > MOST_OF_ONE {
            self.keeping = None;
        } else if keeping.entry.write(data).is_err() {
            let url = &self.url;
            tracing::warn!("{url} was not added to the download cache: the disk is too slow");
            self.keeping = None;
        }
    }

    fn ended(&mut self, end: End) {
        let (Some(keeping), Some(kept)) = (self.keeping.take(), self.kept.take()) else {
            return;
        };
        let whole = keeping
            .length
            .is_none_or(|length| length == keeping.arrived);
        if end == End::Complete && whole {
            keeping.entry.publish(self.key, keeping.meta, kept);
        }
    }
}
