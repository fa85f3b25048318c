//! One entry as a file.
//!
//! ```text
//! body ‖ meta (JSON) ‖ SHA-256 of the meta (32 bytes) ‖ length of the meta (u32, big-endian) ‖ "wdl1"
//! ```
//!
//! The body comes first, since what is known of it is known at its end. The meta has its digest, so that no bit of an entry
//! can change unseen.

use std::net::IpAddr;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::freshness::Lifetime;
use super::key::Key;

const MAGIC: &[u8; 4] = b"wdl1";
/// What follows the meta.
pub const FOOTER: usize = 32 + 4 + MAGIC.len();
/// Largest meta: a head is at most 64 KiB, and JSON makes at most six bytes of one.
pub const MAX_META: usize = 512 * 1024;

/// What is known of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// The name of the file; under another one, it is no entry.
    pub key: String,
    /// For people who look into the directory.
    pub url: String,
    /// Where it came from.
    pub address: IpAddr,
    /// Seconds since 1970 at which the answer, or the last confirmation, arrived.
    pub received: u64,
    /// Seconds; see [`Lifetime`].
    pub lifetime: u64,
    pub age: u64,
    pub length: u64,
    /// Of the body, as hexadecimal digits.
    pub sha256: String,
    /// Of the answer, without those of the hop.
    pub fields: Vec<(String, String)>,
}

impl Meta {
    /// Of a body that is still to come. None if some field is no text.
    pub fn new<'a>(
        key: Key,
        url: &str,
        address: IpAddr,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Option<Self> {
        Some(Self {
            key: key.to_string(),
            url: url.to_owned(),
            address,
            received: 0,
            lifetime: 0,
            age: 0,
            length: 0,
            sha256: String::new(),
            fields: end_to_end(fields)?,
        })
    }

    pub fn live(&mut self, lifetime: Lifetime, now: u64) {
        self.received = now;
        self.lifetime = lifetime.seconds;
        self.age = lifetime.age;
    }

    /// May it be served without asking its origin? A clock that went back makes it stale.
    pub fn is_fresh(&self, now: u64) -> bool {
        now >= self.received && self.current_age(now) < self.lifetime
    }

    pub fn current_age(&self, now: u64) -> u64 {
        self.age.saturating_add(now.saturating_sub(self.received))
    }

    /// The condition under which its origin need not send it again.
    pub fn condition(&self) -> Option<(&'static str, &str)> {
        let value = |wanted: &str| {
            let mut fields = self.fields.iter();
            fields
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
        };
        value("etag")
            .map(|etag| ("if-none-match", etag))
            .or_else(|| value("last-modified").map(|date| ("if-modified-since", date)))
    }

    /// Takes over the fields of a 304 (RFC 9111 section 3.2), but for those that describe the body as it was sent.
    /// None if some field is no text.
    #[must_use]
    pub fn confirmed<'a>(&self, fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Option<Self> {
        let mut new = end_to_end(fields)?;
        new.retain(|(name, _)| !name.starts_with("content-"));
        let mut all = self.fields.clone();
        all.retain(|(name, _)| new.iter().all(|(other, _)| other != name));
        all.extend(new);
        Some(Self {
            fields: all,
            ..self.clone()
        })
    }

    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// The head of the answer as an origin would send it over HTTP/1.1.
    pub fn head(&self, now: u64) -> String {
        let mut head = String::from("HTTP/1.1 200 OK\r\n");
        let own = [
            ("age", self.current_age(now).to_string()),
            ("content-length", self.length.to_string()),
        ];
        let stored = self
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value));
        for (name, value) in stored.chain(own.iter().map(|(name, value)| (*name, value))) {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head + "\r\n"
    }

    /// What follows the body.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        let length = bytes.len() as u32;
        let sum = digest(&SHA256, &bytes);
        bytes.extend_from_slice(sum.as_ref());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(MAGIC);
        Ok(bytes)
    }
}

/// The length of the meta, from the last [`FOOTER`] bytes of a file.
pub fn meta_length(footer: &[u8; FOOTER]) -> Option<usize> {
    let (rest, magic) = footer.split_last_chunk::<4>()?;
    let (_, length) = rest.split_last_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    (magic == MAGIC && length <= MAX_META).then_some(length)
}

/// The meta of the entry `key`, whose file has `size` bytes and ends with `bytes`: meta and footer. None if it is damaged.
/// Never panics.
pub fn parse(key: &str, size: u64, bytes: &[u8]) -> Option<Meta> {
    let (json, footer) = bytes.split_last_chunk::<FOOTER>()?;
    if meta_length(footer)? != json.len() || digest(&SHA256, json).as_ref() != &footer[..32] {
        return None;
    }
    let meta = decode(json)?;
    let whole = size.checked_sub(bytes.len() as u64)? == meta.length;
    (whole && meta.key == key).then_some(meta)
}

/// A meta, of which it is not known whether it is undamaged.
pub fn decode(json: &[u8]) -> Option<Meta> {
    serde_json::from_slice(json).ok()
}

/// Names in lower case; without what a connection between two hops says, and without what is told anew each time.
fn end_to_end<'a>(
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Option<Vec<(String, String)>> {
    let mut kept = Vec::new();
    let mut of_connection = String::new();
    for (name, value) in fields {
        let (name, value) = (
            name.to_ascii_lowercase(),
            std::str::from_utf8(value).ok()?.to_owned(),
        );
        match name.as_str() {
            "connection" => of_connection.extend([",", &value.to_ascii_lowercase()]),
            "keep-alive" | "proxy-connection" | "proxy-authenticate" | "transfer-encoding"
            | "content-length" | "upgrade" | "te" | "age" => {}
            _ => kept.push((name, value)),
        }
    }
    let named = |name: &str| of_connection.split(',').any(|other| other.trim() == name);
    kept.retain(|(name, _)| !named(name));
    Some(kept)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::key::Asked;

    fn key() -> Key {
        let asked = Asked {
            authority: "a.example",
            target: "/x.crate",
            authorities: None,
        };
        asked.key(std::iter::empty()).unwrap()
    }

    fn meta(fields: &[(&str, &str)]) -> Meta {
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        Meta::new(
            key(),
            "https://a.example/x.crate",
            [127, 0, 0, 1].into(),
            fields,
        )
        .unwrap()
    }

    #[test]
    fn a_head_is_kept_without_its_hop() {
        let mut meta = meta(&[
            ("ETag", "\"a\""),
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("Content-Length", "3"),
            ("Age", "3"),
            ("Content-Type", "text/plain"),
        ]);
        meta.live(
            Lifetime {
                seconds: 60,
                age: 3,
            },
            1000,
        );
        meta.length = 3;
        assert_eq!(
            meta.head(1010),
            "HTTP/1.1 200 OK\r\netag: \"a\"\r\ncontent-type: text/plain\r\nage: 13\r\ncontent-length: 3\r\n\r\n"
        );
        assert_eq!(meta.condition(), Some(("if-none-match", "\"a\"")));
        assert!(meta.is_fresh(1056) && !meta.is_fresh(1057) && !meta.is_fresh(999));
    }

    #[test]
    fn a_confirmation_replaces_what_it_says() {
        let old = meta(&[
            ("etag", "\"a\""),
            ("cache-control", "max-age=1"),
            ("content-type", "text/plain"),
        ]);
        let said = [
            ("Cache-Control", &b"max-age=9"[..]),
            ("X-New", b"1"),
            ("Content-Type", b"text/html"),
        ];
        let new = old.confirmed(said.into_iter()).unwrap();
        let expected = [
            ("etag", "\"a\""),
            ("content-type", "text/plain"),
            ("cache-control", "max-age=9"),
            ("x-new", "1"),
        ];
        assert!(
            new.fields()
                .eq(expected.map(|(name, value)| (name, value.as_bytes())))
        );
    }

    #[test]
    fn a_round_trip_and_each_flipped_bit() {
        let mut meta = meta(&[("etag", "\"ä\"")]);
        meta.length = 7;
        let bytes = meta.to_bytes().unwrap();
        let (name, size) = (key().to_string(), 7 + bytes.len() as u64);
        assert_eq!(parse(&name, size, &bytes), Some(meta));
        assert_eq!(parse(&name, size + 1, &bytes), None);
        assert_eq!(parse(&name.replace(&name[..1], "g"), size, &bytes), None);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&name, size, &damaged), None, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn nonsense_is_no_entry(bytes in proptest::collection::vec(any::<u8>(), 0..200), size in any::<u64>()) {
            prop_assert_eq!(parse(&key().to_string(), size, &bytes), None);
        }
    }
}
