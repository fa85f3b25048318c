#![no_main]

use wardian_egress::http::response;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((end, _))) = response::parse_bytes(bytes, &mut Vec::new()) {
        assert!(end <= bytes.len());
    }
});
