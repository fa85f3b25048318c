//! What kind of place an IP address is.
//!
//! IPv6 has many ways to write an IPv4 address (mapped, compatible, 6to4, NAT64, Teredo, ISATAP). A host or a router
//! may translate any of them, so each is judged by the address that it carries.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kinds of address that the policy tells apart. Everything but `Public` is refused unless a rule says exactly so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// Routed on the internet, or reserved for documentation (which routes nowhere and serves tests).
    Public,
    /// 127.0.0.0/8, ::1.
    Loopback,
    /// RFC 1918, unique local (fc00::/7), site-local (fec0::/10).
    Private,
    /// 169.254.0.0/16, fe80::/10.
    LinkLocal,
    /// Where clouds hand out credentials to whoever asks (169.254.169.254 and its relatives).
    Metadata,
    /// 100.64.0.0/10 (RFC 6598).
    CarrierGradeNat,
    /// 0.0.0.0/8, ::. Connecting to it reaches the machine itself on Linux.
    Unspecified,
    /// 224.0.0.0/4, ff00::/8.
    Multicast,
    /// 255.255.255.255.
    Broadcast,
    /// 240.0.0.0/4, 192.0.0.0/24, 100::/64 and other blocks without hosts.
    Reserved,
    /// 198.18.0.0/15 and Wardian's own unique local prefix: addresses that stand for names inside a sandbox.
    Synthetic,
}

impl AddressClass {
    /// The snake_case name used in denials and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link_local",
            Self::Metadata => "metadata",
            Self::CarrierGradeNat => "carrier_grade_nat",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Reserved => "reserved",
            Self::Synthetic => "synthetic",
        }
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Metadata => "cloud metadata",
            Self::CarrierGradeNat => "carrier-grade NAT",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Reserved => "reserved",
            Self::Synthetic => "synthetic",
        })
    }
}

/// First 48 bits of the unique local prefix from which sandboxes get their synthetic IPv6 addresses
/// (fd77:6172:6469::/48).
pub const SYNTHETIC_V6_PREFIX: [u16; 3] = [0xfd77, 0x6172, 0x6469];

/// Classifies `address`; an IPv6 address that carries an IPv4 one is as bad as the worse of the two.
pub fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    match address.octets() {
        // AWS, GCP, Azure, OpenStack; AWS ECS tasks; AWS EKS pod identity.
        [169, 254, 169, 254] | [169, 254, 170, 2] | [169, 254, 170, 23] => AddressClass::Metadata,
        // Alibaba Cloud, Azure's wire server, Oracle Cloud.
        [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => AddressClass::Metadata,
        [0, ..] => AddressClass::Unspecified,
        [127, ..] => AddressClass::Loopback,
        [10, ..] | [192, 168, ..] => AddressClass::Private,
        [172, second, ..] if second & 0xf0 == 16 => AddressClass::Private,
        [169, 254, ..] => AddressClass::LinkLocal,
        [100, second, ..] if second & 0xc0 == 64 => AddressClass::CarrierGradeNat,
        [198, 18 | 19, ..] => AddressClass::Synthetic,
        [255, 255, 255, 255] => AddressClass::Broadcast,
        [224..=239, ..] => AddressClass::Multicast,
        [240..=255, ..] => AddressClass::Reserved,
        // IETF protocol assignments, and the retired 6to4 relay anycast.
        [192, 0, 0, _] | [192, 88, 99, _] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    let outer = classify_v6_itself(address);
    if outer != AddressClass::Public {
        return outer;
    }
    embedded_v4(address).map_or(AddressClass::Public, classify_v4)
}

fn classify_v6_itself(address: Ipv6Addr) -> AddressClass {
    let segments = address.segments();
    if address == Ipv6Addr::UNSPECIFIED {
        return AddressClass::Unspecified;
    }
    if address == Ipv6Addr::LOCALHOST {
        return AddressClass::Loopback;
    }
    match segments {
        // AWS EC2 and EKS, GCP, Scaleway.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254 | 0x23] => AddressClass::Metadata,
        [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => AddressClass::Metadata,
        [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42] => AddressClass::Metadata,
        [first, second, third, ..] if [first, second, third] == SYNTHETIC_V6_PREFIX => {
            AddressClass::Synthetic
        }
        [first, ..] if first & 0xfe00 == 0xfc00 => AddressClass::Private,
        [first, ..] if first & 0xffc0 == 0xfec0 => AddressClass::Private,
        [first, ..] if first & 0xffc0 == 0xfe80 => AddressClass::LinkLocal,
        [first, ..] if first & 0xff00 == 0xff00 => AddressClass::Multicast,
        // Discard-only (RFC 6666), benchmarking (RFC 5180), ORCHID, SRv6 SIDs.
        [0x100, 0, 0, 0, ..] | [0x2001, 2, 0, ..] | [0x5f00, ..] => AddressClass::Reserved,
        [0x2001, second, ..] if second & 0xfff0 == 0x10 || second & 0xfff0 == 0x20 => {
            AddressClass::Reserved
        }
        _ => AddressClass::Public,
    }
}

/// The IPv4 address that this IPv6 address carries, for every transition mechanism.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        // ::a.b.c.d compatible, ::ffff:a.b.c.d mapped, ::ffff:0:a.b.c.d translated (SIIT).
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low] => Some(pair(high, low)),
        // NAT64 (RFC 6052), well-known prefix.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(pair(high, low)),
        // NAT64 local-use 64:ff9b:1::/48 (RFC 8215). RFC 6052 places the address by prefix length; an operator may
        // have chosen any of /48, /56, /64 or /96 and nothing in the address tells which: take the worst.
        [0x64, 0xff9b, 1, _, _, _, _, _] => Some(worst_nat64(address)),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => Some(pair(high, low)),
        // Teredo (RFC 4380): client address in the last 32 bits, inverted; the server is in segments 2 and 3.
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            let client = pair(!high, !low);
            let server = pair(server_high, server_low);
            Some(worse(client, server))
        }
        // ISATAP (RFC 5214): interface identifier 0:5efe or 200:5efe.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(pair(high, low)),
        _ => None,
    }
}

fn worst_nat64(address: Ipv6Addr) -> Ipv4Addr {
    let octets = address.octets();
    let at = |index: [usize; 4]| Ipv4Addr::from(index.map(|i| octets[i]));
    // Octet 8 is skipped by RFC 6052 (the "u" octet).
    let candidates = [
        at([12, 13, 14, 15]),
        at([6, 7, 9, 10]),
        at([7, 9, 10, 11]),
        at([9, 10, 11, 12]),
    ];
    // A field that begins with zero is padding of another layout: no translator forwards to 0.0.0.0/8.
    candidates
        .into_iter()
        .filter(|v4| v4.octets()[0] != 0)
        .reduce(worse)
        .unwrap_or(Ipv4Addr::UNSPECIFIED)
}

fn worse(left: Ipv4Addr, right: Ipv4Addr) -> Ipv4Addr {
    match classify_v4(left) {
        AddressClass::Public => right,
        _ => left,
    }
}

#[cfg(test)]
mod tests;
