#![no_main]

use wardian_policy::{Level, Manifest, PolicyFile};

libfuzzer_sys::fuzz_target!(|text: &str| {
    for name in ["policy.toml", "policy.json"] {
        if let Err(error) = PolicyFile::parse(name, text) {
            assert!(!error.to_string().is_empty());
        }
        for level in [Level::User, Level::Project] {
            if let Err(error) = Manifest::parse(level, name, text) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
});
