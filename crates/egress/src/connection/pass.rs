//! Connections whose bytes pass through: raw TCP, and TLS after its server name was checked.

use super::first_bytes::{FirstBytes, Heard, hear};
use super::ledger::Ledger;
use super::refuse::Refused;
use super::{Ending, Permitted, inspect};
use crate::client::ClientStream;
use crate::dial::DialError;
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
            return Err(Ending::refused(client, refused.on(host).with_bad_request()));
        }
        heard @ (Heard::Silence | Heard::Closed) => {
            return inspect::said_nothing(&permitted, client, ledger, heard);
        }
    }
    let hello = match inspect::read_hello(&mut client, limits.handshake_timeout).await {
        Ok(hello) => hello,
        Err(none) => return none.end(client, ledger, host),
    };
    if let Err(refused) = inspect::check_server_name(&hello, host) {
        return Err(Ending::refused(client, refused.on(host)));
    }
    if hello.encrypted == Encrypted::Yes {
        let why =
            "the ClientHello hides its server name, and nothing behind the door would check it";
        let refused = Refused::because("encrypted_client_hello", why)
            .spoken("tls")
            .by_reset();
        return Err(Ending::refused(client, refused.on(host)));
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
        id,
    } = permitted;
    let route = match shared.dialer.route(&permit, &policy).await {
        Ok(route) => route,
        Err(DialError::Denied(denial)) => {
            let refused = Refused::denied(&denial, &destination.host).spoken(protocol);
            return Err(Ending::refused(client, refused));
        }
        // The policy said yes; that the host is not there is the end of an allowed connection.
        Err(error) => {
            ledger.allow(Some(protocol))?;
            client.reset();
            return Err(Ending::Cut(error.reason()));
        }
    };
    ledger.allow(Some(protocol))?;
    let opened = match shared.login(&route, id) {
        Ok(login) => shared.dialer.open_tcp(route, login).await,
        Err(error) => Err(error),
    };
    let upstream = match opened {
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
