//! Which requests are downloads of a package manager.

use wardian_policy::CacheKind;

/// Does a GET of this canonical path, with these fields, look like a download of this kind? That says where to
/// look, not what may be kept: that is for the answers to say.
pub(crate) fn recognises<'a>(
    kind: CacheKind,
    path: &str,
    mut fields: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> bool {
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| path.ends_with(suffix));
    match kind {
        // Crates, and sparse indexes (RFC 2789).
        CacheKind::Cargo => ends(&[".crate", "/download", "/config.json"]) || is_index(path),
        // Tarballs, and packuments asked for as npm, pnpm and yarn do.
        CacheKind::Npm => {
            (path.contains("/-/") && ends(&[".tgz"]))
                || fields.any(|(name, value)| asks_for_packument(name, value))
        }
        // Files, and pages of the simple API (PEP 503, PEP 691).
        CacheKind::Pip => {
            ends(&[".whl", ".tar.gz", ".zip", ".metadata"]) || path.contains("/simple/")
        }
        // The module proxy's files, and the checksum database's.
        CacheKind::Go => {
            path.contains("/@v/")
                || ends(&["/@latest"])
                || path.contains("/tile/")
                || path.contains("/lookup/")
        }
    }
}

/// Packuments lie at any path; for those with all they have, only npm itself says what it asks for.
fn asks_for_packument(name: &str, value: &[u8]) -> bool {
    let abridged = b"application/vnd.npm.install-v1+json";
    match name.to_ascii_lowercase().as_str() {
        "accept" => memchr::memmem::find(value, abridged).is_some(),
        "pacote-req-type" => value == b"packument",
        _ => false,
    }
}

/// A file of a sparse index lies at `1/a`, `2/ab`, `3/a/abc` or `ab/cd/abcd...`, by the name of its crate.
fn is_index(path: &str) -> bool {
    let mut segments = path.rsplit('/');
    let (Some(name), Some(last), third) = (segments.next(), segments.next(), segments.next())
    else {
        return false;
    };
    if !name.is_ascii() {
        return false;
    }
    match name.len() {
        0 => false,
        length @ (1 | 2) => last == length.to_string(),
        3 => third == Some("3") && last == &name[..1],
        _ => third == Some(&name[..2]) && last == &name[2..4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(path: &str, field: (&str, &str)) -> Vec<&'static str> {
        CacheKind::ALL
            .into_iter()
            .filter(|kind| {
                let fields = std::iter::once((field.0, field.1.as_bytes()));
                recognises(*kind, path, fields)
            })
            .map(CacheKind::name)
            .collect()
    }

    #[test]
    fn downloads_are_told_by_their_shape() {
        let any = ("accept", "*/*");
        let corgi = (
            "Accept",
            "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*",
        );
        let full = ("pacote-req-type", "packument");
        for (path, field, expected) in [
            ("/crates/serde/1.0.0/download", any, "cargo"),
            ("/crates/serde-1.0.0.crate", any, "cargo"),
            ("/index/config.json", any, "cargo"),
            ("/1/a", any, "cargo"),
            ("/index/2/ab", any, "cargo"),
            ("/3/a/abc", any, "cargo"),
            ("/se/rd/serde", any, "cargo"),
            ("/left-pad", corgi, "npm"),
            ("/left-pad", full, "npm"),
            ("/@scope%2Fname", corgi, "npm"),
            ("/left-pad/-/left-pad-1.3.0.tgz", any, "npm"),
            ("/simple/idna/", any, "pip"),
            ("/files/ab/idna-3.10-py3-none-any.whl", any, "pip"),
            ("/files/idna-3.10-py3-none-any.whl.metadata", any, "pip"),
            ("/files/idna-3.10.tar.gz", any, "pip"),
            ("/golang.org/x/text/@v/v0.3.0.mod", any, "go"),
            ("/golang.org/x/text/@v/list", any, "go"),
            ("/golang.org/x/text/@latest", any, "go"),
            ("/sumdb/sum.example/tile/8/0/001", any, "go"),
        ] {
            assert_eq!(kinds(path, field), [expected], "{path}");
        }
        for path in [
            "/",
            "/v1/messages",
            "/left-pad",
            "/a/b/c",
            "/3/b/abc",
            "/2/abc",
            "/se/rd/toml",
            "/x.tgz",
            "/simple",
        ] {
            assert!(kinds(path, any).is_empty(), "{path}");
        }
    }
}
