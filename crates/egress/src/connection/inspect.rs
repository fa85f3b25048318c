//! Connections on which HTTP is judged request by request, plain or in TLS that ends here.

use std::io;
use std::time::Duration;

use rustls::AlertDescription;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use wardian_policy::{Host, Port, Scheme};

use super::first_bytes::{FirstBytes, Heard, hear};
use super::ledger::Ledger;
use super::refuse::Refused;
use super::{Ending, Permitted};
use crate::client::ClientStream;
use crate::context::{HttpConnection, TlsName};
use crate::dial::Alpn;
use crate::hello::{self, ClientHello, MAX_HELLO, Progress, ServerName};
use crate::http;

const SILENT_WHY: &str = "the program waits for the server to speak first; if that is how the protocol works, the rule \
                          must say `protocol = \"tcp\"`";

pub(super) async fn run(
    permitted: Permitted,
    mut client: ClientStream,
    ledger: &Ledger,
) -> Result<(), Ending> {
    let host = &permitted.destination.host;
    let refuse = |client, refused: Refused| Err(Ending::refused(client, refused.on(host)));
    let heard = hear(&mut client, permitted.shared.limits.first_bytes_timeout).await;
    let protocol = match heard {
        Heard::Protocol(protocol) => protocol,
        Heard::Silence | Heard::Closed => return said_nothing(&permitted, client, ledger, heard),
    };
    let is_https_port = permitted.destination.port == Port::HTTPS;
    match protocol {
        FirstBytes::Tls => end_tls(permitted, client, ledger).await,
        FirstBytes::Connect => {
            let why = "connections need no proxy here";
            refuse(
                client,
                Refused::because("connect_method", why).spoken("http"),
            )
        }
        FirstBytes::Socks4 | FirstBytes::Socks5 => {
            let why = "connections need no proxy here";
            refuse(client, Refused::because("socks", why).spoken("socks"))
        }
        FirstBytes::Http2Preface => {
            let why = "HTTP/2 is spoken over TLS only";
            refuse(
                client,
                Refused::because("h2c_prior_knowledge", why)
                    .spoken("http")
                    .by_reset(),
            )
        }
        FirstBytes::Http if is_https_port => {
            let why = "port 443 is for TLS, and this is plain HTTP: use https://";
            refuse(
                client,
                Refused::because("not_tls", why)
                    .spoken("http")
                    .with_bad_request(),
            )
        }
        FirstBytes::Other if is_https_port => refuse(
            client,
            Refused::because("not_tls", "port 443 is for TLS").by_reset(),
        ),
        FirstBytes::Other => {
            let why = "this is neither TLS nor HTTP; the rule must say `protocol = \"tcp\"` to let it through";
            refuse(
                client,
                Refused::because("not_http_needs_protocol_tcp", why).by_reset(),
            )
        }
        FirstBytes::Http => {
            ledger.allow(Some("http"))?;
            serve(
                permitted,
                client,
                ledger,
                Scheme::Http,
                TlsName::NotTls,
                Alpn::None,
            )
            .await
        }
    }
}

/// The program closed or kept silent before it said what it speaks.
pub(super) fn said_nothing(
    permitted: &Permitted,
    client: ClientStream,
    ledger: &Ledger,
    heard: Heard,
) -> Result<(), Ending> {
    let port = permitted.destination.port;
    // Browsers open connections in advance and may never use them; on the web's own ports silence means no more.
    let is_web = port == Port::HTTP || port == Port::HTTPS;
    if heard == Heard::Silence && !is_web {
        let refused = Refused::because("silent_needs_protocol_tcp", SILENT_WHY).by_reset();
        return Err(Ending::refused(
            client,
            refused.on(&permitted.destination.host),
        ));
    }
    ledger.allow(None)?;
    match heard {
        Heard::Silence => {
            client.reset();
            Err(Ending::Cut("silent"))
        }
        Heard::Closed | Heard::Protocol(_) => Ok(()),
    }
}

/// Why there is no ClientHello.
#[derive(Debug)]
pub(super) enum NoHello {
    Refused(Refused),
    /// The program closed before it had said enough to be judged.
    Closed,
}

impl NoHello {
    /// Ends the connection: with a refusal, or quietly.
    pub(super) fn end(
        self,
        client: ClientStream,
        ledger: &Ledger,
        host: &Host,
    ) -> Result<(), Ending> {
        match self {
            Self::Refused(refused) => Err(Ending::refused(client, refused.on(host))),
            Self::Closed => Ok(ledger.allow(None)?),
        }
    }
}

/// Reads the whole ClientHello ahead; it stays in the stream.
pub(super) async fn read_hello(
    client: &mut ClientStream,
    limit: Duration,
) -> Result<ClientHello, NoHello> {
    let deadline = Instant::now() + limit;
    let refused = |reason, why: &str| {
        let refused = Refused::because(reason, why).spoken("tls").by_reset();
        Err(NoHello::Refused(refused))
    };
    loop {
        match hello::parse(client.ahead()) {
            Ok(Progress::Complete(hello)) => return Ok(hello),
            Err(error) => return refused(error.reason(), &error.to_string()),
            Ok(Progress::Partial) => {}
        }
        match timeout_at(deadline, client.read_ahead(MAX_HELLO)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return Err(NoHello::Closed),
            Err(_) => return refused("client_hello_timeout", "the ClientHello took too long"),
        }
    }
}

/// The server name must be the name that the connection is for; a literal address has none, or itself.
pub(super) fn check_server_name(hello: &ClientHello, host: &Host) -> Result<(), Refused> {
    let reason = match (&hello.server_name, host) {
        (ServerName::Name(name), Host::Name(expected)) if name == expected => return Ok(()),
        (ServerName::Absent, Host::Ip(_)) => return Ok(()),
        (ServerName::Address(address), Host::Ip(expected))
            if address.to_canonical() == *expected =>
        {
            return Ok(());
        }
        (ServerName::Absent, Host::Name(_)) => "no_sni",
        (ServerName::Name(_) | ServerName::Address(_), _) => "sni_mismatch",
    };
    let why = "the TLS server name is not the name that the connection is for";
    Err(Refused::because(reason, why).spoken("tls").by_reset())
}

async fn end_tls(
    permitted: Permitted,
    mut client: ClientStream,
    ledger: &Ledger,
) -> Result<(), Ending> {
    let host = permitted.destination.host.clone();
    let limits = &permitted.shared.limits;
    let hello = match read_hello(&mut client, limits.handshake_timeout).await {
        Ok(hello) => hello,
        Err(none) => return none.end(client, ledger, &host),
    };
    if let Err(refused) = check_server_name(&hello, &host) {
        return Err(Ending::refused(client, refused.on(&host)));
    }
    let is_http = |protocol: &Vec<u8>| protocol == b"h2" || protocol == b"http/1.1";
    if !hello.alpn.is_empty() && !hello.alpn.iter().any(is_http) {
        let why = "the program wants another protocol than HTTP in TLS; the rule must say `protocol = \"tcp\"`, or \
                   `inspect = false`";
        let refused = Refused::because("alpn_not_http", why)
            .spoken("tls")
            .by_reset();
        return Err(Ending::refused(client, refused.on(&host)));
    }
    ledger.allow(Some("tls"))?;
    let config = match permitted.shared.ca.server_config(&host) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, %host, "no certificate could be made");
            client.reset();
            return Err(Ending::Cut("no_certificate"));
        }
    };
    let meter = std::sync::Arc::clone(client.meter());
    let accepted = timeout(
        limits.handshake_timeout,
        Box::pin(TlsAcceptor::from(config).accept(client)),
    )
    .await;
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if went_away(&error) => {
            // The program went away in the middle: nothing was refused, but it may not have liked the certificate.
            return Err(Ending::Cut("tls_handshake_cut_off"));
        }
        Ok(Err(error)) => {
            let (reason, detail) = handshake_failure(&error);
            ledger.protocol_error("tls", reason, detail);
            return Err(Ending::Cut(reason));
        }
        Err(_) => {
            meter.reset_on_drop();
            return Err(Ending::Cut("tls_handshake_timeout"));
        }
    };
    let alpn = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Alpn::H2,
        Some(b"http/1.1") => Alpn::H1,
        _ => Alpn::None,
    };
    let tls_name = match hello.server_name {
        ServerName::Name(name) => TlsName::Matches(name),
        ServerName::Address(_) | ServerName::Absent => TlsName::NoSni,
    };
    // The layers of HTTP move a pointer, not the state of TLS.
    let stream = Box::new(stream);
    serve(permitted, stream, ledger, Scheme::Https, tls_name, alpn).await
}

fn went_away(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// The most frequent cause has a name of its own: the program does not know the sandbox's authority.
fn handshake_failure(error: &io::Error) -> (&'static str, String) {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown),
        )) => {
            let detail = format!(
                "the program does not trust the sandbox's certificate authority ({alert:?}); if it pins \
                 certificates, its rule must say `inspect = false`"
            );
            ("authority_not_trusted", detail)
        }
        Some(error) => ("tls_handshake_failed", error.to_string()),
        None => ("tls_handshake_failed", error.kind().to_string()),
    }
}

async fn serve<IO>(
    permitted: Permitted,
    io: IO,
    ledger: &Ledger,
    scheme: Scheme,
    tls_name: TlsName,
    alpn: Alpn,
) -> Result<(), Ending>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let Permitted {
        shared,
        destination,
        permit,
        id,
        ..
    } = permitted;
    let connection = HttpConnection {
        shared,
        destination,
        permit,
        scheme,
        connection_id: id.0,
        tls_name,
    };
    // Boxed, because a connection spends its life here, and what led here need not make room for it.
    let served = Box::pin(http::serve(io, alpn, connection)).await;
    match served {
        Ok(totals) => {
            if let Some(reason) = totals.cut {
                ledger.cut(reason);
            }
        }
        Err(error) => {
            tracing::error!(%error, "a connection was ended");
            ledger.cut("journal_unavailable");
        }
    }
    Ok(())
}
