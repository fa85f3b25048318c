use std::io;
use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::ServerName as TlsServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// The hello that rustls sends for `name`.
fn real(name: &str, alpn: &[&str]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    let mut connection = ClientConnection::new(
        Arc::new(config),
        TlsServerName::try_from(name.to_owned()).unwrap(),
    )
    .unwrap();
    let mut bytes = Vec::new();
    connection
        .write_tls(&mut io::Cursor::new(&mut bytes))
        .unwrap();
    bytes
}

fn complete(bytes: &[u8]) -> ClientHello {
    match parse(bytes) {
        Ok(Progress::Complete(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

fn vector8(content: &[u8]) -> Vec<u8> {
    [&[content.len() as u8], content].concat()
}

fn vector16(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u16).to_be_bytes(), content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().to_vec(), vector16(content)].concat()
}

fn name_entry(name: &[u8]) -> Vec<u8> {
    [&[0][..], &vector16(name)].concat()
}

fn sni(name: &str) -> Vec<u8> {
    extension(EXT_SERVER_NAME, &vector16(&name_entry(name.as_bytes())))
}

/// A handshake message with these extensions.
fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let body = [
        &[3, 3][..],
        &[7; 32],
        &vector8(&[]),
        &vector16(&[0x13, 1]),
        &vector8(&[0]),
        &vector16(&extensions.concat()),
    ]
    .concat();
    [
        &[CLIENT_HELLO],
        &(body.len() as u32).to_be_bytes()[1..],
        &body,
    ]
    .concat()
}

fn record(fragment: &[u8]) -> Vec<u8> {
    [&[RECORD_HANDSHAKE, 3, 1][..], &vector16(fragment)].concat()
}

fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    record(&message(extensions))
}

#[test]
fn reads_what_a_real_client_sends() {
    let hello = complete(&real("API.example.com", &["h2", "http/1.1"]));
    assert_eq!(
        hello.server_name,
        ServerName::Name(HostName::parse("api.example.com").unwrap())
    );
    assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!(hello.version, 0x0304);
    assert_eq!(hello.encrypted, Encrypted::No);
    assert_eq!(
        complete(&real("192.0.2.7", &[])).server_name,
        ServerName::Absent
    );
}

#[test]
fn any_split_into_records_reads_the_same_and_every_prefix_is_partial() {
    let bytes = real("example.com", &["h2"]);
    let expected = complete(&bytes);
    for size in [1, 2, 3, 7, 100] {
        // One byte a record would be more records than any client sends.
        if bytes.len() / size > MAX_RECORDS {
            continue;
        }
        let split: Vec<u8> = bytes[5..].chunks(size).flat_map(record).collect();
        assert_eq!(complete(&split), expected);
    }
    for end in 0..bytes.len() {
        assert_eq!(parse(&bytes[..end]), Ok(Progress::Partial), "{end}");
    }
}

#[test]
fn too_many_or_too_long_records_end() {
    let bytes = message(&[extension(21, &[0; 600])]);
    let split: Vec<u8> = bytes.chunks(1).flat_map(record).collect();
    assert_eq!(parse(&split), Err(HelloError::TooLong));
    let long = message(&[extension(21, &vec![0; 16 * 1024 - 4])]);
    assert_eq!(
        parse(
            &long[..0]
                .iter()
                .copied()
                .chain(record(&long[..4]))
                .collect::<Vec<_>>()
        ),
        Err(HelloError::TooLong)
    );
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    let two_names = [name_entry(b"good.example"), name_entry(b"evil.example")].concat();
    let other_type = [&[1][..], &vector16(b"good.example")].concat();
    for (what, extensions, expected) in [
        (
            "twice",
            vec![sni("good.example"), sni("evil.example")],
            HelloError::DuplicateExtension,
        ),
        (
            "two unknown",
            vec![extension(99, b""), extension(99, b"")],
            HelloError::DuplicateExtension,
        ),
        (
            "two names",
            vec![extension(0, &vector16(&two_names))],
            HelloError::Malformed,
        ),
        (
            "other type",
            vec![extension(0, &vector16(&other_type))],
            HelloError::ServerName,
        ),
        (
            "empty list",
            vec![extension(0, &vector16(&[]))],
            HelloError::Malformed,
        ),
        (
            "empty extension",
            vec![extension(0, &[])],
            HelloError::Malformed,
        ),
        ("empty name", vec![sni("")], HelloError::ServerName),
        (
            "trailing dot",
            vec![sni("good.example.")],
            HelloError::ServerName,
        ),
        (
            "NUL",
            vec![sni("good.example\0.evil.example")],
            HelloError::ServerName,
        ),
        ("space", vec![sni(" good.example")], HelloError::ServerName),
        (
            "port",
            vec![sni("good.example:443")],
            HelloError::ServerName,
        ),
        (
            "not ASCII",
            vec![sni("g\u{f6}\u{f6}d.example")],
            HelloError::ServerName,
        ),
        ("short address", vec![sni("127.1")], HelloError::ServerName),
        ("number", vec![sni("2130706433")], HelloError::ServerName),
        (
            "tail",
            vec![extension(
                0,
                &[vector16(&name_entry(b"good.example")), vec![0]].concat(),
            )],
            HelloError::Malformed,
        ),
        (
            "empty ALPN",
            vec![extension(16, &vector16(&[]))],
            HelloError::Malformed,
        ),
        (
            "empty protocol",
            vec![extension(16, &vector16(&[0]))],
            HelloError::Malformed,
        ),
        (
            "only old",
            vec![extension(43, &vector8(&[3, 2, 3, 1]))],
            HelloError::OldVersion,
        ),
        (
            "only GREASE",
            vec![extension(43, &vector8(&[0x7a, 0x7a]))],
            HelloError::OldVersion,
        ),
    ] {
        assert_eq!(parse(&hello(&extensions)), Err(expected), "{what}");
    }
    let address = complete(&hello(&[sni("192.0.2.7")]));
    assert_eq!(
        address.server_name,
        ServerName::Address("192.0.2.7".parse().unwrap())
    );
}

#[test]
fn only_one_message_comes_before_the_answer() {
    let one = message(&[sni("good.example")]);
    let other = message(&[sni("evil.example")]);
    assert_eq!(
        parse(&record(&[one.clone(), other.clone()].concat())),
        Err(HelloError::Trailing)
    );
    assert_eq!(
        parse(&[record(&one), record(&other)].concat()),
        Err(HelloError::Trailing)
    );
    assert_eq!(
        parse(&record(&[&one[..], &[0]].concat())[..one.len() + 5]),
        Err(HelloError::Trailing)
    );
    let early_data = [record(&one), vec![23, 3, 3, 0, 1, 9]].concat();
    assert_eq!(complete(&early_data), complete(&record(&one)));
}

#[test]
fn hidden_names_are_noticed() {
    for kind in [EXT_ENCRYPTED_CLIENT_HELLO, EXT_ENCRYPTED_SERVER_NAME] {
        assert_eq!(
            complete(&hello(&[sni("good.example"), extension(kind, &[0; 8])])).encrypted,
            Encrypted::Yes
        );
    }
}

#[test]
fn what_is_not_tls_is_known_at_once() {
    assert_eq!(parse(b"G"), Err(HelloError::NotHandshake));
    assert_eq!(parse(&[0x80, 0x2e, 1]), Err(HelloError::NotHandshake));
    assert_eq!(parse(&[21, 3, 1]), Err(HelloError::NotHandshake));
    assert_eq!(parse(&[22, 2]), Err(HelloError::Record));
    assert_eq!(parse(&[22, 3, 9]), Err(HelloError::Record));
    assert_eq!(parse(&[22, 3, 1, 0, 0]), Err(HelloError::Record));
    assert_eq!(parse(&[22, 3, 1, 0x40, 1]), Err(HelloError::Record));
    assert_eq!(parse(&[22, 3, 1, 0, 4, 2]), Err(HelloError::NotClientHello));
    assert_eq!(parse(&[]), Ok(Progress::Partial));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse(&bytes);
        let _ = parse(&record(&bytes[..bytes.len().min(500)]));
        let _ = client_hello(&bytes);
        let _ = parse(&hello(&[bytes]));
    }

    #[test]
    fn a_damaged_hello_never_panics(at in 0usize..250, value in any::<u8>(), cut in 0usize..300) {
        let mut bytes = real("example.com", &["h2"]);
        let at = at.min(bytes.len() - 1);
        bytes[at] = value;
        let _ = parse(&bytes);
        bytes.truncate(cut);
        let _ = parse(&bytes);
    }

    #[test]
    fn every_valid_name_comes_back(name in "[a-z][a-z0-9]{0,20}(\\.[a-z][a-z0-9-]{0,20}[a-z0-9]){1,4}") {
        let expected = HostName::parse(&name);
        prop_assume!(expected.is_ok());
        prop_assert_eq!(complete(&hello(&[sni(&name.to_uppercase())])).server_name, ServerName::Name(expected.unwrap()));
    }
}
