//! The certificate authority of one test process, and leaves good and bad.

use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// What a server shows its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// Signed by the test CA for the name that the client asks for.
    Trusted,
    Expired,
    NotYetValid,
    /// For the right name, by nobody.
    SelfSigned,
    /// By the test CA, for `elsewhere.test`.
    WrongHost,
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "Wardian end-to-end tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            pem,
            issuer: Issuer::new(params, key),
        }
    })
}

/// The authority's certificate, for `ca = ...` in a policy and for the controls that run outside a sandbox.
pub fn authority_pem() -> &'static str {
    &authority().pem
}

fn mint(name: &str, leaf: Leaf) -> CertifiedKey {
    let for_name = if leaf == Leaf::WrongHost {
        "elsewhere.test"
    } else {
        name
    };
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![for_name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, for_name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    match leaf {
        Leaf::Expired => {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        Leaf::NotYetValid => params.not_before = date_time_ymd(2090, 1, 1),
        _ => {}
    }
    let certificate = match leaf {
        Leaf::SelfSigned => params.self_signed(&key).unwrap(),
        _ => params.signed_by(&key, &authority().issuer).unwrap(),
    };
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    CertifiedKey::from_der(chain, private, &ring::default_provider()).unwrap()
}

/// Mints a leaf for whatever name the client asks for.
#[derive(Debug)]
struct AnyName(Leaf);

impl ResolvesServerCert for AnyName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::new(mint(
            hello.server_name().unwrap_or("localhost"),
            self.0,
        )))
    }
}

/// A server's TLS configuration that offers `alpn`, in order of preference.
pub fn server_config(leaf: Leaf, alpn: &[&str]) -> Arc<rustls::ServerConfig> {
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(AnyName(leaf)));
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}
