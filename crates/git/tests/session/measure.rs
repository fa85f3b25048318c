//! How long a start takes on a repository of 100,000 files. Run it with
//! `cargo test --release -p wardian-git --test session -- --ignored --nocapture measure`.

use std::time::{Duration, Instant};

use wardian_git::Repository;
use wardian_git::session::{self, Changes};

use crate::fixture::Fixture;

const ROUNDS: usize = 9;

/// The best time, and the median of the processor's: other work on the machine adds to neither.
fn time<T>(name: &str, mut run: impl FnMut() -> T) {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let (start, processor) = (Instant::now(), processor());
        let made = run();
        times.push((start.elapsed(), self::processor() - processor));
        // As when a session ends; the next one finds the memory that it had.
        drop(made);
    }
    let best = times.iter().map(|(wall, _)| *wall).min().unwrap();
    times.sort_by_key(|(_, processor)| *processor);
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let processor = times[ROUNDS / 2].1;
    println!(
        "{name}: {:.1} ms, {:.1} ms of processor time",
        milliseconds(best),
        milliseconds(processor)
    );
}

fn processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.cast_unsigned(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}

#[test]
#[ignore = "measures, and asserts nothing"]
fn start_with_100_000_files() {
    let fixture = Fixture::new();
    fixture.shell(
        "git init -q -b main repo && cd repo && python3 -c '
print(\"blob\\nmark :1\\ndata 2\\nx\\n\")
print(\"commit refs/heads/main\\ncommitter a <a@b> 0 +0000\\ndata 1\\nm\")
for i in range(100000): print(f\"M 100644 :1 source/directory{i//1000}/part{i//50}/file_with_a_name_{i}.txt\")
print()' | git fast-import --quiet && git reset -q --hard && git status >/dev/null
         for i in $(seq 1 200); do echo \"create refs/heads/b$i HEAD\"; done | git update-ref --stdin
         git pack-refs --all",
    );
    let measure = |name: &str, changes| {
        let start = || {
            let repository = fixture.repository("repo/source");
            let state = tempfile::tempdir_in(fixture.path("")).unwrap();
            let mut options = Fixture::options();
            options.changes = changes;
            session::create(&repository, state.path(), &options).unwrap();
            state
        };
        time(name, start);
    };
    time("discover", || fixture.repository("repo/source"));
    time("submodules", || {
        let repository: Repository = fixture.repository("repo/source");
        repository.submodules().unwrap();
    });
    measure("clean index, copied", Changes::Leave);
    measure("with changes", Changes::Bring);
    fixture.shell("cd repo && git update-index --force-untracked-cache && git status >/dev/null");
    measure("untracked cache dropped", Changes::Leave);
    fixture.shell("cd repo && echo y >source/directory5/new && git add source");
    measure("one file staged, derived", Changes::Leave);
    fixture.shell("cd repo && git update-index --split-index");
    measure("split index, derived", Changes::Leave);
    fixture.shell("cd repo && git update-index --no-split-index && git reset -q --hard");
    fixture.shell(
        "cd repo && head=$(git rev-parse HEAD) && (echo '# pack-refs with: peeled fully-peeled sorted '
         echo $head refs/heads/main; seq -f \"$head refs/pull/%06.0f/head\" 1 100000) >.git/packed-refs",
    );
    measure("100,000 packed refs", Changes::Leave);
}
