//! Names to addresses, as the host sees them.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use wardian_policy::{Host, HostName};

use super::DialError;

/// How often to look whether the host's resolver settings changed (another network, a VPN).
const SETTINGS_AGE: Duration = Duration::from_secs(5);
const SETTINGS: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// A lookup that somebody else does: for tests, and for hosts with a resolver of their own.
pub trait Lookup: Send + Sync {
    fn lookup<'a>(
        &'a self,
        name: &'a HostName,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, DialError>> + Send + 'a>>;
}

impl<F> Lookup for F
where
    F: Fn(&HostName) -> Vec<IpAddr> + Send + Sync,
{
    fn lookup<'a>(
        &'a self,
        name: &'a HostName,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, DialError>> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(self(name))))
    }
}

/// Where addresses come from.
pub struct Resolver {
    source: Source,
}

enum Source {
    /// `/etc/resolv.conf` and `/etc/hosts` of the host; search lists are not applied. Answers are kept for their TTL.
    System(Mutex<Option<Settled>>),
    Other(Box<dyn Lookup>),
}

/// A resolver made from the host's settings of some moment.
struct Settled {
    resolver: Arc<TokioResolver>,
    stamps: [Option<SystemTime>; 2],
    looked: Instant,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// The host's own settings, read when first needed and again when they change.
    pub fn system() -> Self {
        Self {
            source: Source::System(Mutex::new(None)),
        }
    }

    pub fn with(lookup: impl Lookup + 'static) -> Self {
        Self {
            source: Source::Other(Box::new(lookup)),
        }
    }

    pub(super) fn preload(&self) {
        if let Source::System(settled) = &self.source
            && let Err(error) = current(settled)
        {
            tracing::warn!(%error, "the host's resolver settings cannot be used yet");
        }
    }

    /// The addresses of `host`, not yet checked by anybody. An address is its own.
    pub(super) async fn addresses(&self, host: &Host) -> Result<Vec<IpAddr>, DialError> {
        let name = match host {
            Host::Ip(address) => return Ok(vec![*address]),
            Host::Name(name) => name,
        };
        let addresses = match &self.source {
            Source::Other(lookup) => lookup.lookup(name).await?,
            Source::System(settled) => {
                let resolver = current(settled)?;
                // With the final dot no search list is tried: the name that was judged is the name that is asked for.
                match resolver.lookup_ip(format!("{name}.")).await {
                    Ok(found) => found.iter().collect(),
                    Err(error) if error.is_nx_domain() => {
                        return Err(DialError::NoSuchName(host.clone()));
                    }
                    Err(error) if error.is_no_records_found() => Vec::new(),
                    Err(error) => return Err(DialError::Lookup(error.to_string())),
                }
            }
        };
        if addresses.is_empty() {
            return Err(DialError::NoAddress(host.clone()));
        }
        Ok(addresses)
    }
}

/// The resolver for the settings of now.
fn current(settled: &Mutex<Option<Settled>>) -> Result<Arc<TokioResolver>, DialError> {
    let mut slot = settled.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(settled) = slot.as_mut() {
        if settled.looked.elapsed() < SETTINGS_AGE {
            return Ok(Arc::clone(&settled.resolver));
        }
        settled.looked = Instant::now();
        // Unreadable settings are no change: a confined supervisor keeps those that it read before.
        if stamps()
            .iter()
            .zip(&settled.stamps)
            .all(|(now, before)| now.is_none() || now == before)
        {
            return Ok(Arc::clone(&settled.resolver));
        }
    }
    match build() {
        Ok(resolver) => {
            let resolver = Arc::new(resolver);
            let made = Settled {
                resolver: Arc::clone(&resolver),
                stamps: stamps(),
                looked: Instant::now(),
            };
            *slot = Some(made);
            Ok(resolver)
        }
        Err(error) => match slot.as_ref() {
            Some(settled) => Ok(Arc::clone(&settled.resolver)),
            None => Err(DialError::Lookup(error)),
        },
    }
}

fn build() -> Result<TokioResolver, String> {
    let mut builder = TokioResolver::builder_tokio().map_err(|error| error.to_string())?;
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.cache_size = 1024;
    builder.build().map_err(|error| error.to_string())
}

fn stamps() -> [Option<SystemTime>; 2] {
    SETTINGS.map(|path| {
        Path::new(path)
            .metadata()
            .and_then(|data| data.modified())
            .ok()
    })
}
