#![no_main]

use wardian_egress::cache::entry;
use wardian_egress::http::response;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // A digest refuses nearly all of it, so what it covers is tried by itself as well.
    let key = "0".repeat(64);
    let _ = entry::parse(&key, bytes.len() as u64, bytes);
    if let Some(meta) = entry::decode(bytes) {
        let _ = meta.condition();
        let _ = meta.is_fresh(1);
        // What comes out of the cache goes through the parser that origins go through.
        let _ = response::parse_bytes(meta.head(1).as_bytes(), &mut Vec::new());
    }
});
