//! Who ended a sandbox that did not end by itself, and the means to do it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wardian_sandbox::builtin::Killer;

use crate::protocol::How;

/// Shared by all that may end the sandbox. The first to do so is remembered.
#[derive(Debug, Clone, Default)]
pub struct Ending(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    killer: Option<Killer>,
    why: Option<How>,
}

impl Ending {
    /// From now on [`end`](Self::end) has something to kill; it does so at once if it was asked to before.
    pub fn arm(&self, killer: Killer) {
        let mut state = self.lock();
        if state.why.is_some() {
            killer.kill();
        }
        state.killer = Some(killer);
    }

    /// Kills the whole sandbox.
    pub fn end(&self, why: How) {
        let mut state = self.lock();
        state.why.get_or_insert(why);
        if let Some(killer) = &state.killer {
            killer.kill();
        }
    }

    /// Why the sandbox is gone, once it is.
    pub fn why(&self) -> How {
        self.lock().why.clone().unwrap_or_else(|| {
            How::Lost("the sandbox's first process was killed from outside".to_owned())
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section above can leave the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
