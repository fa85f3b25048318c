//! Connections whose bytes pass through: raw TCP, and TLS after its server name was checked.

use super::first_bytes::{FirstBytes, Heard, hear};
use super::ledger::Ledger;
use super::refuse::Refused;
use super::{Ending, Permitted, inspect, undialled};
use crate::client::ClientStream;
use crate::hello::Encrypted;
use crate::tunnel::{self, TunnelEnd, TunnelLimits, write_all};

/// Any bytes, without a look at them.
pub(super) async fn tcp(
    permitted: Permitted,
    client: ClientStream,
    ledger: &Ledger,
) -> Result<(), Ending> {
    through(permitted, client, ledger, "tcp").await
}

/// TLS for the connection's own name, still encrypted.
pub(super) async fn tls(
    permitted: Permitted,
    mut client: ClientStream,
    ledger: &Ledger,
) -> Result<(), Ending> {
    let host = &permitted.destination.host;
    let limits = &permitted.shared.limits;
    match hear(&mut client, limits.first_bytes_timeout).await {
        Heard::Protocol(FirstBytes::Tls) => {}
        Heard::Protocol(_) => {
            let refused = Refused::because(
                "not_tls",
                "only TLS passes here: the rule says `inspect = false`",
            );
            return Err(Ending::Refused(client, refused.on(host).as_bad_request()));
        }
        heard @ (Heard::Silence | Heard::Closed) => {
            return inspect::said_nothing(&permitted, client, ledger, heard);
        }
    }
    let hello = match inspect::read_hello(&mut client, limits.handshake_timeout).await {
        Ok(hello) => hello,
        Err(refused) => return Err(Ending::Refused(client, refused.on(host))),
    };
    if let Err(refused) = inspect::check_server_name(&hello, host) {
        return Err(Ending::Refused(client, refused.on(host)));
    }
    if hello.encrypted == Encrypted::Yes {
        let why =
            "the ClientHello hides its server name, and nothing behind the door would check it";
        let refused = Refused::because("encrypted_client_hello", why)
            .spoken("tls")
            .by_reset();
        return Err(Ending::Refused(client, refused.on(host)));
    }
    through(permitted, client, ledger, "tls").await
}

async fn through(
    permitted: Permitted,
    mut client: ClientStream,
    ledger: &Ledger,
    protocol: &'static str,
) -> Result<(), Ending> {
    let Permitted {
        shared,
        policy,
        destination,
        permit,
        ..
    } = permitted;
    let route = match shared.dialer.route(&permit, &policy).await {
        Ok(route) => route,
        Err(error) => {
            return match undialled(client, &error, &destination.host) {
                Ok((client, refused)) => Err(Ending::Refused(client, refused.spoken(protocol))),
                // The policy said yes; that the host is not there is the end of an allowed connection.
                Err(reason) => {
                    ledger.allow(Some(protocol))?;
                    Err(Ending::Cut(reason))
                }
            };
        }
    };
    ledger.allow(Some(protocol))?;
    let upstream = match shared.dialer.open_tcp(route).await {
        Ok(upstream) => upstream,
        Err(error) => {
            client.reset();
            return Err(Ending::Cut(error.reason()));
        }
    };
    let ahead = client.take_ahead();
    if !ahead.is_empty() && write_all(&upstream, &ahead).await.is_err() {
        client.reset();
        return Err(Ending::Cut("upstream_unreachable"));
    }
    let limits = TunnelLimits {
        idle: shared.limits.idle_timeout,
        most_bytes: shared.limits.max_transfer_bytes,
    };
    let end = tunnel::run(client.socket(), &upstream, client.meter(), limits).await;
    if let TunnelEnd::Broken(error) = &end {
        tracing::debug!(%error, "a tunnel broke");
    }
    end.cut().map_or(Ok(()), |reason| Err(Ending::Cut(reason)))
}
