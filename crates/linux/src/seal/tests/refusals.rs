use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::world::{USERS, User, fails_at_once, sealed};
use crate::error::check;
use crate::testing;

fn send_udp(to: &str, length: usize) -> io::Result<usize> {
    let to: SocketAddr = to.parse().unwrap();
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_broadcast(true)?;
    socket.send_to(&vec![7; length], to)
}

#[test]
fn udp_fails_at_once() {
    for user in USERS {
        sealed(user, |_| {
            for to in [
                "1.2.3.4:443",
                "8.8.8.8:853",
                "224.0.0.251:5353",
                "224.0.0.252:5355",
                "239.255.255.250:1900",
                "255.255.255.255:67",
                "10.0.0.1:9",
                "[2001:db8::1]:443",
                "[ff02::fb]:5353",
                "[ff0e::1]:9",
            ] {
                // The longer one leaves as fragments.
                for length in [10, 60_000] {
                    let error = fails_at_once(to, || send_udp(to, length));
                    assert_ne!(error.kind(), ErrorKind::TimedOut, "{to}");
                }
            }
        });
    }
}

#[test]
fn a_connected_udp_socket_fails_at_once() {
    sealed(User::Ordinary, |_| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect("1.2.3.4:443").unwrap();
        fails_at_once("send", || socket.send(b"QUIC"));
    });
}

fn raw_socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC;
    let fd = check!(
        // SAFETY: socket takes no pointer.
        unsafe { libc::socket(family, kind, protocol) },
        "socket({family}, {kind}, {protocol})"
    )?;
    // SAFETY: socket succeeded, so `fd` is a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn send_raw(family: i32, kind: i32, protocol: i32, to: &str) -> io::Result<usize> {
    let socket = raw_socket(family, kind, protocol)?;
    let to: SocketAddr = to.parse().unwrap();
    // An echo request, which the protocols without a meaning for it carry as bytes.
    let echo = [8u8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    Ok(rustix::net::sendto(
        &socket,
        &echo,
        rustix::net::SendFlags::empty(),
        &to,
    )?)
}

/// In the namespace's own user namespace, with CAP_NET_RAW: more than any program inside has.
#[test]
fn other_protocols_fail_at_once_even_with_raw_sockets() {
    const SCTP: i32 = 132;
    const UDPLITE: i32 = 136;
    const DCCP: i32 = 33;
    for user in USERS {
        sealed(user, |_| {
            for protocol in [
                libc::IPPROTO_ICMP,
                SCTP,
                UDPLITE,
                DCCP,
                libc::IPPROTO_GRE,
                253,
            ] {
                let what = format!("raw protocol {protocol}");
                fails_at_once(&what, || {
                    send_raw(libc::AF_INET, libc::SOCK_RAW, protocol, "1.2.3.4:0")
                });
            }
            for protocol in [libc::IPPROTO_ICMPV6, SCTP, UDPLITE, 253] {
                let what = format!("raw protocol {protocol} over IPv6");
                let to = "[2001:db8::1]:0";
                fails_at_once(&what, || {
                    send_raw(libc::AF_INET6, libc::SOCK_RAW, protocol, to)
                });
            }
            fails_at_once("UDPLite", || {
                send_raw(libc::AF_INET, libc::SOCK_DGRAM, UDPLITE, "1.2.3.4:443")
            });
            fails_at_once("ICMP datagram", || {
                let (kind, protocol) = (libc::SOCK_DGRAM, libc::IPPROTO_ICMP);
                send_raw(libc::AF_INET, kind, protocol, "1.2.3.4:0")
            });
        });
    }
}

#[test]
fn without_capabilities_there_are_no_raw_sockets() {
    sealed(User::Ordinary, |_| {
        testing::unshare(libc::CLONE_NEWUSER);
        for (family, kind, protocol) in [
            (libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
            (libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
            (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
            (libc::AF_PACKET, libc::SOCK_RAW, 0),
        ] {
            fails_at_once("socket", || raw_socket(family, kind, protocol));
        }
        // Nor any capability over the seal.
        super::routes::delete_table().unwrap_err();
    });
}

/// An extension header must not hide the transport protocol.
#[test]
fn ipv6_extension_headers_hide_nothing() {
    sealed(User::Ordinary, |_| {
        let socket = raw_socket(libc::AF_INET6, libc::SOCK_DGRAM, 0).unwrap();
        // One unit of padding: next header (filled in by the kernel), length 0, PadN of 4 bytes.
        let padding: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];
        for option in [libc::IPV6_DSTOPTS, libc::IPV6_HOPOPTS] {
            check!(
                // SAFETY: the option value is `padding.len()` readable bytes, which the kernel copies.
                unsafe {
                    libc::setsockopt(
                        socket.as_raw_fd(),
                        libc::IPPROTO_IPV6,
                        option,
                        padding.as_ptr().cast(),
                        padding.len() as libc::socklen_t,
                    )
                },
                "setsockopt({option})"
            )
            .unwrap();
        }
        let socket = UdpSocket::from(socket);
        for length in [10, 60_000] {
            fails_at_once("UDP behind options", || {
                socket.send_to(&vec![0; length], "[2001:db8::1]:443")
            });
        }
    });
}

#[test]
fn loopback_belongs_to_the_programs_inside() {
    for user in USERS {
        sealed(user, |_| {
            // Without capabilities from here on: low ports are for anybody.
            if matches!(user, User::Ordinary) {
                testing::unshare(libc::CLONE_NEWUSER);
            }
            for at in ["127.0.0.1:53", "127.0.0.53:53", "[::1]:53", "127.9.8.7:80"] {
                let server = UdpSocket::bind(at).unwrap();
                let client = UdpSocket::bind(if at.starts_with('[') {
                    "[::1]:0"
                } else {
                    "127.0.0.1:0"
                });
                client.unwrap().send_to(b"own resolver", at).unwrap();
                server
                    .set_read_timeout(Some(Duration::from_secs(3)))
                    .unwrap();
                let mut buffer = [0; 100];
                assert_eq!(server.recv(&mut buffer).unwrap(), 12);

                let listener = TcpListener::bind(at).unwrap();
                let client = TcpStream::connect(at).unwrap();
                let (_, peer) = listener.accept().unwrap();
                assert_eq!(peer, client.local_addr().unwrap());
            }
            let unused = fails_at_once("connect", || TcpStream::connect("127.0.0.1:4"));
            assert_eq!(unused.kind(), ErrorKind::ConnectionRefused);
        });
    }
}
