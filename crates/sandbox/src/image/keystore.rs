//! A Java trust store (JKS) of certificates, as `keytool` writes it.
//!
//! Format: the JDK's `sun.security.provider.JavaKeyStore`. Entries are public certificates; the
//! trailing SHA-1 is a checksum salted with a password that everybody knows, not a protection.

use sha1::{Digest, Sha1};

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TRUSTED_CERTIFICATE: u32 = 2;
/// The password of every JDK's `cacerts`.
const PASSWORD: &str = "changeit";

/// `certificates` in DER, each under an alias of its own.
pub(super) fn jks(certificates: &[Vec<u8>]) -> Vec<u8> {
    let mut store = Vec::with_capacity(64 + certificates.iter().map(Vec::len).sum::<usize>() * 2);
    for word in [MAGIC, VERSION, count(certificates.len())] {
        store.extend(word.to_be_bytes());
    }
    for (index, der) in certificates.iter().enumerate() {
        store.extend(TRUSTED_CERTIFICATE.to_be_bytes());
        utf(&mut store, &format!("ca-{index}"));
        // Creation date in milliseconds: nobody reads it.
        store.extend(0u64.to_be_bytes());
        utf(&mut store, "X.509");
        store.extend(count(der.len()).to_be_bytes());
        store.extend(der);
    }
    let mut checksum = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        checksum.update(unit.to_be_bytes());
    }
    checksum.update(b"Mighty Aphrodite");
    checksum.update(&store);
    store.extend(checksum.finalize());
    store
}

/// Java's modified UTF-8 with a 16-bit length; plain ASCII here.
fn utf(store: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("aliases are short");
    store.extend(length.to_be_bytes());
    store.extend(text.as_bytes());
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a certificate store is far smaller than 4 GiB")
}
