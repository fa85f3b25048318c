use proptest::prelude::*;

use super::*;

fn name(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

#[test]
fn names_have_one_spelling() {
    for (text, canonical) in [
        ("example.com", "example.com"),
        ("EXAMPLE.Com", "example.com"),
        ("example.com.", "example.com"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("r3---sn-4g5e.example.com", "r3---sn-4g5e.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("example。com", "example.com"),
        ("ｅｘａｍｐｌｅ.com", "example.com"),
        ("localhost", "localhost"),
        ("1password.com", "1password.com"),
        ("0x7f.example", "0x7f.example"),
        ("123.example", "123.example"),
    ] {
        assert_eq!(name(text).as_str(), canonical, "{text}");
    }
}

// Security case 74, and the same in other spellings.
#[test]
fn what_may_be_read_as_an_address_is_no_name() {
    for text in [
        "127.1",
        "127.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "0X7F.1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "1.2.3.4.5",
        "256.1.1.1",
        "0",
        "0.0",
        "0x",
        "a.0x",
        "example.1",
        "example.0x1f",
        "127。0。0。1",
        "１２７.1",
        "①②⑦.1",
        "127.0.0.0x1",
    ] {
        assert!(HostName::parse(text).is_err(), "{text}");
        assert!(Host::parse(text).is_err(), "{text}");
        assert!(Authority::parse(text).is_err(), "{text}");
    }
    for text in ["127.0.0.1", "0.0.0.0", "8.8.8.8"] {
        assert_eq!(HostName::parse(text), Err(HostError::AddressNotName));
        assert!(matches!(host(text), Host::Ip(_)));
    }
}

#[test]
fn malformed_names_are_refused() {
    let long_label = format!("{}.com", "a".repeat(64));
    let long_name = format!("{}com", "abcdefg.".repeat(32));
    for text in [
        "",
        ".",
        "..",
        ".com",
        "a..com",
        "a.com..",
        " a.com",
        "a.com ",
        "a com",
        "a\tcom",
        "a\ncom",
        "a\0com",
        "a/b",
        "a\\b",
        "a?b",
        "a#b",
        "a%62.com",
        "a%00.com",
        "user@host",
        "host:80",
        "*",
        "*.com",
        "-a.com",
        "a-.com",
        "a.-",
        "a!b.com",
        "a,b",
        "a;b",
        "a'b",
        "a\"b",
        "a|b",
        "a<b",
        "[a]",
        "\u{202e}moc.elpmaxe",
        "a\u{200b}.com",
        "xn--\u{0}",
        "xn--a-\u{e4}",
        "xn--999999999.com",
        &long_label,
        &long_name,
        &"a".repeat(5000),
    ] {
        assert!(HostName::parse(text).is_err(), "{text:?}");
        assert!(Host::parse(text).is_err(), "{text:?}");
    }
    let longest = format!(
        "{}.{}",
        "abcdefg.".repeat(31).trim_end_matches('.'),
        "abcde"
    );
    assert_eq!(longest.len(), 253);
    assert_eq!(name(&longest).as_str(), longest);
    assert_eq!(name(&format!("{longest}.")).as_str(), longest);
}

#[test]
fn addresses_have_one_spelling() {
    for (text, canonical) in [
        ("192.0.2.1", "192.0.2.1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[2001:DB8::0:1]", "2001:db8::1"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("::ffff:7f00:1", "127.0.0.1"),
    ] {
        assert_eq!(host(text).to_string(), canonical, "{text}");
    }
    for text in [
        "[::1%eth0]",
        "::1%eth0",
        "[fe80::1%25eth0]",
        "[fe80::1%1]",
        "[127.0.0.1]",
        "[::1",
        "::1]",
        "[]",
        "[example.com]",
        "[::1]x",
        "[[::1]]",
        "1::2::3",
        ":",
        "::g",
        "[::1]:80",
        "user@[::1]",
        "a:b:c@::1",
    ] {
        assert!(Host::parse(text).is_err(), "{text}");
    }
}

// Security case 78.
#[test]
fn authorities_are_strict() {
    for (text, canonical) in [
        ("example.com", "example.com"),
        ("EXAMPLE.com:443", "example.com:443"),
        ("example.com.:80", "example.com:80"),
        ("[::1]:8080", "[::1]:8080"),
        ("[::1]", "[::1]"),
        ("192.0.2.1:1", "192.0.2.1:1"),
        ("example.com:00443", "example.com:443"),
    ] {
        assert_eq!(Authority::parse(text).unwrap().to_string(), canonical);
    }
    for text in [
        "",
        ":",
        ":80",
        "user@host",
        "user:pw@host",
        "@host",
        "host@",
        "host:",
        "host:0",
        "host:00000",
        "host:65536",
        "host:65537",
        "host:99999",
        "host:443.allowed.com",
        "host:443:443",
        "host:+443",
        "host:-1",
        "host: 443",
        "host:443 ",
        " host",
        "host:4a",
        "host:0x50",
        "host:443/",
        "host/path",
        "host#x",
        "host?x",
        "host\\x",
        "::1",
        "::1:80",
        "[::1]80",
        "[::1]:",
        "[::1]:0",
        "[::1%eth0]:80",
        "[::1",
        "a,b",
        "bücher.example",
        "http://host",
        "host:４４３",
        "127.1:80",
        "2130706433:80",
        "a\r\nb",
        "a\0b",
    ] {
        assert!(Authority::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn an_authority_agrees_with_its_connection_only() {
    let authority = |text| Authority::parse(text).unwrap();
    let to = host("example.com");
    assert!(authority("example.com").agrees_with(&to, Port::HTTPS));
    assert!(authority("Example.com.:443").agrees_with(&to, Port::HTTPS));
    for other in [
        "example.com:80",
        "example.org",
        "a.example.com",
        "example.com.evil.com",
    ] {
        assert!(!authority(other).agrees_with(&to, Port::HTTPS), "{other}");
    }
}

// Security case 76.
#[test]
fn patterns_match_whole_labels() {
    let suffix = HostPattern::parse("*.example.com").unwrap();
    for inside in ["a.example.com", "a.b.example.com", "A.EXAMPLE.COM."] {
        assert!(suffix.matches(&host(inside)), "{inside}");
    }
    for outside in [
        "example.com",
        "evilexample.com",
        "example.com.evil.com",
        "a.example.com.evil.com",
        "example.org",
        "192.0.2.1",
        "::1",
    ] {
        assert!(!suffix.matches(&host(outside)), "{outside}");
    }
    let exact = HostPattern::parse("Example.com").unwrap();
    assert!(exact.matches(&host("example.com.")));
    assert!(!exact.matches(&host("a.example.com")));
    let any = HostPattern::parse("*").unwrap();
    assert!(any.matches(&host("example.com")));
    assert!(!any.matches(&host("192.0.2.1")));
    assert!(!any.matches(&host("127.0.0.1")));
    let net = HostPattern::parse("192.0.2.0/25").unwrap();
    assert!(net.matches(&host("192.0.2.127")));
    assert!(net.matches(&host("::ffff:192.0.2.1")));
    assert!(!net.matches(&host("192.0.2.128")));
    assert!(!net.matches(&host("::1")));
    let net = HostPattern::parse("2001:db8::/32").unwrap();
    assert!(net.matches(&host("2001:db8:ffff::1")));
    assert!(!net.matches(&host("2001:db9::1")));
}

#[test]
fn wildcards_stay_below_what_one_owner_registered() {
    for text in [
        "*.com",
        "*.COM",
        "*.com.",
        "*.co.uk",
        "*.uk",
        "*.github.io",
        "*.s3.amazonaws.com",
        "*.ck",
        "*.kawasaki.jp",
        "*.unknown-top-level",
        "*.xn--p1ai",
        "*.рф",
        "*.compute.amazonaws.com",
    ] {
        assert!(
            matches!(HostPattern::parse(text), Err(PatternError::PublicSuffix(_))),
            "{text}: {:?}",
            HostPattern::parse(text)
        );
    }
    for text in [
        "*.example.com",
        "*.github.com",
        "*.foo.github.io",
        "*.internal",
        "*.test",
        "*.a.b.ck",
    ] {
        assert!(HostPattern::parse(text).is_ok(), "{text}");
    }
    let wide = HostPattern::parse("*.amazonaws.com").unwrap();
    assert!(wide.matches(&host("sts.amazonaws.com")));
    assert!(!wide.matches(&host("bucket.s3.amazonaws.com")));
    assert!(wide.covers(&host("bucket.s3.amazonaws.com")));
}

#[test]
fn malformed_patterns_are_refused() {
    for text in [
        "",
        "**",
        "*.",
        "*.*",
        "*.*.com",
        "a.*",
        "a.*.com",
        "*a.example.com",
        "a*.example.com",
        "*example.com",
        "*.127.0.0.1",
        "*.1",
        "*.[::1]",
        "https://example.com",
        "example.com/x",
        "example.com:443",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0/8",
        "/8",
        "::/129",
        "::ffff:10.0.0.0/104",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "224.0.0.1",
        "198.18.0.1",
        "127.1",
        "::ffff:0.0.0.0",
        "user@example.com",
        ".example.com",
        "*..example.com",
        "* .example.com",
    ] {
        assert!(HostPattern::parse(text).is_err(), "{text}");
    }
}

#[test]
fn networks_open_one_kind_of_place() {
    let opens = |pattern: &str, address: &str| {
        HostPattern::parse(pattern)
            .unwrap()
            .opens(address.parse().unwrap())
    };
    assert!(opens("10.0.0.0/8", "10.1.2.3"));
    assert!(opens("10.1.0.0/16", "10.1.2.3"));
    assert!(opens("172.16.0.0/12", "172.31.0.1"));
    assert!(opens("127.0.0.0/8", "127.0.0.1"));
    assert!(opens("127.0.0.1", "127.0.0.1"));
    assert!(opens("169.254.169.254", "169.254.169.254"));
    assert!(opens("169.254.169.254/32", "169.254.169.254"));
    assert!(opens("fd00::/8", "fd00::1"));
    assert!(opens("100.64.0.0/10", "100.64.0.1"));
    for (pattern, address) in [
        ("0.0.0.0/0", "10.1.2.3"),
        ("0.0.0.0/0", "127.0.0.1"),
        ("8.0.0.0/6", "10.0.0.1"),
        ("172.0.0.0/8", "172.16.0.1"),
        ("169.254.0.0/16", "169.254.169.254"),
        ("::/0", "::1"),
        ("f000::/4", "fe80::1"),
        ("100.100.0.0/16", "100.100.100.200"),
        ("fd00::/8", "fd00:ec2::254"),
        ("10.0.0.0/8", "11.0.0.1"),
    ] {
        assert!(!opens(pattern, address), "{pattern} {address}");
    }
}

#[test]
fn overlap_is_symmetric_and_finds_nested_patterns() {
    let pattern = |text: &str| HostPattern::parse(text).unwrap();
    for (left, right, expected) in [
        ("a.example.com", "*.example.com", true),
        ("example.com", "*.example.com", false),
        ("*.example.com", "*.a.example.com", true),
        ("*.example.com", "*.example.org", false),
        ("*", "*.example.com", true),
        ("*", "10.0.0.0/8", false),
        ("10.0.0.0/8", "10.1.0.0/16", true),
        ("10.0.0.0/8", "10.0.0.1", true),
        ("10.0.0.0/8", "11.0.0.0/8", false),
        ("10.0.0.1", "10.0.0.1", true),
    ] {
        assert_eq!(
            pattern(left).overlaps(&pattern(right)),
            expected,
            "{left} {right}"
        );
        assert_eq!(
            pattern(right).overlaps(&pattern(left)),
            expected,
            "{right} {left}"
        );
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for text in [text.as_str(), &String::from_utf8_lossy(&bytes)] {
            let _ = HostName::parse(text);
            let _ = Host::parse(text);
            let _ = Authority::parse(text);
            let _ = HostPattern::parse(text);
            let _ = Subnet::parse(text);
            let _ = Port::parse(text);
        }
    }

    #[test]
    fn what_is_parsed_is_canonical(text in "[a-zA-Z0-9._:\\[\\]*äß-]{1,40}") {
        if let Ok(name) = HostName::parse(&text) {
            prop_assert_eq!(&HostName::parse(name.as_str()).unwrap(), &name);
            let plain = name.as_str().bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
            prop_assert!(plain);
            prop_assert!(name.as_str().parse::<IpAddr>().is_err());
        }
        if let Ok(host) = Host::parse(&text) {
            prop_assert_eq!(&Host::parse(&host.to_string()).unwrap(), &host);
            prop_assert_eq!(&Host::parse(&host.to_url_host()).unwrap(), &host);
        }
        if let Ok(authority) = Authority::parse(&text) {
            prop_assert_eq!(&Authority::parse(&authority.to_string()).unwrap(), &authority);
        }
        if let Ok(pattern) = HostPattern::parse(&text) {
            prop_assert_eq!(&HostPattern::parse(&pattern.to_string()).unwrap(), &pattern);
        }
    }

    #[test]
    fn addresses_round_trip(bits: u128, v4: u32) {
        for ip in [IpAddr::V6(Ipv6Addr::from(bits)), IpAddr::V4(Ipv4Addr::from(v4))] {
            let host = Host::from(ip);
            prop_assert_eq!(&Host::parse(&host.to_string()).unwrap(), &host);
            let authority = Authority { host, port: Port::new(8443) };
            prop_assert_eq!(&Authority::parse(&authority.to_string()).unwrap(), &authority);
        }
    }

    #[test]
    fn a_suffix_matches_exactly_the_names_below(head in "[a-z]{1,8}", glue in "[.x-]?", tail in "(\\.evil)?") {
        let suffix = HostPattern::parse("*.allowed.example").unwrap();
        let text = format!("{head}{glue}allowed.example{tail}");
        if let Ok(host) = Host::parse(&text) {
            prop_assert_eq!(suffix.matches(&host), glue == "." && tail.is_empty());
        }
    }

    #[test]
    fn subnets_contain_what_arithmetic_says(v4: u32, length in 0_u8..=32, other: u32) {
        let mask = if length == 0 { 0 } else { u32::MAX << (32 - length) };
        let net = Subnet::parse(&format!("{}/{length}", Ipv4Addr::from(v4 & mask))).unwrap();
        prop_assert_eq!(net.contains(Ipv4Addr::from(other).into()), other & mask == v4 & mask);
    }
}
