//! Prints how long a session clone takes to make, in a repository of 100,000 files in various states:
//!
//!     cargo run --release -p wardian-git --example session_start
//!
//! With the path of a `wardian`, how long that takes to start and end in a repository of 100,000 files and 2 GB,
//! on a session clone and on the directory itself. It takes 4 GB and some minutes to make that repository:
//!
//!     cargo run --release -p wardian-git --example session_start target/release/wardian

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use wardian_git::Repository;
use wardian_git::session::{self, Changes, Options};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 9;

/// 100,000 small files and 200 branches.
const PREPARE: &str = "git init -q -b main . && python3 -c '
print(\"blob\\nmark :1\\ndata 2\\nx\\n\")
print(\"commit refs/heads/main\\ncommitter a <a@b> 0 +0000\\ndata 1\\nm\")
for i in range(100000): print(f\"M 100644 :1 source/directory{i//1000}/part{i//50}/file_with_a_name_{i}.txt\")
print()' | git fast-import --quiet && git reset -q --hard && git status >/dev/null
for i in $(seq 1 200); do echo \"create refs/heads/b$i HEAD\"; done | git update-ref --stdin
git pack-refs --all";

const MANY_REFS: &str =
    "git update-index --no-split-index && git reset -q --hard && head=$(git rev-parse HEAD) &&
(echo '# pack-refs with: peeled fully-peeled sorted '; echo $head refs/heads/main
seq -f \"$head refs/pull/%06.0f/head\" 1 100000) >.git/packed-refs";

/// 100,000 files of 20 kB, of which none is like another.
const PREPARE_LARGE: &str = "git init -q -b main . && python3 -c '
import random, sys
numbers, out = random.Random(1), sys.stdout.buffer
out.write(b\"commit refs/heads/main\\ncommitter a <a@b> 0 +0000\\ndata 1\\nm\")
for i in range(100000):
    path = b\"source/directory%d/part%d/file_with_a_name_%d.txt\" % (i // 1000, i // 50, i)
    out.write(b\"M 100644 inline %s\\ndata 20000\\n%s\\n\" % (path, numbers.randbytes(10000).hex().encode()))
out.write(b\"\\n\")' | git -c core.compression=1 fast-import --quiet && git reset -q --hard && git status >/dev/null";

const STARTS: usize = 21;

fn main() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let top = directory.path().join("repository");
    std::fs::create_dir(&top)?;
    if let Some(program) = std::env::args_os().nth(1) {
        shell(&top, PREPARE_LARGE)?;
        return starts(&std::fs::canonicalize(program)?, &top);
    }
    shell(&top, PREPARE)?;
    let discover = || -> Outcome<Repository> {
        Ok(Repository::discover(&top.join("source"))?.ok_or("no repository")?)
    };
    time("discover", discover)?;
    time("submodules", || Ok(discover()?.submodules()?))?;
    let start = |name: &str, changes| {
        time(name, || {
            let state = tempfile::tempdir_in(directory.path())?;
            let options = Options {
                branch: "wardian/measured".to_owned(),
                inside: "/run/wardian/repositories/0".into(),
                changes,
                include: Vec::new(),
            };
            session::create(&discover()?, state.path(), &options)?;
            Ok(state)
        })
    };
    start("clean index, shared", Changes::Leave)?;
    start("with changes", Changes::Bring)?;
    for (name, prepare) in [
        (
            "untracked cache dropped",
            "git update-index --force-untracked-cache && git status >/dev/null",
        ),
        (
            "one file staged, derived",
            "echo y >source/directory5/new && git add source",
        ),
        ("split index, derived", "git update-index --split-index"),
        ("100,000 packed refs", MANY_REFS),
    ] {
        shell(&top, prepare)?;
        start(name, Changes::Leave)?;
    }
    Ok(())
}

/// One after the other in turns, so that other work on the machine meets both.
fn starts(program: &Path, top: &Path) -> Outcome<()> {
    let kinds = [
        ("session clone", &["run", "--quiet", "true"][..]),
        (
            "directory itself",
            &["run", "--quiet", "--bind", "--", "true"][..],
        ),
    ];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..STARTS {
        for ((_, arguments), times) in kinds.iter().zip(&mut times) {
            // Records of earlier starts cost a little each.
            let data = tempfile::tempdir_in(top.parent().ok_or("no parent")?)?;
            let start = Instant::now();
            let status = Command::new(program)
                .args(*arguments)
                .env("XDG_DATA_HOME", data.path())
                .current_dir(top)
                .status()?;
            if !status.success() {
                return Err(format!("wardian {arguments:?}: {status}").into());
            }
            times.push(start.elapsed());
        }
    }
    for ((name, _), times) in kinds.iter().zip(&mut times) {
        times.sort();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "{name}: {:.1} ms at best, median {:.1} ms",
            milliseconds(times[0]),
            milliseconds(times[STARTS / 2])
        );
    }
    Ok(())
}

fn shell(directory: &Path, script: &str) -> Outcome<()> {
    let status = Command::new("sh")
        .args(["-euc", script])
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{script}: {status}").into()),
    }
}

/// The best time, and the median of the processor's: other work on the machine adds to neither.
fn time<T>(name: &str, mut run: impl FnMut() -> Outcome<T>) -> Outcome<()> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let (start, processor) = (Instant::now(), processor());
        let made = run()?;
        times.push((start.elapsed(), self::processor() - processor));
        // As when a session ends; the next one finds the memory that it had.
        drop(made);
    }
    let best = times
        .iter()
        .map(|(wall, _)| *wall)
        .min()
        .unwrap_or_default();
    times.sort_by_key(|(_, processor)| *processor);
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{name}: {:.1} ms, {:.1} ms of processor time",
        milliseconds(best),
        milliseconds(times[ROUNDS / 2].1)
    );
    Ok(())
}

fn processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(time.tv_sec.cast_unsigned(), nanoseconds)
}
