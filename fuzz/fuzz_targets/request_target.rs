#![no_main]

use wardian_policy::RequestTarget;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(target) = RequestTarget::parse(text) {
        // Canonical means that it is its own canonical form: judged bytes are sent bytes.
        let again = RequestTarget::parse(target.as_str()).expect("a canonical target is a target");
        assert_eq!(again.as_str(), target.as_str());
        assert!(
            target
                .as_str()
                .bytes()
                .all(|byte| (0x21..0x7f).contains(&byte) && byte != 0x23)
        );
    }
});
