use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::target::RequestTarget;

fn pattern(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap()
}

#[test]
fn stars_match_within_and_across_segments() {
    for (text, yes, no) in [
        ("/", vec!["/"], vec!["/a", "//"]),
        ("/a", vec!["/a"], vec!["/a/", "/A", "/ab", "/"]),
        ("/a/", vec!["/a/"], vec!["/a"]),
        ("/*", vec!["/a", "/a.b"], vec!["/", "/a/b", "/a/"]),
        (
            "/repos/*/issues",
            vec!["/repos/x/issues"],
            vec!["/repos//issues", "/repos/x/y/issues"],
        ),
        (
            "/v1/pre*fix",
            vec!["/v1/prefix", "/v1/pre-fix"],
            vec!["/v1/pre/fix", "/v1/prefi"],
        ),
        (
            "/a*b*c",
            vec!["/abc", "/axxbyyc", "/abbc"],
            vec!["/acb", "/ab"],
        ),
        ("/**", vec!["/", "/a", "/a/b//c", "/a/"], vec![]),
        (
            "/repos/acme/**",
            vec![
                "/repos/acme",
                "/repos/acme/",
                "/repos/acme/x/y",
                "/repos/acme//x",
            ],
            vec!["/repos/acmes", "/repos/acme2/x", "/repos", "/repos/Acme/x"],
        ),
        (
            "/a/**/b",
            vec!["/a/b", "/a/x/b", "/a/x/y/b", "/a/b/b"],
            vec!["/a", "/ab", "/a/b/c"],
        ),
        (
            "/**/x/*/y",
            vec!["/x/1/y", "/x/x/1/y", "/x/1/x/2/y"],
            vec!["/x/y", "/x/1/2/y"],
        ),
        (
            "/@scope%2Fname",
            vec!["/@scope%2Fname"],
            vec!["/@scope/name"],
        ),
        ("/%7eada", vec!["/~ada"], vec![]),
        ("/bücher", vec!["/b%C3%BCcher"], vec![]),
    ] {
        let pattern = pattern(text);
        for path in yes {
            assert!(pattern.matches(path), "{text} should match {path}");
        }
        for path in no {
            assert!(!pattern.matches(path), "{text} should not match {path}");
        }
    }
}

#[test]
fn malformed_patterns_are_refused() {
    for text in [
        "",
        "a",
        "*",
        "**",
        "//a",
        "/a**",
        "/**a",
        "/***",
        "/a?b",
        "/a#b",
        "/..",
        "/a/../b",
        "/%2e%2e/",
        "/%",
        "/%zz",
        "/a\\b",
        "/a\nb",
        "/%00",
        "/.",
        "/..;x",
        &format!("/{}", "a".repeat(5000)),
    ] {
        assert!(PathPattern::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn deny_rules_see_through_what_servers_ignore() {
    let admin = pattern("/api/admin/**");
    for path in [
        "/api/admin",
        "/api/admin/",
        "/api/admin/x",
        "/API/Admin/x",
        "/api//admin/x",
        "/api/admin;v=1/x",
        "/api%2Fadmin/x",
        "/api/%61dmin/x",
        "/api/%2561dmin/x",
        "/api;/admin",
        "/api/admin%2Fx",
    ] {
        let target = RequestTarget::parse(path).unwrap();
        assert!(admin.matches_lax(&target.lax_path()), "{path}");
    }
    let scoped = pattern("/@scope%2Fname;v=1");
    for path in ["/@scope%2Fname;v=1", "/@scope/name", "/@Scope%2fName;w"] {
        let target = RequestTarget::parse(path).unwrap();
        assert!(scoped.matches_lax(&target.lax_path()), "{path}");
    }
    for path in ["/api", "/api/administrator", "/apiadmin", "/x/api/admin"] {
        let target = RequestTarget::parse(path).unwrap();
        assert!(!admin.matches_lax(&target.lax_path()), "{path}");
    }
}

#[test]
fn hostile_patterns_take_no_time() {
    let stars = pattern(&format!("/{}b", "a*".repeat(500)));
    let depths = pattern(&format!("{}/b", "/**/a".repeat(200)));
    let started = Instant::now();
    assert!(!stars.matches(&format!("/{}", "a".repeat(60_000))));
    assert!(!depths.matches(&"/a".repeat(30_000)));
    // An exponential matcher would not end at all; the bound leaves room for a loaded machine.
    assert!(started.elapsed().as_secs() < 20);
}

/// Matching as the documentation defines it, without any cleverness.
fn naive(pattern: &[&str], path: &[&str]) -> bool {
    fn glob(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) if glob(rest, text) => true,
            ([b'*', ..], [_, tail @ ..]) => glob(pattern, tail),
            ([p, rest @ ..], [t, tail @ ..]) => p == t && glob(rest, tail),
            _ => false,
        }
    }
    match (pattern, path) {
        ([], []) => true,
        (["**", rest @ ..], _) if naive(rest, path) => true,
        (["**", ..], [_, tail @ ..]) => naive(pattern, tail),
        ([p, rest @ ..], [t, tail @ ..]) => {
            let something = !p.contains('*') || !t.is_empty();
            something && glob(p.as_bytes(), t.as_bytes()) && naive(rest, tail)
        }
        _ => false,
    }
}

fn segments(text: &str) -> Vec<&str> {
    text.split('/').skip(1).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_the_naive_matcher(
        parts in proptest::collection::vec("(\\*\\*|[ab*]{0,4})", 1..5),
        path in proptest::collection::vec("[ab]{0,3}", 1..6),
    ) {
        let text = format!("/{}", parts.join("/"));
        let path = format!("/{}", path.join("/"));
        if let Ok(pattern) = PathPattern::parse(&text) {
            prop_assert_eq!(
                pattern.matches(&path),
                naive(&segments(&text), &segments(&path)),
                "{} on {}", text, path
            );
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC*", path in "\\PC*") {
        if let Ok(pattern) = PathPattern::parse(&text) {
            let _ = pattern.matches(&path);
            prop_assert_eq!(&PathPattern::parse(pattern.as_str()).unwrap(), &pattern);
        }
    }

    #[test]
    fn a_literal_pattern_matches_its_own_path(path in "(/[a-zA-Z0-9%._~-]{0,6}){1,4}") {
        if let (Ok(pattern), Ok(target)) = (PathPattern::parse(&path), RequestTarget::parse(&path)) {
            prop_assert!(pattern.matches(target.path()));
            prop_assert!(pattern.matches_lax(&target.lax_path()));
        }
    }

    #[test]
    fn denial_is_never_narrower_than_permission(
        text in "(/([a-c*]{1,3}|\\*\\*)){1,4}",
        path in "(/[a-c]{0,3}){1,5}",
    ) {
        if let (Ok(pattern), Ok(target)) = (PathPattern::parse(&text), RequestTarget::parse(&path)) {
            // Empty segments are dropped by the lax reading; the strict one is tried beside it.
            let plain = !target.path().contains("//") && !target.path().ends_with('/');
            let permitted = plain && pattern.matches(target.path());
            prop_assert!(!permitted || pattern.matches_lax(&target.lax_path()), "{} {}", text, path);
        }
    }
}

#[test]
fn canonical_text_is_bounded_too() {
    // Each of these takes six bytes once it is escaped.
    let long = format!("/{}", "é".repeat(1500));
    assert_eq!(PathPattern::parse(&long), Err(PathPatternError::TooLong));
    let short = format!("/{}", "é".repeat(600));
    let shown = PathPattern::parse(&short).unwrap();
    assert_eq!(PathPattern::parse(shown.as_str()), Ok(shown));
}
