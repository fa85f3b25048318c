//! Content that takes several reads, kept from one to the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::Answer;
use super::source::{Content, Node};

/// How many files can be read piece by piece at a time without being decoded anew for each piece.
const MOST_KEPT: usize = 32;

/// How many bytes of them are held in memory.
const MOST_BYTES: usize = 32 << 20;

/// Filled by who asks first; who comes meanwhile waits for that.
type Slot = Arc<Mutex<Option<Arc<Content>>>>;

/// What was asked for lately, the latest last.
#[derive(Debug, Default)]
pub(super) struct Contents(Mutex<Vec<(Node, Slot)>>);

impl Contents {
    pub(super) fn get(
        &self,
        node: Node,
        make: impl FnOnce() -> Answer<Content>,
    ) -> Answer<Arc<Content>> {
        let slot = self.slot(node);
        let mut filled = lock(&slot);
        if let Some(content) = &*filled {
            return Ok(content.clone());
        }
        let content = make().map(Arc::new);
        match &content {
            Ok(content) => *filled = Some(content.clone()),
            Err(_) => lock(&self.0).retain(|(of, _)| *of != node),
        }
        drop(filled);
        self.shrink();
        content
    }

    fn slot(&self, node: Node) -> Slot {
        let mut kept = lock(&self.0);
        let slot = match kept.iter().position(|(of, _)| *of == node) {
            Some(index) => kept.remove(index).1,
            None => Slot::default(),
        };
        kept.push((node, slot.clone()));
        slot
    }

    fn shrink(&self) {
        let mut kept = lock(&self.0);
        let mut bytes: usize = kept.iter().map(|(_, slot)| in_memory(slot)).sum();
        while kept.len() > MOST_KEPT || bytes > MOST_BYTES {
            let (_, slot) = kept.remove(0);
            bytes = bytes.saturating_sub(in_memory(&slot));
        }
    }
}

/// Nothing as long as it is being filled.
fn in_memory(slot: &Slot) -> usize {
    match slot.try_lock().as_deref() {
        Ok(Some(content)) => match &**content {
            Content::Memory(bytes) => bytes.len(),
            Content::File { .. } => 0,
        },
        _ => 0,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No critical section leaves its value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Refusal;

    fn kept(contents: &Contents) -> (usize, usize) {
        let kept = lock(&contents.0);
        (
            kept.len(),
            kept.iter().map(|(_, slot)| in_memory(slot)).sum(),
        )
    }

    fn of_size(size: usize) -> impl FnOnce() -> Answer<Content> {
        move || Ok(Content::Memory(vec![7; size]))
    }

    fn none() -> Answer<Content> {
        panic!("asked for content that is kept")
    }

    #[test]
    fn the_latest_are_kept_within_both_limits() {
        let contents = Contents::default();
        for number in 0..100 {
            contents.get(Node(number), of_size(10)).unwrap();
        }
        assert_eq!(kept(&contents), (MOST_KEPT, 10 * MOST_KEPT));
        assert_eq!(contents.get(Node(99), none).unwrap().size(), 10);

        for number in 100..120 {
            contents
                .get(Node(number), of_size(MOST_BYTES / 4 + 1))
                .unwrap();
            assert!(kept(&contents).1 <= MOST_BYTES);
        }
        contents.get(Node(119), none).unwrap();

        // Larger than all the room there is: handed out and not kept.
        let large = contents.get(Node(200), of_size(MOST_BYTES + 1)).unwrap();
        assert_eq!(large.size(), MOST_BYTES as u64 + 1);
        assert_eq!(kept(&contents), (0, 0));
    }

    #[test]
    fn a_failure_is_not_kept() {
        let contents = Contents::default();
        let failed = contents.get(Node(1), || Err(Refusal::Unavailable));
        assert_eq!(failed.unwrap_err(), Refusal::Unavailable);
        assert_eq!(kept(&contents), (0, 0));
        assert_eq!(contents.get(Node(1), of_size(3)).unwrap().size(), 3);
    }

    #[test]
    fn content_is_made_once_for_all_who_ask_meanwhile() {
        let contents = Contents::default();
        let made = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    contents
                        .get(Node(1), || {
                            *lock(&made) += 1;
                            std::thread::sleep(std::time::Duration::from_millis(20));
                            Ok(Content::Memory(vec![1; 100]))
                        })
                        .unwrap()
                });
            }
        });
        assert_eq!(*lock(&made), 1);
    }
}
