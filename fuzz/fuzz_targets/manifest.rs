#![no_main]

use wardian_policy::Manifest;

libfuzzer_sys::fuzz_target!(|text: &str| {
    for name in ["policy.toml", "policy.json"] {
        if let Err(error) = Manifest::parse(name, text) {
            assert!(!error.to_string().is_empty());
        }
    }
});
