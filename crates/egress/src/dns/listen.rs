//! The loops on the DNS sockets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wardian_events::DnsTransport;

use super::Responder;
use super::message::MAX_MESSAGE;

/// Between two questions of one TCP connection, and for taking an answer (RFC 7766 wants seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Questions of one TCP connection; then it is closed, as RFC 7766 section 6.2.2 allows.
const MOST_QUESTIONS: usize = 1000;
/// After an error that is not one connection's own, such as a lack of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers datagrams until the future is dropped.
pub async fn udp(socket: UdpSocket, responder: Arc<Responder>) {
    // One byte more than is accepted, so that what was cut off is seen to be too long.
    let mut buffer = vec![0; MAX_MESSAGE + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                if let Some(answer) = responder.respond(&buffer[..length], DnsTransport::Udp) {
                    // A full socket loses the answer, as a full network would; the program asks again.
                    if let Err(error) = socket.try_send_to(&answer, from) {
                        tracing::debug!(%error, "a DNS answer was not sent");
                    }
                }
                // Under a flood `recv_from` is always ready; the connections must have their turn.
                tokio::task::consume_budget().await;
            }
            // ICMP errors of answers that nobody waited for come back here.
            Err(error) => pause(&error).await,
        }
    }
}

/// Answers connections until the future is dropped; at most `most` at a time, further ones wait to be accepted.
pub async fn tcp(listener: TcpListener, responder: Arc<Responder>, most: usize) {
    let places = Arc::new(Semaphore::new(most.max(1)));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let responder = Arc::clone(&responder);
                connections.spawn(async move {
                    if let Err(error) = serve(stream, &responder).await {
                        tracing::debug!(%error, "a DNS connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn pause(error: &io::Error) {
    tracing::debug!(%error, "a DNS socket reported an error");
    if !matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted
    ) {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Questions one after the other, each answered before the next is read: a client that does not read is not read.
async fn serve(mut stream: TcpStream, responder: &Responder) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    for _ in 0..MOST_QUESTIONS {
        let mut length = [0; 2];
        match tokio::time::timeout(IDLE, stream.read_exact(&mut length)).await? {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        };
        let length = usize::from(u16::from_be_bytes(length));
        if length > MAX_MESSAGE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "message too long",
            ));
        }
        buffer.resize(length, 0);
        tokio::time::timeout(IDLE, stream.read_exact(&mut buffer)).await??;
        let Some(answer) = responder.respond(&buffer, DnsTransport::Tcp) else {
            return Ok(());
        };
        let Ok(length) = u16::try_from(answer.len()) else {
            return Ok(());
        };
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        tokio::time::timeout(IDLE, stream.write_all(&framed)).await??;
    }
    Ok(())
}
