//! What a verb ends with, and how a failure is told: what happened, why, and what to do next.

use std::io;
use std::process::ExitCode;

use anyhow::Error;

use crate::output::{self, Tone};

/// A verb's exit status, or why it could not do its work.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// The answer is bad news, and was given.
pub(crate) const BAD_NEWS: u8 = 1;
/// There is no answer. Also what a command line that makes no sense gets.
const NO_ANSWER: u8 = 2;

/// An error, and apart from it what a person may do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    error: Error,
    hints: Vec<String>,
    status: u8,
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            hints: Vec::new(),
            status: NO_ANSWER,
        }
    }
}

impl Failure {
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// For a verb whose exit status says more than that there is no answer.
    pub(crate) fn status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// Tells about it on stderr and gives the exit status.
    pub(crate) fn report(self) -> ExitCode {
        let Self {
            error,
            hints,
            status,
        } = self;
        // Who reads our output has seen enough of it: `wardian events x | head`.
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        if error
            .chain()
            .any(|cause| cause.downcast_ref().is_some_and(gone))
        {
            return ExitCode::SUCCESS;
        }
        output::say(Tone::Bad, "error", &error.to_string());
        let mut told = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            // Some errors repeat their source.
            if !told.contains(&cause) {
                output::say(Tone::Plain, "  because", &cause);
                told = cause;
            }
        }
        for hint in hints {
            output::say(Tone::Good, "hint", &hint);
        }
        ExitCode::from(status)
    }
}
