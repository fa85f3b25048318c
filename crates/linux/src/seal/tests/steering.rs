use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};

use crate::seccomp::{self, Condition, Denial, Test, When};

use super::world::{Door, USERS, User, ask, line, sealed, sealed_after};

#[test]
fn every_connection_arrives_with_its_destination() {
    for user in USERS {
        sealed(user, |door| {
            println!("seal::build() as {user:?}: {:?}", door.took);
            assert_eq!(door.shortfalls, [""; 0]);
            for to in [
                "1.2.3.4:443",
                "169.254.169.254:80",
                "10.0.0.1:8080",
                "8.8.8.8:853",
            ] {
                assert_eq!(ask(to), format!("{to} from 10.0.0.1"));
            }
            let v6 = "fd77:6172:6469:616e::1";
            for to in ["[2001:db8::1]:8443", "[64:ff9b::102:304]:22"] {
                assert_eq!(ask(to), format!("{to} from {v6}"));
            }
            assert_eq!(ask("[::ffff:1.2.3.4]:443"), "1.2.3.4:443 from 10.0.0.1");
        });
    }
}

#[test]
fn dns_to_any_server_is_answered_from_the_address_asked() {
    for user in USERS {
        sealed(user, |_| {
            for server in ["8.8.8.8:53", "10.0.0.1:53", "[2001:4860:4860::8888]:53"] {
                let server: SocketAddr = server.parse().unwrap();
                let any = if server.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let socket = UdpSocket::bind(any).unwrap();
                socket
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .unwrap();
                socket.send_to(b"question", server).unwrap();
                let mut buffer = [0; 100];
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                assert_eq!(
                    (&buffer[..length], from),
                    (&b"answer to question"[..], server)
                );
            }
            assert_eq!(ask("8.8.8.8:53"), "dns 8.8.8.8:53 from 10.0.0.1");
            let v6 = ask("[2001:db8::53]:53");
            assert!(v6.starts_with("dns [2001:db8::53]:53 from "), "{v6}");
        });
    }
}

/// The replies of both arrive at the same pair of addresses and ports until conntrack moves one.
#[test]
fn one_source_port_serves_two_destinations() {
    sealed(User::Ordinary, |_| {
        let from_port = |port: u16, to: &str| {
            let socket =
                rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            rustix::net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
            let from = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), port));
            rustix::net::bind(&socket, &from).unwrap();
            rustix::net::connect(&socket, &to.parse::<SocketAddr>().unwrap()).unwrap();
            TcpStream::from(socket)
        };
        let first = from_port(34_567, "1.1.1.1:443");
        let second = from_port(34_567, "2.2.2.2:443");
        assert!(line(first).starts_with("1.1.1.1:443 "));
        assert!(line(second).starts_with("2.2.2.2:443 "));
    });
}

#[test]
fn a_source_address_of_the_programs_choice_changes_nothing() {
    sealed(User::Root, |_| {
        for from in ["127.0.0.1:0", "10.0.0.1:0"] {
            let socket =
                rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            rustix::net::bind(&socket, &from.parse::<SocketAddr>().unwrap()).unwrap();
            let to: SocketAddr = "1.2.3.4:443".parse().unwrap();
            rustix::net::connect(&socket, &to).unwrap();
            assert!(line(TcpStream::from(socket)).starts_with("1.2.3.4:443 "));
        }
    });
}

/// Such a connection would have no destination. Translating it changes nothing, so it does not
/// count as translated, and is refused like all else.
#[test]
fn nobody_connects_to_the_door_itself() {
    for user in USERS {
        sealed(user, |Door { tcp4, .. }| {
            let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, tcp4.port()));
            for address in [tcp4, loopback] {
                let error = TcpStream::connect(address).unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
            }
            // The kernel tracks this one, and names the address it arrived at.
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            let error = crate::seal::original_destination(stream.as_fd()).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        });
    }
}

#[test]
fn an_unsteered_connection_has_no_destination() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    crate::seal::original_destination(stream.as_fd()).unwrap_err();
}

#[test]
fn hundreds_of_connections_at_once() {
    sealed(User::Ordinary, |_| {
        let threads: Vec<_> = (0..8u8)
            .map(|thread| {
                std::thread::spawn(move || {
                    for number in 0..100u8 {
                        let to = format!("100.{thread}.{number}.7:{}", 1000 + u16::from(number));
                        assert_eq!(ask(&to), format!("{to} from 10.0.0.1"));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn ipv6_turned_off_for_new_interfaces_is_turned_on_for_ours() {
    let turn_off = || {
        for scope in ["all", "default", "lo"] {
            let file = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
            std::fs::write(file, "1").unwrap();
        }
    };
    sealed_after(User::Ordinary, turn_off, |_| {
        assert!(ask("[2001:db8::1]:443").starts_with("[2001:db8::1]:443 "));
    });
}

#[test]
fn a_kernel_without_ipv6_is_sealed_for_ipv4() {
    let without_ipv6 = || {
        const FAMILY: Test = Test::OneOf {
            mask: u32::MAX,
            values: &[libc::AF_INET6 as u32],
        };
        seccomp::install_only(&[Denial {
            call: "socket",
            number: u32::try_from(libc::SYS_socket).unwrap(),
            conditions: &[Condition {
                argument: 0,
                test: FAMILY,
            }],
            errno: libc::EAFNOSUPPORT,
            when: When::Always,
            reason: "a kernel without IPv6",
        }]);
    };
    sealed_after(User::Ordinary, without_ipv6, |door| {
        assert_eq!(
            door.shortfalls,
            ["no IPv6 inside: socket(AF_INET6, SOCK_DGRAM): \
                 address family not supported by protocol (EAFNOSUPPORT)"]
        );
        assert!(ask("1.2.3.4:443").starts_with("1.2.3.4:443 "));
        assert!(ask("8.8.8.8:53").starts_with("dns 8.8.8.8:53 "));
    });
}
