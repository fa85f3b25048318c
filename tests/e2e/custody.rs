//! Where values are outside: in two processes that nobody may look into, and in nothing that others can read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;

wardian_tests::both_modes!(
    values_are_in_no_arguments_and_no_environment,
    the_custodian_goes_with_its_supervisor,
);

fn secret() -> String {
    let mut random = [0; 12];
    getrandom::fill(&mut random).unwrap();
    format!("sk-real-{}", hex::encode(random))
}

/// Two credentials: from a variable, and from a command.
fn policy(origin: &Origin, file: &std::path::Path) -> Policy {
    let command = format!("source = {{ command = [\"cat\", \"{}\"] }}", file.display());
    Policy::new()
        .pin_with("api.test", origin.address(), "credential = [\"a\", \"b\"]")
        .table("[env]\nA = { credential = \"a\" }\nB = { credential = \"b\" }")
        .table("[credential.a]\nsource = { env = \"REAL_KEY\" }\nhosts = [\"api.test\"]")
        .table(&format!(
            "[credential.b]\n{command}\nhosts = [\"api.test\"]"
        ))
}

/// Processes of Wardian that have this word as their verb, below the process `parent`.
fn children(parent: u32, verb: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let words = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        status.contains(&format!("\nPPid:\t{parent}\n"))
            && words.split(|byte| *byte == 0).nth(1) == Some(verb.as_bytes())
    })
    .collect()
}

fn holds(id: u32, file: &str, secret: &str) -> bool {
    let bytes = fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
    bytes
        .windows(secret.len())
        .any(|it| it == secret.as_bytes())
}

fn values_are_in_no_arguments_and_no_environment(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let (variable, printed) = (secret(), secret());
    let file = host.base().join("printed");
    host.write(&file, &printed);
    let script = "curl -sS -o /dev/null -H \"x-a: $A\" -H \"x-b: $B\" https://api.test/; sleep 4";
    let started = host
        .shell(script)
        .policy(&policy(&origin, &file))
        .host_env("REAL_KEY", &variable)
        .start();
    let client = started.running.pid();
    while origin.requests().is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Both values arrive where they belong.
    let request = origin.only_request();
    assert_eq!(request.header("x-a"), Some(&*variable));
    assert_eq!(request.header("x-b"), Some(&*printed));
    let custodians = children(client, "custodian");
    assert_eq!(custodians.len(), 1);
    for id in [custodians[0], started.wait_for_supervisor()] {
        for secret in [&variable, &printed] {
            assert!(!holds(id, "environ", secret) && !holds(id, "cmdline", secret));
        }
        // What is not dumpable belongs to root, whoever runs it, and nobody else may look into it.
        assert_eq!(fs::metadata(format!("/proc/{id}/mem")).unwrap().uid(), 0);
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", custodians[0])).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    assert!(core.unwrap().contains(" 0 "), "{core:?}");
    // Control: the caller's own variable is found where it is.
    assert!(holds(client, "environ", &variable));
    started.finish().success();
}

fn the_custodian_goes_with_its_supervisor(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let file = host.base().join("printed");
    host.write(&file, secret());
    let started = host
        .shell("sleep 60")
        .policy(&policy(&origin, &file))
        .host_env("REAL_KEY", &secret())
        .start();
    let supervisor = started.wait_for_supervisor();
    let client = started.running.pid();
    assert_eq!(children(client, "custodian").len(), 1);
    let id = rustix::process::Pid::from_raw(supervisor.cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    // That nothing is left behind is seen when the host is dropped.
    started.finish().failed();
}
