//! `doctor` on the machine that the tests run on: real sandboxes, started as this user.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::Home;

fn names_in(directory: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// What a doctor must not leave: sandboxes, and files of its own.
fn is_clean(home: &Home) -> bool {
    let mut names = names_in(home.path());
    names.retain(|name| name != ".ssh");
    names_in(&home.sandbox("x").join("..")).is_empty()
        && names_in(&home.path().join(".local/share/wardian/sandboxes")).is_empty()
        && names.iter().all(|name| name == ".local")
}

#[test]
fn the_doctor_explains_itself() {
    assert_snapshot!("help_doctor", Home::new().run(&["doctor", "--help"]));
}

#[test]
fn all_promises_hold_here_and_nothing_is_left() {
    let home = Home::new();
    fs::create_dir(home.path().join(".ssh")).unwrap();
    let output = home.command(&["doctor", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check["outcome"] == "fails")
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(report["holds"], true);
    assert_eq!(output.status.code(), Some(0));
    assert!(report["start_milliseconds"].as_u64().is_some());
    for promise in [
        "host",
        "sealed",
        "default_deny",
        "secrets_stay_outside",
        "on_the_record",
        "host_files_safe",
        "nothing_left",
    ] {
        let holds =
            |check: &&serde_json::Value| check["promise"] == promise && check["outcome"] == "holds";
        assert!(checks.iter().filter(holds).count() >= 2, "{promise}");
    }
    assert!(is_clean(&home));
}

#[test]
fn a_sandbox_that_cannot_start_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let sandboxes = home.path().join(".local/share/wardian/sandboxes");
    fs::create_dir_all(&sandboxes).unwrap();
    fs::set_permissions(&sandboxes, fs::Permissions::from_mode(0o777)).unwrap();
    let told = home.run(&["doctor"]);
    assert!(told.contains("FAILS    sandboxes start"), "{told}");
    assert!(told.contains("can be written by others"), "{told}");
    assert!(told.contains("exit status: 1"), "{told}");
    assert!(is_clean(&home));
}

#[test]
fn an_interrupted_doctor_cleans_up() {
    let home = Home::new();
    let mut doctor = home
        .command(&["doctor"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let sandboxes = home.path().join(".local/share/wardian/sandboxes");
    while names_in(&sandboxes).is_empty() && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&doctor), Signal::TERM).unwrap();
    assert_eq!(doctor.wait().unwrap().code(), Some(2));
    assert!(is_clean(&home));
}
