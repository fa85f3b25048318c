//! What is being looked at, on stderr if that is a terminal.

use std::io::{self, IsTerminal, Write};

#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    pub(super) fn begin() -> Self {
        Self {
            shown: io::stderr().is_terminal(),
        }
    }

    pub(super) fn at(&mut self, what: &'static str) {
        if self.shown {
            // A line that is replaced by the next one.
            let _ = write!(io::stderr(), "\r\x1b[Klooking at {what} ...");
        }
    }

    pub(super) fn end(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
