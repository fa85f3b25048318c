//! One door: its listeners, and the tasks that answer on them.

use std::io;
use std::net::SocketAddr;

/// The sockets that the seal handed out. All of them must be listening or bound, inside the sandbox's namespace.
#[derive(Debug, Default)]
pub struct Listeners {
    pub tcp: Vec<std::net::TcpListener>,
    pub dns_udp: Vec<std::net::UdpSocket>,
    pub dns_tcp: Vec<std::net::TcpListener>,
}

/// How the steering tells where a program meant to go.
pub trait OriginalDestination: Send + Sync {
    /// The address that the program connected to, before it was steered to the door.
    fn of(&self, stream: &tokio::net::TcpStream) -> io::Result<SocketAddr>;
}

#[derive(Debug)]
pub struct Door {}

#[derive(Debug)]
pub struct DoorConfig {}
