//! One call by request and response, decoded from the pieces of both.

use super::encoding::Decoder;
use super::{Answer, Api, Asked, Undecoded, limits, sse};

/// What is known of a call once it is over.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    pub api: Api,
    /// None: the request could not be read.
    pub asked: Option<Asked>,
    pub answer: Answer,
    /// Milliseconds since the request.
    pub first_token: Option<u64>,
    pub ended: u64,
    pub undecoded: Option<Undecoded>,
}

impl Decoded {
    /// A call of which nothing is known.
    pub(crate) fn unread(api: Api, ended: u64, why: Undecoded) -> Self {
        Self {
            api,
            asked: None,
            answer: Answer::default(),
            first_token: None,
            ended,
            undecoded: Some(why),
        }
    }
}

/// A request for a path that calls are made at, and its response.
///
/// Times are milliseconds since the request.
#[derive(Debug)]
pub struct HttpCall {
    api: Api,
    path: String,
    /// As it came: it is read at the end, so that no more than one is held decoded.
    request: Vec<u8>,
    request_decoder: Result<Decoder, Undecoded>,
    reply: Option<Reply>,
    undecoded: Option<Undecoded>,
}

#[derive(Debug)]
struct Reply {
    decoder: Decoder,
    status: u16,
    shape: Shape,
    answer: Answer,
    bytes: u64,
    first_token: Option<u64>,
}

/// An answer in one piece is JSON; everything else is a stream. Told by the first byte, for gateways are not careful
/// with `Content-Type`.
#[derive(Debug)]
enum Shape {
    Unknown,
    Whole(Vec<u8>),
    Stream(sse::Decoder),
}

impl From<sse::TooLarge> for Undecoded {
    fn from(_: sse::TooLarge) -> Self {
        Self::AnswerTooLarge
    }
}

impl HttpCall {
    /// `encodings` are the values of the request's `Content-Encoding` fields.
    pub fn new<'a>(api: Api, path: &str, encodings: impl Iterator<Item = &'a [u8]>) -> Self {
        Self {
            api,
            path: path.to_owned(),
            request: Vec::new(),
            request_decoder: Decoder::of(encodings, limits::REQUEST),
            reply: None,
            undecoded: None,
        }
    }

    /// Data of the request's body.
    pub fn request_data(&mut self, data: &[u8]) {
        if self.request_decoder.is_err() {
            return;
        }
        if self.request.len() + data.len() > limits::REQUEST {
            self.request = Vec::new();
            self.request_decoder = Err(Undecoded::RequestTooLarge);
            return;
        }
        self.request.extend_from_slice(data);
    }

    /// Bytes that are held of it.
    pub fn held(&self) -> usize {
        let reply = self.reply.as_ref().map_or(0, Reply::held);
        self.request.capacity() + reply
    }

    /// Nothing more is read of it.
    pub fn give_up(&mut self, why: Undecoded) {
        self.undecoded = self.undecoded.or(Some(why));
        self.request = Vec::new();
        self.request_decoder = Err(why);
        if let Some(reply) = &mut self.reply {
            reply.decoder = Decoder::Identity;
            reply.shape = Shape::Unknown;
        }
    }

    /// The response's status, and the values of its `Content-Encoding` fields.
    pub fn response_head<'a>(&mut self, status: u16, encodings: impl Iterator<Item = &'a [u8]>) {
        match Decoder::of(encodings, limits::EVENT) {
            Ok(decoder) => {
                self.reply = Some(Reply {
                    decoder,
                    status,
                    shape: Shape::Unknown,
                    answer: Answer::default(),
                    bytes: 0,
                    first_token: None,
                });
            }
            Err(why) => self.undecoded = self.undecoded.or(Some(why)),
        }
    }

    /// Data of the response's body.
    pub fn response_data(&mut self, data: &[u8], at: u64) {
        if self.undecoded.is_some() {
            return;
        }
        if let Some(reply) = &mut self.reply
            && let Err(why) = reply.take(self.api, data, at)
        {
            self.undecoded = Some(why);
        }
    }

    /// The exchange is over. None: it was no call after all, or nobody answered it.
    pub fn end(mut self, at: u64) -> Option<Decoded> {
        let mut reply = self.reply.take()?;
        let asked = match self.read_request() {
            Ok(None) => return None,
            Ok(asked) => asked,
            Err(why) => {
                self.undecoded = self.undecoded.or(Some(why));
                None
            }
        };
        let unread = match self.undecoded {
            Some(why) => Some(why),
            None => reply.end(self.api).err(),
        };
        let mut answer = reply.answer;
        if reply.status < 400 {
            self.undecoded = unread;
        } else if answer.error.is_none() {
            // What a gateway says need not be in the vendor's words.
            answer.error = Some(format!("status_{}", reply.status));
        }
        Some(Decoded {
            api: self.api,
            asked,
            answer,
            first_token: reply.first_token,
            ended: at,
            undecoded: self.undecoded,
        })
    }

    fn read_request(&mut self) -> Result<Option<Asked>, Undecoded> {
        let decoder = self.request_decoder.as_mut().map_err(|why| *why)?;
        let encoded = std::mem::take(&mut self.request);
        if matches!(decoder, Decoder::Identity) {
            return Ok(Asked::read(self.api, &self.path, &encoded)?);
        }
        let mut body = Vec::new();
        let mut keep = |plain: &[u8]| match body.len() + plain.len() > limits::REQUEST {
            true => Err(Undecoded::AnswerTooLarge),
            false => {
                body.extend_from_slice(plain);
                Ok(())
            }
        };
        decoder
            .take(&encoded, &mut keep)
            .and_then(|()| decoder.end(&mut keep))
            .map_err(|why| match why {
                Undecoded::AnswerTooLarge => Undecoded::RequestTooLarge,
                other => other,
            })?;
        Ok(Asked::read(self.api, &self.path, &body)?)
    }
}

impl Reply {
    fn held(&self) -> usize {
        let shape = match &self.shape {
            Shape::Unknown => 0,
            Shape::Whole(body) => body.capacity(),
            Shape::Stream(events) => events.held(),
        };
        self.decoder.held() + shape + self.answer.held()
    }

    fn take(&mut self, api: Api, data: &[u8], at: u64) -> Result<(), Undecoded> {
        let Self {
            decoder,
            shape,
            answer,
            bytes,
            first_token,
            ..
        } = self;
        decoder.take(data, |plain| {
            take_plain(api, shape, answer, bytes, plain)?;
            if first_token.is_none() && answer.has_begun() {
                *first_token = Some(at);
            }
            Ok(())
        })
    }

    fn end(&mut self, api: Api) -> Result<(), Undecoded> {
        let Self {
            decoder,
            shape,
            answer,
            bytes,
            ..
        } = self;
        decoder.end(|plain| take_plain(api, shape, answer, bytes, plain))?;
        match shape {
            Shape::Unknown => {}
            Shape::Whole(body) => api.take_whole(answer, body)?,
            Shape::Stream(events) => {
                events.end(|event| api.take_event(answer, event).map_err(Undecoded::from))?
            }
        }
        match answer.complete {
            true => Ok(()),
            false => Err(Undecoded::CutShort),
        }
    }
}

fn take_plain(
    api: Api,
    shape: &mut Shape,
    answer: &mut Answer,
    bytes: &mut u64,
    mut plain: &[u8],
) -> Result<(), Undecoded> {
    *bytes += plain.len() as u64;
    if *bytes > limits::STREAM {
        return Err(Undecoded::AnswerTooLarge);
    }
    if matches!(shape, Shape::Unknown) {
        plain = plain.trim_ascii_start();
        *shape = match plain.first() {
            None => return Ok(()),
            Some(b'{' | b'[') => Shape::Whole(Vec::new()),
            Some(_) => Shape::Stream(sse::Decoder::default()),
        };
    }
    match shape {
        Shape::Unknown => Ok(()),
        Shape::Whole(body) => {
            if body.len() + plain.len() > limits::EVENT {
                return Err(Undecoded::AnswerTooLarge);
            }
            body.extend_from_slice(plain);
            Ok(())
        }
        Shape::Stream(events) => events.take(plain, |event| {
            api.take_event(answer, event).map_err(Undecoded::from)
        }),
    }
}
