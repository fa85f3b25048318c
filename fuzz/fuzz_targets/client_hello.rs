#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = wardian_egress::hello::parse(bytes);
});
