//! Who looks on at an exchange: taps see what passes, and neither alter nor delay it.
//!
//! Both protocols count each direction in a [`Flow`], and a flow shows what it counts to the exchange's taps. An
//! exchange that nobody taps pays for one comparison.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use wardian_events::RequestId;

use super::field::Field;
use super::judge::Permitted;
use crate::context::HttpConnection;

/// Looks on at one exchange, from its permit to its end. Called in the task that moves the bytes: none of it may wait,
/// nor compute for long.
///
/// An exchange that failed before its origin answered has no head. One that is tried again on another connection goes on
/// here as if it were tried once, for nothing of it had passed.
pub(crate) trait Tap: fmt::Debug + Send {
    /// Data of the request's body, without its framing. Of a WebSocket: what the program sends.
    fn request_data(&mut self, data: &[u8]);
    /// The head of the final response (of a WebSocket: the 101) is about to go to the program.
    fn response_head(&mut self, head: &Answer<'_>);
    /// Data of the response's body, without its framing. Of a WebSocket: what the origin sends.
    fn response_data(&mut self, data: &[u8]);
    /// Called last, and once.
    fn ended(&mut self, end: End);
}

/// What is asked, once it was permitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) connection: &'a HttpConnection,
    pub(crate) id: RequestId,
    pub(crate) permitted: &'a Permitted,
    pub(crate) method: &'a str,
    /// As they came from the program: placeholders, not credentials.
    pub(crate) fields: Fields<'a>,
}

/// The taps of a request that was just permitted.
pub(crate) fn taps(question: &Question<'_>) -> Vec<Box<dyn Tap>> {
    let model = question.connection.shared.models.tap(question);
    model.into_iter().collect()
}

/// What an origin answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) fields: Fields<'a>,
    pub(crate) ends: BodyEnds,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyEnds {
    /// By a length or a mark of its protocol, so that a body cut short is known for one.
    Marked,
    /// With the connection.
    WithConnection,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All of the answer is with the program.
    Complete,
    Broken,
}

/// The fields of a head, in either protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fields<'a> {
    Http1 {
        bytes: &'a [u8],
        fields: &'a [Field],
    },
    Http2(&'a HeaderMap),
}

impl<'a> Fields<'a> {
    /// Of a head that is not looked into.
    pub(crate) const NONE: Self = Self::Http1 {
        bytes: &[],
        fields: &[],
    };

    /// Names in any case, with values, in order.
    pub(crate) fn iter(self) -> Box<dyn Iterator<Item = (&'a str, &'a [u8])> + 'a> {
        match self {
            Self::Http1 { bytes, fields } => Box::new(
                fields
                    .iter()
                    .map(|field| (field.name.text(bytes), field.value.of(bytes))),
            ),
            Self::Http2(headers) => Box::new(
                headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_bytes())),
            ),
        }
    }

    /// The values of all fields of this name.
    pub(crate) fn all(self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

type Listeners = Mutex<Vec<Box<dyn Tap>>>;

/// The taps of one exchange. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taps(Option<Arc<Listeners>>);

impl Taps {
    pub(crate) fn add(&mut self, tap: Box<dyn Tap>) {
        lock(self.0.get_or_insert_default()).push(tap);
    }

    fn each(&self, tell: impl FnMut(&mut Box<dyn Tap>)) {
        if let Some(taps) = &self.0 {
            lock(taps).iter_mut().for_each(tell);
        }
    }

    /// The end. Nobody is told of anything after it.
    pub(crate) fn end(&mut self, end: End) {
        if let Some(taps) = self.0.take() {
            for mut tap in lock(&taps).drain(..) {
                tap.ended(end);
            }
        }
    }
}

fn lock(taps: &Listeners) -> MutexGuard<'_, Vec<Box<dyn Tap>>> {
    taps.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

/// One direction of an exchange.
#[derive(Debug)]
pub(crate) struct Flow {
    way: Way,
    bytes: u64,
    taps: Taps,
    /// Bytes that are sent once more, and were counted and seen.
    again: u64,
    condition: Condition,
}

/// Whose condition a request has, if it has one.
#[derive(Debug, Default)]
enum Condition {
    #[default]
    Theirs,
    /// The door's: a 304 is for the door.
    Ours,
    /// The fields of that 304.
    Met(Vec<(String, Vec<u8>)>),
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Fate {
    PassOn,
    /// It was for the door. It has no body, and nothing of it goes to the program.
    Taken,
}

impl Flow {
    pub(crate) fn new(way: Way, taps: Taps) -> Self {
        Self {
            way,
            bytes: 0,
            taps,
            again: 0,
            condition: Condition::Theirs,
        }
    }

    /// Bytes of bodies that went this way.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `data` is about to be sent on.
    pub(crate) fn pass(&mut self, data: &[u8]) {
        let known = usize::try_from(self.again).map_or(data.len(), |again| again.min(data.len()));
        self.again -= known as u64;
        let data = &data[known..];
        if data.is_empty() {
            return;
        }
        self.bytes += data.len() as u64;
        self.taps.each(|tap| match self.way {
            Way::Up => tap.request_data(data),
            Way::Down => tap.response_data(data),
        });
    }

    /// What went this way is about to be sent once more.
    pub(crate) fn rewind(&mut self) {
        self.again = self.bytes;
    }

    /// `answer` has arrived, and is about to be sent on.
    pub(crate) fn answer(&mut self, answer: &Answer<'_>) -> Fate {
        if answer.status == 304 && matches!(self.condition, Condition::Ours) {
            let fields = answer.fields.iter();
            let owned = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
            self.condition = Condition::Met(owned.collect());
            return Fate::Taken;
        }
        self.taps.each(|tap| tap.response_head(answer));
        Fate::PassOn
    }

    /// The request goes out with a condition that the program did not ask for.
    pub(crate) fn expect_confirmation(&mut self) {
        self.condition = Condition::Ours;
    }

    /// The fields of the 304 that met the door's condition, if one did.
    pub(crate) fn take_confirmation(&mut self) -> Option<Vec<(String, Vec<u8>)>> {
        match std::mem::take(&mut self.condition) {
            Condition::Met(fields) => Some(fields),
            Condition::Theirs | Condition::Ours => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Notes {
        fn note(&self, text: String) {
            self.0.lock().expect("no panic").push(text);
        }
    }

    impl Tap for Notes {
        fn request_data(&mut self, data: &[u8]) {
            self.note(format!("> {}", data.escape_ascii()));
        }
        fn response_head(&mut self, head: &Answer<'_>) {
            let kinds: Vec<_> = head.fields.all("CONTENT-type").collect();
            self.note(format!(
                "< {} {}",
                head.status,
                kinds.concat().escape_ascii()
            ));
        }
        fn response_data(&mut self, data: &[u8]) {
            self.note(format!("< {}", data.escape_ascii()));
        }
        fn ended(&mut self, end: End) {
            self.note(format!("{end:?}"));
        }
    }

    #[test]
    fn both_directions_are_shown_in_order_and_the_end_once() {
        let seen = Arc::default();
        let mut taps = Taps::default();
        taps.add(Box::new(Notes(Arc::clone(&seen))));
        let mut up = Flow::new(Way::Up, taps.clone());
        let mut down = Flow::new(Way::Down, taps.clone());
        let headers = HeaderMap::from_iter([(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("text/plain"),
        )]);
        up.pass(b"ask");
        let fate = down.answer(&Answer {
            status: 200,
            fields: Fields::Http2(&headers),
            ends: BodyEnds::Marked,
        });
        assert_eq!(fate, Fate::PassOn);
        down.pass(b"tell");
        taps.end(End::Complete);
        taps.end(End::Broken);
        down.pass(b"late");
        assert_eq!(
            *seen.lock().expect("no panic"),
            ["> ask", "< 200 text/plain", "< tell", "Complete"]
        );
        assert_eq!((up.bytes(), down.bytes()), (3, 8));
    }
}
