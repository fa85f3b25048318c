#![no_main]

use wardian_git::refs::{MAX_ODDITIES, parse_packed};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for format in ["sha1", "sha256"] {
        let format = format.parse().expect("git knows both");
        let packed = parse_packed(bytes, format);
        assert!(packed.oddities.len() <= MAX_ODDITIES);
        let mut again = Vec::new();
        for (name, id) in &packed.tips {
            let name = name.as_bstr();
            assert!(name.starts_with(b"refs/") && !name.windows(2).any(|two| two == b".."));
            assert!(name.iter().all(|byte| *byte > b' ' && *byte != 0x7f));
            assert_eq!(id.kind(), format);
            again.extend_from_slice(format!("{id} ").as_bytes());
            again.extend_from_slice(name);
            again.push(b'\n');
        }
        let read = parse_packed(&again, format);
        assert_eq!((read.tips, read.oddities.len()), (packed.tips, 0));
    }
});
