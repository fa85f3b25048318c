//! Values that a person is asked for before the start. They are shown nowhere and written down nowhere.

use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, anyhow, bail};
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use wardian_events::visible;
use wardian_policy::{EnvValue, EnvVar};

use crate::failure::Failure;

/// Longer than any code that a person pastes.
const MOST: usize = 64 << 10;

/// The answers to all questions among `variables`, by the names of the variables.
pub(super) fn ask_all(variables: &[EnvVar]) -> Result<Vec<(String, String)>, Failure> {
    let mut answers = Vec::new();
    for variable in variables {
        let EnvValue::Prompt(question) = variable.value() else {
            continue;
        };
        let name = variable.name().as_str();
        let answer = ask(name, question).map_err(|error| {
            Failure::from(error.context(format!("{name} is to be asked for")))
                .hint(format!("`--env {name}=VALUE` gives it"))
        })?;
        answers.push((name.to_owned(), answer));
    }
    Ok(answers)
}

fn ask(name: &str, question: &str) -> anyhow::Result<String> {
    let mut terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .context("there is no terminal to ask on")?;
    let answer = {
        // Before the question: who answers at once is not to be seen.
        let _silent = Silent::new(&terminal)?;
        write!(&terminal, "{} ({name}): ", visible(question))?;
        read_line(&terminal)
    };
    writeln!(terminal)?;
    answer
}

/// A terminal that shows nothing of what is typed, and sends no signals: it is as before when this ends.
struct Silent<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn new(terminal: &'a File) -> anyhow::Result<Self> {
        let before = termios::tcgetattr(terminal).context("tcgetattr(/dev/tty)")?;
        let mut silent = before.clone();
        silent.local_modes &=
            !(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::ECHONL);
        termios::tcsetattr(terminal, OptionalActions::Flush, &silent)
            .context("tcsetattr(/dev/tty)")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Byte by byte: what is typed ahead is for whoever reads next.
fn read_line(mut input: impl Read) -> anyhow::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while input.read(&mut byte)? > 0 {
        match byte[0] {
            b'\r' | b'\n' => return Ok(String::from_utf8(line)?),
            3 | 4 => return Err(anyhow!("the question was not answered")),
            8 | 0x7f => {
                // A character is one byte that begins it, and those that go on.
                while line.pop().is_some_and(|last| last & 0xc0 == 0x80) {}
            }
            0x15 => line.clear(),
            0 => bail!("the answer has a NUL byte"),
            _ if line.len() >= MOST => bail!("the answer is too long"),
            byte => line.push(byte),
        }
    }
    Err(anyhow!("the question was not answered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_a_terminal_would() {
        let read = |typed: &str| read_line(typed.as_bytes()).ok();
        assert_eq!(read("code\n").as_deref(), Some("code"));
        assert_eq!(read("cö\x7fde\r").as_deref(), Some("cde"));
        assert_eq!(read("\x7fwrong\x15right\n").as_deref(), Some("right"));
        assert_eq!(read("\n").as_deref(), Some(""));
        for unanswered in ["", "half", "half\x03", "\x04", "a\0b\n"] {
            assert_eq!(read(unanswered), None, "{unanswered:?}");
        }
    }
}
