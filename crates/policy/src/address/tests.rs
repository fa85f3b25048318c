use proptest::prelude::*;

use super::*;

fn class(text: &str) -> AddressClass {
    classify(text.parse().unwrap())
}

#[test]
fn ipv4_blocks() {
    for (text, expected) in [
        ("8.8.8.8", AddressClass::Public),
        ("192.0.2.1", AddressClass::Public),
        ("198.51.100.1", AddressClass::Public),
        ("203.0.113.1", AddressClass::Public),
        ("0.0.0.0", AddressClass::Unspecified),
        ("0.1.2.3", AddressClass::Unspecified),
        ("127.0.0.1", AddressClass::Loopback),
        ("127.255.255.254", AddressClass::Loopback),
        ("10.0.0.1", AddressClass::Private),
        ("172.15.255.255", AddressClass::Public),
        ("172.16.0.0", AddressClass::Private),
        ("172.31.255.255", AddressClass::Private),
        ("172.32.0.0", AddressClass::Public),
        ("192.168.1.1", AddressClass::Private),
        ("169.254.0.1", AddressClass::LinkLocal),
        ("169.254.169.254", AddressClass::Metadata),
        ("169.254.170.2", AddressClass::Metadata),
        ("100.100.100.200", AddressClass::Metadata),
        ("168.63.129.16", AddressClass::Metadata),
        ("100.63.255.255", AddressClass::Public),
        ("100.64.0.1", AddressClass::CarrierGradeNat),
        ("100.127.255.255", AddressClass::CarrierGradeNat),
        ("100.128.0.0", AddressClass::Public),
        ("198.18.0.1", AddressClass::Synthetic),
        ("198.19.255.255", AddressClass::Synthetic),
        ("198.20.0.0", AddressClass::Public),
        ("192.0.0.1", AddressClass::Reserved),
        ("224.0.0.1", AddressClass::Multicast),
        ("239.255.255.250", AddressClass::Multicast),
        ("240.0.0.1", AddressClass::Reserved),
        ("255.255.255.255", AddressClass::Broadcast),
    ] {
        assert_eq!(class(text), expected, "{text}");
    }
}

#[test]
fn ipv6_blocks() {
    for (text, expected) in [
        ("2606:4700::1111", AddressClass::Public),
        ("2001:db8::1", AddressClass::Public),
        ("::", AddressClass::Unspecified),
        ("::1", AddressClass::Loopback),
        ("fe80::1", AddressClass::LinkLocal),
        ("febf::1", AddressClass::LinkLocal),
        ("fec0::1", AddressClass::Private),
        ("fc00::1", AddressClass::Private),
        ("fdff::1", AddressClass::Private),
        ("fd00:ec2::254", AddressClass::Metadata),
        ("fd20:ce::254", AddressClass::Metadata),
        ("fd77:6172:6469::1", AddressClass::Synthetic),
        ("ff02::1", AddressClass::Multicast),
        ("100::1", AddressClass::Reserved),
        ("2001:2::1", AddressClass::Reserved),
        ("2001:10::1", AddressClass::Reserved),
        ("2001:20::1", AddressClass::Reserved),
    ] {
        assert_eq!(class(text), expected, "{text}");
    }
}

#[test]
fn embedded_addresses_are_judged() {
    for (text, expected) in [
        ("::ffff:127.0.0.1", AddressClass::Loopback),
        ("::ffff:8.8.8.8", AddressClass::Public),
        ("::127.0.0.1", AddressClass::Loopback),
        ("::ffff:0:10.0.0.1", AddressClass::Private),
        ("64:ff9b::169.254.169.254", AddressClass::Metadata),
        ("64:ff9b::8.8.8.8", AddressClass::Public),
        // 64:ff9b:1::/48 with the address behind /48, /56, /64 and /96.
        ("64:ff9b:1:7f00:0:100::", AddressClass::Loopback),
        ("64:ff9b:1:7f:0:1::", AddressClass::Loopback),
        ("64:ff9b:1:0:7f:0:100:0", AddressClass::Loopback),
        ("64:ff9b:1::127.0.0.1", AddressClass::Loopback),
        ("64:ff9b:1::8.8.8.8", AddressClass::Public),
        ("64:ff9b:1::", AddressClass::Unspecified),
        ("2002:7f00:1::1", AddressClass::Loopback),
        ("2002:a00:1::", AddressClass::Private),
        ("2002:808:808::1", AddressClass::Public),
        // Teredo: the client is the inverted tail.
        ("2001:0:808:808:0:0:80ff:fffe", AddressClass::Loopback),
        ("2001:0:808:808:0:0:f5ff:fffe", AddressClass::Private),
        ("2001:0:7f00:1:0:0:f7f7:f7f7", AddressClass::Loopback),
        ("2001:0:808:808:0:0:f7f7:f7f7", AddressClass::Public),
        ("2001:db8::5efe:10.0.0.1", AddressClass::Private),
        ("2001:db8::200:5efe:10.0.0.1", AddressClass::Private),
    ] {
        assert_eq!(class(text), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn no_transition_form_hides_an_address(
        block in proptest::sample::select(vec![
            (0x7f00_0000_u32, 8), (0x0a00_0000, 8), (0xac10_0000, 12), (0xc0a8_0000, 16), (0xa9fe_0000, 16),
            (0x6440_0000, 10), (0xe000_0000, 4), (0xf000_0000, 4), (0xa9fe_a9fe, 32), (0, 8),
        ]),
        low: u32,
    ) {
        let (first, length) = block;
        let v4 = first | low.checked_shr(length).unwrap_or(0);
        let inner = Ipv4Addr::from(v4);
        prop_assert_ne!(classify_v4(inner), AddressClass::Public);
        let (high, low) = ((v4 >> 16) as u16, v4 as u16);
        for v6 in [
            Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0, 0x808, 0x808, 0, 0, !high, !low),
        ] {
            prop_assert_ne!(classify(v6.into()), AddressClass::Public, "{}", v6);
        }
    }
}
