//! The seal: a network namespace whose only interface is `lo` and whose only door is a set of
//! listening sockets that a process outside holds.
//!
//! ```text
//! program --connect 1.2.3.4:443--> nat output: dnat to 10.0.0.1:<door> --> lo --> SealedSockets::tcp4
//!                                                                                     |
//!                              supervisor, in the host's namespace: accept, original_destination
//! ```
//!
//! [`build`] works in this order, all of it through netlink in the calling thread:
//!
//! 1. `lo` up, one extra address per family on it ([`ADDRESS_V4`], [`ADDRESS_V6`]);
//! 2. `local default dev lo` in the main table: every address in the world is local, so that a connect neither fails
//!    with "network unreachable" nor leaves;
//! 3. the listeners, bound to those addresses;
//! 4. the steering rules ([`rules`]), which send every TCP connection and every DNS question to the
//!    listeners and refuse the rest at once.
//!
//! Loopback (127.0.0.0/8 and ::1) belongs to the programs inside, for any protocol and any port: a
//! resolver of their own on 127.0.0.1:53 works. The `resolv.conf` inside therefore names
//! [`ADDRESS_V4`], and DNS to any other address arrives at the DNS listeners just the same.

mod destination;
mod link;
mod listeners;
mod netlink;
mod nft;
mod rules;
mod sysctl;
#[cfg(test)]
mod tests;

pub use destination::original_destination;
pub use link::{Interface, interfaces};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::error::{SyscallError, SyscallResult, failed};
use listeners::Listeners;
use rules::Doors;
use sysctl::NetworkSettings;

/// The sandbox's own IPv4 address: what programs connect from, and the name server to configure.
pub const ADDRESS_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The same for IPv6, from a unique local prefix that spells "wardian".
pub const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x6172, 0x6469, 0x616e, 0, 0, 0, 1);

/// The listeners of a sealed namespace: nonblocking, close-on-exec. They keep the namespace alive.
///
/// The IPv6 ones are `None` on a host without IPv6; the reason is among the [`shortfalls`].
///
/// [`shortfalls`]: SealedSockets::shortfalls
#[derive(Debug)]
pub struct SealedSockets {
    pub tcp4: OwnedFd,
    pub tcp6: Option<OwnedFd>,
    pub dns_udp4: OwnedFd,
    pub dns_udp6: Option<OwnedFd>,
    pub dns_tcp4: OwnedFd,
    pub dns_tcp6: Option<OwnedFd>,
    /// What the host did not offer, for a person to read. The seal holds without it.
    pub shortfalls: Vec<String>,
}

/// Seals the calling thread's network namespace, in which no interface may be up yet.
///
/// Needs CAP_NET_ADMIN in the user namespace that owns it. To be called once, before any other
/// program runs inside.
pub fn build() -> SyscallResult<SealedSockets> {
    link::require_fresh_namespace()?;
    let mut shortfalls = Vec::new();
    let settings = NetworkSettings::open();
    let v6 = match ipv6_is_usable(settings.as_ref()) {
        Ok(()) => Some(ADDRESS_V6),
        Err(absence) => {
            shortfalls.push(format!("no IPv6 inside: {absence}"));
            None
        }
    };

    link::make_the_world_local(ADDRESS_V4, v6)?;
    let listeners4 = listeners::open(IpAddr::V4(ADDRESS_V4))?;
    let listeners6 = v6.map(|v6| listeners::open(IpAddr::V6(v6))).transpose()?;
    nft::load(&rules::ruleset(&doors(&listeners4, listeners6.as_ref())))?;

    match settings {
        Ok(settings) => {
            for outcome in [
                settings.allow_low_ports(),
                settings.forget_ended_connections(),
            ] {
                shortfalls.extend(outcome.err().map(|error| error.to_string()));
            }
        }
        Err(error) => shortfalls.push(error.to_string()),
    }

    let (tcp6, dns_udp6, dns_tcp6) = match listeners6 {
        Some(v6) => (Some(v6.tcp), Some(v6.dns_udp), Some(v6.dns_tcp)),
        None => (None, None, None),
    };
    Ok(SealedSockets {
        tcp4: listeners4.tcp,
        tcp6,
        dns_udp4: listeners4.dns_udp,
        dns_udp6,
        dns_tcp4: listeners4.dns_tcp,
        dns_tcp6,
        shortfalls,
    })
}

fn doors(v4: &Listeners, v6: Option<&Listeners>) -> Vec<Doors> {
    [Some(v4), v6]
        .into_iter()
        .flatten()
        .map(|listeners| listeners.doors)
        .collect()
}

/// A kernel without IPv6 lacks the address family; one that has it turned off must let us turn it on
/// for our own loopback.
fn ipv6_is_usable(settings: Result<&NetworkSettings, &SyscallError>) -> SyscallResult<()> {
    let (family, kind) = (AddressFamily::INET6, SocketType::DGRAM);
    socket_with(family, kind, SocketFlags::CLOEXEC, None)
        .map_err(failed!("socket(AF_INET6, SOCK_DGRAM)"))?;
    match settings {
        Ok(settings) => settings.enable_ipv6_on_loopback(),
        Err(_) => Ok(()),
    }
}
