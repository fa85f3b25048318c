//! Ways out that must not be there.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto};
use serde::{Deserialize, Serialize};

/// One try to reach something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Attempt {
    pub(in super::super) to: String,
    pub(in super::super) ended: Ended,
    pub(in super::super) milliseconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Ended {
    /// At once, by an error.
    Refused(String),
    /// Something came back: the beginning of it.
    Answered(String),
    /// Neither, for as long as anybody would wait.
    Silent,
}

/// An attempt that takes longer counts as silent.
const PATIENCE: Duration = Duration::from_secs(3);
const GREETING: &[u8] = b"GET / HTTP/1.1\r\nHost: doctor\r\nConnection: close\r\n\r\n";

fn attempt(to: impl ToString, run: impl FnOnce() -> io::Result<Vec<u8>>) -> Attempt {
    let begun = Instant::now();
    let ended = match run() {
        Ok(answer) => Ended::Answered(String::from_utf8_lossy(&answer).into_owned()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
            ) =>
        {
            Ended::Silent
        }
        Err(error) => Ended::Refused(error.to_string()),
    };
    Attempt {
        to: to.to_string(),
        ended,
        milliseconds: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

pub(super) fn tcp(to: SocketAddr) -> Attempt {
    attempt(to, || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(GREETING)?;
        let mut answer = [0; 256];
        match stream.read(&mut answer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => Ok(answer[..length].to_vec()),
        }
    })
}

pub(super) fn udp(to: SocketAddr) -> Attempt {
    attempt(to, || {
        let socket = UdpSocket::bind((any(&to), 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(to)?;
        socket.send(b"doctor")?;
        let mut answer = [0; 256];
        let length = socket.recv(&mut answer)?;
        Ok(answer[..length].to_vec())
    })
}

fn any(to: &SocketAddr) -> IpAddr {
    match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// An echo request through an unprivileged ICMP socket, see icmp(7).
pub(super) fn ping(to: SocketAddr) -> Attempt {
    attempt(format!("ping {}", to.ip()), || {
        let socket = open(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP))?;
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(to)?;
        socket.send(&[8, 0, 0, 0, 0, 0, 0, 1])?;
        let mut answer = [0; 256];
        let length = socket.recv(&mut answer)?;
        Ok(answer[..length].to_vec())
    })
}

/// Sockets that see or make packets as they are on the wire.
pub(super) fn raw_sockets() -> Vec<Attempt> {
    [
        ("raw socket", AddressFamily::INET, Some(ipproto::ICMP)),
        ("packet socket", AddressFamily::PACKET, None),
    ]
    .into_iter()
    .map(|(name, family, protocol)| {
        attempt(name, || {
            open(family, SocketType::RAW, protocol).map(|_| b"opened".to_vec())
        })
    })
    .collect()
}

fn open(
    family: AddressFamily,
    kind: SocketType,
    protocol: Option<Protocol>,
) -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        family,
        kind,
        SocketFlags::CLOEXEC,
        protocol,
    )?)
}

/// A question for the addresses of `name`. The answer is the name of its response code (RFC 1035, 4.1.1).
pub(super) fn dns(name: &str, server: SocketAddr) -> Attempt {
    attempt(format!("{name} at {server}"), || {
        let socket = UdpSocket::bind((any(&server), 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(server)?;
        socket.send(&question(name))?;
        let mut answer = [0; 512];
        match socket.recv(&mut answer)? {
            0..4 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(match answer[3] & 0x0f {
                0 => b"NOERROR".to_vec(),
                3 => b"NXDOMAIN".to_vec(),
                5 => b"REFUSED".to_vec(),
                code => format!("code {code}").into_bytes(),
            }),
        }
    })
}

/// A query of type A and class IN with recursion desired.
fn question(name: &str) -> Vec<u8> {
    let mut question = vec![0x64, 0x6f, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap_or(0));
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    question
}

/// One request over plain HTTP, by the name and the variable that the policy grants.
pub(super) fn request(host: &str, variable: &str) -> Attempt {
    attempt(format!("http://{host}/"), || {
        let placeholder = std::env::var(variable).unwrap_or_default();
        let mut stream = TcpStream::connect((host, 80))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {placeholder}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer)?;
        Ok(answer)
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_open_door_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut greeting = [0; GREETING.len()];
            stream.read_exact(&mut greeting).unwrap();
            stream.write_all(b"hello").unwrap();
        });
        assert_eq!(tcp(to).ended, Ended::Answered("hello".to_owned()));
        server.join().unwrap();
        assert!(matches!(tcp(to).ended, Ended::Refused(_)));
    }

    #[test]
    fn questions_are_dns_messages() {
        let question = question("a.example");
        assert_eq!(question[12..], *b"\x01a\x07example\0\0\x01\0\x01");
    }
}
