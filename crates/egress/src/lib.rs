//! The door: the one way out of a sealed sandbox.
//!
//! A sandbox's network namespace holds nothing but `lo`; every TCP connection and every DNS question in it is steered
//! to listeners that a process outside holds. This crate is what answers on those listeners:
//!
//! ```text
//! dns         every question answered here with a synthetic address per name; no question leaves
//! connection  accept -> original destination -> name -> policy -> record -> act
//!   hello       the ClientHello, read before anybody answers it
//!   ca, tls     TLS ends here with a leaf of the sandbox's own authority; upstream is verified always
//!   http        each request judged by itself, credentials put in, streamed both ways
//!   model       calls of language models, read off copies of what passes
//!   tunnel      bytes of a connection that its rule lets through unread
//! refusals    what is denied, on the record, without letting a loop fill the disk
//! cache       downloads that are the same for every sandbox, kept between them
//! dial        the only place that opens a connection to the world; it takes permits, never names alone
//! ```
//!
//! What it must not know: how traffic was steered to it (see [`OriginalDestination`]) and the life cycle of a sandbox.

pub mod ca;
pub mod cache;
pub mod client;
pub mod connection;
pub mod context;
pub mod credentials;
pub mod dial;
pub mod dns;
pub mod door;
pub mod hello;
pub mod http;
pub mod model;
pub mod names;
pub mod refusals;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod tunnel;

pub use ca::CertificateAuthority;
pub use context::{DoorLimits, HttpConnection, PolicyCell, PolicyWatch, Shared};
pub use credentials::{Credential, Credentials};
pub use dial::{Alpn, AlpnOffer, DialError, Dialer, Resolver, TlsWanted, Upstream, UpstreamIo};
pub use dns::AddressFamilies;
pub use door::{Door, DoorConfig, DoorError, Listeners, OriginalDestination};
pub use model::ModelRecord;
pub use tls::{Roots, UpstreamTls};
