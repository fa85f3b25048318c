//! The sandbox's door: its authority, its secrets, and the threads that serve it.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use std::{fs, io};

use tokio::runtime::{Builder, Runtime};
use wardian_egress::tls::{Roots, UpstreamTls};
use wardian_egress::dial::resolve::Resolver;
use wardian_egress::{
    CertificateAuthority, Credential, Credentials, Dialer, Door, DoorConfig, DoorLimits, Listeners,
    OriginalDestination, PolicyCell,
};
use wardian_events::{Flusher, Journal};
use wardian_policy::{CredentialName, Policy};
use wardian_sandbox::builtin::Listener;
use wardian_sandbox::image::TrustAnchor;
use zeroize::Zeroizing;

use crate::ending::Ending;
use crate::failure::Failed;
use crate::protocol::{How, Secret};

/// How often the journal is forced to the disk while events arrive.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// The door does little but wait: a second thread keeps one busy connection from delaying the others.
const THREADS: usize = 2;

/// Everything but the listeners.
#[derive(Debug)]
pub struct ClosedDoor {
    config: DoorConfig,
    anchor: TrustAnchor,
    journal: Journal,
}

/// A door that is being served. Dropping it closes it.
#[derive(Debug)]
pub struct OpenDoor {
    runtime: Option<Runtime>,
    _flusher: Flusher,
}

impl ClosedDoor {
    /// Makes the sandbox's authority and takes in its secrets: to be called after pid 1 was forked.
    pub fn build(policy: &Policy, journal: &Journal, secrets: Vec<Secret>) -> Result<Self, Failed> {
        let ca = CertificateAuthority::generate(journal_name(journal)).map_err(Failed::sandbox)?;
        let mut tls = UpstreamTls::new(Roots::System);
        for path in policy.extra_ca_paths() {
            let pem = fs::read(path)
                .map_err(|error| Failed::sandbox(format!("cannot read the CA {path}: {error}")))?;
            tls.trust(path, &pem).map_err(Failed::sandbox)?;
        }
        todo!()
    }
}
