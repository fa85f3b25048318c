//! Inside, before the program exists: proof that the seal and the door hold here and now.
//!
//! A policy that was accepted but is not enforced must fail the start, not the first request.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::spec::SandboxSpec;

/// One promise, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    /// Why it does not hold, or `None` if it does.
    pub broken: Option<String>,
}

/// An address of TEST-NET-1 (RFC 5737): nothing can be there.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const RESOLVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 53);
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(spec: &SandboxSpec) -> Vec<Check> {
    let checks: [(&str, Result<(), String>); 6] = [
        ("only the loopback interface exists", interfaces()),
        ("names are answered by the door", names()),
        ("connections end at the door", connections()),
        ("other datagrams are refused at once", datagrams()),
        ("the host's private files are absent", private_files()),
        ("the workspace is there", workspace(spec)),
    ];
    checks
        .into_iter()
        .map(|(name, outcome)| Check {
            name: name.to_owned(),
            broken: outcome.err(),
        })
        .collect()
}

fn interfaces() -> Result<(), String> {
    let table = fs::read_to_string("/proc/net/dev").map_err(|error| error.to_string())?;
    let names: Vec<_> = table
        .lines()
        .skip(2)
        .filter_map(|line| line.split(':').next().map(str::trim))
        .collect();
    match names.as_slice() {
        ["lo"] => Ok(()),
        other => Err(format!("found {}", other.join(", "))),
    }
}

/// A question for a name that no policy can allow (RFC 6761, `invalid`).
fn names() -> Result<(), String> {
    const ID: [u8; 2] = [0x57, 0x41];
    let mut question = Vec::from(ID);
    question.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in ["probe", "wardian", "invalid"] {
        question.push(label.len() as u8);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let attempt = || -> io::Result<[u8; 4]> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(RESOLVER)?;
        socket.send(&question)?;
        let mut answer = [0u8; 512];
        let length = socket.recv(&mut answer)?;
        if length < 12 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok([answer[0], answer[1], answer[2], answer[3]])
    };
    let [id0, id1, flags, rcode] = attempt().map_err(|error| error.to_string())?;
    let is_response = flags & 0x80 != 0;
    match rcode & 0x0f {
        3 | 5 if is_response && [id0, id1] == ID => Ok(()),
        code => Err(format!("the answer to a forbidden name has code {code}")),
    }
}

fn connections() -> Result<(), String> {
    let attempt = || -> io::Result<Vec<u8>> {
        let target = SocketAddr::from((NOWHERE, 80));
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: 192.0.2.1\r\nConnection: close\r\n\r\n")?;
        let mut head = vec![0u8; 12];
        stream.read_exact(&mut head)?;
        Ok(head)
    };
    match attempt() {
        Ok(head) if head == b"HTTP/1.1 403" => Ok(()),
        Ok(head) => Err(format!("answered {:?}", String::from_utf8_lossy(&head))),
        Err(error) => Err(error.to_string()),
    }
}

fn datagrams() -> Result<(), String> {
    let attempt = || -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((NOWHERE, 443))?;
        socket.send(b"probe")?;
        socket.recv(&mut [0u8; 16]).map(drop)
    };
    match attempt() {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error.to_string()),
        Ok(()) => Err("something answered".to_owned()),
    }
}

fn private_files() -> Result<(), String> {
    for path in ["/etc/shadow", "/run/docker.sock", "/var/run/docker.sock"] {
        if Path::new(path).exists() {
            return Err(format!("{path} exists"));
        }
    }
    Ok(())
}

fn workspace(spec: &SandboxSpec) -> Result<(), String> {
    spec.workspaces.iter().try_for_each(|(_, workspace)| {
        fs::read_dir(&workspace.path)
            .map(drop)
            .map_err(|error| format!("{}: {error}", workspace.path.display()))
    })
}
