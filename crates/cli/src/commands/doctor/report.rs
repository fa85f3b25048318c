//! What was found, as a table for people and as JSON for scripts.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::json;
use wardian_sandbox::ids::Privilege;

use super::check::{Check, Finding};
use crate::output::{Colour, Tone};
use crate::units;

#[derive(Debug)]
pub(super) struct Report {
    /// In the order of their promises.
    pub(super) checks: Vec<Check>,
    /// How long `wardian run -- true` takes from start to end.
    pub(super) start: Option<Duration>,
}

fn who() -> &'static str {
    match Privilege::of_this_process() {
        Privilege::Root => "root",
        Privilege::Rootless => "rootless",
    }
}

fn kernel() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Report {
    pub(super) fn write_json(&self) -> io::Result<()> {
        let report = json!({
            "wardian": env!("CARGO_PKG_VERSION"),
            "kernel": kernel(),
            "mode": who(),
            "holds": self.holds(),
            "start_milliseconds": self.start.map(milliseconds),
            "checks": self.checks,
        });
        writeln!(io::stdout(), "{report:#}")
    }

    pub(super) fn write(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let colour = Colour::stdout();
        writeln!(
            out,
            "wardian {} on Linux {}, {}",
            env!("CARGO_PKG_VERSION"),
            colour.paint(Tone::Plain, &kernel()),
            who()
        )?;
        self.write_checks(&mut out, colour)?;
        if let Some(start) = self.start {
            let start = units::milliseconds(milliseconds(start));
            writeln!(
                out,
                "\n`wardian run -- true` takes {start} from start to end."
            )?;
        }
        let count = |outcome| {
            let matching = self.checks.iter().filter(|check| check.outcome == outcome);
            units::count(matching.count() as u64, "check")
        };
        let verdict = match self
            .checks
            .iter()
            .any(|check| check.outcome == Finding::Fails)
        {
            false => colour.paint(Tone::Good, "Everything that is promised holds."),
            true => colour.paint(
                Tone::Bad,
                &format!("Not everything holds: {} failed.", count(Finding::Fails)),
            ),
        };
        writeln!(out, "{verdict}")?;
        if self
            .checks
            .iter()
            .any(|check| check.outcome == Finding::Limited)
        {
            let limited = count(Finding::Limited);
            writeln!(
                out,
                "{limited} found less than there could be; no promise depends on it."
            )?;
        }
        out.flush()
    }

    fn write_checks(&self, out: &mut impl Write, colour: Colour) -> io::Result<()> {
        let width = |check: &Check| check.name.chars().count();
        let width = self.checks.iter().map(width).max().unwrap_or(0);
        let mut before = None;
        for check in &self.checks {
            if before != Some(check.promise) {
                writeln!(
                    out,
                    "\n{}",
                    colour.paint(Tone::Heading, check.promise.title())
                )?;
                before = Some(check.promise);
            }
            let (tone, word) = match check.outcome {
                Finding::Holds => (Tone::Good, "holds  "),
                Finding::Limited => (Tone::Warning, "limited"),
                Finding::Fails => (Tone::Bad, "FAILS  "),
            };
            writeln!(
                out,
                "  {}  {}  {}",
                colour.paint(tone, word),
                colour.paint(Tone::Plain, &format!("{:<width$}", check.name)),
                colour.paint(Tone::Plain, &check.detail)
            )?;
            if let Some(fix) = &check.fix {
                let label = colour.paint(Tone::Faint, "fix:");
                let fix = colour.paint(Tone::Plain, fix);
                writeln!(out, "           {label} {fix}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Promise;
    use super::*;

    #[test]
    fn checks_are_grouped_and_made_visible() {
        let report = Report {
            checks: vec![
                Check::holds(Promise::Host, "kernel", "Linux 6.12"),
                Check::limited(
                    Promise::Host,
                    "Landlock",
                    "not enabled",
                    Some("boot with lsm=landlock".to_owned()),
                ),
                Check::fails(Promise::Sealed, "only `lo`", "found eth0\x1b[2J", None),
            ],
            start: None,
        };
        let mut out = Vec::new();
        report.write_checks(&mut out, Colour::Off).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\nThis machine\n  \
             holds    kernel     Linux 6.12\n  \
             limited  Landlock   not enabled\n           \
             fix: boot with lsm=landlock\n\
             \n1  Sealed by construction\n  \
             FAILS    only `lo`  found eth0\\x1b[2J\n"
        );
        assert!(!report.holds());
    }
}
