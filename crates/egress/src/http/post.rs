//! One request of Wardian's own, for which no program asked: read as strictly as any other answer.

use std::fmt;

use tokio::io::AsyncWriteExt;
use wardian_policy::{Destination, Host, HostName, Policy, Port};
use zeroize::Zeroizing;

use super::chunked::Piece;
use super::deadline::Deadline;
use super::h1::relay::next_head;
use super::limits::{MAX_HEAD, MAX_INTERIM};
use super::response::{self, Answering};
use super::stream::{BodyReader, Pace, Source};
use crate::dial::{AlpnOffer, Dialer, TlsWanted, UpstreamIo};

/// Longest body of an answer.
const MAX_ANSWER: usize = 256 * 1024;
const MAX_FIELDS: usize = 128;

/// What is posted, and where.
#[derive(Clone, Copy)]
pub struct Post<'a> {
    pub host: &'a HostName,
    /// Canonical, without query.
    pub path: &'a str,
    pub content_type: &'a str,
    /// A secret.
    pub body: &'a [u8],
}

impl fmt::Debug for Post<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Post(https://{}{})", self.host, self.path)
    }
}

/// The status and the body, which may be a secret as well.
#[derive(Clone)]
pub struct Posted {
    pub status: u16,
    pub body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Posted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Posted({})", self.status)
    }
}

/// Why there is no answer. Says nothing of what was sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PostError(String);

/// Posts over verified TLS, along the way that the policy's rule for the host names: its address, its roots, its proxy.
pub async fn post(dialer: &Dialer, policy: &Policy, post: Post<'_>) -> Result<Posted, PostError> {
    let host = Host::Name(post.host.clone());
    let destination = Destination {
        host: host.clone(),
        port: Port::HTTPS,
    };
    let permit = policy.check_connection(&destination).map_err(failed)?;
    let route = dialer.route(&permit, policy).await.map_err(failed)?;
    let wanted = TlsWanted {
        name: host,
        alpn: AlpnOffer::Http1,
    };
    let opened = dialer.open(route, Some(wanted), None).await;
    let UpstreamIo::Tls(io) = opened.map_err(failed)?.io else {
        return Err(PostError("it does not speak TLS".to_owned()));
    };
    let (reader, mut sink) = tokio::io::split(io);
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nAccept: application/json\r\n\
         User-Agent: wardian/{}\r\nConnection: close\r\n\r\n",
        post.path,
        post.host,
        post.content_type,
        post.body.len(),
        env!("CARGO_PKG_VERSION"),
    );
    sink.write_all(head.as_bytes()).await.map_err(failed)?;
    sink.write_all(post.body).await.map_err(failed)?;
    sink.flush().await.map_err(failed)?;
    answer(Source::new(reader)).await
}

async fn answer<R: tokio::io::AsyncRead + Unpin>(
    mut source: Source<R>,
) -> Result<Posted, PostError> {
    let deadline = Deadline::unlimited();
    let pace = Pace {
        deadline: &deadline,
        // The caller's patience is the limit.
        idle: std::time::Duration::from_secs(3600),
        max_bytes: MAX_ANSWER as u64,
    };
    let mut fields = Vec::new();
    for interim in 0..=MAX_INTERIM {
        let end = next_head(&mut source, MAX_HEAD, pace, interim).await;
        let end = end.map_err(|_| PostError("its answer is cut short".to_owned()))?;
        let bytes = &source.bytes()[..end];
        let head = response::parse(bytes, Answering::Other, MAX_FIELDS, &mut fields);
        let head = head.map_err(failed)?;
        let is_interim = head.is_interim();
        source.take(end);
        if !is_interim {
            return Ok(Posted {
                status: head.status,
                body: body(source, BodyReader::from(head.body)).await?,
            });
        }
    }
    Err(PostError("it never comes to an answer".to_owned()))
}

async fn body<R: tokio::io::AsyncRead + Unpin>(
    mut source: Source<R>,
    mut reader: BodyReader,
) -> Result<Zeroizing<Vec<u8>>, PostError> {
    let mut body = Zeroizing::new(Vec::with_capacity(16 * 1024));
    loop {
        match reader.next(source.bytes()).map_err(failed)? {
            Piece::Data(length) if body.len() + length > MAX_ANSWER => {
                return Err(PostError("its answer is too long".to_owned()));
            }
            Piece::Data(length) => {
                body.extend_from_slice(&source.bytes()[..length]);
                source.take(length);
            }
            Piece::Framing(length) => source.take(length),
            Piece::End(_) => return Ok(body),
            Piece::NeedMore => {
                if source.fill().await.map_err(failed)? == 0 {
                    return match reader.may_end(source.truncated) {
                        true => Ok(body),
                        false => Err(PostError("its answer is cut short".to_owned())),
                    };
                }
            }
        }
    }
}

fn failed(error: impl fmt::Display) -> PostError {
    PostError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Result<(u16, String), String> {
        let posted = answer(Source::new(bytes))
            .await
            .map_err(|it| it.to_string())?;
        Ok((
            posted.status,
            String::from_utf8_lossy(&posted.body).into_owned(),
        ))
    }

    #[tokio::test]
    async fn answers_in_every_framing_and_no_half_ones() {
        let ok = |body: &str| Ok((200, body.to_owned()));
        let fixed = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(read(fixed).await, ok("{}"));
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
        assert_eq!(read(chunked).await, ok("{}"));
        assert_eq!(read(b"HTTP/1.0 200 OK\r\n\r\n{}").await, ok("{}"));
        assert!(read(&fixed[..fixed.len() - 1]).await.is_err());
        assert!(
            read(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n{}")
                .await
                .is_err()
        );
        assert!(read(b"nonsense").await.is_err());
    }
}
