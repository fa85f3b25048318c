//! What is executed inside is on record before it runs, whoever executes it and however.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;
use wardian_tests::events::Events;
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::policy::Policy;

wardian_tests::both_modes!(
    every_program_has_a_start_and_an_end,
    every_way_to_execute,
    superusers_and_nested_namespaces,
    what_cannot_be_recorded_does_not_start,
    another_program_than_was_asked_for,
    a_storm_is_counted,
    what_waits_can_be_ended,
    nothing_waits_for_a_supervisor_that_died,
    where_somebody_else_listens,
);

const WAYS: &str = include_str!("processes/ways.py");
const SWITCH: &str = include_str!("processes/switch.py");
const LISTEN: &str = include_str!("processes/listen.py");

fn started<'a>(events: &'a Events, name: &str) -> &'a Value {
    let all = events.of_kind("process_started");
    let named: Vec<_> = all
        .iter()
        .filter(|event| event["arguments"][0] == name)
        .collect();
    let names: Vec<_> = all.iter().map(|event| &event["arguments"][0]).collect();
    assert_eq!(named.len(), 1, "{name}: {names:?}");
    named[0]
}

fn ended<'a>(events: &'a Events, start: &Value) -> &'a Value {
    let all = events.of_kind("process_exited");
    let of_it = all.into_iter().filter(|event| event["pid"] == start["pid"]);
    let [end] = of_it.collect::<Vec<_>>()[..] else {
        panic!("no single end of {start}")
    };
    end
}

/// Since Linux 6.15.
fn ends_are_told() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers = release.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
}

fn every_program_has_a_start_and_an_end(mode: Mode) {
    let host = Host::new(mode);
    let script = "echo '#!/bin/sh' >tool; echo 'sleep 1' >>tool; chmod +x tool; ./tool one; \
                  sh -c 'exit 7'; sh -c 'kill -9 $$'; cd /usr; env ls lib >/dev/null; exit 3";
    let outcome = host.shell(script).finish().exited(3);
    let events = outcome.events();

    let program = events.of_kind("process_started")[0];
    let command = events.of_kind("command_started")[0];
    assert_eq!(program["arguments"][0], "sh");
    assert_eq!(
        (&program["pid"], &program["parent"]),
        (&command["pid"], &1.into())
    );
    let tool = started(&events, "./tool");
    assert_eq!(
        (&tool["executable"], &tool["parent"]),
        (&"./tool".into(), &program["pid"])
    );
    assert_eq!(tool["directory"], host.project().to_str().unwrap());
    assert_eq!(tool["arguments"], serde_json::json!(["./tool", "one"]));
    // A script is run by something else, and for long enough to be looked at.
    let found = events.of_kind("process_found");
    assert_eq!(
        (found.len(), &found[0]["pid"]),
        (1, &tool["pid"]),
        "{found:?}"
    );
    assert_eq!(
        found[0]["arguments"],
        serde_json::json!(["/bin/sh", "./tool", "one"])
    );
    // One process that executes two programs has one end.
    let ls = started(&events, "ls");
    assert_eq!(
        (&ls["pid"], &ls["directory"]),
        (&started(&events, "env")["pid"], &"/usr".into())
    );
    ended(&events, ls);
    if ends_are_told() {
        let ends: Vec<_> = events.of_kind("process_exited");
        let with = |exit: Value| ends.iter().filter(|end| end["exit"] == exit).count();
        assert_eq!(with(serde_json::json!({ "status": 7 })), 1, "{ends:#?}");
        assert_eq!(with(serde_json::json!({ "signal": 9 })), 1, "{ends:#?}");
        assert_eq!(
            ended(&events, program)["exit"],
            serde_json::json!({ "status": 3 })
        );
    }
    host.wardian(&["verify", &outcome.name]).success();
    // People see programs when they ask for them.
    let shown = |arguments: &[&str]| host.wardian(arguments).success().text();
    assert!(!shown(&["events", &outcome.name]).contains("  process"));
    assert!(shown(&["events", &outcome.name, "--kind", "process_started"]).contains("./tool one"));
}

fn every_way_to_execute(mode: Mode) {
    let host = Host::new(mode);
    let events = host.python(WAYS).finish().success().events();
    for name in [
        "forked",
        "spawned",
        "by-vfork",
        "by-descriptor",
        "from-a-thread",
        "hidden",
        "elsewhere",
        "many",
        "/proc/self/exe",
    ] {
        let start = started(&events, name);
        assert_eq!(start["unreadable"], Value::Null, "{start}");
        ended(&events, start);
    }
    let executable = |name| started(&events, name)["executable"].as_str().unwrap();
    assert!(executable("by-descriptor").ends_with("bin/true"));
    let elsewhere = started(&events, "elsewhere");
    assert_eq!(
        (&elsewhere["executable"], &elsewhere["directory"]),
        (&"bin/true".into(), &"/usr".into())
    );
    assert_eq!(elsewhere["arguments"][1], "an\\xff\\x0aargument");
    assert_eq!(started(&events, "many")["truncated"], true);
    // Places where a program was looked for and is not are no starts; in doubt they are.
    let looked_up: Vec<_> = events
        .of_kind("process_started")
        .into_iter()
        .filter(|event| event["arguments"][0] == "looked-up")
        .map(|event| event["executable"].as_str().unwrap())
        .filter(|executable| !executable.starts_with("/root/"))
        .collect();
    assert_eq!(looked_up, ["/usr/bin/true"]);
}

fn superusers_and_nested_namespaces(mode: Mode) {
    let host = Host::new(mode);
    let events = host
        .python(WAYS)
        .as_inner_root()
        .finish()
        .success()
        .events();
    assert_eq!(started(&events, "hidden")["unreadable"], Value::Null);

    let nested = Policy::new().head("nested = true");
    let script = "unshare -Urmpf sh -c 'mount -t tmpfs none /mnt && cp /bin/true /mnt/inner && \
                  cd /mnt && ./inner && no-such-program; /bin/true last'";
    let outcome = host.shell(script).policy(&nested).finish().success();
    let events = outcome.events();
    let inner = started(&events, "./inner");
    assert_eq!(
        (&inner["directory"], &inner["unreadable"]),
        (&"/mnt".into(), &Value::Null)
    );
    // By the sandbox's numbers, not by those of the namespace within.
    assert!(inner["pid"].as_u64() > started(&events, "unshare")["pid"].as_u64());
    ended(&events, inner);
}

fn what_cannot_be_recorded_does_not_start(mode: Mode) {
    let host = Host::new(mode);
    // Long ones, for what else the sandbox writes has to fit into the limit below.
    let script = "dots=./././././././././././././././././././././././././././././././././; \
                  dots=$dots$dots$dots$dots$dots$dots$dots$dots; dots=$dots$dots$dots$dots; \
                  for i in $(seq 240); do /usr/bin/touch ran.$i ${dots}it || exit 1; done";
    let recorded = |events: &str| -> Vec<String> {
        let records = events
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let starts = records.map(|record: Value| record["event"].clone());
        starts
            .filter(|event| event["kind"] == "process_started")
            .filter_map(|event| event["arguments"][1].as_str().map(str::to_owned))
            .collect()
    };
    let ran = |limit: &str| {
        let outcome = host
            .shell(script)
            .option(&["--bind"])
            .by_way_of(&["sh", "-c", &format!("{limit} exec \"$@\""), "sh"])
            .finish();
        let journal = host.state(&outcome.name).join("journal.jsonl");
        let recorded = recorded(&std::fs::read_to_string(journal).unwrap());
        let mut files = 0;
        for entry in std::fs::read_dir(host.project()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.starts_with("ran.") {
                assert!(recorded.contains(&name), "{name} is not on record");
                std::fs::remove_file(path).unwrap();
                files += 1;
            }
        }
        (files, outcome)
    };
    // The control. As many starts of one program are recorded one by one.
    let (files, outcome) = ran("");
    assert_eq!(files, 240, "{outcome:?}");
    // In units of 512 bytes.
    let (files, outcome) = ran("trap '' XFSZ; ulimit -f 1000;");
    assert!(files < 200, "{files}: {outcome:?}");
    assert!(
        outcome.errors().contains("ermission") || outcome.errors().contains("permitted"),
        "{outcome:?}"
    );
}

/// The attack works: a program other than the one that was asked for runs. What is found shows it.
fn another_program_than_was_asked_for(mode: Mode) {
    let host = Host::new(mode);
    host.write(&host.project().join("switch.py"), SWITCH);
    let script = "cp /bin/sleep one; cp /bin/sleep two; exec /usr/bin/python3 switch.py";
    let outcome = host.shell(script).finish().success();
    let events = outcome.events();
    let by_pid = |kind| -> BTreeMap<String, String> {
        let name = |event: &Value| event["executable"].as_str().unwrap().to_owned();
        let all = events.of_kind(kind).into_iter();
        all.map(|event| (event["pid"].to_string(), name(event)))
            .collect()
    };
    let (asked, found) = (by_pid("process_started"), by_pid("process_found"));
    let mut switched = 0;
    for line in outcome.text().lines() {
        let (pid, runs) = line.split_once(' ').unwrap();
        if asked[pid].ends_with(runs) {
            continue;
        }
        switched += 1;
        assert!(
            found[pid].ends_with(runs),
            "{line}: asked {}, found {found:?}",
            asked[pid]
        );
    }
    assert!(switched > 0, "the attack never worked");
}

fn a_storm_is_counted(mode: Mode) {
    let host = Host::new(mode);
    let script = "for i in $(seq 1500); do /bin/true; done; /bin/echo after";
    let outcome = host
        .shell(script)
        .limit(Duration::from_secs(120))
        .finish()
        .success();
    let events = outcome.events();
    let storm = events
        .of_kind("process_started")
        .into_iter()
        .filter(|event| event["executable"] == "/bin/true")
        .count() as u64;
    let further: u64 = events
        .of_kind("further_processes")
        .into_iter()
        .filter(|event| event["executable"] == "/bin/true")
        .map(|event| event["count"].as_u64().unwrap())
        .sum();
    assert_eq!(storm + further, 1500);
    assert!(further > 0, "{storm} of 1500 were recorded one by one");
    // What was not seen before is recorded by itself.
    started(&events, "/bin/echo");
}

fn what_waits_can_be_ended(mode: Mode) {
    let host = Host::new(mode);
    let storm = "trap 'exit 9' INT; while :; do /bin/true; done";
    let started = host.shell(storm).start();
    std::thread::sleep(Duration::from_millis(1500));
    started.running.signal(Signal::INT);
    started
        .finish()
        .exited(9)
        .finished
        .within(Duration::from_secs(15));
    // Everything that the program may kill, which leaves nobody to answer for what it executes but pid 1.
    let everybody = "while :; do /bin/true; done & sleep 0.5; kill -9 -1; /bin/echo still there";
    let outcome = host.shell(everybody).finish();
    assert!(
        outcome.events().of_kind("sandbox_stopped")[0]["cause"] == "exited",
        "{outcome:?}"
    );
}

fn nothing_waits_for_a_supervisor_that_died(mode: Mode) {
    let host = Host::new(mode);
    let storm = "while :; do /bin/true; done & while :; do /bin/true; done";
    for tenths in 0..5 {
        let started = host.shell(storm).start();
        let supervisor = started.wait_for_supervisor();
        std::thread::sleep(Duration::from_millis(500 + 100 * tenths));
        let supervisor = Pid::from_raw(supervisor.cast_signed()).unwrap();
        rustix::process::kill_process(supervisor, Signal::KILL).unwrap();
        started.finish().failed();
        host.wardian(&["gc"]).success();
        let left = host.residue();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn where_somebody_else_listens(mode: Mode) {
    let host = Host::new(mode);
    let listen = host.base().join("listen.py");
    host.write(&listen, LISTEN);
    let outcome = host
        .shell("/bin/echo done")
        .by_way_of(&["/usr/bin/python3", listen.to_str().unwrap()])
        .finish()
        .success();
    assert!(
        outcome.errors().contains("is not recorded here"),
        "{outcome:?}"
    );
    let events = outcome.events();
    assert_eq!(events.of_kind("processes_unseen").len(), 1);
    assert!(events.of_kind("process_started").is_empty());
}
