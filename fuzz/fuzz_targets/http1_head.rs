#![no_main]

use wardian_egress::http::head;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut fields = Vec::new();
    if let Ok(Some((end, _))) = head::parse_bytes(bytes, &mut fields) {
        assert!(end <= bytes.len());
        // What follows a head has no say in it.
        let mut again = Vec::new();
        assert!(
            matches!(head::parse_bytes(&bytes[..end], &mut again), Ok(Some((same, _))) if same == end)
        );
    }
});
