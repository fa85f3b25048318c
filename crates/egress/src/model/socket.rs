//! Calls over a WebSocket (RFC 6455, with the compression of RFC 7692), as Codex makes them: a message for each request,
//! a message for each event of its answer, one call after the other.

use std::collections::VecDeque;

use serde::Deserialize;

use super::call::Decoded;
use super::encoding::Decoder;
use super::{Answer, Api, Asked, Undecoded, limits};

/// Calls that wait for their answer on one socket.
const MAX_PENDING: usize = 64;

/// Both ways of one WebSocket. Times are milliseconds since whatever moment, the same for all.
#[derive(Debug)]
pub struct Socket {
    api: Api,
    path: String,
    up: Frames,
    down: Frames,
    pending: VecDeque<Pending>,
    /// It is read no further.
    given_up: bool,
}

#[derive(Debug)]
struct Pending {
    asked: Asked,
    begun: u64,
    answer: Answer,
    first_token: Option<u64>,
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<std::borrow::Cow<'a, str>>,
}

impl Socket {
    /// `extensions` are the values of the response's `Sec-WebSocket-Extensions` fields.
    pub fn new<'a>(api: Api, path: &str, mut extensions: impl Iterator<Item = &'a [u8]>) -> Self {
        let deflates =
            extensions.any(|value| memchr::memmem::find(value, b"permessage-deflate").is_some());
        Self {
            api,
            path: path.to_owned(),
            up: Frames::new(deflates, limits::REQUEST),
            down: Frames::new(deflates, limits::EVENT),
            pending: VecDeque::new(),
            given_up: false,
        }
    }

    /// Bytes that the program sends.
    pub fn sent(&mut self, data: &[u8], at: u64, done: impl FnMut(Decoded)) {
        if self.given_up {
            return;
        }
        let Self {
            api,
            path,
            up,
            pending,
            ..
        } = self;
        let taken = up.take(data, |message| {
            // What is not JSON is none of the protocol's.
            let typed = serde_json::from_slice::<Typed<'_>>(message);
            if !typed.is_ok_and(|it| it.kind.as_deref() == Some("response.create")) {
                return Ok(());
            }
            if pending.len() == MAX_PENDING {
                return Err(Undecoded::Overrun);
            }
            let asked = Asked::read(*api, path, message).map_err(Undecoded::from)?;
            pending.extend(asked.map(|asked| Pending {
                asked,
                begun: at,
                answer: Answer::default(),
                first_token: None,
            }));
            Ok(())
        });
        if let Err(why) = taken {
            let why = match why {
                Undecoded::AnswerTooLarge => Undecoded::RequestTooLarge,
                other => other,
            };
            self.give_up(why, at, done);
        }
    }

    /// Bytes that the origin sends. `done` gets each call that they complete.
    pub fn received(&mut self, data: &[u8], at: u64, mut done: impl FnMut(Decoded)) {
        if self.given_up {
            return;
        }
        let Self {
            api, down, pending, ..
        } = self;
        let taken = down.take(data, |message| {
            let Some(call) = pending.front_mut() else {
                return Ok(());
            };
            api.take_event(&mut call.answer, message)?;
            if call.first_token.is_none() && call.answer.has_begun() {
                call.first_token = Some(at.saturating_sub(call.begun));
            }
            if call.answer.complete
                && let Some(call) = pending.pop_front()
            {
                done(call.over(*api, at, None));
            }
            Ok(())
        });
        if let Err(why) = taken {
            self.give_up(why, at, done);
        }
    }

    /// Bytes that are held of it.
    pub fn held(&self) -> usize {
        let calls = self
            .pending
            .iter()
            .map(|it| it.asked.held() + it.answer.held());
        self.up.held() + self.down.held() + calls.sum::<usize>()
    }

    /// The socket is closed.
    pub fn end(mut self, at: u64, mut done: impl FnMut(Decoded)) {
        for call in self.pending.drain(..) {
            done(call.over(self.api, at, Some(Undecoded::CutShort)));
        }
    }

    /// Says so of every call that is open, or else of one that nothing is known of.
    pub fn give_up(&mut self, why: Undecoded, at: u64, mut done: impl FnMut(Decoded)) {
        if std::mem::replace(&mut self.given_up, true) {
            return;
        }
        (self.up, self.down) = (Frames::new(false, 0), Frames::new(false, 0));
        if self.pending.is_empty() {
            done(Decoded::unread(self.api, 0, why));
        }
        for call in self.pending.drain(..) {
            done(call.over(self.api, at, Some(why)));
        }
    }
}

impl Pending {
    fn over(self, api: Api, at: u64, undecoded: Option<Undecoded>) -> Decoded {
        Decoded {
            api,
            asked: Some(self.asked),
            answer: self.answer,
            first_token: self.first_token,
            ended: at.saturating_sub(self.begun),
            undecoded,
        }
    }
}

/// One way of a WebSocket: from bytes to messages.
#[derive(Debug)]
struct Frames {
    head: Vec<u8>,
    /// Of the frame whose payload is being read.
    frame: Option<Frame>,
    message: Vec<u8>,
    limit: usize,
    inflate: Option<Decoder>,
    /// The message that is being read is compressed.
    compressed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: u8,
    last: bool,
    left: u64,
    mask: Option<[u8; 4]>,
    /// Bytes of the payload that were read.
    read: usize,
}

const CONTINUATION: u8 = 0;
const CONTROL: u8 = 8;
/// What a compressed message has behind it, though it is not sent (RFC 7692, section 7.2.2).
const FLUSH: [u8; 4] = [0, 0, 0xff, 0xff];

impl Frames {
    fn new(deflates: bool, limit: usize) -> Self {
        Self {
            head: Vec::with_capacity(14),
            frame: None,
            message: Vec::new(),
            limit,
            inflate: deflates.then(Decoder::raw_deflate),
            compressed: false,
        }
    }

    fn held(&self) -> usize {
        self.message.capacity() + self.inflate.as_ref().map_or(0, Decoder::held)
    }

    fn take(
        &mut self,
        mut bytes: &[u8],
        mut message: impl FnMut(&[u8]) -> Result<(), Undecoded>,
    ) -> Result<(), Undecoded> {
        loop {
            let Some(mut frame) = self.frame.take() else {
                let Some((&byte, rest)) = bytes.split_first() else {
                    return Ok(());
                };
                bytes = rest;
                self.head.push(byte);
                if let Some(frame) = self.begin()? {
                    self.head.clear();
                    self.frame = Some(frame);
                }
                continue;
            };
            let length = (bytes.len() as u64).min(frame.left) as usize;
            let (piece, rest) = bytes.split_at(length);
            bytes = rest;
            self.payload(&frame, piece)?;
            frame.left -= length as u64;
            frame.read += length;
            if frame.left > 0 {
                self.frame = Some(frame);
                return Ok(());
            }
            if frame.last && frame.opcode < CONTROL {
                self.end_message(&mut message)?;
            }
        }
    }

    /// Reads a frame's head once all of it is there (RFC 6455, section 5.2).
    fn begin(&mut self) -> Result<Option<Frame>, Undecoded> {
        let [first, second, rest @ ..] = self.head.as_slice() else {
            return Ok(None);
        };
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = second & 0x80 != 0;
        if rest.len() < extended + if masked { 4 } else { 0 } {
            return Ok(None);
        }
        let (length, mask) = rest.split_at(extended);
        let left = match extended {
            0 => u64::from(second & 0x7f),
            _ => length
                .iter()
                .fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
        };
        let opcode = first & 0x0f;
        let compressed = first & 0x40 != 0;
        let is_control = opcode >= CONTROL;
        if first & 0x30 != 0
            || compressed && (self.inflate.is_none() || is_control || opcode == CONTINUATION)
            || is_control && (left > 125 || first & 0x80 == 0)
        {
            return Err(Undecoded::BadFrames);
        }
        if !is_control && opcode != CONTINUATION {
            self.compressed = compressed;
            self.message.clear();
        }
        Ok(Some(Frame {
            opcode,
            last: first & 0x80 != 0,
            left,
            mask: masked.then(|| [mask[0], mask[1], mask[2], mask[3]]),
            read: 0,
        }))
    }

    fn payload(&mut self, frame: &Frame, piece: &[u8]) -> Result<(), Undecoded> {
        if frame.opcode >= CONTROL || piece.is_empty() {
            return Ok(());
        }
        let Some(mask) = frame.mask else {
            return self.keep(piece);
        };
        let mut plain = [0; 4096];
        for (number, piece) in piece.chunks(plain.len()).enumerate() {
            let from = frame.read + number * plain.len();
            for (at, (to, byte)) in plain.iter_mut().zip(piece).enumerate() {
                *to = byte ^ mask[(from + at) % 4];
            }
            self.keep(&plain[..piece.len()])?;
        }
        Ok(())
    }

    fn keep(&mut self, piece: &[u8]) -> Result<(), Undecoded> {
        let Self {
            message,
            limit,
            inflate,
            compressed,
            ..
        } = self;
        let mut keep = |plain: &[u8]| match message.len() + plain.len() > *limit {
            true => Err(Undecoded::AnswerTooLarge),
            false => {
                message.extend_from_slice(plain);
                Ok(())
            }
        };
        match inflate {
            Some(inflate) if *compressed => inflate.take(piece, keep),
            _ => keep(piece),
        }
    }

    fn end_message(
        &mut self,
        message: &mut impl FnMut(&[u8]) -> Result<(), Undecoded>,
    ) -> Result<(), Undecoded> {
        if self.compressed {
            self.keep(&FLUSH)?;
            // A sender may end its stream with a message, and begin another.
            if matches!(self.inflate, Some(Decoder::Inflate { over: true, .. })) {
                self.inflate = Some(Decoder::raw_deflate());
            }
        }
        // A long message is seldom: its memory is given back.
        message(&std::mem::take(&mut self.message))
    }
}
