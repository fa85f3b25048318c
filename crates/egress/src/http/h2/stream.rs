//! One HTTP/2 request, from its fields to its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{Method, Request, Uri, Version, header, uri};
use wardian_events::{CacheUse, ResponseOutcome};
use wardian_policy::Upgrade;

use super::bridge::{self, Bounds, Bridged};
use super::upload::{Incoming, Upload};
use super::upstream::Route;
use super::{Streams, fields, forward};
use crate::context::HttpConnection;
use crate::dial::DialError;
use crate::http::cached::{self, Asking, Lookup};
use crate::http::deadline::{Deadline, Expired};
use crate::http::field::FieldError;
use crate::http::h1::relay::{Broken, IfUnauthorized};
use crate::http::head::{self, HeadError, Persistence};
use crate::http::inject::{self, Renewables};
use crate::http::judge::{self, Asked, Permitted};
use crate::http::limits::{MAX_BODY, MAX_DISCARD};
use crate::http::origin::{self, Identity};
use crate::http::record::{self, Exchange, Spoken};
use crate::http::refusal::{About, Class, Refusal};
use crate::http::repeat::Room;
use crate::http::stream::Pace;
use crate::http::tap::{self, Fields, Question};
use crate::http::{ServeError, websocket};

/// How a stream ended, for the accounting of resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    Finished,
    /// The program gave it up.
    Reset,
}

/// Serves one stream. An error means that there is no record; the program has been told.
pub(crate) async fn serve(
    streams: Arc<Streams>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<StreamEnd, ServeError> {
    let deadline = Deadline::unlimited();
    deadline.set(streams.timeouts.idle);
    let mut open = None;
    let (parts, mut body) = request.into_parts();
    let is_grpc = fields::is_grpc(&parts.headers);
    let ended = match deadline
        .guard(run(
            &streams,
            parts,
            &mut body,
            &mut respond,
            &mut open,
            &deadline,
        ))
        .await
    {
        Ok(ended) => ended,
        Err(Expired) => Err(Failed::Refused(
            Box::new(Refusal::upstream_timeout()),
            record::cut("idle"),
        )),
    };
    match ended {
        Ok(()) => {
            let finished = open.take().map_or(Ok(()), Exchange::complete);
            // The origin may have answered without waiting for all of the body.
            discard(&mut body, &deadline, streams.timeouts.linger).await;
            finished.map(|()| StreamEnd::Finished)
        }
        Err(Failed::Refused(refusal, outcome)) => {
            let heard = open
                .as_ref()
                .is_some_and(|exchange| exchange.status.is_some());
            if let Some(exchange) = &mut open
                && !heard
            {
                exchange.status = Some(refusal.status);
            }
            let finished = finish(&mut open, outcome);
            if heard {
                respond.send_reset(Reason::INTERNAL_ERROR);
            } else {
                answer(&mut respond, &refusal, is_grpc);
                discard(&mut body, &deadline, streams.timeouts.linger).await;
            }
            finished.map(|()| StreamEnd::Finished)
        }
        Err(Failed::Gone) => {
            finish(&mut open, ResponseOutcome::ClientGone).map(|()| StreamEnd::Reset)
        }
        // Its stream was reset with the reason of the origin, where there was one.
        Err(Failed::Cut(outcome)) => finish(&mut open, outcome).map(|()| StreamEnd::Finished),
        Err(Failed::NoRecord(error)) => {
            answer(&mut respond, &Refusal::no_record(), is_grpc);
            Err(error)
        }
    }
}

fn finish(open: &mut Option<Exchange>, outcome: ResponseOutcome) -> Result<(), ServeError> {
    open.take()
        .map_or(Ok(()), |exchange| exchange.finish(outcome))
}

fn answer(respond: &mut SendResponse<Bytes>, refusal: &Refusal, is_grpc: bool) {
    let (response, body) = refusal.to_http2(is_grpc);
    // A program that is gone needs no answer.
    if let Ok(mut stream) = respond.send_response(response, body.is_none())
        && let Some(body) = body
    {
        let _ = stream.send_data(body, true);
    }
}

/// Reads an answered request to its end, within bounds. Dropped before that, its stream would be reset behind the
/// answer, and some clients report the reset instead of the answer.
async fn discard(body: &mut RecvStream, deadline: &Deadline, linger: Duration) {
    deadline.set(linger);
    let rest = async {
        let mut discarded = 0;
        while let Some(Ok(data)) = body.data().await {
            discarded += data.len() as u64;
            if discarded > MAX_DISCARD || body.flow_control().release_capacity(data.len()).is_err()
            {
                return;
            }
        }
    };
    // A client that is slower than this gets the reset.
    let _ = deadline.guard(rest).await;
}

enum Failed {
    Refused(Box<Refusal>, ResponseOutcome),
    Gone,
    Cut(ResponseOutcome),
    NoRecord(ServeError),
}

impl From<ServeError> for Failed {
    fn from(error: ServeError) -> Self {
        Self::NoRecord(error)
    }
}

impl Failed {
    fn refused(refusal: Refusal) -> Self {
        let outcome = match refusal.error {
            Class::Denied => record::cut(refusal.reason),
            _ => record::upstream_failed(refusal.reason),
        };
        Self::Refused(Box::new(refusal), outcome)
    }

    fn broken(broken: Broken, about: About<'_>) -> Self {
        match broken {
            Broken::NoAnswer | Broken::Unprocessed | Broken::Unauthorized => {
                Self::refused(Refusal::upstream(
                    "upstream_closed",
                    "the origin closed the connection without an answer",
                    about,
                ))
            }
            Broken::BadAnswer { reason, why } => {
                Self::refused(Refusal::upstream(reason, &why, about))
            }
            Broken::Reset(reason) => {
                let why = format!("the origin reset the stream: {reason}");
                Self::refused(Refusal::upstream("upstream_reset", &why, about))
            }
            Broken::CutShort {
                reason: "byte_limit",
            } => Self::Cut(record::cut("byte_limit")),
            Broken::CutShort { reason } => Self::Cut(record::upstream_failed(reason)),
            Broken::ClientGone => Self::Gone,
            Broken::ClientMalformed(error) => Self::Refused(
                Box::new(Refusal::bad_body(&error)),
                record::cut(error.reason()),
            ),
            Broken::ClientTooMuch => {
                Self::Refused(Box::new(Refusal::too_much()), record::cut("byte_limit"))
            }
        }
    }
}

async fn run(
    streams: &Streams,
    mut parts: Parts,
    body: &mut RecvStream,
    respond: &mut SendResponse<Bytes>,
    open: &mut Option<Exchange>,
    deadline: &Deadline,
) -> Result<(), Failed> {
    let connection = &streams.connection;
    let host = &streams.host;
    let asked = asked(&parts);
    let permitted = match judged(connection, asked, &parts, host)? {
        Ok(permitted) => permitted,
        Err(refusal) => return Err(Failed::refused(*refusal)),
    };
    let is_websocket = asked.upgrade.is_some();
    let lookup = if is_websocket || !body.is_end_stream() {
        Lookup::NotFor
    } else {
        let fields = Fields::Http2(&parts.headers);
        cached::look_up(connection, host, &permitted, asked.method, fields).await
    };
    let (fresh, asking) = match lookup {
        Lookup::NotFor => (None, None),
        Lookup::Fresh(hit) => (Some(hit), None),
        Lookup::Ask(asking) => (None, Some(asking)),
    };
    let mut located = None;
    if fresh.is_some() {
        // Nothing is asked.
    } else if is_websocket || streams.upstreams.must_dial(&permitted.policy).await {
        let found = origin::locate(connection, &permitted).await;
        if let Err(error @ DialError::Denied(_)) = &found {
            return Err(Failed::refused(judge::refuse_address(
                connection, host, asked, &permitted, error,
            )?));
        }
        located = Some(found);
    }
    let line = asked.line(permitted.target.as_str());
    *open = Some(record::allowed(
        connection,
        line,
        permitted.request.rule().to_string(),
    )?);
    let method = parts.method.clone();
    let about = About {
        scheme: record::scheme_str(connection.scheme),
        host,
        method: Some(method.as_str()),
        path: Some(permitted.target.path()),
    };
    fields::strip(&mut parts.headers);

    let limits = &connection.shared.limits;
    let max_bytes = limits.max_transfer_bytes.unwrap_or(MAX_BODY);
    let pace = Pace {
        deadline,
        idle: streams.timeouts.idle,
        max_bytes,
    };
    let bounds = Bounds {
        max_head: limits.max_head_bytes,
        max_fields: limits.max_header_fields,
        pace,
        refusal: IfUnauthorized::PassOn,
    };
    // The dialer has a limit of its own; so has a wait for an origin that allows no more streams.
    deadline.set(streams.timeouts.idle);
    let Some(exchange) = open else { return Ok(()) };
    exchange.tap(tap::taps(&Question {
        connection,
        id: exchange.id(),
        permitted: &permitted,
        method: method.as_str(),
        fields: Fields::Http2(&parts.headers),
    }));
    if let Some(hit) = fresh {
        exchange.comes_from_cache(CacheUse::Hit);
        return bridge::replay(cached::replay(hit), respond, bounds, exchange)
            .await
            .map_err(|broken| Failed::broken(broken, about));
    }
    if let Some(asking) = &asking {
        fields::ask(&mut parts.headers, asking);
    }
    deadline.lift();
    inject::freshen(connection, &permitted.request).await;
    deadline.set(streams.timeouts.idle);
    let room = room_for(body, &parts.headers);
    let mut refusal = match room {
        Some(_) => IfUnauthorized::Stop,
        None => IfUnauthorized::PassOn,
    };
    let body = &mut Upload::new(body, room.as_ref().map(Room::bytes));
    if is_websocket {
        let mut origin = streams
            .upstreams
            .separate(connection, &permitted, located, about)
            .await
            .map_err(Failed::refused)?;
        let identity = origin.identity;
        let Put {
            headers, target, ..
        } = put_in(streams, &permitted, identity, &parts, exchange, about)?;
        let bridged = Bridged {
            method: &method,
            target: target.as_bytes(),
            host,
            headers: &headers,
        };
        let tunnel = Pace {
            deadline,
            idle: streams.timeouts.tunnel_idle,
            max_bytes,
        };
        return bridge::websocket(
            &mut origin,
            &bridged,
            body,
            respond,
            bounds,
            tunnel,
            exchange,
        )
        .await
        .map_err(|broken| Failed::broken(broken, about));
    }
    for attempt in 0.. {
        let route = streams
            .upstreams
            .route(connection, &permitted, located.take(), about)
            .await
            .map_err(Failed::refused)?;
        let renewables;
        let done = match route {
            Route::H2 { sender, identity } => {
                keep(asking.as_ref(), connection, identity, exchange);
                let put = put_in(streams, &permitted, identity, &parts, exchange, about)?;
                let Put {
                    headers, target, ..
                } = put;
                renewables = put.renewables;
                if renewables.is_empty() {
                    refusal = IfUnauthorized::PassOn;
                }
                let request = request(connection.scheme, &method, host, &target, headers)
                    .map_err(|error| Failed::refused(unsendable(&error, about)))?;
                forward::exchange(sender, request, body, respond, pace, refusal, exchange).await
            }
            Route::H1 {
                mut origin,
                slot: _slot,
            } => {
                let identity = origin.identity;
                keep(asking.as_ref(), connection, identity, exchange);
                let put = put_in(streams, &permitted, identity, &parts, exchange, about)?;
                renewables = put.renewables;
                if renewables.is_empty() {
                    refusal = IfUnauthorized::PassOn;
                }
                let bounds = Bounds { refusal, ..bounds };
                let bridged = Bridged {
                    method: &method,
                    target: put.target.as_bytes(),
                    host,
                    headers: &put.headers,
                };
                let may_be_stale = origin.reused && body.is_end_stream() && method.is_idempotent();
                let done =
                    bridge::exchange(&mut origin, &bridged, body, respond, bounds, exchange).await;
                match done {
                    Ok(Persistence::KeepAlive) => {
                        streams.upstreams.give_back(*origin).await;
                        Ok(())
                    }
                    Ok(Persistence::Close) => Ok(()),
                    Err(Broken::NoAnswer) if may_be_stale => Err(Broken::Unprocessed),
                    Err(broken) => Err(broken),
                }
            }
        };
        match done {
            Ok(()) => break,
            Err(Broken::Unauthorized) => {
                deadline.lift();
                // If there is no other value, the second answer goes to the program.
                renewables.renew().await;
                deadline.set(streams.timeouts.idle);
                refusal = IfUnauthorized::PassOn;
                body.rewind();
                exchange.up.rewind();
            }
            // Not a byte of the body was taken, and the origin says (or its silence does) that it did nothing.
            Err(Broken::Unprocessed) if attempt < 2 && exchange.up.bytes() == 0 => {
                streams.upstreams.forget().await;
            }
            Err(broken) => return Err(Failed::broken(broken, about)),
        }
    }
    let confirmed = exchange.down.take_confirmation().zip(asking);
    if let Some(hit) = confirmed.and_then(|(fields, asking)| asking.confirmed(connection, &fields))
    {
        exchange.comes_from_cache(CacheUse::Revalidated);
        return bridge::replay(cached::replay(hit), respond, bounds, exchange)
            .await
            .map_err(|broken| Failed::broken(broken, about));
    }
    Ok(())
}

fn keep(
    asking: Option<&Asking>,
    connection: &HttpConnection,
    identity: Identity,
    exchange: &mut Exchange,
) {
    if let Some(asking) = asking {
        asking.begin(connection, identity, exchange);
    }
}

fn unsendable(error: &http::Error, about: About<'_>) -> Refusal {
    Refusal::bad_request("bad_target", &error.to_string(), about)
}

/// Reads the pseudo-fields.
fn asked(parts: &Parts) -> Asked<'_> {
    let target = parts
        .uri
        .path_and_query()
        .map_or("", uri::PathAndQuery::as_str);
    // A field that is not text is no authority, and says so when it is parsed.
    let host_field = parts
        .headers
        .get(header::HOST)
        .map(|value| value.to_str().unwrap_or("\u{fffd}"));
    let authority = parts.uri.authority().map(uri::Authority::as_str);
    let (method, upgrade) = match parts.extensions.get::<Protocol>().map(Protocol::as_str) {
        // What HTTP/1.1 asks for with a GET.
        Some("websocket") => ("GET", Some(Upgrade::WebSocket)),
        _ => (parts.method.as_str(), None),
    };
    Asked {
        spoken: Spoken::Http2,
        method,
        authority: authority.or(host_field),
        host_field,
        target,
        upgrade,
        fields: Fields::Http2(&parts.headers),
    }
}

/// Refuses what HTTP/1.1 could not even say, and judges the rest. The inner refusal is on the record.
fn judged(
    connection: &HttpConnection,
    asked: Asked<'_>,
    parts: &Parts,
    host: &str,
) -> Result<Result<Permitted, Box<Refusal>>, ServeError> {
    let protocol = parts.extensions.get::<Protocol>().map(Protocol::as_str);
    let many_hosts = parts.headers.get_all(header::HOST).iter().nth(1).is_some();
    let about = judge::about(connection, asked, host);
    let scheme_differs = parts
        .uri
        .scheme_str()
        .is_some_and(|scheme| scheme != record::scheme_str(connection.scheme));
    let refusal = if protocol.is_some_and(|protocol| protocol != "websocket") {
        Some(Refusal::upgrade(
            &websocket::UpgradeError::NotWebSocket,
            about,
        ))
    } else if many_hosts {
        Some(Refusal::bad_request(
            "many_hosts",
            "there is more than one Host field",
            about,
        ))
    } else if let Err(error) = one_length(&parts.headers) {
        Some(Refusal::malformed(&error))
    } else if asked.authority.is_none() && parts.method != Method::CONNECT {
        Some(Refusal::bad_request(
            "no_host",
            "the request names no authority",
            about,
        ))
    } else if parts.headers.len() > connection.shared.limits.max_header_fields {
        Some(Refusal::malformed(&HeadError::Field(FieldError::TooMany)))
    } else if scheme_differs && parts.method != Method::CONNECT {
        Some(Refusal::misdirected(
            "`:scheme` is not the connection's",
            about,
        ))
    } else {
        None
    };
    match refusal {
        Some(refusal) => {
            record::refused(connection, asked.line(asked.target), &refusal)?;
            Ok(Err(Box::new(refusal)))
        }
        None => judge::judge(connection, host, asked),
    }
}

/// `h2` compares a body with the first `Content-Length` only.
fn one_length(headers: &http::HeaderMap) -> Result<(), HeadError> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (_, Some(_)) => Err(HeadError::ManyLengths),
        (Some(length), None) => head::content_length(length.as_bytes()).map(drop),
        (None, None) => Ok(()),
    }
}

/// Room to keep a body whose length is told: one without end could not be.
fn room_for(body: &RecvStream, headers: &http::HeaderMap) -> Option<Room> {
    if body.is_end_stream() {
        return Room::take(0);
    }
    let length = headers.get(header::CONTENT_LENGTH)?;
    Room::take(length.to_str().ok()?.parse().ok()?)
}

/// A request with its credentials.
struct Put<'a> {
    headers: http::HeaderMap,
    target: String,
    renewables: Renewables<'a>,
}

/// Puts credentials in and records their use.
fn put_in<'a>(
    streams: &'a Streams,
    permitted: &'a Permitted,
    identity: Identity,
    parts: &Parts,
    exchange: &Exchange,
    about: About<'_>,
) -> Result<Put<'a>, Failed> {
    let connection = &streams.connection;
    let mut injection = inject::for_request(connection, &permitted.request, identity)
        .map_err(|error| Failed::refused(Refusal::unusable(&error, about)))?;
    let target = permitted.target.as_str();
    let mut headers = parts.headers.clone();
    if injection.is_empty() {
        return Ok(Put {
            headers,
            target: target.to_owned(),
            renewables: Renewables::default(),
        });
    }
    fields::inject(&mut headers, &mut injection);
    // Percent-encoded where it changed, so it stays ASCII.
    let target = injection.target(target).map_or_else(
        || target.to_owned(),
        |changed| String::from_utf8_lossy(&changed).into_owned(),
    );
    for credential in injection.used() {
        exchange.credential_used(connection, credential, permitted.request.rule().to_string())?;
    }
    Ok(Put {
        headers,
        target,
        renewables: injection.renewables(),
    })
}

fn request(
    scheme: wardian_policy::Scheme,
    method: &Method,
    host: &str,
    target: &str,
    headers: http::HeaderMap,
) -> Result<Request<()>, http::Error> {
    let uri = Uri::builder()
        .scheme(record::scheme_str(scheme))
        .authority(host)
        .path_and_query(target)
        .build()?;
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}
