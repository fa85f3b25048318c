//! TLS towards the world: the upstream's certificate is verified always, and nothing can turn that off.
//!
//! Roots are the host's own store, plus the certificates that a rule names for its hosts. A rule's extra roots hold for
//! the connections of that rule only; sessions are never resumed across different sets of roots.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ring::digest;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wardian_policy::Host;

use crate::ca::provider;
use crate::dial::{Alpn, AlpnOffer, DialError};

/// Sessions kept for resumption, for one set of roots and one ALPN offer.
const SESSIONS: usize = 256;

/// Where trust in upstreams comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Roots {
    /// The host's certificate store.
    #[default]
    System,
    /// PEM files or directories of them, instead of the host's store.
    Files(Vec<PathBuf>),
    /// None: only what rules name is trusted.
    Empty,
}

/// Why a rule's extra certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    #[error("{path}: not PEM: {reason}")]
    Pem { path: String, reason: String },
    #[error("{path}: holds no certificate")]
    None { path: String },
    #[error("{path}: a certificate cannot serve as root")]
    Unusable { path: String, source: rustls::Error },
}

/// By the rule's `ca` and what is offered.
type Configs = HashMap<(Option<String>, AlpnOffer), Arc<ClientConfig>>;

/// Verified TLS for one door.
pub struct UpstreamTls {
    roots: Roots,
    base: OnceLock<Arc<RootCertStore>>,
    extra: HashMap<String, Vec<CertificateDer<'static>>>,
    configs: Mutex<Configs>,
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamTls")
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}

impl UpstreamTls {
    /// Nothing is read yet: see [`UpstreamTls::preload`].
    pub fn new(roots: Roots) -> Self {
        Self {
            roots,
            base: OnceLock::new(),
            extra: HashMap::new(),
            configs: Mutex::default(),
        }
    }

    /// Trusts the certificates of `pem` for rules whose `ca` is `path` as the policy writes it.
    pub fn trust(&mut self, path: &str, pem: &[u8]) -> Result<(), RootsError> {
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| RootsError::Pem {
                path: path.into(),
                reason: error.to_string(),
            })?;
        if certificates.is_empty() {
            return Err(RootsError::None { path: path.into() });
        }
        let mut check = RootCertStore::empty();
        for certificate in &certificates {
            check
                .add(certificate.clone())
                .map_err(|source| RootsError::Unusable {
                    path: path.into(),
                    source,
                })?;
        }
        self.extra.insert(path.to_owned(), certificates);
        Ok(())
    }

    /// A digest of what vouches for the upstreams of such rules, beside the roots. None: nothing, or nothing known.
    pub(crate) fn vouching(&self, path: Option<&str>) -> Option<Vec<u8>> {
        let certificates = self.extra.get(path?)?;
        let mut context = digest::Context::new(&digest::SHA256);
        for certificate in certificates {
            context.update(&(certificate.len() as u64).to_be_bytes());
            context.update(certificate);
        }
        Some(context.finish().as_ref().to_vec())
    }

    /// Reads the roots now (blocking, some milliseconds) rather than at the first connection. A supervisor calls it
    /// before it gives up its access to the file system.
    pub fn preload(&self) {
        self.base();
    }

    fn base(&self) -> &Arc<RootCertStore> {
        self.base.get_or_init(|| Arc::new(load(&self.roots)))
    }

    fn config(
        &self,
        extra_ca: Option<&str>,
        offer: AlpnOffer,
    ) -> Result<Arc<ClientConfig>, DialError> {
        let key = (extra_ca.map(str::to_owned), offer);
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(&key) {
            return Ok(Arc::clone(config));
        }
        let roots = match extra_ca {
            None => Arc::clone(self.base()),
            Some(path) => {
                let certificates = self
                    .extra
                    .get(path)
                    .ok_or_else(|| DialError::UnknownCa(path.to_owned()))?;
                let mut roots = RootCertStore::clone(self.base());
                roots.add_parsable_certificates(certificates.iter().cloned());
                Arc::new(roots)
            }
        };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .map_err(|error| DialError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        config.alpn_protocols = match offer {
            AlpnOffer::Http1 => vec![b"http/1.1".to_vec()],
            AlpnOffer::Http2 => vec![b"h2".to_vec()],
            AlpnOffer::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let config = Arc::new(config);
        // Bounded by the rules: one entry for each `ca` of the policy and each offer.
        configs.insert(key, Arc::clone(&config));
        Ok(config)
    }

    /// The handshake over a connected stream. An error means that no byte of the program's was sent.
    pub async fn handshake(
        &self,
        stream: TcpStream,
        name: &Host,
        extra_ca: Option<&str>,
        offer: AlpnOffer,
    ) -> Result<(TlsStream<TcpStream>, Alpn), DialError> {
        let config = self.config(extra_ca, offer)?;
        let stream = TlsConnector::from(config)
            .connect(server_name(name)?, stream)
            .await
            .map_err(handshake_error)?;
        let alpn = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Alpn::H2,
            Some(b"http/1.1") => Alpn::H1,
            _ => Alpn::None,
        };
        Ok((stream, alpn))
    }
}

fn load(roots: &Roots) -> RootCertStore {
    let mut store = RootCertStore::empty();
    let certificates = match roots {
        Roots::Empty => Vec::new(),
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "part of the host's certificate store cannot be read");
            }
            found.certs
        }
        Roots::Files(paths) => paths
            .iter()
            .flat_map(|path| read_certificates(path))
            .collect(),
    };
    let (used, ignored) = store.add_parsable_certificates(certificates);
    tracing::debug!(used, ignored, "trusted roots");
    store
}

fn read_certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    let result = if path.is_dir() {
        rustls_native_certs::load_certs_from_paths(None, Some(path))
    } else {
        rustls_native_certs::load_certs_from_paths(Some(path), None)
    };
    for error in &result.errors {
        tracing::warn!(%error, path = %path.display(), "trusted roots cannot be read");
    }
    result.certs
}

fn server_name(host: &Host) -> Result<ServerName<'static>, DialError> {
    match host {
        Host::Name(name) => DnsName::try_from(name.as_str().to_owned())
            .map(ServerName::DnsName)
            .map_err(|_| DialError::Tls("the name cannot stand in a certificate".into())),
        Host::Ip(address) => Ok(ServerName::IpAddress(IpAddr::into(*address))),
    }
}

/// One name for each way in which an upstream fails to prove who it is.
fn handshake_error(error: io::Error) -> DialError {
    let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return DialError::TlsBroken(error.kind());
    };
    match tls {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                DialError::CertificateExpired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                DialError::CertificateNotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                DialError::CertificateWrongHost
            }
            // Signed by nobody we know, or by somebody who only bears the name of one.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                DialError::CertificateUntrusted
            }
            CertificateError::Revoked => DialError::CertificateRevoked,
            other => DialError::CertificateInvalid(other.to_string()),
        },
        other => DialError::Tls(other.to_string()),
    }
}
