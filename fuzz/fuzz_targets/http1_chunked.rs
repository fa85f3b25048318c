#![no_main]

use wardian_egress::http::chunked;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((data, used))) = chunked::decode_bytes(bytes) {
        assert!(used <= bytes.len() && data.len() < used);
    }
});
