//! The hash by which OpenSSL finds a root certificate in a directory: `<hash>.0`.
//!
//! It is the SHA-1 of the subject name in OpenSSL's canonical form (`X509_NAME_hash_ex(3)`), first four
//! bytes, little endian. The certificate is Wardian's own; anything unexpected in it gives no hash.

use sha1::{Digest, Sha1};

use crate::image::der::{
    OBJECT_IDENTIFIER, PRINTABLE_STRING, SEQUENCE, SET, SelfSigned, UTF8_STRING, content,
};

/// Eight hexadecimal digits for a self-signed certificate in DER.
pub(super) fn subject_hash(certificate: &[u8]) -> Option<String> {
    let (mut name, _) = content(SelfSigned::parse(certificate)?.subject, SEQUENCE)?;
    let mut canonical = Vec::new();
    while !name.is_empty() {
        let (set, after) = content(name, SET)?;
        let (attribute, _) = content(set, SEQUENCE)?;
        let (_, value) = content(attribute, OBJECT_IDENTIFIER)?;
        let oid = attribute.strip_suffix(value)?;
        let (text, _) = content(value, UTF8_STRING).or_else(|| content(value, PRINTABLE_STRING))?;
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
}
