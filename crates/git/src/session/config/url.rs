//! URLs of remotes, without what only their owner should know.

use gix::bstr::{BStr, BString, ByteSlice, ByteVec};

/// The URL without credentials, or `None` if it names a program, or a credential may be left in it.
///
/// Over HTTP the name goes as well as the password, for it may be a token; of an SSH URL the name stays.
pub(super) fn without_credentials(url: &BStr) -> Option<BString> {
    let strange = url.iter().any(u8::is_ascii_control) || url.starts_with(b"-") || url.is_empty();
    if strange || names_helper(url) {
        return None;
    }
    match url.split_once_str("://") {
        Some((scheme, rest)) => of_scheme(scheme.as_bstr(), rest.as_bstr()),
        None => is_plain_address(url).then(|| url.to_owned()),
    }
}

/// `<helper>::<address>` runs `git-remote-<helper>`, see gitremote-helpers(7).
fn names_helper(url: &BStr) -> bool {
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    url.split_once_str("::")
        .is_some_and(|(helper, _)| helper.iter().all(is_scheme))
}

fn of_scheme(scheme: &BStr, rest: &BStr) -> Option<BString> {
    let (authority, path) = rest.split_at(rest.find_byteset("/?#").unwrap_or(rest.len()));
    let (user, host) = match authority.rsplit_once_str("@") {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let lower = scheme.to_ascii_lowercase();
    let (user, path) = match lower.as_slice() {
        b"ssh" | b"git+ssh" | b"ssh+git" => {
            (user.and_then(|user| user.split_str(":").next()), path)
        }
        b"file" => (None, path),
        // What a query or a fragment holds is a key more often than not.
        b"http" | b"https" | b"ftp" | b"ftps" | b"git" => {
            let end = path.find_byteset("?#").unwrap_or(path.len());
            (None, &path[..end])
        }
        // The rest are programs of that name again.
        _ => return None,
    };
    // With a slash in a password, its end looks like a path: `https://user:pass/word@host/`.
    if host.contains(&b':') && !is_host(host)
        || host.contains(&b':') && rest[authority.len()..].contains(&b'@')
    {
        return None;
    }
    let mut clean = BString::from(scheme);
    clean.push_str("://");
    if let Some(user) = user.filter(|user| !user.is_empty()) {
        clean.push_str(user);
        clean.push_byte(b'@');
    }
    clean.push_str(host);
    clean.push_str(path);
    Some(clean)
}

/// A name or address, and perhaps a port.
fn is_host(host: &[u8]) -> bool {
    let after_address = host.rsplit_once_str("]").map_or(host, |(_, after)| after);
    match after_address.split_once_str(":") {
        Some((_, port)) => port.iter().all(u8::is_ascii_digit),
        None => true,
    }
}

/// A path, a remote's name, or `[user@]host:path` as of scp(1), in which no password can be.
fn is_plain_address(url: &BStr) -> bool {
    let first = url.split_str("/").next().unwrap_or_default();
    match first.split_once_str(":") {
        Some((_, path)) => !path.contains(&b'@'),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(url: &str) -> Option<String> {
        without_credentials(url.into()).map(|url| url.to_string())
    }

    #[test]
    fn credentials_go() {
        for (url, expected) in [
            ("https://host/a.git", "https://host/a.git"),
            ("https://user@host/a", "https://host/a"),
            ("https://user:pass@host:8443/a", "https://host:8443/a"),
            ("HTTPS://u:p@a@host/a", "HTTPS://host/a"),
            ("http://host/a?private_token=x#y", "http://host/a"),
            ("https://u:p@[::1]:80/a", "https://[::1]:80/a"),
            ("https://host/@scope/a", "https://host/@scope/a"),
            ("ssh://git@host/a", "ssh://git@host/a"),
            ("ssh://git:pass@host:22/a", "ssh://git@host:22/a"),
            ("git@host:a/b.git", "git@host:a/b.git"),
            ("host:a@b", ""),
            ("../other.git", "../other.git"),
            ("/srv/a@b:c.git", "/srv/a@b:c.git"),
            ("file:///srv/a.git", "file:///srv/a.git"),
            ("origin", "origin"),
            ("https://user:pa/ss@host/a", ""),
            ("https://user:12/34@host/a", ""),
            ("https://user:12#34@host/a", ""),
            ("user:pass@host:a", ""),
        ] {
            assert_eq!(clean(url).unwrap_or_default(), expected, "{url}");
        }
    }

    #[test]
    fn what_names_a_program_goes() {
        for url in [
            "ext::sh -c evil",
            "foo::https://host/a",
            "foo://host/a",
            "--upload-pack=x",
            "a\nb",
            "::x",
            "",
        ] {
            assert_eq!(clean(url), None, "{url:?}");
        }
    }
}
