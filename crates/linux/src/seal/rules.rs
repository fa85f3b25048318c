//! The steering rules, as data. In nft's own words:
//!
//! ```text
//! table inet wardian {
//!   chain steer_output     { type nat hook output priority -100;      <steering> }
//!   chain steer_prerouting { type nat hook prerouting priority -100;  <steering> }
//!   chain refuse_output    { type filter hook output priority 0;      <refusing> }
//!   chain refuse_input     { type filter hook input priority 0; iif lo accept; <refusing> }
//! }
//! <steering>                                     <refusing>
//!   ip daddr 127.0.0.0/8 accept                    ct state established,related accept
//!   ip6 daddr ::1 accept                           ct status dnat accept
//!   ip  udp dport 53 dnat to 10.0.0.1:<dns udp>    ip daddr 127.0.0.0/8 accept
//!   ip  tcp dport 53 dnat to 10.0.0.1:<dns tcp>    ip6 daddr ::1 accept
//!   ip  meta l4proto tcp dnat to 10.0.0.1:<tcp>    icmp, icmpv6 errors and neighbours accept
//!   ip6 likewise                                   reject with icmpx port-unreachable
//! ```
//!
//! The rules only steer: with all of them flushed, the one interface is still `lo`.
//!
//! What is refused is whatever was not steered and is not loopback, so that no protocol has to be
//! listed: UDP, ICMP, SCTP, multicast, anything to come. A refusal in the output hook also makes
//! `send` fail with EPERM, which is why nothing inside ever waits for a timeout.
//! The filter must not look at the outgoing interface: after a destination NAT in the output hook
//! the first packet still carries the old one.

use std::net::{IpAddr, SocketAddr};

/// Where the listeners of one address family are bound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doors {
    pub(super) address: IpAddr,
    pub(super) tcp: u16,
    pub(super) dns_udp: u16,
    pub(super) dns_tcp: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
}

/// One condition or verdict of a rule; a rule's verdict is its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expression {
    IsFamily(Family),
    IsTransport(Transport),
    /// TCP and UDP only.
    DestinationPort(u16),
    /// ICMP and ICMPv6 only.
    IcmpTypeBetween(u8, u8),
    /// 127.0.0.0/8 or ::1
    ToLoopback(Family),
    FromLoopbackInterface,
    EstablishedOrRelated,
    DestinationTranslated,
    Accept,
    Reject,
    TranslateTo(SocketAddr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting,
    Input,
    Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChainKind {
    Nat,
    Filter,
}

#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) kind: ChainKind,
    pub(super) hook: Hook,
    pub(super) rules: Vec<Vec<Expression>>,
}

use Expression::{
    Accept, DestinationPort, DestinationTranslated, EstablishedOrRelated, FromLoopbackInterface,
    IcmpTypeBetween, IsFamily, IsTransport, Reject, ToLoopback, TranslateTo,
};

pub(super) fn ruleset(doors: &[Doors]) -> Vec<Chain> {
    let mut input = vec![vec![FromLoopbackInterface, Accept]];
    input.extend(refusing());
    vec![
        Chain {
            name: "steer_output",
            kind: ChainKind::Nat,
            hook: Hook::Output,
            rules: steering(doors),
        },
        Chain {
            name: "steer_prerouting",
            kind: ChainKind::Nat,
            hook: Hook::Prerouting,
            rules: steering(doors),
        },
        Chain {
            name: "refuse_output",
            kind: ChainKind::Filter,
            hook: Hook::Output,
            rules: refusing(),
        },
        Chain {
            name: "refuse_input",
            kind: ChainKind::Filter,
            hook: Hook::Input,
            rules: input,
        },
    ]
}

fn steering(doors: &[Doors]) -> Vec<Vec<Expression>> {
    let mut rules = loopback_is_free();
    for door in doors {
        let family = match door.address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        };
        let to = |port| TranslateTo(SocketAddr::new(door.address, port));
        let is = |transport| [IsFamily(family), IsTransport(transport)];
        let dns = |transport, port| {
            let [family, transport] = is(transport);
            vec![family, transport, DestinationPort(53), to(port)]
        };
        let [family, tcp] = is(Transport::Tcp);
        rules.push(dns(Transport::Udp, door.dns_udp));
        rules.push(dns(Transport::Tcp, door.dns_tcp));
        rules.push(vec![family, tcp, to(door.tcp)]);
    }
    rules
}

fn refusing() -> Vec<Vec<Expression>> {
    const UNREACHABLE_V4: u8 = 3;
    const UNREACHABLE_V6: u8 = 1;
    const PACKET_TOO_BIG_V6: u8 = 2;
    const NEIGHBOURS_V6: (u8, u8) = (133, 136);
    let mut rules = vec![
        vec![EstablishedOrRelated, Accept],
        vec![DestinationTranslated, Accept],
    ];
    rules.extend(loopback_is_free());
    // The answers of `reject` itself, and what a namespace behind a veth needs to find this one.
    let icmp = |family, transport, low, high| {
        vec![
            IsFamily(family),
            IsTransport(transport),
            IcmpTypeBetween(low, high),
            Accept,
        ]
    };
    let (low, high) = NEIGHBOURS_V6;
    rules.extend([
        icmp(Family::V4, Transport::Icmp, UNREACHABLE_V4, UNREACHABLE_V4),
        icmp(
            Family::V6,
            Transport::Icmpv6,
            UNREACHABLE_V6,
            PACKET_TOO_BIG_V6,
        ),
        icmp(Family::V6, Transport::Icmpv6, low, high),
        vec![Reject],
    ]);
    rules
}

fn loopback_is_free() -> Vec<Vec<Expression>> {
    vec![
        vec![ToLoopback(Family::V4), Accept],
        vec![ToLoopback(Family::V6), Accept],
    ]
}
