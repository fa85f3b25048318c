//! The listening sockets: the one door, opened inside the namespace and held outside.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::sockopt::set_ipv6_v6only;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

use super::rules::Doors;
use crate::error::{SyscallResult, failed};

/// The kernel lowers this to `net.core.somaxconn`, 4096 unless the host changed it.
const BACKLOG: i32 = 16_384;

#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) tcp: OwnedFd,
    pub(super) dns_udp: OwnedFd,
    pub(super) dns_tcp: OwnedFd,
    pub(super) doors: Doors,
}

/// Opens one family's listeners on `address`, on ports that the kernel picks.
pub(super) fn open(address: IpAddr) -> SyscallResult<Listeners> {
    let (tcp, tcp_port) = bound(address, SocketType::STREAM)?;
    let (dns_udp, dns_udp_port) = bound(address, SocketType::DGRAM)?;
    let (dns_tcp, dns_tcp_port) = bound(address, SocketType::STREAM)?;
    Ok(Listeners {
        tcp,
        dns_udp,
        dns_tcp,
        doors: Doors {
            address,
            tcp: tcp_port,
            dns_udp: dns_udp_port,
            dns_tcp: dns_tcp_port,
        },
    })
}

fn bound(address: IpAddr, kind: SocketType) -> SyscallResult<(OwnedFd, u16)> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(family, kind, flags, None).map_err(failed!("socket({family:?}, {kind:?})"))?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true).map_err(failed!("setsockopt(IPV6_V6ONLY)"))?;
    }
    let wanted = SocketAddr::new(address, 0);
    bind(&socket, &wanted).map_err(failed!("bind({wanted})"))?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG).map_err(failed!("listen({wanted}, {BACKLOG})"))?;
    }
    let name = getsockname(&socket).map_err(failed!("getsockname({wanted})"))?;
    let name = SocketAddr::try_from(name).map_err(failed!("getsockname({wanted})"))?;
    Ok((socket, name.port()))
}
