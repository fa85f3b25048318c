//! `cargo xtask test`: all that must hold before a change lands, in the order in which it fails fastest.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::leftovers::Snapshot;
use crate::{docs, fuzz, licences, setup, shell};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Leaves out what takes minutes: fuzzing, crash and memory tests.
    quick: bool,
    rootless_only: bool,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut this = Self {
            quick: false,
            rootless_only: false,
        };
        for word in words {
            match *word {
                "--quick" => this.quick = true,
                "--rootless-only" => this.rootless_only = true,
                other => bail!("unknown option {other}"),
            }
        }
        Ok(this)
    }
}

/// The end-to-end tests that `--quick` leaves out.
const SLOW: &str = "test(/^(memory|crash|robustness|upload|resume::kills)::/)";

pub(crate) fn run(options: &Options) -> Result<()> {
    if !shell::is_root() && !options.rootless_only {
        bail!(
            "the end-to-end tests run as root and as an ordinary user, so start them as root, or give --rootless-only"
        );
    }
    let mut gate = Gate::default();
    // Without these, nothing that follows means anything.
    gate.step("Set-up", || {
        setup::run()?;
        test_runner()
    });
    gate.step("Format", || {
        shell::run(shell::cargo(&["fmt", "--all", "--check"]))
    });
    gate.step("Lints", || {
        shell::run(shell::cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))
    });
    gate.step("Licences", licences::check);
    gate.step("Build", || {
        shell::run(shell::cargo(&["build", "--workspace", "--locked"]))
    });
    gate.step("Documentation", docs::check);
    gate.step("Unit and property tests", || nextest("not binary(e2e)"));
    let before = Snapshot::take();
    gate.step("End-to-end tests", || {
        let mut filter = "binary(e2e)".to_owned();
        if options.quick {
            filter = format!("{filter} and not {SLOW}");
        }
        if options.rootless_only {
            filter.push_str(" and test(/::rootless::/)");
        }
        nextest(&filter)
    });
    gate.step("Nothing left behind", || nothing_left(&before));
    if !options.quick {
        gate.step("Fuzzing", || fuzz::run(20));
    }
    gate.finish()
}

/// Builds the binary and runs the end-to-end tests that contain one of `filters`.
pub(crate) fn end_to_end_only(filters: &[&str]) -> Result<()> {
    shell::run(shell::cargo(&["build", "--workspace", "--locked"]))?;
    let mut filter = "binary(e2e)".to_owned();
    if !filters.is_empty() {
        let any: Vec<String> = filters.iter().map(|word| format!("test({word})")).collect();
        filter = format!("{filter} and ({})", any.join(" | "));
    }
    nextest(&filter)
}

/// Of the whole workspace, so that features are what they were in the build before.
fn nextest(filter: &str) -> Result<()> {
    shell::run(shell::cargo(&[
        "nextest",
        "run",
        "--workspace",
        "--locked",
        "-E",
        filter,
    ]))
}

fn test_runner() -> Result<()> {
    if shell::on_path("cargo-nextest") {
        return Ok(());
    }
    shell::run(shell::cargo(&[
        "install",
        "--locked",
        "--version",
        "0.9.143",
        "cargo-nextest",
    ]))
}

fn nothing_left(before: &Snapshot) -> Result<()> {
    let left = before.new_since();
    if !left.is_empty() {
        bail!("left behind:\n{}", left.join("\n"));
    }
    eprintln!("no process, mount, namespace, socket, file or control group was left");
    Ok(())
}

#[derive(Debug, Default)]
struct Gate {
    /// Name, seconds, and the error if it failed.
    steps: Vec<(&'static str, f32, Option<anyhow::Error>)>,
}

impl Gate {
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) {
        // Tests of a binary that was not built would only add noise.
        let broken = self
            .steps
            .iter()
            .any(|(name, _, error)| error.is_some() && ["Set-up", "Build"].contains(name));
        eprintln!("\n=== {name} ===");
        if broken {
            eprintln!("left out: an earlier step failed");
            return;
        }
        let start = Instant::now();
        let error = work().err();
        if let Some(error) = &error {
            eprintln!("{name}: {error:#}");
        }
        self.steps
            .push((name, start.elapsed().as_secs_f32(), error));
    }

    fn finish(self) -> Result<()> {
        eprintln!("\n=== Summary ===");
        for (name, seconds, error) in &self.steps {
            eprintln!(
                "{:>8.1} s  {}  {name}",
                seconds,
                if error.is_some() { "FAILED" } else { "ok    " }
            );
        }
        let failed: Vec<&str> = self
            .steps
            .iter()
            .filter(|(_, _, error)| error.is_some())
            .map(|(name, _, _)| *name)
            .collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}
