//! The journal: what is on it, that it cannot be forged from inside, and that tampering shows. Security case 32.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;

use crate::support::raw;

wardian_tests::both_modes!(
    the_story_of_a_run,
    case_32_one_valid_record_whatever_it_holds,
    tampering_is_named,
    denied_events_alone,
    follow_until_the_end,
    the_record_is_out_of_reach,
    sandboxes_that_do_not_exist,
    every_ending_is_listed,
    the_supervisors_own_words,
);

fn the_story_of_a_run(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin_with("origin.test", origin.address(), "paths = [\"/ok\"]");
    let outcome = host.shell("curl -sS -d abc https://origin.test/ok; curl -sS https://origin.test/no; curl -sS https://denied.test; exit 3").policy(&policy).finish().exited(3);
    let events = outcome.events();
    let kinds: Vec<&str> = events
        .all()
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds[0], "sandbox_started");
    assert_eq!(kinds.last(), Some(&"sandbox_stopped"));
    for kind in [
        "policy_in_force",
        "self_probe",
        "command_started",
        "dns",
        "connection",
        "request",
        "response",
        "command_exited",
    ] {
        assert!(kinds.contains(&kind), "no {kind}: {kinds:?}");
    }
    let requests = events.of_kind("request");
    assert_eq!(requests.len(), 2);
    assert_eq!(
        (
            &requests[0]["method"],
            &requests[0]["host"],
            &requests[0]["path"]
        ),
        (&"POST".into(), &"origin.test".into(), &"/ok".into())
    );
    assert_eq!(
        (&requests[0]["verdict"], &requests[1]["verdict"]),
        (&"allowed".into(), &"denied".into())
    );
    let response = events.of_kind("response")[0];
    assert_eq!(
        (&response["status"], &response["bytes_up"]),
        (&200.into(), &3.into()),
        "{response}"
    );
    assert!(
        response["milliseconds"].is_u64() && response["bytes_down"].as_u64() == Some(22),
        "{response}"
    );
    assert!(
        events.of_kind("command_exited")[0]
            .to_string()
            .contains('3')
    );
    host.wardian(&["verify", &outcome.name]).success();
    // For people: a table without escape sequences, when it does not go to a terminal.
    let shown = host.wardian(&["events", &outcome.name]).success().text();
    assert!(
        shown.contains("origin.test") && shown.contains("denied") && !shown.contains('\u{1b}'),
        "{shown}"
    );
}

fn case_32_one_valid_record_whatever_it_holds(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let policy = Policy::new().pin_plain("origin.test", origin.address());
    let forged = "{\\\"kind\\\":\\\"forged\\\"}";
    for request in [
        format!("GET /a\\r\\n{forged}\\r\\n HTTP/1.1\\r\\nHost: origin.test\\r\\n\\r\\n"),
        format!(
            "GET /a%0d%0a{forged} HTTP/1.1\\r\\nHost: origin.test\\r\\nConnection: close\\r\\n\\r\\n"
        ),
        format!("GET /a HTTP/1.1\\r\\nHost: origin.test\\r\\nX: y\\n{forged}\\r\\n\\r\\n"),
        format!(
            "GET /a\\x00b HTTP/1.1\\r\\nHost: origin.test\\r\\nUser-Agent: \\x1b]0;x\\x07\\r\\n\\r\\n{forged}"
        ),
        format!("G\\x0aET{forged} / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"),
    ] {
        let words = [
            "/usr/bin/python3",
            "-c",
            crate::support::RAW,
            "origin.test",
            "80",
            "plain",
            &request,
        ];
        let outcome = host.run(words).policy(&policy).finish().success();
        let journal = fs::read(host.state(&outcome.name).join("journal.jsonl")).unwrap();
        let text = std::str::from_utf8(&journal).expect("the journal is UTF-8");
        let records: Vec<serde_json::Value> = text
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect();
        assert!(
            !text
                .lines()
                .any(|line| line.starts_with("{\"kind\":\"forged\""))
                && text.bytes().all(|byte| byte >= b' ' || byte == b'\n')
        );
        // Refused as a request, as bytes that are no request, or as a connection that is not HTTP; or allowed.
        let probe = records
            .iter()
            .position(|record| record["event"]["kind"] == "self_probe")
            .unwrap();
        let about = records[probe..]
            .iter()
            .map(|record| &record["event"])
            .filter(|event| {
                event["kind"] == "request"
                    || event["kind"] == "protocol_error"
                    || (event["kind"] == "connection" && event["verdict"] == "denied")
            });
        assert_eq!(about.count(), 1, "{request}: {text}");
        host.wardian(&["verify", &outcome.name]).success();
    }
    let told = raw(
        &host,
        &policy,
        "origin.test",
        "plain",
        "GET / HTTP/1.1\\r\\nHost: origin.test\\r\\nConnection: close\\r\\n\\r\\n",
    );
    assert_eq!(told[0], "200");
}

fn tampering_is_named(mode: Mode) {
    let host = Host::new(mode);
    let outcome = host
        .shell("curl -s https://denied.test; curl -s https://denied2.test; exit 0")
        .finish()
        .success();
    let path = host.state(&outcome.name).join("journal.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    assert!(lines.len() >= 6);
    host.wardian(&["verify", &outcome.name]).success();
    let changed =
        lines[3]
            .replacen("denied", "allowed", 1)
            .replacen("\"kind\":\"", "\"kind\":\"x", 1);
    let swapped = [&lines[..2], &[lines[3], lines[2]], &lines[4..]].concat();
    for (what, text, line) in [
        (
            "changed",
            [&lines[..3], &[changed.as_str()], &lines[4..]]
                .concat()
                .join("\n")
                + "\n",
            Some(4),
        ),
        (
            "removed",
            [&lines[..3], &lines[4..]].concat().join("\n") + "\n",
            Some(4),
        ),
        ("swapped", swapped.join("\n") + "\n", Some(3)),
        (
            "cut off at the end",
            lines[..lines.len() - 2].join("\n") + "\n",
            None,
        ),
        ("emptied", String::new(), None),
    ] {
        fs::write(&path, text).unwrap();
        let told = host.wardian(&["verify", &outcome.name]).failed();
        let said = told.text() + &told.errors();
        if let Some(line) = line {
            // A record that was changed shows in itself, or in that the next one does not continue it.
            let named = [line, line + 1]
                .iter()
                .any(|line| said.contains(&format!("line {line}:")));
            assert!(named, "{what}: line {line} is not named: {said}");
        }
    }
    fs::write(&path, whole).unwrap();
    host.wardian(&["verify", &outcome.name]).success();
}

fn denied_events_alone(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let outcome = host
        .shell("curl -sS https://origin.test/; curl -s -4 https://denied.test/; exit 0")
        .policy(&policy)
        .finish()
        .success();
    let told = host
        .wardian(&["events", &outcome.name, "--denied", "--json"])
        .success()
        .text();
    assert!(
        told.lines().count() >= 1 && told.lines().all(|line| line.contains("denied.test")),
        "{told}"
    );
}

fn follow_until_the_end(mode: Mode) {
    let host = Host::new(mode);
    let started = host
        .shell("sleep 1.5; curl -s https://denied.test/; sleep 0.5; exit 0")
        .start();
    started.wait_for_supervisor();
    let followed = host.wardian(&["events", started.name(), "--follow", "--json"]);
    started.finish().success();
    let followed = followed.success().text();
    assert!(
        followed.contains("denied.test")
            && followed.lines().last().unwrap().contains("sandbox_stopped"),
        "{followed}"
    );
}

fn the_record_is_out_of_reach(mode: Mode) {
    let host = Host::new(mode);
    let script = "find / -name 'journal.jsonl*' -not -path '/proc/*' 2>/dev/null; find / -name supervisor.log 2>/dev/null; ls \"$HOME/.local/share\" 2>/dev/null; echo end";
    for run in [host.shell(script), host.shell(script).as_inner_root()] {
        assert_eq!(run.text(), "end\n");
    }
}

fn sandboxes_that_do_not_exist(mode: Mode) {
    let host = Host::new(mode);
    for verb in ["events", "verify", "rm"] {
        let told = host.wardian(&[verb, "no-such-sandbox"]).failed();
        assert!(
            told.errors().contains("no-such-sandbox"),
            "{verb}: {told:?}"
        );
    }
}

/// The state of the sandbox `name` as `ls` shows it to people and to scripts.
fn listed(host: &Host, name: &str) -> (String, serde_json::Value) {
    let shown = host.wardian(&["ls"]).success().text();
    let row = shown.lines().find(|line| line.starts_with(name));
    let state = row.and_then(|row| row[name.len()..].trim().split("  ").next());
    let all: serde_json::Value =
        serde_json::from_str(&host.wardian(&["ls", "--json"]).success().text()).unwrap();
    let all = all.as_array().unwrap();
    let json = all.iter().find(|sandbox| sandbox["name"] == name);
    let pick = |key: &str| json.map_or(serde_json::Value::Null, |json| json[key].clone());
    let picked = serde_json::json!([pick("state"), pick("cause"), pick("exit"), pick("limits")]);
    (state.unwrap_or("not listed").to_owned(), picked)
}

fn every_ending_is_listed(mode: Mode) {
    use serde_json::json;
    let host = Host::new(mode);
    let run = |script: &str, options: &[&str]| {
        let outcome = host.run(["bash", "-c", script]).option(options).finish();
        listed(&host, &outcome.name)
    };
    let none: [&str; 0] = [];
    for (script, options, state, json) in [
        (
            "exit 3",
            &[] as &[&str],
            "exited 3",
            json!(["stopped", "exited", {"status": 3}, none]),
        ),
        (
            "kill -9 $$",
            &[],
            "signal 9",
            json!(["stopped", "exited", {"signal": 9}, none]),
        ),
        (
            "sleep 20",
            &["--time", "1s"],
            "time limit",
            json!(["stopped", "limit", null, ["time"]]),
        ),
        (
            "for i in 1 2 3; do head -c 900K /dev/zero >f$i; done; sleep 20",
            &["--disk", "1M"],
            "disk limit",
            json!(["stopped", "limit", null, ["disk"]]),
        ),
    ] {
        assert_eq!(run(script, options), (state.to_owned(), json), "{script}");
    }
    // Only a cgroup tells that it refused something, and ordinary users have none here.
    if mode == Mode::Root {
        let forks = "(for i in $(seq 40); do sleep 1 & done) 2>/dev/null; exit 0";
        let hungry = "exec /usr/bin/python3 -c 'bytearray(200 << 20)'";
        for (script, options, state, json) in [
            (
                forks,
                ["--pids", "20"],
                "exited 0, pids limit",
                json!(["stopped", "exited", {"status": 0}, ["pids"]]),
            ),
            (
                hungry,
                ["--memory", "64M"],
                "signal 9, memory limit",
                json!(["stopped", "exited", {"signal": 9}, ["memory"]]),
            ),
        ] {
            assert_eq!(run(script, &options), (state.to_owned(), json), "{script}");
        }
    }
    for (victim, state, cause) in [
        ("client", "cut off", "requested"),
        ("init", "failed", "failed"),
        ("supervisor", "died", "supervisor_lost"),
    ] {
        let started = host.shell("echo >ready; sleep 30").start();
        let name = started.name().to_owned();
        let ready = host.state(&name).join("layers/workspaces/0/upper/ready");
        crate::support::wait_until(|| ready.exists());
        assert_eq!(listed(&host, &name).0, "running");
        match victim {
            "client" => started.running.signal(Signal::KILL),
            "init" => kill(crate::support::init_of(&started)),
            _ => kill(started.supervisor().unwrap()),
        }
        started.finish();
        // A client does not wait for its supervisor when it is killed.
        crate::support::wait_until(|| listed(&host, &name).0 != "running");
        let json = json!(["stopped", cause, null, none]);
        assert_eq!(listed(&host, &name), (state.to_owned(), json), "{victim}");
    }
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

fn the_supervisors_own_words(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new()
        .pin_with("origin.test", origin.address(), "credential = \"key\"")
        .table("[env]\nKEY = { credential = \"key\" }")
        .table("[credential.key]\nsource = { env = \"REAL\" }\nhosts = [\"origin.test\"]");
    // A DNS question over TCP that ends early is nothing to record, and a detail to log.
    let script = "curl -sS -H \"authorization: Bearer $KEY\" https://origin.test/; printf '\\0\\77x' >/dev/tcp/10.0.0.1/53; exit 0";
    let run = |level: &str| {
        let outcome = host
            .run(["bash", "-c", script])
            .policy(&policy)
            .host_env("REAL", "the-real-value")
            .host_env("WARDIAN_LOG", level)
            .finish()
            .success();
        fs::read_to_string(host.state(&outcome.name).join("supervisor.log")).unwrap()
    };
    let detail = "wardian_egress::dns::listen: a DNS connection ended";
    let log = run("trace");
    assert!(
        log.contains("the program runs") && log.contains(detail),
        "{log}"
    );
    assert!(
        log.lines().all(|line| line
            .split_whitespace()
            .nth(2)
            .unwrap()
            .starts_with("wardian_")),
        "{log}"
    );
    assert!(!log.contains("the-real-value"), "{log}");
    let usual = run("");
    assert!(
        usual.contains("the program runs") && !usual.contains(detail),
        "{usual}"
    );
    assert_eq!(run("error"), "");
    let refused = host
        .run(["true"])
        .host_env("WARDIAN_LOG", "loud")
        .finish()
        .exited(2);
    assert!(refused.errors().contains("off, error, warn"), "{refused:?}");
}
