//! The requests of one HTTP/1.1 connection.

mod answers;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use wardian_events::{CacheUse, ResponseOutcome};
use wardian_policy::Upgrade;
use zeroize::Zeroize;

use super::relay::{self, Answered, Broken, IfUnauthorized, Plan, Scratch};
use super::write::{self, Handshake, Received};
use super::{After, Ended};
use crate::cache::Hit;
use crate::context::HttpConnection;
use crate::dial::{AlpnOffer, DialError, Route};
use crate::http::cached::{self, Asking, Lookup};
use crate::http::chunked::{ChunkError, Decoder, Piece};
use crate::http::deadline::Deadline;
use crate::http::field::Field;
use crate::http::head::{self, BodyLength, HeadEnd, HeadError, Persistence, RequestHead};
use crate::http::inject;
use crate::http::judge::{self, Asked, Permitted};
use crate::http::limits::{REST_AFTER, Timeouts};
use crate::http::origin::{self, Origin};
use crate::http::record::{self, Exchange, Line, Spoken};
use crate::http::refusal::{Class, Refusal};
use crate::http::repeat::Room;
use crate::http::stream::{Pace, Source};
use crate::http::tap::{self, Fields, Question};
use crate::http::{ServeError, websocket};

/// Where the connection stands, for whoever finds it out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Head,
    Exchange,
    Tunnel,
    Refusing,
}

#[derive(Debug)]
pub(crate) struct Session<'a, R, W> {
    connection: &'a HttpConnection,
    /// The connection's host, as a `Host` field says it.
    host: String,
    timeouts: Timeouts,
    client: Source<R>,
    sink: W,
    origin: Option<Origin>,
    phase: Phase,
    /// The head being served, apart from the buffer that goes on filling.
    head: Vec<u8>,
    fields: Vec<Field>,
    scratch: Scratch,
    exchange: Option<Exchange>,
    pub(crate) requests: u64,
}

impl<'a, R, W> Session<'a, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    pub(crate) fn new(
        reader: R,
        sink: W,
        connection: &'a HttpConnection,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            connection,
            host: judge::host_text(connection),
            timeouts,
            client: Source::new(reader),
            sink,
            origin: None,
            phase: Phase::Waiting,
            head: Vec::new(),
            fields: Vec::new(),
            scratch: Scratch::default(),
            exchange: None,
            requests: 0,
        }
    }

    pub(crate) fn into_io(self) -> (R, W) {
        (self.client.into_parts().0, self.sink)
    }

    pub(crate) async fn run(&mut self, deadline: &Deadline) -> Result<Ended, ServeError> {
        loop {
            let end = match self.read_head(deadline).await {
                Ok(Some(end)) => end,
                Ok(None) => return Ok(Ended::Done),
                Err(error) => return self.malformed(&error).await,
            };
            match self.request(end, deadline).await? {
                After::Next => {}
                After::End(ended) => return Ok(ended),
            }
        }
    }

    /// Waits for one whole head; None if the program is done.
    async fn read_head(&mut self, deadline: &Deadline) -> Result<Option<usize>, HeadError> {
        self.phase = Phase::Waiting;
        deadline.set(if self.requests == 0 {
            self.timeouts.head
        } else {
            self.timeouts.keep_alive
        });
        let max = self.connection.shared.limits.max_head_bytes;
        let mut finder = HeadEnd::default();
        let mut may_skip = true;
        loop {
            let bytes = self.client.bytes();
            // One empty line before a request is a relic that RFC 9112 section 2.2 asks servers to ignore.
            if may_skip && bytes.starts_with(b"\r\n") {
                self.client.take(2);
                may_skip = false;
                continue;
            }
            let half_a_line = may_skip && bytes == b"\r";
            if !bytes.is_empty() && !half_a_line {
                may_skip = false;
                head::check_start(bytes)?;
                match finder.find(bytes)? {
                    Some(end) if end <= max => return Ok(Some(end)),
                    None if bytes.len() < max => {}
                    _ => return Err(HeadError::TooLarge),
                }
                if self.phase == Phase::Waiting {
                    self.phase = Phase::Head;
                    deadline.set(self.timeouts.head);
                }
            }
            let read = if self.phase == Phase::Waiting {
                self.wait().await
            } else {
                self.client.fill().await
            };
            if !matches!(read, Ok(1..)) {
                return Ok(None);
            }
        }
    }

    /// Waits for the first bytes of a request. Memory is given back if they do not come soon, and so is an origin
    /// connection that its origin closes meanwhile.
    async fn wait(&mut self) -> std::io::Result<usize> {
        if let Ok(read) = timeout(REST_AFTER, self.client.fill()).await {
            return read;
        }
        self.client.rest();
        self.head = Vec::new();
        self.fields = Vec::new();
        self.scratch = Scratch::default();
        if let Some(origin) = &mut self.origin {
            origin.source.rest();
            tokio::select! {
                read = self.client.fill() => return read,
                _ = origin.source.fill() => {}
            }
            self.origin = None;
        }
        self.client.fill().await
    }

    async fn request(&mut self, end: usize, deadline: &Deadline) -> Result<After, ServeError> {
        self.requests += 1;
        self.phase = Phase::Refusing;
        deadline.set(self.timeouts.head);
        self.head.clear();
        self.head.extend_from_slice(&self.client.bytes()[..end]);
        self.client.take(end);
        let head = match head::parse(
            &self.head,
            self.connection.shared.limits.max_header_fields,
            &mut self.fields,
        ) {
            Ok(head) => head,
            Err(error) => return self.malformed(&error).await.map(After::End),
        };
        let method = head.method.text(&self.head);
        let line = Line {
            spoken: Spoken::Http1,
            method,
            target: head.target.text(&self.head),
            upgrade: None,
        };
        if head.body == BodyLength::Chunked
            && let Err(error) = check_arrived(self.client.bytes())
        {
            // What is malformed on sight is answered before anybody else hears of the request.
            let refusal = Refusal::bad_body(&error);
            record::refused(self.connection, line, &refusal)?;
            return self.answer(&refusal, false, true).await.map(After::End);
        }
        let (upgrade, handshake) = match websocket::asked(&self.head, &head, &self.fields) {
            Ok(websocket::Asked::Nothing) => (None, Handshake::No),
            Ok(websocket::Asked::WebSocket) => (Some(Upgrade::WebSocket), Handshake::WebSocket),
            Err(error) => {
                let asked = Asked {
                    spoken: Spoken::Http1,
                    method,
                    authority: None,
                    host_field: None,
                    target: line.target,
                    upgrade: None,
                    fields: Fields::NONE,
                };
                let refusal =
                    Refusal::upgrade(&error, judge::about(self.connection, asked, &self.host));
                record::refused(self.connection, line, &refusal)?;
                return self.answer(&refusal, false, true).await.map(After::End);
            }
        };
        let asked = Asked {
            spoken: Spoken::Http1,
            method,
            authority: head.host.map(|host| host.text(&self.head)),
            host_field: None,
            target: line.target,
            upgrade,
            fields: Fields::Http1 {
                bytes: &self.head,
                fields: &self.fields,
            },
        };
        let permitted = match judge::judge(self.connection, &self.host, asked)? {
            Ok(permitted) => permitted,
            Err(refusal) if refusal.error == Class::BadRequest => {
                return self.answer(&refusal, false, true).await.map(After::End);
            }
            Err(refusal) => return self.refuse(&refusal, &head, deadline).await,
        };
        let lookup = match upgrade {
            Some(_) => Lookup::NotFor,
            None => {
                let fields = self.request_fields();
                cached::look_up(self.connection, &self.host, &permitted, method, fields).await
            }
        };
        let asking = match lookup {
            Lookup::NotFor => None,
            Lookup::Ask(asking) => Some(asking),
            Lookup::Fresh(hit) => {
                self.exchange = Some(self.open(asked, &permitted)?);
                self.phase = Phase::Exchange;
                return self
                    .replay(hit, CacheUse::Hit, &head, &permitted, deadline)
                    .await;
            }
        };
        let usable = match &mut self.origin {
            Some(origin) => origin.is_usable(&permitted.policy).await,
            None => false,
        };
        let mut route = None;
        if !usable {
            self.origin = None;
            // The dialer has a limit of its own.
            deadline.lift();
            let located = origin::locate(self.connection, &permitted).await;
            if let Err(error @ DialError::Denied(_)) = &located {
                let refusal =
                    judge::refuse_address(self.connection, &self.host, asked, &permitted, error)?;
                return self.refuse(&refusal, &head, deadline).await;
            }
            route = Some(located);
        }
        self.exchange = Some(self.open(asked, &permitted)?);
        self.phase = Phase::Exchange;
        self.forward(&head, permitted, route, handshake, asking, deadline)
            .await
    }

    fn request_fields(&self) -> Fields<'_> {
        Fields::Http1 {
            bytes: &self.head,
            fields: &self.fields,
        }
    }

    /// Records a permitted request.
    fn open(&self, asked: Asked<'_>, permitted: &Permitted) -> Result<Exchange, ServeError> {
        let line = asked.line(permitted.target.as_str());
        let rule = permitted.request.rule().to_string();
        let mut exchange = record::allowed(self.connection, line, rule)?;
        exchange.tap(tap::taps(&Question {
            connection: self.connection,
            id: exchange.id(),
            permitted,
            method: asked.method,
            fields: self.request_fields(),
        }));
        Ok(exchange)
    }

    /// Answers from the cache.
    async fn replay(
        &mut self,
        hit: Hit,
        cache: CacheUse,
        head: &RequestHead,
        permitted: &Permitted,
        deadline: &Deadline,
    ) -> Result<After, ServeError> {
        let (connection, timeouts) = (self.connection, &self.timeouts);
        let (handshake, refusal) = (Handshake::No, IfUnauthorized::PassOn);
        let plan = Plan::of(
            connection, head, &self.head, handshake, timeouts, deadline, refusal,
        );
        let Some(exchange) = &mut self.exchange else {
            return Ok(After::End(Ended::Done));
        };
        deadline.set(timeouts.idle);
        exchange.comes_from_cache(cache);
        let source = cached::replay(hit);
        let scratch = &mut self.scratch;
        match relay::replay(source, &mut self.sink, scratch, plan, exchange).await {
            Ok(Answered::Complete { downstream, .. }) => self.complete(downstream),
            Ok(Answered::Upgraded) => Ok(After::End(Ended::Done)),
            Err(broken) => self.broken(broken, head, permitted).await,
        }
    }

    /// Forwards a permitted request, and passes the answer on.
    async fn forward(
        &mut self,
        head: &RequestHead,
        permitted: Permitted,
        mut route: Option<Result<Route, DialError>>,
        handshake: Handshake,
        asking: Option<Asking>,
        deadline: &Deadline,
    ) -> Result<After, ServeError> {
        let connection = self.connection;
        deadline.lift();
        inject::freshen(connection, &permitted.request).await;
        let room = match head.body {
            BodyLength::None => Room::take(0),
            BodyLength::Fixed(length) => Room::take(length),
            BodyLength::Chunked => None,
        };
        let mut refusal = match room {
            Some(_) => IfUnauthorized::Stop,
            None => IfUnauthorized::PassOn,
        };
        loop {
            let mut origin = match self.origin.take() {
                Some(origin) => origin,
                None => {
                    deadline.lift();
                    let located = match route.take() {
                        Some(located) => located,
                        None => origin::locate(connection, &permitted).await,
                    };
                    let opened = match located {
                        Ok(route) => {
                            origin::open(connection, &permitted, route, AlpnOffer::Http1).await
                        }
                        Err(error) => Err(error),
                    };
                    match opened {
                        Ok(dialed) => Origin::from(dialed),
                        Err(error) => {
                            let refusal = Refusal::dial(&error, self.about(head, &permitted));
                            return self.failed(&refusal, head, deadline).await;
                        }
                    }
                }
            };
            deadline.set(self.timeouts.idle);
            let mut injection =
                match inject::for_request(connection, &permitted.request, origin.identity) {
                    Ok(injection) => injection,
                    Err(error) => {
                        let refusal = Refusal::unusable(&error, self.about(head, &permitted));
                        return self.failed(&refusal, head, deadline).await;
                    }
                };
            self.scratch.up.clear();
            let received = Received {
                bytes: &self.head,
                head,
                fields: &self.fields,
            };
            write::request(
                &mut self.scratch.up,
                received,
                permitted.target.as_str(),
                &self.host,
                handshake,
                asking.as_ref(),
                &mut injection,
            );
            let Some(exchange) = &mut self.exchange else {
                return Ok(After::End(Ended::Done));
            };
            for credential in injection.used() {
                exchange.credential_used(
                    connection,
                    credential,
                    permitted.request.rule().to_string(),
                )?;
            }
            let renewables = injection.renewables();
            if renewables.is_empty() {
                refusal = IfUnauthorized::PassOn;
            }
            match &room {
                Some(room) if refusal == IfUnauthorized::Stop => self.client.keep(room.bytes()),
                _ => self.client.forget(),
            }
            if let Some(asking) = &asking {
                asking.begin(connection, origin.identity, exchange);
            }
            let plan = Plan::of(
                connection,
                head,
                &self.head,
                handshake,
                &self.timeouts,
                deadline,
                refusal,
            );
            let relayed = relay::relay(
                &mut self.client,
                &mut self.sink,
                &mut origin,
                &mut self.scratch,
                plan,
                exchange,
            )
            .await;
            if !injection.is_empty() {
                self.scratch.up.zeroize();
            }
            match relayed {
                Ok(Answered::Complete {
                    origin: persistence,
                    downstream,
                }) => {
                    if persistence == Persistence::KeepAlive {
                        origin.reused = true;
                        self.origin = Some(origin);
                    }
                    let confirmed = exchange.down.take_confirmation().zip(asking);
                    let hit = confirmed
                        .and_then(|(fields, asking)| asking.confirmed(connection, &fields));
                    return match hit {
                        Some(hit) => {
                            let cache = CacheUse::Revalidated;
                            self.replay(hit, cache, head, &permitted, deadline).await
                        }
                        None => self.complete(downstream),
                    };
                }
                Ok(Answered::Upgraded) => {
                    self.phase = Phase::Tunnel;
                    deadline.set(self.timeouts.tunnel_idle);
                    let pace = Pace {
                        deadline,
                        idle: self.timeouts.tunnel_idle,
                        ..plan.pace
                    };
                    let ended = relay::tunnel(
                        &mut self.client,
                        &mut self.sink,
                        &mut origin,
                        pace,
                        exchange,
                    )
                    .await;
                    return match ended {
                        Ok(()) => self
                            .finish(ResponseOutcome::Complete)
                            .map(|()| After::End(Ended::Done)),
                        Err(broken) => self.broken(broken, head, &permitted).await,
                    };
                }
                Err(Broken::Unauthorized) => {
                    deadline.lift();
                    // If there is no other value, the second answer goes to the program.
                    renewables.renew().await;
                    refusal = IfUnauthorized::PassOn;
                    self.client.rewind();
                    exchange.up.rewind();
                }
                Err(Broken::NoAnswer) if origin.reused => {
                    let nothing_sent = exchange.up.bytes() == 0 && head.body != BodyLength::Chunked;
                    let has_body = !matches!(head.body, BodyLength::None | BodyLength::Fixed(0));
                    if nothing_sent && (has_body || is_idempotent(head.method.of(&self.head))) {
                        // An idle connection that its origin closed as we used it: not an answer to this request.
                        continue;
                    }
                    // A client that kept its connection to the origin itself would see the same and try again.
                    self.finish(record::upstream_failed("upstream_closed"))?;
                    return Ok(After::End(Ended::Cut("upstream_closed")));
                }
                Err(broken) => return self.broken(broken, head, &permitted).await,
            }
        }
    }

    /// All of the answer is with the program.
    fn complete(&mut self, downstream: Persistence) -> Result<After, ServeError> {
        self.phase = Phase::Waiting;
        if let Some(exchange) = self.exchange.take() {
            exchange.complete()?;
        }
        Ok(match downstream {
            Persistence::KeepAlive => After::Next,
            Persistence::Close => After::End(Ended::Answered(None)),
        })
    }
}

/// May the request be sent twice without asking (RFC 9110 section 9.2.2)?
fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE")
}

/// Decodes what has arrived of a chunked body, to find out early that it is malformed.
fn check_arrived(mut bytes: &[u8]) -> Result<(), ChunkError> {
    let mut decoder = Decoder::default();
    loop {
        match decoder.next(bytes)? {
            Piece::Data(length) | Piece::Framing(length) => bytes = &bytes[length..],
            Piece::End(_) | Piece::NeedMore => return Ok(()),
        }
    }
}
