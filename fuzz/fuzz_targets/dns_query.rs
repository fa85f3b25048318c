#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = wardian_egress::dns::message::decode(bytes);
});
