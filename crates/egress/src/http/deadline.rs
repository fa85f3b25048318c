//! One moving time limit for a whole connection or stream.
//!
//! A timer per wait costs two trips through the runtime's timer wheel for each request. Instead the limit is a number
//! that the work moves, and the timer is touched only when it fires or when the limit came nearer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Milliseconds from `start`; `u64::MAX` means no limit.
#[derive(Debug)]
pub(crate) struct Deadline {
    start: Instant,
    at: AtomicU64,
    /// No limit is set further away than this.
    longest: AtomicU64,
}

/// The limit passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired;

impl Deadline {
    pub(crate) fn unlimited() -> Self {
        Self {
            start: Instant::now(),
            at: AtomicU64::new(u64::MAX),
            longest: AtomicU64::new(u64::MAX),
        }
    }

    /// The limit is `limit` from now.
    pub(crate) fn set(&self, limit: Duration) {
        let limit = (limit.as_millis() as u64).min(self.longest.load(Ordering::Relaxed));
        let at = (self.start.elapsed().as_millis() as u64).saturating_add(limit);
        self.at.store(at, Ordering::Relaxed);
    }

    /// From now on no limit is further away than `longest`.
    pub(crate) fn shorten(&self, longest: Duration) {
        self.longest
            .store(longest.as_millis() as u64, Ordering::Relaxed);
        self.set(longest);
    }

    /// Some other limit (the dialer's own) holds for now.
    pub(crate) fn lift(&self) {
        self.at.store(u64::MAX, Ordering::Relaxed);
    }

    /// Runs `work` until it is done or the limit, wherever `work` has moved it to by then, has passed.
    ///
    /// `work` must move the limit from its own polls only.
    pub(crate) async fn guard<F: Future>(&self, work: F) -> Result<F::Output, Expired> {
        let mut work = pin!(work);
        let mut timer = pin!(sleep_until(self.start));
        // What the timer is set to; `u64::MAX` while it is not in use.
        let mut armed = u64::MAX;
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            loop {
                let at = self.at.load(Ordering::Relaxed);
                if at == u64::MAX && armed == u64::MAX {
                    return Poll::Pending;
                }
                if at < armed {
                    timer.as_mut().reset(self.start + Duration::from_millis(at));
                    armed = at;
                }
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if at <= armed {
                    return Poll::Ready(Err(Expired));
                }
                armed = u64::MAX;
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn moves_both_ways() {
        let deadline = Deadline::unlimited();
        let started = Instant::now();
        let ended = deadline
            .guard(async {
                deadline.set(Duration::from_secs(60));
                tokio::time::sleep(Duration::from_millis(10)).await;
                // Nearer than what the timer was set to.
                deadline.set(Duration::from_millis(30));
                for _ in 0..5 {
                    tokio::time::sleep(Duration::from_millis(15)).await;
                    deadline.set(Duration::from_millis(30));
                }
                std::future::pending::<()>().await;
            })
            .await;
        assert_eq!(ended, Err(Expired));
        let took = started.elapsed();
        assert!(
            took >= Duration::from_millis(100) && took < Duration::from_secs(5),
            "{took:?}"
        );
    }

    #[tokio::test]
    async fn without_a_limit_the_work_decides() {
        assert_eq!(Deadline::unlimited().guard(async { 7 }).await, Ok(7));
    }
}
