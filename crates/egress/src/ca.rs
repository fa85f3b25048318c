//! The certificate authority of one sandbox.
//!
//! Its certificate goes into the sandbox's trust stores; its key is made here, stays in this process and has no way out:
//! the type gives no access to it, and it is never written anywhere. Leaves share one key of their own, because making
//! a key for each would cost more than signing, and both keys live and die with the sandbox.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use wardian_policy::Host;
use zeroize::Zeroizing;

#[cfg(test)]
mod tests;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The authority outlives any sensible run of a sandbox, and not by much.
const AUTHORITY_VALID: Duration = Duration::from_secs(90 * 24 * 60 * 60);
const LEAF_VALID: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// After this a cached leaf is minted anew, so that none is ever served near its end.
const LEAF_FRESH: Duration = DAY;
/// Clocks inside may lag behind: the sandbox has its own time zone, not its own time, but images carry odd clients.
const BACKDATED: Duration = DAY;
/// Upper bound of a common name (RFC 5280 appendix A).
const MAX_COMMON_NAME: usize = 64;

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("cannot generate a key: {0}")]
    Key(&'static str),
    #[error("cannot make the certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("no randomness for a serial number")]
    Random,
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// Signs with the authority's key and does nothing else with it.
struct AuthorityKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self
            .pair
            .sign(&self.random, message)
            .map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// The public half of the leaves' shared key.
struct LeafPublicKey(Vec<u8>);

impl PublicKeyData for LeafPublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// Mints leaves for the hosts that a sandbox talks to, and keeps the TLS settings for each.
pub struct CertificateAuthority {
    issuer: Issuer<'static, AuthorityKey>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    expires: SystemTime,
    leaf_public: LeafPublicKey,
    leaf_key: Arc<dyn rustls::sign::SigningKey>,
    template: ServerConfig,
    leaves: Mutex<Leaves>,
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// A new authority with a key of its own, named after the sandbox.
    pub fn generate(sandbox: &str) -> Result<Self, CaError> {
        let random = SystemRandom::new();
        let (pair, _) = generate_pair(&random)?;
        let key = AuthorityKey {
            pair,
            random: random.clone(),
        };
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + AUTHORITY_VALID).into();
        params.serial_number = Some(serial()?);
        params.distinguished_name = common_name(&authority_name(sandbox));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        let (leaf_pair, leaf_der) = generate_pair(&random)?;
        let leaf_key = rustls::crypto::ring::sign::any_ecdsa_type(
            &PrivatePkcs8KeyDer::from(leaf_der.as_slice()).into(),
        )?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            expires: now + AUTHORITY_VALID,
            leaf_public: LeafPublicKey(leaf_pair.public_key().as_ref().to_vec()),
            leaf_key,
            template: template()?,
            leaves: Mutex::new(Leaves::new(1024)),
        })
    }

    /// Keeps at most `most` leaves (1,024 unless told).
    pub fn with_max_leaves(self, most: usize) -> Self {
        Self {
            leaves: Mutex::new(Leaves::new(most.max(1))),
            ..self
        }
    }

    /// The certificate for the sandbox's trust stores.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// TLS settings that show `host` a certificate of its own: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, resumption on.
    pub fn server_config(&self, host: &Host) -> Result<Arc<ServerConfig>, CaError> {
        if let Some(config) = self.leaves().get(host) {
            return Ok(config);
        }
        // Minted outside the lock: two connections at once may both mint, and the later one wins.
        let chain = vec![self.mint(host)?];
        let key = CertifiedKey::new(chain, Arc::clone(&self.leaf_key));
        let mut config = self.template.clone();
        config.cert_resolver = Arc::new(OneCertificate(Arc::new(key)));
        let config = Arc::new(config);
        self.leaves().insert(host.clone(), Arc::clone(&config));
        Ok(config)
    }

    /// A fresh leaf, valid for `host` only.
    pub fn mint(&self, host: &Host) -> Result<CertificateDer<'static>, CaError> {
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + LEAF_VALID).min(self.expires).into();
        params.serial_number = Some(serial()?);
        params.distinguished_name = common_name(&host.to_string());
        params.subject_alt_names = vec![match host {
            Host::Name(name) => SanType::DnsName(name.as_str().try_into()?),
            Host::Ip(address) => SanType::IpAddress(*address),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&self.leaf_public, &self.issuer)?;
        Ok(leaf.der().clone())
    }

    fn leaves(&self) -> std::sync::MutexGuard<'_, Leaves> {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The leaves in use, oldest first out.
struct Leaves {
    most: usize,
    by_host: HashMap<Host, (Arc<ServerConfig>, Instant)>,
    order: VecDeque<Host>,
}

impl Leaves {
    fn new(most: usize) -> Self {
        Self {
            most,
            by_host: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    fn get(&self, host: &Host) -> Option<Arc<ServerConfig>> {
        let (config, minted) = self.by_host.get(host)?;
        (minted.elapsed() < LEAF_FRESH).then(|| Arc::clone(config))
    }

    fn insert(&mut self, host: Host, config: Arc<ServerConfig>) {
        if self
            .by_host
            .insert(host.clone(), (config, Instant::now()))
            .is_none()
        {
            self.order.push_back(host);
        }
        while self.by_host.len() > self.most {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.by_host.remove(&oldest);
        }
    }
}

/// Shows the same certificate whatever the client asks for: the connection's name was compared before.
struct OneCertificate(Arc<CertifiedKey>);

impl fmt::Debug for OneCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneCertificate").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// The cryptography of both sides of the door.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn template() -> Result<ServerConfig, CaError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoCertificate));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Stateless tickets: nothing is kept here for a client that does not come back. rustls resumes only under the
    // server name that the ticket was made for.
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

fn generate_pair(random: &SystemRandom) -> Result<(EcdsaKeyPair, Zeroizing<Vec<u8>>), CaError> {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, random)
        .map_err(|_| CaError::Key("no randomness"))?;
    let der = Zeroizing::new(document.as_ref().to_vec());
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der, random)
        .map_err(|_| CaError::Key("the generated key was rejected"))?;
    Ok((pair, der))
}

/// Random, because all leaves share issuer and key, and some clients refuse a serial number that they know.
fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| CaError::Random)?;
    // Positive and of full length.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    // Only the alternative name is read today; a name too long for this field is cut.
    let cut: String = name.chars().take(MAX_COMMON_NAME).collect();
    distinguished.push(DnType::CommonName, cut);
    distinguished
}

fn authority_name(sandbox: &str) -> String {
    let plain: String = sandbox
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
        .take(40)
        .collect();
    format!("Wardian sandbox {plain}")
}
