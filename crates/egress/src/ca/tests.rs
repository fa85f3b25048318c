use std::io;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

use super::*;

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

fn client_config(authority: &CertificateAuthority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate_der().clone()).unwrap();
    Arc::new(
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// A whole handshake in memory; true if it was a resumption.
fn handshake(
    client: &Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> Result<bool, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(server)?;
    for _ in 0..6 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut io::Cursor::new(&wire)).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut cursor = io::Cursor::new(&wire);
        while (cursor.position() as usize) < wire.len() {
            client.read_tls(&mut cursor).unwrap();
        }
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking());
    Ok(client.handshake_kind() == Some(rustls::HandshakeKind::Resumed))
}

#[test]
fn clients_that_trust_the_authority_accept_its_leaves_for_their_host_only() {
    let authority = CertificateAuthority::generate("gitea").unwrap();
    let client = client_config(&authority);
    let long = format!("{}.{}.example.com", "a".repeat(60), "b".repeat(60));
    for name in ["api.example.com", "192.0.2.7", "2001:db8::7", &long] {
        let server = authority.server_config(&host(name)).unwrap();
        assert_eq!(
            handshake(&client, Arc::clone(&server), name),
            Ok(false),
            "{name}"
        );
        assert_eq!(handshake(&client, server, name), Ok(true), "{name} resumes");
    }
    let server = authority.server_config(&host("api.example.com")).unwrap();
    assert!(handshake(&client, server, "evil.example.com").is_err());
}

#[test]
fn each_sandbox_has_its_own_authority() {
    let one = CertificateAuthority::generate("one").unwrap();
    let other = CertificateAuthority::generate("one").unwrap();
    assert_ne!(one.certificate_pem(), other.certificate_pem());
    let server = other.server_config(&host("example.com")).unwrap();
    assert!(handshake(&client_config(&one), server, "example.com").is_err());
    assert!(
        one.certificate_pem()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    assert!(!format!("{one:?}").contains("key"));
    assert!(!one.certificate_pem().contains("PRIVATE"));
}

#[test]
fn leaves_are_kept_but_not_without_bound() {
    let authority = CertificateAuthority::generate("x")
        .unwrap()
        .with_max_leaves(3);
    let first = authority.server_config(&host("n0.example")).unwrap();
    assert!(Arc::ptr_eq(
        &first,
        &authority.server_config(&host("n0.example")).unwrap()
    ));
    for n in 0..50 {
        authority
            .server_config(&host(&format!("n{n}.example")))
            .unwrap();
    }
    let leaves = authority.leaves();
    assert_eq!((leaves.by_host.len(), leaves.order.len()), (3, 3));
}

#[test]
fn no_two_certificates_share_a_serial_number() {
    let serials: std::collections::HashSet<_> =
        (0..100).map(|_| serial().unwrap().to_bytes()).collect();
    assert_eq!(serials.len(), 100);
    assert!(
        serials
            .iter()
            .all(|serial| serial.len() == 16 && serial[0] & 0x80 == 0)
    );
}
