//! Writes to procfs during set-up, in a mount namespace that somebody else prepared: security case 16.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use wardian_tests::host::{Host, LIMIT};
use wardian_tests::mode::Mode;
use wardian_tests::process::{Finished, Input, Running};

wardian_tests::both_modes!(
    case_16_id_maps_are_not_written_elsewhere,
    case_16_settings_are_not_written_elsewhere,
    case_16_processes_of_another_namespace_are_not_mapped,
);

const PLANTED: &str = include_str!("support/planted.py");

/// Where a redirected write arrives; everybody may write to it.
fn decoy(host: &Host) -> PathBuf {
    let path = host.base().join("decoy");
    host.write(&path, "");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    path
}

fn content(decoy: &Path) -> String {
    std::fs::read_to_string(decoy).unwrap()
}

/// Without Wardian, with the suite's rights.
fn control(by: &[&str], script: &str) -> Finished {
    let mut command = Command::new(by[0]);
    command.args(&by[1..]).args(["sh", "-c", script]);
    Running::start(command, Input::Nothing).wait(LIMIT)
}

fn case_16_id_maps_are_not_written_elsewhere(mode: Mode) {
    let host = Host::new(mode);
    let decoy = decoy(&host);
    let by = [
        "/usr/bin/unshare",
        "--mount",
        "/usr/bin/python3",
        "-c",
        PLANTED,
        decoy.to_str().unwrap(),
    ];
    control(&by, "sleep 0.2; echo naive >/proc/$$/uid_map").success();
    assert_eq!(content(&decoy), "naive\n");
    // Whoever plants is in a race with the start, and wins nearly always.
    let found = (0..10).any(|_| {
        let outcome = host.run(["echo", "started"]).around(&by).finish();
        assert_eq!(content(&decoy), "naive\n", "{outcome:?}");
        outcome.errors().contains("mounted over it")
    });
    assert!(found, "nothing was ever in the way");
}

fn case_16_settings_are_not_written_elsewhere(mode: Mode) {
    let host = Host::new(mode);
    let decoy = decoy(&host);
    let setting = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let plant = format!("mount --bind {} {setting} && exec \"$@\"", decoy.display());
    let by = ["/usr/bin/unshare", "--mount", "sh", "-c", &plant, "sh"];
    control(&by, &format!("echo naive >{setting}")).success();
    assert_eq!(content(&decoy), "naive\n");
    let outcome = host.run(["true"]).around(&by).finish().failed();
    assert_eq!(content(&decoy), "naive\n", "{outcome:?}");
    // Where nothing is in the way, it is written.
    assert_eq!(host.run(["cat", setting]).text(), "0\n");
}

fn case_16_processes_of_another_namespace_are_not_mapped(mode: Mode) {
    let host = Host::new(mode);
    // /proc is still the host's, in which our numbers are other processes.
    let by = ["/usr/bin/unshare", "--pid", "--fork"];
    let told = control(&by, "echo $$ $(readlink /proc/self)").success();
    assert!(told.text().starts_with("1 ") && told.text() != "1 1\n");
    let outcome = host.run(["echo", "started"]).around(&by).finish().failed();
    assert!(
        outcome.errors().contains("another pid namespace"),
        "{outcome:?}"
    );
    // Control: with a procfs of its own it works.
    let by = ["/usr/bin/unshare", "--pid", "--fork", "--mount-proc"];
    host.run(["true"]).around(&by).finish().success();
}
