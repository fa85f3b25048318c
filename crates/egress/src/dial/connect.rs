//! TCP to the first of several addresses that answers: a small form of happy eyeballs (RFC 8305).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::DialError;

/// How long one address has before the next is tried beside it (RFC 8305 section 8).
const STAGGER: Duration = Duration::from_millis(250);
/// Most addresses tried for one connection.
const MOST: usize = 8;

/// Connects to one of `addresses`, which must all have been checked. The losers are dropped.
pub(super) async fn first(addresses: Vec<SocketAddr>) -> Result<TcpStream, DialError> {
    let mut waiting = interleave(addresses).into_iter().take(MOST);
    let mut attempts = JoinSet::new();
    let mut failure = None;
    loop {
        match waiting.next() {
            Some(address) => {
                attempts.spawn(TcpStream::connect(address));
            }
            None if attempts.is_empty() => {
                return Err(failure.map_or(DialError::Timeout, DialError::from_connect));
            }
            None => {}
        }
        let joined = if waiting.len() == 0 {
            attempts.join_next().await
        } else {
            // An attempt that fails makes way for the next at once.
            match tokio::time::timeout(STAGGER, attempts.join_next()).await {
                Ok(joined) => joined,
                Err(_) => continue,
            }
        };
        match joined {
            Some(Ok(Ok(stream))) => {
                // Without it small writes wait for acknowledgements; failing to set it costs only that.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            // The first failure says the most: it is that of the preferred address.
            Some(Ok(Err(error))) => failure = failure.or(Some(error)),
            Some(Err(_)) | None => {}
        }
    }
}

/// Alternates families, beginning with IPv6 if there is any, and otherwise keeps the order.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv6);
    let mut result = Vec::with_capacity(v6.len() + v4.len());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    loop {
        let pair = (v6.next(), v4.next());
        if pair == (None, None) {
            return result;
        }
        result.extend(pair.0);
        result.extend(pair.1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn families_alternate() {
        let addresses =
            ["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1", "[::1]:1"].map(|text| text.parse().unwrap());
        let order: Vec<String> = interleave(addresses.to_vec())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(order, ["[::1]:1", "1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"]);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_hide_a_live_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let started = Instant::now();
        let stream = first(vec![closed, live]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);
        assert!(started.elapsed() < Duration::from_secs(2));
        assert!(matches!(first(vec![closed]).await, Err(DialError::Refused)));
        assert!(first(Vec::new()).await.is_err());
    }
}
