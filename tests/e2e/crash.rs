//! Whoever dies, by SIGKILL at whatever moment: nothing is left after the next command, and work is kept.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::process::{Input, Running};
use wardian_tests::residue;

use crate::support::{Moments, init_of, wait_until};

wardian_tests::both_modes!(
    killing_the_command_line_at_any_moment,
    killing_the_supervisor_at_any_moment,
    killing_init_ends_the_sandbox,
    a_terminal_that_goes_away,
    what_was_written_is_kept,
);

/// Tried in each mode and for each victim.
const MOMENTS: Moments = Moments {
    count: 110,
    step: 37,
};

const WORK: &str = "echo started >first; i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo $i >>work; sleep 0.01; done";

fn whole_run(host: &Host) -> Duration {
    host.shell(WORK).finish().success().finished.took
}

/// Processes, mounts and sockets are gone after one more command; what is in the upper layer is in order.
#[track_caller]
fn assert_clean(host: &Host, name: &str, when: Duration) {
    host.wardian(&["gc"]).success();
    let left = residue::of(host.base());
    assert!(
        left.is_empty(),
        "killed after {when:?}, left:\n{}",
        left.join("\n")
    );
    // A program that may have run has a record, and any other is as if it had never been.
    let journal = std::fs::read_to_string(host.state(name).join("journal.jsonl"));
    let may_have_run = journal.is_ok_and(|text| text.contains("\"command_started\""));
    if !may_have_run {
        // The first one may have come before its supervisor had gone.
        host.wardian(&["gc"]).success();
    }
    assert_eq!(
        host.state(name).exists(),
        may_have_run,
        "killed after {when:?}"
    );
    let upper = host.state(name).join("layers/workspaces/0/upper");
    if let Ok(work) = std::fs::read_to_string(upper.join("work")) {
        let in_order = work
            .lines()
            .enumerate()
            .all(|(at, line)| line == (at + 1).to_string());
        assert!(in_order, "what was written is not as it was: {work}");
    }
}

fn killing_the_command_line_at_any_moment(mode: Mode) {
    let host = Host::new(mode);
    let whole = whole_run(&host);
    for number in 0..MOMENTS.count {
        let started = host.shell(WORK).limit(Duration::from_secs(20)).start();
        let when = MOMENTS.at(number, whole);
        std::thread::sleep(when);
        started.running.signal(Signal::KILL);
        let name = started.name().to_owned();
        started.finish();
        assert_clean(&host, &name, when);
    }
}

fn killing_the_supervisor_at_any_moment(mode: Mode) {
    let host = Host::new(mode);
    let whole = whole_run(&host);
    let mut killed = 0;
    for number in 0..MOMENTS.count {
        let started = host.shell(WORK).limit(Duration::from_secs(20)).start();
        let when = MOMENTS.at(number, whole);
        std::thread::sleep(when);
        if let Some(supervisor) = started.supervisor() {
            killed += u32::from(
                kill_process(
                    Pid::from_raw(supervisor.cast_signed()).unwrap(),
                    Signal::KILL,
                )
                .is_ok(),
            );
        }
        let name = started.name().to_owned();
        // The command line tells that it lost its supervisor, at once.
        let outcome = started.finish().within(when + Duration::from_secs(5));
        drop(outcome);
        assert_clean(&host, &name, when);
    }
    assert!(
        killed > 30,
        "only {killed} supervisors were there to be killed"
    );
}

fn killing_init_ends_the_sandbox(mode: Mode) {
    let host = Host::new(mode);
    let started = host.shell("echo started >first; sleep 60").start();
    let first = host
        .state(started.name())
        .join("layers/workspaces/0/upper/first");
    wait_until(|| first.exists());
    let init = init_of(&started);
    kill_process(Pid::from_raw(init.cast_signed()).unwrap(), Signal::KILL).unwrap();
    let outcome = started.finish().failed();
    outcome.within(Duration::from_secs(15));
    assert!(residue::of(host.base()).is_empty());
}

fn a_terminal_that_goes_away(mode: Mode) {
    let host = Host::new(mode);
    // The terminal's other end is closed under a running program, as when a window is closed.
    let program = "import os, pty, sys, time
pid, master = pty.fork()
if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
time.sleep(1.5); os.close(master)
for _ in range(100):
    done, status = os.waitpid(pid, os.WNOHANG)
    if done: print('ended'); break
    time.sleep(0.1)";
    let outcome = host
        .shell("echo started >first; sleep 60")
        .by_way_of(&["/usr/bin/python3", "-c", program])
        .finish()
        .success();
    assert_eq!(outcome.text(), "ended\n");
}

fn what_was_written_is_kept(mode: Mode) {
    let host = Host::new(mode);
    let started = host
        .shell("echo precious >work && echo also >\"$HOME/notes\" && sleep 60")
        .start();
    let work = host
        .state(started.name())
        .join("layers/workspaces/0/upper/work");
    for _ in 0..500 {
        if work.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(100));
    let supervisor = started.supervisor().expect("it runs");
    kill_process(
        Pid::from_raw(supervisor.cast_signed()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    let outcome = started.finish();
    let listed = host.wardian(&["ls"]).success();
    assert!(
        listed.text().contains(&outcome.name) || listed.errors().contains(&outcome.name),
        "{listed:?}"
    );
    host.wardian(&["gc"]).success();
    assert_eq!(std::fs::read_to_string(&work).unwrap(), "precious\n");
    // A journal that ends without a stop is whole as far as it goes.
    let verified = Running::start(
        host.wardian_command(&["verify", &outcome.name]),
        Input::Nothing,
    )
    .wait(wardian_tests::host::LIMIT);
    assert!(!verified.errors().contains("panicked"), "{verified:?}");
}
