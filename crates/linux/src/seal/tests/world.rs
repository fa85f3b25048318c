//! A sealed child, and the servers outside that its connections arrive at.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::seal::{self, SealedSockets};
use crate::testing;

/// Who seals.
#[derive(Debug, Clone, Copy)]
pub(super) enum User {
    Root,
    /// In a user namespace of their own.
    Ordinary,
}

pub(super) const USERS: [User; 2] = [User::Root, User::Ordinary];

/// What the child knows about its door.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) tcp4: SocketAddr,
    pub(super) shortfalls: Vec<String>,
    pub(super) took: Duration,
}

/// Enters fresh namespaces as `user`.
pub(super) fn enter(user: User) {
    match user {
        User::Root => testing::unshare(libc::CLONE_NEWNET),
        User::Ordinary => {
            testing::become_ordinary();
            testing::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET);
        }
    }
}

/// Seals a child as `user` and runs `inside` there, with servers outside.
pub(super) fn sealed(user: User, inside: impl FnOnce(Door)) {
    sealed_after(user, || {}, inside);
}

/// The same with `before` run just before the seal is built.
pub(super) fn sealed_after(user: User, before: impl FnOnce(), inside: impl FnOnce(Door)) {
    testing::in_child_with_descriptors(
        || {
            enter(user);
            before();
            let start = Instant::now();
            let sockets = seal::build().unwrap();
            let took = start.elapsed();
            let tcp4 = TcpListener::from(sockets.tcp4.try_clone().unwrap());
            let door = Door {
                tcp4: tcp4.local_addr().unwrap(),
                shortfalls: sockets.shortfalls.clone(),
                took,
            };
            (flatten(sockets), door)
        },
        serve,
        inside,
    );
}

fn flatten(sockets: SealedSockets) -> Vec<OwnedFd> {
    let v4 = [sockets.tcp4, sockets.dns_udp4, sockets.dns_tcp4];
    let v6 = [sockets.tcp6, sockets.dns_udp6, sockets.dns_tcp6];
    v4.into_iter().chain(v6.into_iter().flatten()).collect()
}

fn serve(descriptors: Vec<OwnedFd>) {
    for (index, descriptor) in descriptors.into_iter().enumerate() {
        let _detached = std::thread::spawn(move || match index % 3 {
            0 => serve_tcp(descriptor, ""),
            1 => serve_dns(descriptor),
            _ => serve_tcp(descriptor, "dns "),
        });
    }
}

/// Answers with where the connection was meant to go and where it came from.
fn serve_tcp(descriptor: OwnedFd, prefix: &str) {
    let listener = TcpListener::from(descriptor);
    listener.set_nonblocking(false).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let meant = match seal::original_destination(stream.as_fd()) {
            Ok(address) => address.to_string(),
            Err(error) => format!("{:?}", error.kind()),
        };
        let from = stream.peer_addr().unwrap().ip();
        let _ = writeln!(stream, "{prefix}{meant} from {from}");
    }
}

fn serve_dns(descriptor: OwnedFd) {
    let socket = UdpSocket::from(descriptor);
    socket.set_nonblocking(false).unwrap();
    let mut buffer = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        let mut answer = b"answer to ".to_vec();
        answer.extend(&buffer[..length]);
        socket.send_to(&answer, from).unwrap();
    }
}

/// What the server says about a connection to `address`.
pub(super) fn ask(address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(3));
    line(stream.unwrap_or_else(|error| panic!("connect to {address}: {error}")))
}

pub(super) fn line(stream: TcpStream) -> String {
    stream
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    let mut text = String::new();
    BufReader::new(stream.take(1000))
        .read_line(&mut text)
        .unwrap();
    text.trim_end().to_owned()
}

/// `operation` must fail, and at once.
pub(super) fn fails_at_once<T>(
    what: &str,
    operation: impl FnOnce() -> std::io::Result<T>,
) -> std::io::Error {
    let start = Instant::now();
    let outcome = operation();
    let took = start.elapsed();
    assert!(took < Duration::from_millis(100), "{what} took {took:?}");
    match outcome {
        Ok(_) => panic!("{what} went through"),
        Err(error) => error,
    }
}
