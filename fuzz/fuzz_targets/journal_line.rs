#![no_main]

use wardian_events::{Expect, verify_reader};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let expect = Expect {
        sandbox: Some("fuzzed"),
        anchors: &[],
    };
    let _ = verify_reader(bytes, &expect);
});
