//! Short runs of the fuzz targets in `fuzz/`.
//!
//! The targets are those of `cargo fuzz`, built here with the same instrumentation but without its nightly toolchain:
//! the sanitizer-coverage pass of a stable rustc is all that libFuzzer needs. What is fuzzed is safe Rust, so that
//! address sanitizing would add nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares";

/// Targets that run beside each other.
const BESIDE: usize = 2;

pub(crate) fn run(seconds: u32) -> Result<()> {
    let directory = shell::root().join("fuzz");
    // Naming the target keeps the flags away from build scripts.
    let triple = host_triple()?;
    let mut build = shell::cargo(&["build", "--release", "--target", &triple]);
    build.current_dir(&directory).env("RUSTFLAGS", FLAGS);
    build.env("CARGO_TARGET_DIR", directory.join("target"));
    shell::run(build)?;

    let programs = directory.join("target").join(&triple).join("release");
    let targets = targets(&directory)?;
    let mut crashed = Vec::new();
    for group in targets.chunks(BESIDE) {
        let started: Result<Vec<(&String, Child)>> = group
            .iter()
            .map(|target| Ok((target, start(&directory, &programs, target, seconds)?)))
            .collect();
        for (target, mut child) in started? {
            let held = child
                .wait()
                .with_context(|| format!("waiting for {target}"))?
                .success();
            let log = log_file(&directory, target);
            let text = fs::read_to_string(&log).unwrap_or_default();
            let done = text.lines().find(|line| line.contains("DONE"));
            eprintln!("{target}: {}", done.unwrap_or("failed"));
            if !held {
                eprintln!("{text}");
                crashed.push(target.as_str());
            }
        }
    }
    if !crashed.is_empty() {
        bail!(
            "inputs that break {}; they are in fuzz/artifacts",
            crashed.join(", ")
        );
    }
    Ok(())
}

fn targets(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory.join("fuzz_targets"))? {
        let path = entry?.path();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn log_file(directory: &Path, target: &str) -> PathBuf {
    directory.join("target").join(format!("{target}.log"))
}

fn start(directory: &Path, programs: &Path, target: &str, seconds: u32) -> Result<Child> {
    let corpus = directory.join("corpus").join(target);
    let artifacts = directory.join("artifacts").join(target);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let log = fs::File::create(log_file(directory, target))?;
    let mut command = Command::new(programs.join(target));
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([
            "-max_len=8192",
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-verbosity=1",
        ])
        .arg(corpus)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let seeds = directory.join("seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    command
        .spawn()
        .with_context(|| format!("starting {}", programs.join(target).display()))
}

fn host_triple() -> Result<String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let told = shell::output(shell::command(&rustc, &["-vV"]))?;
    let line = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("`rustc -vV` names no host")?.to_owned())
}
