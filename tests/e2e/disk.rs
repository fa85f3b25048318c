//! What a sandbox takes on disk, whoever owns it inside and whatever it allows: it counts against the limit, and goes in
//! the end.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::run::Started;

use crate::support::lines;

wardian_tests::both_modes!(
    files_of_other_ids_count_against_the_limit,
    unreadable_directories_count_against_the_limit,
    files_of_other_ids_go_at_the_end,
    files_of_other_ids_go_after_a_kill,
);

/// Other ids, in directories of the system and of the workspace that are theirs alone.
const GIVE_AWAY: &str = "set -e; for id in 1 33 1000; do for place in /usr/local /etc /var/lib .; do
    mkdir -m 700 $place/of-$id; chown $id:$id $place/of-$id
    setpriv --reuid=$id --regid=$id --clear-groups sh -c \"mkdir -m 700 $place/of-$id/deep; echo mine >$place/of-$id/deep/file; ln -s / $place/of-$id/root; chmod 0 $place/of-$id/deep/file\"
    done; done; touch ready";

/// 30 MB, in files of less than the limit.
const FILL: &str = "i=0; while [ $i -lt 10 ]; do head -c 3000000 /dev/zero >full/$i || exit 3; i=$((i+1)); done; touch ready; sleep 8; echo got away";

fn wait_until_ready(host: &Host, started: &Started<'_>) {
    let ready = host
        .state(started.name())
        .join("layers/workspaces/0/upper/ready");
    let begun = Instant::now();
    while !ready.exists() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{}",
            ready.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As the account itself, which is how an ordinary user's supervisor would look.
fn list(host: &Host, directory: &Path) -> String {
    let directory = directory.to_str().unwrap();
    let finished = host.outside(["ls", "-R", directory]);
    finished.text() + &finished.errors()
}

#[track_caller]
fn assert_ends_for_its_limit(host: &Host, script: &str, as_root: bool, full: &str) {
    let run = |limit: &str| {
        let run = host.shell(script).option(&["--disk", limit]);
        if as_root { run.as_inner_root() } else { run }
    };
    let started = run("16M").start();
    wait_until_ready(host, &started);
    // Control: an ordinary user does not see what fills the disk.
    let seen = list(host, &host.state(started.name()).join("layers").join(full));
    let hidden = seen.contains("Permission denied");
    assert_eq!(hidden, host.mode() == Mode::Rootless, "{seen}");
    let outcome = started.finish().exited(125);
    assert!(!outcome.text().contains("got away"), "{outcome:?}");
    let events = outcome.events();
    assert_eq!(events.of_kind("limit_reached")[0]["limit"], "disk");
    assert_eq!(events.of_kind("sandbox_stopped")[0]["cause"], "limit");
    // Control: with room, the same program goes on.
    assert_eq!(lines(&run("200M").finish().success()), ["got away"]);
}

fn files_of_other_ids_count_against_the_limit(mode: Mode) {
    let host = Host::new(mode);
    let script = format!(
        "mkdir -m 700 /opt/theirs && chown 1000:1000 /opt/theirs && touch ready && chmod 666 ready && chmod 777 . &&
         exec setpriv --reuid=1000 --regid=1000 --clear-groups sh -c 'cd /opt/theirs; mkdir -m 700 full; {}'",
        FILL.replace("touch ready; ", "")
    );
    assert_ends_for_its_limit(&host, &script, true, "opt/upper/theirs");
}

fn unreadable_directories_count_against_the_limit(mode: Mode) {
    let host = Host::new(mode);
    let script = format!("mkdir shut && mkdir shut/full && chmod 300 shut && cd shut && {FILL}");
    let script = script.replace("touch ready", "touch ../ready");
    assert_ends_for_its_limit(&host, &script, false, "workspaces/0/upper/shut");
}

/// Work is kept, and nothing else.
#[track_caller]
fn assert_no_system_layer(state: &Path) {
    for name in ["etc", "opt", "usr", "var"] {
        assert!(!state.join("layers").join(name).exists(), "{name} is left");
    }
    assert!(state.join("layers").is_dir());
}

fn files_of_other_ids_go_at_the_end(mode: Mode) {
    let host = Host::new(mode);
    let outcome = host.shell(GIVE_AWAY).as_inner_root().finish().success();
    let state = host.state(&outcome.name);
    assert_no_system_layer(&state);
    let kept = state.join("layers/workspaces/0/upper/of-33");
    // Control: an ordinary user cannot remove what is kept by hand.
    let by_hand = host.outside(["rm", "-rf", kept.to_str().unwrap()]);
    assert_eq!(
        by_hand.errors().is_empty(),
        mode == Mode::Root,
        "{by_hand:?}"
    );
    host.wardian(&["rm", "--force", &outcome.name]).success();
    assert!(!state.exists());
}

fn files_of_other_ids_go_after_a_kill(mode: Mode) {
    let host = Host::new(mode);
    let script = format!("{GIVE_AWAY}; sleep 20");
    let started = host.shell(&script).as_inner_root().start();
    wait_until_ready(&host, &started);
    let supervisor = started.wait_for_supervisor();
    let pid = Pid::from_raw(supervisor.cast_signed()).unwrap();
    // Both, for either would clean up after the other.
    started.running.signal(Signal::STOP);
    kill_process(pid, Signal::KILL).unwrap();
    started.running.signal(Signal::KILL);
    let name = started.name().to_owned();
    let outcome = started.finish();
    let layers = host.state(&name).join("layers");
    // Control: an ordinary user cannot remove them by hand.
    let theirs = layers.join("etc/upper/of-33/deep");
    let by_hand = host.outside(["rm", "-rf", theirs.to_str().unwrap()]);
    assert_eq!(
        by_hand.errors().is_empty(),
        mode == Mode::Root,
        "{by_hand:?}"
    );
    host.wardian(&["gc"]).success();
    assert_no_system_layer(&host.state(&outcome.name));
    host.wardian(&["rm", "--force", &name]).success();
    assert!(!host.state(&name).exists());
}
