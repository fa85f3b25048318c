//! An upstream HTTP proxy, as corporate networks have: CONNECT by name (RFC 9110 section 9.3.6), with a login if the
//! rule names one (RFC 7617).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpStream;
use wardian_policy::{Host, Injection, Port};
use zeroize::Zeroizing;

use super::DialError;
use crate::credentials::Credential;
use crate::tunnel::write_all;

/// Most bytes of the proxy's answer.
const MAX_HEAD: usize = 16 * 1024;

/// The value of a `Proxy-Authorization` field. It goes to the proxy that the rule names, in the clear as that protocol
/// is, and to nobody else.
pub struct Login(Zeroizing<String>);

impl Login {
    /// `None` for a credential that is no user name and password, or does not belong to `proxy`. No policy has a rule
    /// that wants such a one.
    pub fn new(credential: &Credential, proxy: &Host) -> Option<Self> {
        let Injection::Basic { username } = credential.spec().injection() else {
            return None;
        };
        if !credential.spec().belongs_to(proxy) {
            return None;
        }
        let current = credential.current();
        let pair = Zeroizing::new([username, ":", current.value.expose()].concat());
        let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        Some(Self(Zeroizing::new(["Basic ", &encoded].concat())))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(redacted)")
    }
}

/// Asks the proxy at the other end of `stream` for `host`. On `Ok`, the stream is a tunnel and nothing behind the
/// proxy's answer was taken from it.
pub(super) async fn tunnel(
    stream: &TcpStream,
    host: &Host,
    port: Port,
    login: Option<&Login>,
) -> Result<(), DialError> {
    let authority = format!("{}:{}", host.to_url_host(), port.get());
    let mut request = Zeroizing::new(String::with_capacity(
        2 * authority.len() + 64 + length(login),
    ));
    for part in [
        "CONNECT ",
        &authority,
        " HTTP/1.1\r\nHost: ",
        &authority,
        "\r\n",
    ] {
        request.push_str(part);
    }
    if let Some(Login(value)) = login {
        for part in ["Proxy-Authorization: ", value, "\r\n"] {
            request.push_str(part);
        }
    }
    request.push_str("\r\n");
    write_all(stream, request.as_bytes())
        .await
        .map_err(DialError::from_connect)?;
    let head = read_head(stream).await?;
    match (status(&head), login) {
        (Some(200..=299), _) => Ok(()),
        (Some(407), None) => Err(DialError::ProxyWantsLogin),
        (Some(407), Some(_)) => Err(DialError::ProxyLoginRefused),
        (Some(status), _) => Err(DialError::ProxyRefused(status)),
        (None, _) => Err(DialError::ProxyBroken),
    }
}

/// So that a buffer with a secret never moves while it grows.
fn length(login: Option<&Login>) -> usize {
    login.map_or(0, |Login(value)| value.len() + 32)
}

/// Reads to the end of the head and not a byte further: what follows belongs to the tunnel.
async fn read_head(stream: &TcpStream) -> Result<Vec<u8>, DialError> {
    let mut head = Vec::new();
    let mut peeked = vec![0; MAX_HEAD];
    loop {
        let available = stream
            .peek(&mut peeked)
            .await
            .map_err(DialError::from_connect)?;
        if available == 0 {
            return Err(DialError::ProxyBroken);
        }
        let before = head.len();
        head.extend_from_slice(&peeked[..available]);
        let end = head_end(&head);
        head.truncate(end.unwrap_or(head.len()));
        take(stream, head.len() - before).await?;
        if end.is_some() {
            return Ok(head);
        }
        if head.len() >= MAX_HEAD {
            return Err(DialError::ProxyBroken);
        }
    }
}

async fn take(stream: &TcpStream, mut bytes: usize) -> Result<(), DialError> {
    let mut sink = vec![0; bytes];
    while bytes > 0 {
        stream.readable().await.map_err(DialError::from_connect)?;
        match stream.try_read(&mut sink[..bytes]) {
            Ok(0) => return Err(DialError::ProxyBroken),
            Ok(read) => bytes -= read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(DialError::from_connect(error)),
        }
    }
    Ok(())
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let rest = line
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let digits = rest.split(|byte| *byte == b' ').next()?;
    if digits.len() != 3 {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn answered_with(
        pieces: &'static [&'static str],
        login: Option<Login>,
    ) -> (Result<(), DialError>, String, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        let host = Host::parse("2001:db8::7").unwrap();
        let result = tunnel(&stream, &host, Port::HTTPS, login.as_ref()).await;
        let request = proxy.await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        (result, request, rest)
    }

    #[tokio::test]
    async fn a_tunnel_begins_right_behind_the_answer() {
        let (result, request, rest) = answered_with(
            &["HTTP/1.1 20", "0 OK\r\nVia: x\r", "\n\r\nSSH-2.0-hi"],
            None,
        )
        .await;
        assert!(result.is_ok());
        assert_eq!(
            request,
            "CONNECT [2001:db8::7]:443 HTTP/1.1\r\nHost: [2001:db8::7]:443\r\n\r\n"
        );
        assert_eq!(rest, "SSH-2.0-hi");
    }

    #[tokio::test]
    async fn refusals_and_nonsense_have_names() {
        let wants = &["HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"];
        let (result, ..) = answered_with(wants, None).await;
        assert!(matches!(result, Err(DialError::ProxyWantsLogin)));
        let login = Login(Zeroizing::new("Basic eA==".to_owned()));
        let (result, request, _) = answered_with(wants, Some(login)).await;
        assert!(matches!(result, Err(DialError::ProxyLoginRefused)));
        assert!(
            request.ends_with("\r\nProxy-Authorization: Basic eA==\r\n\r\n"),
            "{request}"
        );
        let (result, ..) = answered_with(&["HTTP/1.1 403 Forbidden\r\n\r\n"], None).await;
        assert!(matches!(result, Err(DialError::ProxyRefused(403))));
        for nonsense in [
            &["SSH-2.0-x\r\n\r\n"],
            &["HTTP/1.1 2000 OK\r\n\r\n"],
            &["HTTP/1.1 200"],
            &["HTTP/2 200\r\n\r\n"],
        ] {
            let (result, ..) = answered_with(nonsense, None).await;
            assert!(
                matches!(result, Err(DialError::ProxyBroken)),
                "{nonsense:?}"
            );
        }
    }
}
