//! The key of a download: a digest of everything that its origin gets to see.
//!
//! A cache whose key leaves out what an origin looks at can be poisoned: somebody asks with an odd field, and the answer
//! goes to everybody who asks without. So all fields are in the key. Those few that would only keep like requests apart
//! ([`is_noise`]) are not sent to the origin either.

use std::fmt;

use ring::digest::{Context, Digest, SHA256};

/// SHA-256. As text, 64 hexadecimal digits: the name of an entry's file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A GET over TLS, without a body, as it was permitted.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Host and port, as `Host` says them.
    pub authority: &'a str,
    /// Canonical.
    pub target: &'a str,
    /// What vouches for the origin beside the host's own roots: a sandbox that trusts more keeps to itself what it got so.
    pub authorities: Option<&'a [u8]>,
}

impl Asked<'_> {
    /// None: the answer could be meant for this program alone, or be no whole answer, or the program wants none that was
    /// kept. `fields` have names in any case and any order; those of the hop may be among them.
    pub fn key<'f>(&self, fields: impl Iterator<Item = (&'f str, &'f [u8])>) -> Option<Key> {
        // A query can be a credential.
        if self.target.contains('?') {
            return None;
        }
        let mut kept = Vec::new();
        for (name, value) in fields {
            let name = name.to_ascii_lowercase();
            if is_personal(&name, value) {
                return None;
            }
            if !is_of_hop(&name) && !is_noise(&name) {
                kept.push((name, value));
            }
        }
        // Stable: fields of one name keep their order, which can mean something.
        kept.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut context = Context::new(&SHA256);
        add(&mut context, b"download 1");
        add(&mut context, self.authority.as_bytes());
        add(&mut context, self.target.as_bytes());
        add(&mut context, self.authorities.unwrap_or_default());
        for (name, value) in kept {
            add(&mut context, name.as_bytes());
            add(&mut context, value);
        }
        let digest: Digest = context.finish();
        digest.as_ref().try_into().ok().map(Key)
    }
}

/// Parts are told apart by their lengths.
fn add(context: &mut Context, part: &[u8]) {
    context.update(&(part.len() as u64).to_be_bytes());
    context.update(part);
}

/// Does the field ask for an answer that is not for everybody, not whole, or not from a cache?
fn is_personal(name: &str, value: &[u8]) -> bool {
    match name {
        "authorization"
        | "proxy-authorization"
        | "cookie"
        | "range"
        | "te"
        | "expect"
        | "content-length"
        | "transfer-encoding"
        | "upgrade" => true,
        "pragma" => true,
        "cache-control" => super::freshness::directives(value)
            // pip sends `max-age=0` with each page: advice (RFC 9111 section 5.2.1) for a cache that it knows nothing of.
            .any(|(name, _)| !matches!(name.as_str(), "max-age" | "public")),
        name => name.starts_with("if-"),
    }
}

/// Ends at the door, and says nothing about the answer.
fn is_of_hop(name: &str) -> bool {
    matches!(
        name,
        "host" | "connection" | "keep-alive" | "proxy-connection" | "http2-settings"
    )
}

/// Fields in which package managers tell about themselves and the command that they run. They are different each time, so
/// they are left out of requests whose answer may be kept.
pub(crate) fn is_noise(name: &str) -> bool {
    let begins = |prefix: &str| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    begins("npm-") || begins("pacote-") || name.eq_ignore_ascii_case("referer")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKED: Asked<'_> = Asked {
        authority: "registry.example",
        target: "/left-pad",
        authorities: None,
    };

    fn key(fields: &[(&str, &str)]) -> Option<Key> {
        ASKED.key(fields.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    #[test]
    fn all_that_an_origin_sees_is_in_the_key() {
        let plain = key(&[("Accept", "*/*"), ("User-Agent", "npm")]).unwrap();
        assert_eq!(
            key(&[("user-agent", "npm"), ("accept", "*/*")]),
            Some(plain),
            "order and case of names do not count"
        );
        assert_eq!(
            key(&[
                ("accept", "*/*"),
                ("user-agent", "npm"),
                ("npm-session", "1"),
                ("Connection", "keep-alive")
            ]),
            Some(plain),
            "what does not reach the origin does not count"
        );
        for other in [
            &[("accept", "text/html"), ("user-agent", "npm")][..],
            &[("accept", "*/*")],
            &[
                ("accept", "*/*"),
                ("user-agent", "npm"),
                ("x-forwarded-host", "evil.example"),
            ],
            &[("accept", "*/*"), ("accept", "*/*"), ("user-agent", "npm")],
            &[("accept", "*/*user-agent"), ("npm", "")],
        ] {
            assert_ne!(key(other), Some(plain), "{other:?}");
        }
        for asked in [
            Asked {
                authority: "registry.example:8443",
                ..ASKED
            },
            Asked {
                target: "/left-pa",
                ..ASKED
            },
            Asked {
                authorities: Some(b"digest"),
                ..ASKED
            },
        ] {
            let fields = [("accept", &b"*/*"[..]), ("user-agent", b"npm")];
            assert_ne!(asked.key(fields.into_iter()), Some(plain), "{asked:?}");
        }
    }

    #[test]
    fn what_is_meant_for_one_has_no_key() {
        for field in [
            ("Authorization", "Basic eDp5"),
            ("cookie", "a=b"),
            ("range", "bytes=0-3"),
            ("If-None-Match", "\"a\""),
            ("if-range", "\"a\""),
            ("cache-control", "max-age=0, no-cache"),
            ("Cache-Control", "no-store"),
            ("cache-control", "only-if-cached"),
            ("pragma", "no-cache"),
            ("te", "trailers"),
        ] {
            assert_eq!(key(&[field]), None, "{field:?}");
        }
        assert!(key(&[("cache-control", "max-age=0")]).is_some());
        let signed = Asked {
            target: "/x.tgz?token=1",
            ..ASKED
        };
        assert_eq!(signed.key(std::iter::empty()), None);
    }

    fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
        let name = "(x-[a-c]{1,2}|accept|user-agent|[A-C])";
        proptest::collection::vec((name, proptest::collection::vec(any::<u8>(), 0..4)), 0..5)
    }

    /// What the origin sees, in one spelling.
    fn seen(fields: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
        let mut fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        fields
    }

    proptest! {
        #[test]
        fn keys_are_equal_exactly_if_origins_see_the_same(
            one in fields(), other in fields(), targets in ("/[ab]{0,2}", "/[ab]{0,2}")
        ) {
            let key = |target: &str, fields: &[(String, Vec<u8>)]| {
                Asked { target, ..ASKED }
                    .key(fields.iter().map(|(name, value)| (name.as_str(), value.as_slice())))
            };
            let same = targets.0 == targets.1 && seen(&one) == seen(&other);
            prop_assert_eq!(key(&targets.0, &one) == key(&targets.1, &other), same);
            let mut turned = one.clone();
            turned.sort_by_key(|(name, _)| std::cmp::Reverse(name.to_ascii_lowercase()));
            prop_assert_eq!(key(&targets.0, &one), key(&targets.0, &turned));
        }
    }
}
