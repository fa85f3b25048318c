//! Servers on 127.0.0.1 that play the hosts which a trial may reach, and remember what they were sent.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A client that says nothing for this long is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);
const MOST: usize = 16 << 10;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\ndoctor";

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Over {
    Plain,
    Tls,
}

/// The head of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Heard {
    pub(in super::super) over: Over,
    pub(in super::super) head: String,
}

/// A certificate for some names, by an authority that nobody else knows.
pub(super) struct Identity {
    authority: String,
    certificate: CertificateDer<'static>,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    pub(super) fn new(names: &[&str]) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        let common_name = "the hosts that wardian doctor plays";
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);

        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &issuer)?;
        let certificate = leaf.der().clone();
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], private)?;
        Ok(Self {
            authority,
            certificate,
            config: Arc::new(config),
        })
    }

    /// The authority's certificate in PEM.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }
}

/// A server that answers every request and remembers its head. It ends with the process.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Origin {
    pub(super) fn plain() -> io::Result<Self> {
        Self::serve(Over::Plain, answer)
    }

    pub(super) fn tls(identity: &Identity) -> io::Result<Self> {
        let config = Arc::clone(&identity.config);
        Self::serve(Over::Tls, move |stream| {
            let connection =
                ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            answer(StreamOwned::new(connection, stream))
        })
    }

    fn serve(
        over: Over,
        answer: impl Fn(TcpStream) -> io::Result<String> + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        std::thread::Builder::new()
            .name("origin".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    // Locked while it answers: who looks next sees this request as well.
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    let patient = stream.set_read_timeout(Some(PATIENCE));
                    let head = patient.and_then(|()| answer(stream));
                    kept.extend(head.map(|head| Heard { over, head }));
                }
            })?;
        Ok(Self { address, heard })
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        let heard = self.heard.lock();
        heard.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(mut stream: impl Read + Write) -> io::Result<String> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while head.len() < MOST && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk)? {
            0 => break,
            length => head.extend_from_slice(&chunk[..length]),
        }
    }
    stream.write_all(ANSWER)?;
    stream.flush()?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}
