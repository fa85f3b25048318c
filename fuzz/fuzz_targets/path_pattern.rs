#![no_main]

use wardian_policy::{PathPattern, RequestTarget};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (pattern, target) = text.split_once('\n').unwrap_or((text, "/a/b"));
    if let Ok(pattern) = PathPattern::parse(pattern) {
        let again =
            PathPattern::parse(pattern.as_str()).expect("a pattern that is shown is a pattern");
        if let Ok(target) = RequestTarget::parse(target) {
            assert_eq!(pattern.matches(target.path()), again.matches(target.path()));
        }
    }
});
