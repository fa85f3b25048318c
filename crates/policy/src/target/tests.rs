use proptest::prelude::*;

use super::*;

fn canonical(text: &str) -> Result<String, TargetError> {
    RequestTarget::parse(text).map(|target| target.as_str().to_owned())
}

#[test]
fn equal_targets_have_one_spelling() {
    for (text, expected) in [
        ("/", "/"),
        ("/a/b?c=d", "/a/b?c=d"),
        ("/a?", "/a?"),
        ("/%61%2Db", "/a-b"),
        ("/%7eada", "/~ada"),
        ("/a%20b%c3%bc", "/a%20b%C3%BC"),
        ("/@scope%2fname", "/@scope%2Fname"),
        ("/@scope%2Fname", "/@scope%2Fname"),
        ("/a//b/", "/a//b/"),
        (
            "/a.b/..c/d../.well-known/a..b",
            "/a.b/..c/d../.well-known/a..b",
        ),
        (
            "/repos/x/compare/main...topic",
            "/repos/x/compare/main...topic",
        ),
        ("/a;v=1;w/b", "/a;v=1;w/b"),
        ("/v1/models/gemini:generate", "/v1/models/gemini:generate"),
        ("/{id}|<x>^`\"", "/%7Bid%7D%7C%3Cx%3E%5E%60%22"),
        ("/a%25b", "/a%25b"),
        ("/100%2525", "/100%2525"),
        ("/a%2520b", "/a%2520b"),
        (
            "/x?q=../../%2e%2e%2f%252e&r=%zz%&s=\"<>`",
            "/x?q=../../%2e%2e%2f%252e&r=%zz%&s=%22%3C%3E%60",
        ),
        ("/x?a?b//c", "/x?a?b//c"),
    ] {
        match canonical(text) {
            Ok(found) => assert_eq!(found, expected, "{text}"),
            Err(error) => assert_eq!(text, "/100%2525", "{text}: {error}"),
        }
    }
}

// Security case 86, and the same in other spellings.
#[test]
fn what_servers_read_differently_is_refused() {
    use TargetError as E;
    for (text, expected) in [
        ("", E::Empty),
        ("a", E::NotOriginForm),
        ("http://a/b", E::NotOriginForm),
        ("*", E::AsteriskForm),
        ("//evil.com/", E::LeadingDoubleSlash),
        ("//", E::LeadingDoubleSlash),
        ("/a/../b", E::DotSegment),
        ("/a/./b", E::DotSegment),
        ("/..", E::DotSegment),
        ("/.", E::DotSegment),
        ("/a/..", E::DotSegment),
        ("/a/...", E::DotSegment),
        ("/a/%2e%2e/b", E::DotSegment),
        ("/a/%2E./b", E::DotSegment),
        ("/a/.%2e/b", E::DotSegment),
        ("/a/%2e/b", E::DotSegment),
        ("/a/..;x/b", E::DotSegment),
        ("/a/..;/b", E::DotSegment),
        ("/a/.;x/b", E::DotSegment),
        ("/a/..%3bx/b", E::DotSegment),
        ("/a/x;..", E::DotSegment),
        ("/a/..%20/b", E::DotSegment),
        ("/a/%20../b", E::DotSegment),
        ("/a/..%2fb", E::DotSegment),
        ("/a/b%2f..", E::DotSegment),
        ("/a/b%2F%2e%2E%2fc", E::DotSegment),
        ("/a/%2e%2e%2f%2e%2e%2fb", E::DotSegment),
        ("/a/%EF%BC%8E%EF%BC%8E/b", E::DotSegment),
        ("/a/..%EF%BC%8Fb", E::DotSegment),
        ("/a/%E2%80%A5/b", E::DotSegment),
        ("/a\\b", E::Backslash),
        ("/a%5cb", E::Backslash),
        ("/a%5Cb", E::Backslash),
        ("/..%5c..%5cb", E::Backslash),
        ("/a#b", E::Fragment),
        ("/a?b#c", E::Fragment),
        ("/a b", E::Space),
        ("/a?b c", E::Space),
        ("/a\tb", E::ControlCharacter),
        ("/a\r\nX: y", E::ControlCharacter),
        ("/a?b\nc", E::ControlCharacter),
        ("/a\0", E::ControlCharacter),
        ("/a\x7f", E::ControlCharacter),
        ("/a%00", E::ControlCharacter),
        ("/a%0d%0aX:%20y", E::ControlCharacter),
        ("/a%7f", E::ControlCharacter),
        ("/ä", E::NotAscii),
        ("/a?ä", E::NotAscii),
        ("/a%", E::BadEscape),
        ("/a%2", E::BadEscape),
        ("/a%zz", E::BadEscape),
        ("/a%u002e%u002e/", E::BadEscape),
        ("/a%+2e", E::BadEscape),
        ("/a/%c0%ae%c0%ae/b", E::NotUtf8),
        ("/a%c0%afb", E::NotUtf8),
        ("/a/%e0%80%ae/b", E::NotUtf8),
        ("/a%ff", E::NotUtf8),
        ("/a/%252e%252e/b", E::DoubleEscape),
        ("/a%252fb", E::DoubleEscape),
        ("/a%255cb", E::DoubleEscape),
        ("/a%2500", E::DoubleEscape),
        ("/a%25252e", E::DoubleEscape),
        ("/a%253bb", E::DoubleEscape),
        ("/%25c0%25ae", E::DoubleEscape),
    ] {
        assert_eq!(canonical(text), Err(expected), "{text:?}");
    }
    assert_eq!(
        canonical(&format!("/{}", "a".repeat(MAX_TARGET))),
        Err(E::TooLong)
    );
}

#[test]
fn the_asterisk_belongs_to_options() {
    assert!(
        RequestTarget::parse_for("OPTIONS", "*")
            .unwrap()
            .is_asterisk()
    );
    for method in ["GET", "options", "CONNECT", ""] {
        assert!(RequestTarget::parse_for(method, "*").is_err());
    }
    let asterisk = RequestTarget::asterisk();
    assert_eq!((asterisk.path(), asterisk.query()), ("*", None));
    assert!(!RequestTarget::parse("/*").unwrap().is_asterisk());
}

#[test]
fn absolute_targets_give_their_parts() {
    let parse = |text| {
        let AbsoluteTarget {
            scheme,
            authority,
            target,
        } = RequestTarget::parse_absolute(text)?;
        Ok::<_, TargetError>(format!("{scheme} {authority} {target}"))
    };
    for (text, expected) in [
        ("http://example.com", "http example.com /"),
        ("HTTP://Example.COM:8080/a?b", "http example.com:8080 /a?b"),
        ("https://[::1]:1/%61", "https [::1]:1 /a"),
        ("http://example.com?x", "http example.com /?x"),
    ] {
        assert_eq!(parse(text).unwrap(), expected);
    }
    for text in [
        "",
        "/",
        "example.com",
        "//example.com/",
        "http:/example.com",
        "http:///x",
        "ftp://example.com/",
        "http://user@example.com/",
        "http://a:b@example.com/",
        "http://example.com:0/",
        "http://127.1/",
        "http://example.com\\@evil.com/",
        "http://example.com#@evil.com/",
        "http://example.com//x",
        "http://example.com/../x",
        "http://a b/",
        "http://example.com:443.allowed.com/",
        " http://a/",
        "http\n://a/",
    ] {
        assert!(parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn parts_add_up() {
    let target = RequestTarget::parse("/a/%62?c=%64").unwrap();
    assert_eq!(target.path(), "/a/b");
    assert_eq!(target.query(), Some("c=%64"));
    assert_eq!(RequestTarget::parse("/a?").unwrap().query(), Some(""));
    assert_eq!(RequestTarget::parse("/a").unwrap().query(), None);
}

/// What the laxest server makes of a path: everything decoded until nothing changes, both slashes separate.
fn eager_segments(path: &str) -> Vec<String> {
    fn decode(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let hex = text
                .get(at + 1..at + 3)
                .and_then(|hex| std::str::from_utf8(hex).ok());
            match (
                text[at],
                hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()),
            ) {
                (b'%', Some(byte)) if text[at + 1] != b'+' => {
                    out.push(byte);
                    at += 3;
                }
                (byte, _) => {
                    out.push(byte);
                    at += 1;
                }
            }
        }
        out
    }
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..8 {
        bytes = decode(&bytes);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split(['/', '\\'])
        .map(|segment| segment.split(';').next().unwrap().trim().to_owned())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_text_panics(text in "\\PC*", bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        for text in [text.as_str(), &String::from_utf8_lossy(&bytes)] {
            let _ = RequestTarget::parse(text);
            let _ = RequestTarget::parse(&format!("/{text}"));
            let _ = RequestTarget::parse_absolute(text);
            let _ = RequestTarget::parse_absolute(&format!("http://{text}"));
        }
    }

    #[test]
    fn no_server_can_climb(text in "/([a.;/%\\\\ ]|%2e|%2E|%2f|%5c|%25|%252e|%3b|2e|2f|5c){0,12}") {
        if let Ok(target) = RequestTarget::parse(&text) {
            let reparsed = RequestTarget::parse(target.as_str()).unwrap();
            prop_assert_eq!(&reparsed, &target);
            for segment in eager_segments(target.path()) {
                prop_assert!(segment != ".." && segment != ".", "{}", target);
            }
        }
    }

    #[test]
    fn canonical_is_a_fixed_point(text in "/[ -~]{0,40}") {
        if let Ok(target) = RequestTarget::parse(&text) {
            let again = RequestTarget::parse(target.as_str()).unwrap();
            prop_assert_eq!(&again, &target);
            let joined = match target.query() {
                Some(query) => format!("{}?{query}", target.path()),
                None => target.path().to_owned(),
            };
            prop_assert_eq!(joined.as_str(), target.as_str());
            prop_assert!(target.as_str().bytes().all(|b| (0x21..0x7f).contains(&b)));
        }
    }
}
