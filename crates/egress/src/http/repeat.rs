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
pub(crate) struct Room(usize);

impl Room {
    /// For a body of `length` bytes, framing included; `None` if it is longer than what may be held.
    pub(crate) fn take(length: u64) -> Option<Self> {
        Self::below(&HELD, length)
    }

    fn below(held: &AtomicUsize, length: u64) -> Option<Self> {
        let length = usize::try_from(length.min(MOST + 1)).ok()?;
        let fits = |now: usize| {
            let then = now + length;
            (length as u64 <= MOST && then <= TOGETHER).then_some(then)
        };
        let taken = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.is_ok().then_some(Self(length))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_bounded_alone_and_together() {
        let held = AtomicUsize::new(0);
        assert!(Room::below(&held, MOST + 1).is_none());
        assert!(Room::below(&held, u64::MAX).is_none());
        let rooms = [MOST, MOST].map(|length| Room::below(&held, length).expect("room"));
        assert!(Room::below(&held, 1).is_none());
        assert!(Room::below(&held, 0).is_some());
        // These are not of the door's own count.
        let _ = rooms.map(std::mem::forget);
    }
}
