//! The hash by which OpenSSL finds a root certificate in a directory: `<hash>.0`.
//!
//! It is the SHA-1 of the subject name in OpenSSL's canonical form (`X509_NAME_hash_ex(3)`), first four
//! bytes, little endian. The certificate is Wardian's own; anything unexpected in it gives no hash.

use sha1::{Digest, Sha1};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
/// `[0] EXPLICIT`, the version of a certificate.
const VERSION: u8 = 0xa0;

/// Eight hexadecimal digits for a self-signed certificate in DER.
pub(super) fn subject_hash(certificate: &[u8]) -> Option<String> {
    let (_, certificate, _) = element(certificate, SEQUENCE)?;
    let (_, mut rest, _) = element(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = any(rest)?.2;
    }
    // Serial number and signature algorithm; then the issuer, which is the subject.
    rest = any(rest)?.2;
    rest = any(rest)?.2;
    let (_, mut name, _) = element(rest, SEQUENCE)?;
    let mut canonical = Vec::new();
    while !name.is_empty() {
        let (_, set, after) = element(name, SET)?;
        let (_, attribute, _) = element(set, SEQUENCE)?;
        let (oid, _, value) = element(attribute, OBJECT_IDENTIFIER)?;
        let (_, text, _) =
            element(value, UTF8_STRING).or_else(|| element(value, PRINTABLE_STRING))?;
        let text = std::str::from_utf8(text).ok()?.to_ascii_lowercase();
        let folded = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let pair = [oid, &wrap(UTF8_STRING, folded.as_bytes())?].concat();
        canonical.extend(wrap(SET, &wrap(SEQUENCE, &pair)?)?);
        name = after;
    }
    let digest = Sha1::digest(&canonical);
    let word: [u8; 4] = digest[..4].try_into().ok()?;
    Some(format!("{:08x}", u32::from_le_bytes(word)))
}

/// The whole element, its content, and what follows it.
fn any(input: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (header, length) = match *input.get(1)? {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(*input.get(2)?)),
        0x82 => (
            4,
            usize::from(u16::from_be_bytes([*input.get(2)?, *input.get(3)?])),
        ),
        _ => return None,
    };
    let end = header + length;
    Some((
        input.get(..end)?,
        input.get(header..end)?,
        input.get(end..)?,
    ))
}

fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8], &[u8])> {
    (input.first() == Some(&tag)).then(|| any(input))?
}

/// Short contents only: names of a certificate of ours.
fn wrap(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let length = u8::try_from(content.len())
        .ok()
        .filter(|length| *length < 0x80)?;
    Some([&[tag, length], content].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Made and hashed by the real OpenSSL.
    #[test]
    fn agrees_with_openssl() {
        let directory = tempfile::tempdir().unwrap();
        let (key, pem, der) = ["key.pem", "ca.pem", "ca.der"]
            .map(|name| directory.path().join(name).display().to_string())
            .into();
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl").args(arguments).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-utf8",
            "-subj",
            "/CN=Wardian  sandbox Claude-7F3k",
            "-days",
            "2",
            "-keyout",
            &key,
            "-out",
            &pem,
        ]);
        openssl(&["x509", "-in", &pem, "-outform", "DER", "-out", &der]);
        let expected = openssl(&["x509", "-in", &pem, "-noout", "-subject_hash"]);
        let certificate = std::fs::read(&der).unwrap();
        assert_eq!(subject_hash(&certificate).as_deref(), Some(expected.trim()));
    }

    #[test]
    fn nonsense_has_no_hash() {
        for nonsense in [
            &b""[..],
            b"\x30",
            b"\x30\x82\xff\xff",
            b"\x30\x04\x30\x02\xa0\x00",
        ] {
            assert_eq!(subject_hash(nonsense), None);
        }
    }
}
