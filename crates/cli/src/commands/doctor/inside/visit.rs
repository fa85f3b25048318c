//! Requests over TLS, as any program would make them.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::{Deserialize, Serialize};

/// What a visit is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Errand {
    /// A rule allows it, and the credential is for this host.
    Allowed,
    /// A rule allows it, and the credential is for another host.
    OtherHost,
    /// Of a host that is allowed, a request that is not.
    Denied,
    /// A rule allows it, and the host cannot prove that it is the one.
    Impostor,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Visit {
    pub(in super::super) errand: Errand,
    pub(in super::super) host: String,
    pub(in super::super) path: String,
}

/// What came of it: an answer, or why there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Visited {
    pub(in super::super) visit: Visit,
    pub(in super::super) answer: Result<Answer, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Answer {
    /// Head and body, or the beginning of it.
    pub(in super::super) text: String,
    /// The certificate that was shown, in DER. It was verified with the roots that programs find here.
    pub(in super::super) certificate: Vec<u8>,
}

const PATIENCE: Duration = Duration::from_secs(10);
const MOST: u64 = 4096;

impl Visit {
    /// Sends the placeholder that `variable` holds.
    pub(super) fn run(&self, variable: &str) -> Visited {
        Visited {
            visit: self.clone(),
            answer: self.ask(variable).map_err(|error| format!("{error:#}")),
        }
    }

    fn ask(&self, variable: &str) -> anyhow::Result<Answer> {
        let Self { host, path, .. } = self;
        let placeholder = std::env::var(variable).unwrap_or_default();
        let name = ServerName::try_from(host.clone())?;
        let connection = ClientConnection::new(Arc::new(config()?), name)?;
        let socket = TcpStream::connect((host.as_str(), 443)).context("cannot connect")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(connection, socket);
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {placeholder}\r\nConnection: close\r\n\r\n"
        )?;
        let mut text = Vec::new();
        match (&mut stream).take(MOST).read_to_end(&mut text) {
            // The end of the connection without the end of TLS; the answer says how long it is.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            read => drop(read?),
        }
        let certificates = stream.conn.peer_certificates().unwrap_or_default();
        let certificate = certificates.first().context("no certificate was shown")?;
        Ok(Answer {
            text: String::from_utf8_lossy(&text).into_owned(),
            certificate: certificate.to_vec(),
        })
    }
}

fn config() -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
