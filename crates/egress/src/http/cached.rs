//! Downloads that need not come from their origin, and those that are kept as they come.
//!
//! A request gets here when the policy has permitted it. What is kept is served as if an HTTP/1.1 origin had sent it: its
//! head goes through the same parser, and its body through the same pump.

use std::io::Cursor;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, Take};

use super::judge::Permitted;
use super::origin::Identity;
use super::record::Exchange;
use super::stream::Source;
use super::tap::Fields;
use crate::cache::keeper::Keeper;
use crate::cache::key::{self, Asked, Key};
use crate::cache::kind::recognises;
use crate::cache::store::Body;
use crate::cache::{Hit, freshness, now};
use crate::context::HttpConnection;

/// What the cache has for a request.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// It is none that the cache is for.
    NotFor,
    Fresh(Hit),
    Ask(Asking),
}

/// A request that goes to its origin, and whose answer may be kept.
#[derive(Debug)]
pub(crate) struct Asking {
    key: Key,
    url: String,
    /// Its origin may confirm it.
    pub(crate) stale: Option<Hit>,
}

/// Looks up a request of which it is known that it has no body and asks for no upgrade.
pub(crate) async fn look_up(
    connection: &HttpConnection,
    host: &str,
    permitted: &Permitted,
    method: &str,
    fields: Fields<'_>,
) -> Lookup {
    let Some(asking) = asking(connection, host, permitted, method, fields) else {
        return Lookup::NotFor;
    };
    let Some(cache) = &connection.shared.cache else {
        return Lookup::NotFor;
    };
    // From an address that this policy refuses, nothing comes by way of the cache either.
    let found = cache.find(asking.key).await.filter(|hit| {
        let Permitted {
            policy, connection, ..
        } = permitted;
        policy.check_address(connection, hit.meta.address).is_ok()
    });
    match found {
        Some(hit) if hit.meta.is_fresh(now()) => Lookup::Fresh(hit),
        stale => Lookup::Ask(Asking {
            stale: stale.filter(|hit| hit.meta.condition().is_some()),
            ..asking
        }),
    }
}

fn asking(
    connection: &HttpConnection,
    host: &str,
    permitted: &Permitted,
    method: &str,
    fields: Fields<'_>,
) -> Option<Asking> {
    let shared = &connection.shared;
    let cache = shared.cache.as_ref()?;
    let has_credentials = || {
        let mut names = permitted.request.credentials().iter();
        names.any(|name| shared.credentials.get(name).is_some())
    };
    let is_download = || {
        let mut kinds = cache.kinds().iter();
        kinds.any(|kind| recognises(*kind, permitted.target.path(), fields.iter()))
    };
    if method != "GET"
        || connection.scheme != wardian_policy::Scheme::Https
        || has_credentials()
        || !is_download()
    {
        return None;
    }
    let authorities = shared.dialer.vouching(&permitted.connection);
    let asked = Asked {
        authority: host,
        target: permitted.target.as_str(),
        authorities: authorities.as_deref(),
    };
    Some(Asking {
        key: asked.key(fields.iter())?,
        url: format!("https://{host}{}", permitted.target.as_str()),
        stale: None,
    })
}

impl Asking {
    /// Is this field of the request left out?
    pub(crate) fn leaves_out(&self, name: &str) -> bool {
        key::is_noise(name)
    }

    /// What is asked for besides.
    pub(crate) fn condition(&self) -> Option<(&'static str, &str)> {
        self.stale.as_ref()?.meta.condition()
    }

    /// The request is about to go to an origin that is `identity`. Plain HTTP is never asked for anything to keep.
    pub(crate) fn begin(
        &self,
        connection: &HttpConnection,
        identity: Identity,
        exchange: &mut Exchange,
    ) {
        let Identity::Verified(address) = identity else {
            return;
        };
        let shared = &connection.shared;
        let (keeper, kept) = Keeper::new(shared, self.key, self.url.clone(), address);
        exchange.keep(Box::new(keeper), kept);
        if self.condition().is_some() {
            exchange.down.expect_confirmation();
        }
    }

    /// The entry with what its origin said in confirming it.
    pub(crate) fn confirmed(
        self,
        connection: &HttpConnection,
        fields: &[(String, Vec<u8>)],
    ) -> Option<Hit> {
        let cache = connection.shared.cache.as_ref()?;
        let mut hit = self.stale?;
        let said = || {
            fields
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_slice()))
        };
        let now = now();
        if let Some(meta) = hit.meta.confirmed(said()) {
            hit.meta = meta;
        }
        match freshness::lifetime(hit.meta.fields().chain(age(said())), now) {
            Some(lifetime) => {
                hit.meta.live(lifetime, now);
                cache.refresh(&hit);
            }
            None => {
                hit.meta.age = 0;
                hit.meta.received = now;
                cache.remove(hit.key());
            }
        }
        Some(hit)
    }
}

/// `Age` is not kept with an entry, but counts.
fn age<'a>(
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    fields.filter(|(name, _)| name.eq_ignore_ascii_case("age"))
}

/// An entry as an origin would send it.
pub(crate) type Replay = Source<tokio::io::Chain<Cursor<String>, BodyReader>>;

pub(crate) fn replay(hit: Hit) -> Replay {
    let head = Cursor::new(hit.meta.head(now()));
    let body = match hit.body {
        Body::Memory(bytes) => BodyReader::Memory(Cursor::new(bytes)),
        Body::File(file) => BodyReader::File(tokio::fs::File::from_std(file).take(hit.meta.length)),
    };
    Source::new(head.chain(body))
}

#[derive(Debug)]
pub(crate) enum BodyReader {
    Memory(Cursor<Bytes>),
    File(Take<tokio::fs::File>),
}

impl AsyncRead for BodyReader {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Memory(bytes) => std::pin::Pin::new(bytes).poll_read(cx, buffer),
            Self::File(file) => std::pin::Pin::new(file).poll_read(cx, buffer),
        }
    }
}
