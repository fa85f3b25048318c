use proptest::prelude::*;

use super::*;

#[test]
fn sizes() {
    for (text, bytes) in [
        ("4G", 4 << 30),
        ("512M", 512 << 20),
        ("1.5G", 3 << 29),
        ("4GiB", 4 << 30),
        ("2048K", 2 << 20),
        ("1T", 1 << 40),
        ("4294967296", 1 << 32),
        ("4294967296B", 1 << 32),
        ("4g", 4 << 30),
    ] {
        assert_eq!(Bytes::parse(text).unwrap().get(), bytes, "{text}");
    }
    for text in [
        "",
        "G",
        "4 G",
        "-4G",
        "+4G",
        "4GB",
        "4X",
        "4.G",
        ".5G",
        "1e9",
        "0",
        "0G",
        "1K",
        "NaN",
        "inf",
        "4Gi",
        "99999999999999999999",
        "99999999T",
        "4.0001G",
        "٤G",
    ] {
        assert!(Bytes::parse(text).is_err(), "{text}");
    }
    assert_eq!(Bytes::parse("1.5G").unwrap().to_string(), "1536M");
}

#[test]
fn processors() {
    for (text, millis, shown) in [
        ("2", 2000, "2"),
        ("2.0", 2000, "2"),
        ("0.5", 500, "0.5"),
        ("1.25", 1250, "1.25"),
    ] {
        let cpus = Cpus::parse(text).unwrap();
        assert_eq!((cpus.millis(), cpus.to_string().as_str()), (millis, shown));
    }
    for text in [
        "", "0", "0.001", "-1", "1.0001", "a", "NaN", "inf", "5000", "1e3",
    ] {
        assert!(Cpus::parse(text).is_err(), "{text}");
    }
}

#[test]
fn counts() {
    assert_eq!(Pids::parse("512").unwrap().get(), 512);
    assert_eq!(OpenFiles::parse("4096").unwrap().get(), 4096);
    for text in ["", "0", "-1", "+1", "1.0", "4294967296", "1k"] {
        assert!(Pids::parse(text).is_err(), "{text}");
    }
}

#[test]
fn times() {
    for (text, seconds, shown) in [
        ("90s", 90, "1m30s"),
        ("30m", 1800, "30m"),
        ("2h", 7200, "2h"),
        ("1h30m", 5400, "1h30m"),
        ("1d", 86400, "1d"),
        ("1d2h3m4s", 93784, "1d2h3m4s"),
    ] {
        let time = WallTime::parse(text).unwrap();
        assert_eq!(
            (time.get().as_secs(), time.to_string().as_str()),
            (seconds, shown)
        );
    }
    for text in [
        "",
        "90",
        "s",
        "0s",
        "1s1s",
        "1s1m",
        "1.5h",
        "-1s",
        "2 h",
        "1w",
        "367d",
        "99999999999999999999s",
        "1h ",
        "١s",
    ] {
        assert!(WallTime::parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_shown_can_be_read(bytes in (1_u64 << 20)..u64::MAX / 2000, millis in 10_u32..4_096_000, seconds in 1_u64..31_622_400) {
        let size = Bytes::parse(&bytes.to_string()).unwrap();
        prop_assert_eq!(size.get(), bytes);
        prop_assert_eq!(Bytes::parse(&size.to_string()).unwrap(), size);
        let cpus = Cpus::parse(&format!("{}.{:03}", millis / 1000, millis % 1000)).unwrap();
        prop_assert_eq!(cpus.millis(), millis);
        prop_assert_eq!(Cpus::parse(&cpus.to_string()).unwrap(), cpus);
        let time = WallTime::parse(&format!("{seconds}s")).unwrap();
        prop_assert_eq!(WallTime::parse(&time.to_string()).unwrap(), time);
    }

    #[test]
    fn no_text_panics(text in "\\PC*") {
        for kind in LimitKind::ALL {
            let _ = Limit::parse(kind, &text);
        }
    }
}
