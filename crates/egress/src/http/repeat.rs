//! Bodies that are held until their request is answered, so that it can be sent again with a newer credential.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The longest body that is held.
const MOST: u64 = 32 << 20;
/// All bodies that are held at one time. What does not fit is sent once only.
const TOGETHER: usize = 64 << 20;

/// One supervisor serves one sandbox, so this is what one sandbox can have held.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Room for one body, until dropped.
#[derive(Debug)]
pub(crate) struct Room {
    held: &'static AtomicUsize,
    bytes: usize,
}

impl Room {
    /// For a body of `length` bytes, framing included; `None` if it is longer than what may be held.
    pub(crate) fn take(length: u64) -> Option<Self> {
        Self::below(&HELD, length)
    }

    fn below(held: &'static AtomicUsize, length: u64) -> Option<Self> {
        let bytes = usize::try_from(length).ok().filter(|_| length <= MOST)?;
        let fits = |now: usize| now.checked_add(bytes).filter(|then| *then <= TOGETHER);
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .ok()?;
        Some(Self { held, bytes })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_bounded_alone_and_together() {
        static HELD: AtomicUsize = AtomicUsize::new(0);
        let room = |length| Room::below(&HELD, length);
        let held = || HELD.load(Ordering::Relaxed);
        assert!(room(MOST + 1).is_none() && room(u64::MAX).is_none());
        assert_eq!(held(), 0);
        let rooms = [MOST, MOST].map(|length| room(length).expect("room"));
        assert!(room(1).is_none());
        assert!(room(0).is_some());
        assert_eq!(held(), TOGETHER);
        drop(rooms);
        assert_eq!(held(), 0);
    }
}
