#![no_main]

use wardian_events::{visible, visible_bytes};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let harmless = |text: &str| {
        text.chars().all(|c| {
            !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
    };
    assert!(harmless(&visible_bytes(bytes)));
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(harmless(&visible(text)));
    }
});
