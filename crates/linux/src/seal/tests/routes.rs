use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use super::world::{USERS, User, ask, enter, fails_at_once, sealed};
use crate::error::SyscallResult;
use crate::seal::netlink::{Batch, Netlink, Reply};
use crate::seal::{self, ADDRESS_V4, ADDRESS_V6, interfaces, link};
use crate::testing;

pub(super) fn delete_table() -> SyscallResult<()> {
    let mut batch = Batch::default();
    seal::nft::frame(&mut batch, "begin", libc::NFNL_MSG_BATCH_BEGIN as u16);
    seal::nft::message(
        &mut batch,
        "delete".into(),
        libc::NFT_MSG_DELTABLE,
        0,
        |_| {},
    );
    seal::nft::frame(&mut batch, "commit", libc::NFNL_MSG_BATCH_END as u16);
    Netlink::netfilter()?.send(&batch)
}

fn delete_routes() {
    let mut batch = Batch::default();
    for address in [IpAddr::V4(ADDRESS_V4), IpAddr::V6(ADDRESS_V6)] {
        link::local_default(&mut batch, libc::RTM_DELROUTE, 0, address);
    }
    Netlink::route().unwrap().send(&batch).unwrap();
}

/// As the superuser of the namespace, which no program inside ever is.
#[test]
fn flushing_rules_and_routes_opens_nothing() {
    for user in USERS {
        // The control: from outside, the host's listener is there.
        let host = TcpListener::bind("127.0.0.1:0").unwrap();
        let on_host = host.local_addr().unwrap();
        TcpStream::connect(on_host).unwrap();

        sealed(user, |_| {
            assert!(ask("1.2.3.4:443").starts_with("1.2.3.4:443"));
            fails_at_once("the host's loopback", || TcpStream::connect(on_host));

            delete_table().unwrap();
            let names: Vec<_> = interfaces()
                .unwrap()
                .into_iter()
                .map(|one| one.name)
                .collect();
            assert_eq!(names, ["lo"]);
            fails_at_once("without rules", || TcpStream::connect("1.2.3.4:443"));
            fails_at_once("without rules", || TcpStream::connect("[2001:db8::1]:443"));

            delete_routes();
            let error = fails_at_once("without routes", || TcpStream::connect("1.2.3.4:443"));
            assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
            fails_at_once("without routes", || TcpStream::connect("[2001:db8::1]:443"));
            fails_at_once("the host's loopback", || TcpStream::connect(on_host));
        });
    }
}

#[test]
fn a_namespace_in_use_is_not_sealed() {
    testing::in_child(|| {
        enter(User::Ordinary);
        seal::build().unwrap();
        let error = seal::build().unwrap_err().to_string();
        assert!(error.contains("interface lo is up"), "{error}");
    });
}

/// What a container engine of ours would do inside: a namespace of its own, reached by a veth pair.
#[test]
fn a_nested_namespace_is_steered_too() {
    for user in USERS {
        sealed(user, |_| {
            let (ready, wait) = std::sync::mpsc::channel::<std::fs::File>();
            let (connected, go) = std::sync::mpsc::channel::<()>();
            let nested = std::thread::spawn(move || {
                // SAFETY: unshare takes no pointer, and a network namespace is per thread.
                assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
                let own = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
                ready.send(own).unwrap();
                go.recv().unwrap();
                configure("inner", &["192.168.77.2/24", "fd00:77::2/64"]);
                default_routes(&["192.168.77.1", "fd00:77::1"]);
                assert_eq!(ask("1.2.3.4:443"), "1.2.3.4:443 from 192.168.77.2");
                assert_eq!(ask("8.8.8.8:53"), "dns 8.8.8.8:53 from 192.168.77.2");
                let v6 = "[2001:db8::1]:443";
                assert_eq!(ask(v6), format!("{v6} from fd00:77::2"));

                let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.connect("1.2.3.4:443").unwrap();
                socket
                    .set_read_timeout(Some(Duration::from_secs(3)))
                    .unwrap();
                socket.send(b"QUIC").unwrap();
                fails_at_once("UDP", || socket.recv(&mut [0; 10]));
            });
            let namespace = wait.recv().unwrap();
            use std::os::fd::AsFd;
            add_veth("outer", "inner", namespace.as_fd());
            configure("outer", &["192.168.77.1/24", "fd00:77::1/64"]);
            connected.send(()).unwrap();
            nested.join().unwrap_or_else(|payload| {
                let text = payload.downcast_ref::<String>().cloned();
                panic!("{}", text.unwrap_or_default())
            });
        });
    }
}

fn add_veth(name: &str, peer: &str, namespace: BorrowedFd<'_>) {
    const IFLA_NET_NS_FD: u16 = 28;
    const IFLA_INFO_KIND: u16 = 1;
    const IFLA_INFO_DATA: u16 = 2;
    const VETH_INFO_PEER: u16 = 1;
    let create = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    let mut batch = Batch::default();
    let kind = libc::RTM_NEWLINK;
    batch.message("veth", kind, create, Reply::Acknowledge, |body| {
        body.raw(&[0; 16]);
        body.text(libc::IFLA_IFNAME, name);
        body.nested(libc::IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth");
            info.nested(IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |other| {
                    other.raw(&[0; 16]);
                    other.text(libc::IFLA_IFNAME, peer);
                    other.attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
                });
            });
        });
    });
    Netlink::route().unwrap().send(&batch).unwrap();
}

fn configure(name: &str, addresses: &[&str]) {
    let all = interfaces().unwrap();
    let index = all.iter().find(|one| one.name == name).unwrap().index;
    let mut batch = Batch::default();
    link::up(&mut batch, index);
    for address in addresses {
        let (address, length) = address.split_once('/').unwrap();
        link::add_address(
            &mut batch,
            address.parse().unwrap(),
            length.parse().unwrap(),
            index,
        );
    }
    Netlink::route().unwrap().send(&batch).unwrap();
}

fn default_routes(gateways: &[&str]) {
    let mut batch = Batch::default();
    for gateway in gateways {
        let gateway: IpAddr = gateway.parse().unwrap();
        let create = libc::NLM_F_CREATE as u16;
        let kind = libc::RTM_NEWROUTE;
        batch.message("default", kind, create, Reply::Acknowledge, |body| {
            let (main, boot) = (libc::RT_TABLE_MAIN, libc::RTPROT_BOOT);
            let (universe, unicast) = (libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST);
            body.raw(&[
                link::family(gateway),
                0,
                0,
                0,
                main,
                boot,
                universe,
                unicast,
            ]);
            body.raw(&[0; 4]);
            link::put_address(body, libc::RTA_GATEWAY, gateway);
        });
    }
    Netlink::route().unwrap().send(&batch).unwrap();
}
