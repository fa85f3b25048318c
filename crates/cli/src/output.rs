//! Writing to people: colour only where it is wanted, tables, notes. Nothing passes without being made visible.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use owo_colors::Style;
use serde::Serialize;
use wardian_events::{visible, visible_json};

/// What a piece of text is for; its colour follows from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
    Warning,
    Faint,
    Heading,
}

/// Whether to colour one of our streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    On,
    Off,
}

impl Colour {
    pub(crate) fn stdout() -> Self {
        Self::decide(|name| std::env::var_os(name), io::stdout().is_terminal())
    }

    pub(crate) fn stderr() -> Self {
        Self::decide(|name| std::env::var_os(name), io::stderr().is_terminal())
    }

    /// `NO_COLOR` (<https://no-color.org>) goes before `CLICOLOR_FORCE` and `CLICOLOR`
    /// (<https://bixense.com/clicolors>), these before whether it is a terminal that knows colour.
    fn decide(variable: impl Fn(&str) -> Option<OsString>, terminal: bool) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let on = if set("NO_COLOR").is_some() {
            false
        } else if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
            true
        } else if set("CLICOLOR").is_some_and(|value| value == "0") {
            false
        } else {
            terminal && set("TERM").is_some_and(|value| value != "dumb")
        };
        if on { Self::On } else { Self::Off }
    }

    /// `text` in the colour of `tone`. The only escape sequences in the result are ours.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let text = visible(text);
        let style = match tone {
            Tone::Plain => None,
            _ if self == Colour::Off => None,
            Tone::Good => Some(Style::new().green()),
            Tone::Bad => Some(Style::new().red().bold()),
            Tone::Warning => Some(Style::new().yellow()),
            Tone::Faint => Some(Style::new().dimmed()),
            Tone::Heading => Some(Style::new().bold()),
        };
        match style {
            None => text.into_owned(),
            Some(style) => style.style(text).to_string(),
        }
    }
}

/// A line on stderr: `label: text`.
pub(crate) fn say(tone: Tone, label: &str, text: &str) {
    let label = Colour::stderr().paint(tone, &format!("{label}:"));
    // With stderr gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{label} {}", visible(text));
}

/// A line on stderr that belongs to the one before.
pub(crate) fn say_item(tone: Tone, text: &str) {
    let text = Colour::stderr().paint(tone, text);
    let _ = writeln!(io::stderr(), "  {text}");
}

/// A JSON document on stdout, for scripts; a terminal that it goes to is safe from it too.
pub(crate) fn print_json(value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(io::stdout().lock(), "{}", visible_json(&text))
}

/// A path as it may be shown.
pub(crate) fn visible_path(path: &std::path::Path) -> String {
    visible(&path.to_string_lossy()).into_owned()
}

/// Rows under headings, in columns as wide as they need to be.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    headings: [&'static str; N],
    rows: Vec<[(Tone, String); N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(headings: [&'static str; N]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: [(Tone, String); N]) {
        self.rows
            .push(cells.map(|(tone, text)| (tone, visible(&text).into_owned())));
    }

    pub(crate) fn write(&self, out: &mut impl Write, colour: Colour) -> io::Result<()> {
        let headings = self
            .headings
            .map(|heading| (Tone::Heading, heading.to_owned()));
        let rows = || std::iter::once(&headings).chain(&self.rows);
        let widths: [usize; N] = std::array::from_fn(|column| {
            rows()
                .map(|row| row[column].1.chars().count())
                .max()
                .unwrap_or(0)
        });
        for row in rows() {
            for (column, ((tone, text), width)) in row.iter().zip(widths).enumerate() {
                write!(out, "{}", colour.paint(*tone, text))?;
                if column + 1 < N {
                    write!(out, "{:1$}", "", width + 2 - text.chars().count())?;
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(variables: &[(&str, &str)], terminal: bool) -> Colour {
        let find = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        };
        Colour::decide(find, terminal)
    }

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        let term = ("TERM", "xterm");
        assert_eq!(decide(&[term], true), Colour::On);
        assert_eq!(decide(&[term], false), Colour::Off);
        assert_eq!(decide(&[], true), Colour::Off);
        assert_eq!(decide(&[("TERM", "dumb")], true), Colour::Off);
        assert_eq!(decide(&[term, ("NO_COLOR", "1")], true), Colour::Off);
        assert_eq!(decide(&[term, ("NO_COLOR", "")], true), Colour::On);
        assert_eq!(decide(&[term, ("CLICOLOR", "0")], true), Colour::Off);
        assert_eq!(decide(&[("CLICOLOR_FORCE", "1")], false), Colour::On);
        assert_eq!(decide(&[("CLICOLOR_FORCE", "0")], false), Colour::Off);
        assert_eq!(
            decide(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], true),
            Colour::Off
        );
    }

    #[test]
    fn only_our_own_escapes_come_out() {
        assert_eq!(
            Colour::On.paint(Tone::Good, "a\x1b[31mb"),
            "\x1b[32ma\\x1b[31mb\x1b[0m"
        );
        assert_eq!(Colour::Off.paint(Tone::Good, "a\r\nb"), r"a\x0d\x0ab");
    }

    #[test]
    fn tables_line_up() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.row([
            (Tone::Plain, "gitea-long".into()),
            (Tone::Good, "running".into()),
        ]);
        table.row([
            (Tone::Plain, "a\x07".into()),
            (Tone::Plain, "stopped".into()),
        ]);
        let mut out = Vec::new();
        table.write(&mut out, Colour::Off).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "NAME        STATE\ngitea-long  running\na\\x07       stopped\n"
        );
    }
}
