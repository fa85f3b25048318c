//! The address a steered connection was meant for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use rustix::net::sockopt::{ip_original_dst, ipv6_original_dst};
use rustix::net::{AddressFamily, getsockname, sockopt::socket_domain};

/// Where the program that opened `connection` wanted to connect to: `SO_ORIGINAL_DST` or
/// `IP6T_SO_ORIGINAL_DST`, with IPv4-mapped addresses unwrapped.
///
/// # Errors
///
/// `NotFound` when the kernel does not track the connection, and `InvalidInput` when it was not
/// steered but made to the door's own address and port (which the rules refuse, so only when they
/// are gone). Either way its destination is unknown and the connection is to be refused: the
/// address it arrived at is never a destination.
pub fn original_destination(connection: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let domain = socket_domain(connection)?;
    let original = if domain == AddressFamily::INET {
        SocketAddr::V4(ip_original_dst(connection)?)
    } else {
        SocketAddr::V6(ipv6_original_dst(connection)?)
    };
    let door = SocketAddr::try_from(getsockname(connection)?)?;
    if unwrapped(original) == unwrapped(door) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the connection was made to the door itself",
        ));
    }
    Ok(unwrapped(original))
}

/// Without the flow label and scope that the kernel never fills here.
fn unwrapped(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 @ IpAddr::V4(_) => v4,
    };
    SocketAddr::new(ip, address.port())
}
