//! Certificates of any quality.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use crate::ca::provider;

/// The authority that vouches for the origins of the tests.
pub(crate) struct TestAuthority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

pub(crate) static AUTHORITY: LazyLock<TestAuthority> = LazyLock::new(TestAuthority::new);

impl TestAuthority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }
}

/// How good an origin's certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quality {
    Good,
    Expired,
    NotYet,
    SelfSigned,
}

/// An origin with a certificate for `name`, and these protocols in this order of preference.
pub(crate) fn acceptor(name: &str, quality: Quality, protocols: &[&str]) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let day = Duration::from_secs(86400);
    let now = SystemTime::now();
    (params.not_before, params.not_after) = match quality {
        Quality::Expired => ((now - 10 * day).into(), (now - day).into()),
        Quality::NotYet => ((now + day).into(), (now + 10 * day).into()),
        Quality::Good | Quality::SelfSigned => ((now - day).into(), (now + day).into()),
    };
    let certificate = match quality {
        Quality::SelfSigned => params.self_signed(&key).unwrap(),
        _ => params.signed_by(&key, &AUTHORITY.issuer).unwrap(),
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    TlsAcceptor::from(Arc::new(config))
}
