//! SIGKILL at any moment of a session's life: the user's repository does not notice, and no work is lost.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::process::{Input, Running};
use wardian_tests::residue;
use wardian_tests::run::supervisor_of;

use crate::support::Moments;

use super::{fingerprint, listed, repository};

wardian_tests::both_modes!(
    of_the_command_line,
    of_the_supervisor,
    of_a_resumed_session,
    of_rm,
);

/// Tried in each mode and for each victim.
const MOMENTS: Moments = Moments { count: 24, step: 7 };

fn kill(pid: u32) -> bool {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).is_ok()
}

/// A commit and a change, so that there is work from the first moment on at which there can be.
const WORK: &str = "git config user.name A; git config user.email a@b; echo x >>src/b; git commit -qam work; echo y >loose; sleep 0.1";

/// Nothing of the user's has changed, nothing runs, and what there was to be kept is there.
#[track_caller]
fn assert_unharmed(host: &Host, name: &str, before: &str, when: Duration) {
    host.wardian(&["gc"]).success();
    let left = residue::of(host.base());
    assert!(
        left.is_empty(),
        "killed after {when:?}, left:\n{}",
        left.join("\n")
    );
    host.wardian(&["gc"]).success();
    assert_eq!(fingerprint(host), before, "killed after {when:?}");
    let state = host.state(name);
    let journal = fs::read_to_string(state.join("journal.jsonl")).unwrap_or_default();
    let may_have_run = journal.contains("\"command_started\"");
    assert_eq!(state.exists(), may_have_run, "killed after {when:?}");
    let temporary = fs::read_dir(state.parent().unwrap()).unwrap();
    let temporary: Vec<_> = temporary
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|entry| entry.starts_with('.'))
        .collect();
    assert!(temporary.is_empty(), "killed after {when:?}: {temporary:?}");
    if !may_have_run {
        return;
    }
    let verified = host.wardian(&["verify", name]);
    assert!(verified.text().contains("whole"), "{verified:?}");
    // Settled: the system's layers are gone.
    let layers = fs::read_dir(state.join("layers")).unwrap();
    let layers: Vec<_> = layers.map(|entry| entry.unwrap().file_name()).collect();
    assert!(layers.len() <= 2, "killed after {when:?}: {layers:?}");
    let upper = state.join("layers/workspaces/0/upper");
    let work = listed(host, name)["work"].to_string();
    if upper.join("loose").exists() {
        assert!(
            work.contains("\"session\""),
            "killed after {when:?}: {work}"
        );
        let diff = host.wardian(&["diff", name]).success();
        assert!(
            diff.text().contains("+y") || diff.text().contains("loose"),
            "{diff:?}"
        );
    }
}

/// Runs to the end, removes the sandbox, and tells how long the run took.
fn whole_run(host: &Host) -> Duration {
    let outcome = host.shell(WORK).finish().success();
    host.wardian(&["rm", "--force", &outcome.name]).success();
    outcome.finished.took
}

fn of_the_command_line(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let before = fingerprint(&host);
    let whole = whole_run(&host);
    for number in 0..MOMENTS.count {
        let started = host.shell(WORK).limit(Duration::from_secs(20)).start();
        let when = MOMENTS.at(number, whole);
        std::thread::sleep(when);
        started.running.signal(Signal::KILL);
        let name = started.name().to_owned();
        started.finish();
        assert_unharmed(&host, &name, &before, when);
    }
}

fn of_the_supervisor(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let before = fingerprint(&host);
    let whole = whole_run(&host);
    let mut killed = 0;
    for number in 0..MOMENTS.count {
        let started = host.shell(WORK).limit(Duration::from_secs(20)).start();
        let when = MOMENTS.at(number, whole);
        std::thread::sleep(when);
        killed += u32::from(started.supervisor().is_some_and(kill));
        let name = started.name().to_owned();
        started.finish();
        assert_unharmed(&host, &name, &before, when);
    }
    assert!(
        killed > MOMENTS.count / 4,
        "only {killed} supervisors were there"
    );
}

fn of_a_resumed_session(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let before = fingerprint(&host);
    let run = host.shell(WORK);
    let name = run.name().to_owned();
    let whole = run.finish().success().finished.took;
    let upper = host.state(&name).join("layers/workspaces/0/upper");
    let mut lines = 1;
    for number in 0..MOMENTS.count * 2 {
        let words = [
            "resume",
            &name,
            "--",
            "sh",
            "-c",
            "echo y >>loose; sleep 0.1",
        ];
        let resumed = Running::start(host.wardian_command(&words), Input::Nothing);
        let when = MOMENTS.at(number, whole);
        std::thread::sleep(when);
        if number < MOMENTS.count {
            resumed.signal(Signal::KILL);
        } else {
            let _ = supervisor_of(host.base()).map(kill);
        }
        resumed.wait(Duration::from_secs(20));
        assert_unharmed(&host, &name, &before, when);
        let loose = fs::read_to_string(upper.join("loose")).unwrap();
        let now = loose.matches("y\n").count();
        assert!(
            now >= lines && now <= lines + 1,
            "killed after {when:?}: {loose}"
        );
        lines = now;
    }
    assert!(lines > 3, "it never ran");
    let log = host.wardian(&["resume", &name, "--", "git", "log", "--format=%s"]);
    assert_eq!(log.success().text(), "work\nbase\n");
}

fn of_rm(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let before = fingerprint(&host);
    let make = || {
        let run = host.shell("i=0; while [ $i -lt 300 ]; do mkdir -p d$i; echo y >d$i/f; i=$((i+1)); done; echo y >loose");
        let name = run.name().to_owned();
        run.finish().success();
        name
    };
    let name = make();
    let whole = host.wardian(&["rm", "--force", &name]).success().took;
    let (mut kept, mut gone) = (0, 0);
    for number in 0..MOMENTS.count / 2 {
        let name = make();
        let removing = Running::start(
            host.wardian_command(&["rm", "--force", &name]),
            Input::Nothing,
        );
        let when = MOMENTS.at(number * 2, whole);
        std::thread::sleep(when);
        removing.signal(Signal::KILL);
        removing.wait(Duration::from_secs(20));
        host.wardian(&["gc"]).success();
        assert_eq!(fingerprint(&host), before);
        // All of it, or nothing.
        if host.state(&name).exists() {
            kept += 1;
            let diff = host.wardian(&["diff", "--stat", &name]).success();
            assert_eq!(
                diff.text().lines().count(),
                301,
                "killed after {when:?}: {diff:?}"
            );
            host.wardian(&["rm", "--force", &name]).success();
        } else {
            gone += 1;
        }
    }
    assert!(kept > 0 && gone > 0, "{kept} kept, {gone} gone");
}
