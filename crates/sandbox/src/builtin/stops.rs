//! Inside: what becomes of it when the program is stopped.
//!
//! ```text
//!            at a terminal, or as SIGTSTP from outside asked for: Told ──▶ `wardian run` stops as well
//! stopped ──▶
//!            else, by its own doing:                              Kept ──▶ nobody does
//! ```
//!
//! Who waits for a command without a terminal must not be stopped by what the program does to itself:
//! they would wait for ever, whatever the time limit.

/// Signals of job control, on every architecture that Wardian builds for.
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;
const SIGTSTP: i32 = 20;

#[derive(Debug)]
pub(super) struct Stops {
    has_terminal: bool,
    asked: bool,
    kept: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Told,
    Kept,
}

/// What to do about a signal from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passing {
    On,
    /// A stopped program takes no signal before it goes on.
    OnAndContinue,
    /// SIGTSTP without a terminal. The kernel discards it in a session that has no parent in sight, as
    /// the program's is (setpgid(2), "orphaned process group").
    AsStop,
    /// The program is stopped already: say so.
    Stopped,
}

impl Stops {
    pub(super) fn new(has_terminal: bool) -> Self {
        Self {
            has_terminal,
            asked: false,
            kept: false,
        }
    }

    pub(super) fn stopped(&mut self) -> Stop {
        if self.has_terminal || std::mem::take(&mut self.asked) {
            return Stop::Told;
        }
        self.kept = true;
        Stop::Kept
    }

    pub(super) fn passing(&mut self, signal: i32) -> Passing {
        match (signal, std::mem::take(&mut self.kept)) {
            (SIGTSTP, true) => Passing::Stopped,
            (SIGTSTP, false) if !self.has_terminal => {
                self.asked = true;
                Passing::AsStop
            }
            (SIGCONT, _) | (_, false) => Passing::On,
            (_, true) => Passing::OnAndContinue,
        }
    }
}

impl Passing {
    /// The signals to send for `signal`, in order.
    pub(super) fn signals(self, signal: i32) -> impl Iterator<Item = i32> {
        let (first, second) = match self {
            Self::On => (Some(signal), None),
            Self::OnAndContinue => (Some(signal), Some(SIGCONT)),
            Self::AsStop => (Some(SIGSTOP), None),
            Self::Stopped => (None, None),
        };
        first.into_iter().chain(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGTERM: i32 = 15;

    #[test]
    fn stops_at_a_terminal_are_always_told() {
        let mut stops = Stops::new(true);
        assert_eq!(stops.stopped(), Stop::Told);
        assert_eq!(stops.passing(SIGCONT), Passing::On);
        assert_eq!(stops.passing(SIGTSTP), Passing::On);
        assert_eq!(stops.stopped(), Stop::Told);
    }

    #[test]
    fn without_one_only_those_that_were_asked_for() {
        let mut stops = Stops::new(false);
        assert_eq!(stops.stopped(), Stop::Kept);
        assert_eq!(stops.passing(SIGTSTP), Passing::Stopped);
        assert_eq!(stops.passing(SIGCONT), Passing::On);
        assert_eq!(stops.passing(SIGTSTP), Passing::AsStop);
        assert_eq!(stops.stopped(), Stop::Told);
        assert_eq!(stops.passing(SIGCONT), Passing::On);
        assert_eq!(stops.stopped(), Stop::Kept);
    }

    #[test]
    fn a_program_that_stopped_itself_still_gets_its_signals() {
        let mut stops = Stops::new(false);
        assert_eq!(stops.stopped(), Stop::Kept);
        let passing = stops.passing(SIGTERM);
        assert!(passing.signals(SIGTERM).eq([SIGTERM, SIGCONT]));
        let passing = stops.passing(SIGTERM);
        assert!(passing.signals(SIGTERM).eq([SIGTERM]));
    }
}
