//! `events`, `verify` and `ls` over journals that were recorded here.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use insta::assert_snapshot;
use wardian_events::{
    Event, Exit, FurtherProcesses, ProcessExited, ProcessFound, ProcessStarted, ProcessesUnseen,
    ResponseOutcome, Verdict,
};

use crate::fixture::{Home, everything, files_changed, request, response, started, stopped};

#[test]
fn events_are_one_line_each() {
    let home = Home::new();
    home.recorded("gitea", &everything("gitea"));
    let told = home.run(&["events", "gitea"]);
    assert!(!told.contains(['\x1b', '\r', '\u{202e}', '\u{9b}']));
    assert_snapshot!("events", told);
    assert_snapshot!("events_denied", home.run(&["events", "gitea", "--denied"]));
}

#[test]
fn events_in_json_are_the_journal_itself() {
    let home = Home::new();
    home.recorded("gitea", &everything("gitea"));
    let journal = fs::read_to_string(home.sandbox("gitea").join("journal.jsonl")).unwrap();
    assert_eq!(home.run(&["events", "gitea", "--json"]), journal);
    let denied = home.run(&["events", "gitea", "--json", "--denied"]);
    assert_eq!(denied.lines().count(), 4);
    assert!(denied.lines().all(|line| journal.contains(line)));
}

#[test]
fn programs_are_shown_on_request() {
    let home = Home::new();
    let mut events = vec![started("gitea")];
    events.extend(programs());
    events.push(stopped());
    home.recorded("gitea", &events);
    assert_snapshot!("events_without_programs", home.run(&["events", "gitea"]));
    let kinds = "process_started,process_found,process_exited,further_processes";
    let told = home.run(&["events", "gitea", "--kind", kinds]);
    assert!(!told.contains(['\x1b', '\r']));
    assert_snapshot!("events_programs", told);
    let ended = home.run(&["events", "gitea", "--json", "--kind", "process_exited"]);
    assert_eq!(ended.lines().count(), 1);
    assert_snapshot!(
        "events_unknown_kind",
        home.run(&["events", "gitea", "--kind", "proces_started"])
    );
}

fn programs() -> [Event; 6] {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect();
    [
        Event::ProcessesUnseen(ProcessesUnseen {
            why: "another program listens".into(),
        }),
        Event::ProcessStarted(ProcessStarted {
            pid: 7,
            parent: 1,
            executable: "/usr/bin/git".into(),
            arguments: texts(&["git", "commit", "-m", "two words\x1b[2J"]),
            directory: "/home/ann/acme".into(),
            truncated: false,
            unreadable: None,
        }),
        Event::ProcessStarted(ProcessStarted {
            pid: 8,
            parent: 7,
            executable: "./tool\r".into(),
            arguments: texts(&["./tool\r"]),
            directory: "/".into(),
            truncated: true,
            unreadable: Some("open(\"mem\"): permission denied (EACCES)".into()),
        }),
        Event::ProcessFound(ProcessFound {
            pid: 8,
            executable: "/usr/bin/python3.13".into(),
            arguments: texts(&["python3", "./tool"]),
            truncated: false,
        }),
        Event::ProcessExited(ProcessExited {
            pid: 8,
            exit: Some(Exit::Signal(9)),
            milliseconds: 1200,
        }),
        Event::FurtherProcesses(FurtherProcesses {
            executable: Some("/usr/bin/sed".into()),
            count: 1234,
        }),
    ]
}

#[test]
fn events_are_selected() {
    let home = Home::new();
    home.recorded("gitea", &everything("gitea"));
    let lines = |words: &[&str]| home.run(&[&["events", "gitea"], words].concat());
    assert_snapshot!("events_of_a_host", lines(&["--host", "*.github.com"]));
    assert_snapshot!(
        "events_of_a_host_json",
        lines(&["--host", "api.github.com", "--jq", ".event.kind"])
    );
    let kinds = lines(&["--kind", "dns,limit_reached", "--jq", "[.seq, .event.kind]"]);
    assert_eq!(kinds, "[6,\"dns\"]\n[12,\"dns\"]\n[20,\"limit_reached\"]\n");
    assert!(
        lines(&["--allowed"])
            .lines()
            .all(|line| line.contains("  allowed  "))
    );
    assert_eq!(
        lines(&["--until", "2026-11-21T04:23:47.250Z"])
            .lines()
            .count(),
        1
    );
    assert_eq!(
        lines(&["--since", "2026-11-21T04:23:52.250Z"])
            .lines()
            .count(),
        1
    );
    assert_eq!(lines(&["--since", "90s"]), "");
    assert_snapshot!(
        "events_refused",
        [
            lines(&["--since", "yesterday"]),
            lines(&["--jq", ".event |"]),
            lines(&["--jq", ".seq | .x"]),
            lines(&["--denied", "--allowed"]),
        ]
        .concat()
    );
}

#[test]
fn a_report_tells_the_record() {
    let home = Home::new();
    home.recorded("gitea", &everything("gitea"));
    let told = home.run(&["report", "gitea"]);
    assert!(!told.contains(['\x1b', '\r', '\u{202e}', '\u{9b}']));
    assert_snapshot!("report", told);
    assert_snapshot!("report_missing", home.run(&["report", "gitae"]));

    // It says that it cannot be trusted, and tells what there is.
    let journal = home.sandbox("gitea").join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(
        &journal,
        text.replacen("db.example.org", "db.example.com", 1),
    )
    .unwrap();
    let told = home.run(&["report", "gitea"]);
    assert!(
        told.starts_with("gitea  record broken at line 15: "),
        "{told}"
    );
}

#[test]
fn a_page_holds_nothing_but_text_from_inside() {
    let home = Home::new();
    let hostile =
        "/</td><script src=//evil.example></script><img src=x onerror=alert(1)>\" style='x'&amp;";
    let mut events = everything("gitea");
    let stopped = events.pop().unwrap();
    events.extend([
        request(7, Verdict::denied("no_rule_for_request"), hostile),
        request(8, Verdict::Allowed, hostile),
        files_changed(hostile),
        stopped,
    ]);
    home.recorded("gitea", &events);
    let page = home.run(&["report", "gitea", "--html", "-"]);
    // Every tag in it is one of ours.
    let tags = page.match_indices('<').map(|(at, _)| {
        let rest = &page[at + 1..];
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        rest.split(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap()
    });
    const OURS: [&str; 36] = [
        "", "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "h3",
        "p", "ul", "ol", "li", "section", "div", "b", "span", "small", "svg", "rect", "table",
        "thead", "tbody", "tr", "th", "td", "code", "time", "a", "i", "em", "strong", "br",
    ];
    for tag in tags {
        assert!(OURS.contains(&tag), "<{tag}>");
    }
    assert!(page.contains("&lt;script src=//evil.example&gt;"));
    assert!(
        !page.contains("<script") && !page.contains("<img") && !page.contains("onerror=alert(1)>")
    );
    // Nothing is fetched: no address stands where a browser would follow it.
    for attribute in ["href=", "src=\"", "url(", "@import", "<link", "<base"] {
        assert!(!page.contains(attribute), "{attribute}");
    }
    assert!(page.contains("default-src 'none'; style-src 'sha256-"));

    let path = home.path().join("page.html");
    assert_eq!(home.run(&["report", "gitea", "--html", "page.html"]), "");
    assert_eq!(fs::read_to_string(&path).unwrap(), page);
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn events_are_coloured_only_on_request() {
    let home = Home::new();
    home.recorded(
        "gitea",
        &[request(1, Verdict::denied("no_rule"), "/\x1b[2J")],
    );
    let colour = |variables: &[(&str, &str)]| {
        let output = home
            .command(&["events", "gitea"])
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!colour(&[("TERM", "xterm")]).contains('\x1b'));
    let coloured = colour(&[("CLICOLOR_FORCE", "1")]);
    assert!(
        coloured.contains("\x1b[31;1mdenied\x1b[0m") && coloured.contains(r"/\x1b[2J"),
        "{coloured:?}"
    );
    assert!(!colour(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains('\x1b'));
}

#[test]
fn following_ends_with_the_sandbox() {
    let home = Home::new();
    let journal = home.recorded("gitea", &[started("gitea")]);
    let alive = home.keep_alive("gitea");
    let mut follower = home
        .command(&["events", "gitea", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.next().unwrap().contains("started"));

    journal
        .append(&request(1, Verdict::Allowed, "/quick"))
        .unwrap();
    journal
        .append(&response(1, ResponseOutcome::Complete))
        .unwrap();
    assert!(lines.next().unwrap().contains("/quick  200"));
    journal
        .append(&request(2, Verdict::Allowed, "/slow"))
        .unwrap();
    assert!(lines.next().unwrap().contains("/slow  open"));
    journal
        .append(&response(2, ResponseOutcome::Complete))
        .unwrap();
    assert!(lines.next().unwrap().contains("/slow  200"));

    journal.append(&stopped()).unwrap();
    assert!(lines.next().unwrap().contains("stopped"));
    assert_eq!(lines.next(), None);
    assert!(follower.wait().unwrap().success());
    drop(alive);
}

#[test]
fn following_ends_when_the_supervisor_is_gone() {
    let home = Home::new();
    home.recorded("gitea", &[started("gitea")]);
    assert!(
        home.run(&["events", "gitea", "-f"])
            .ends_with("wardian 0.1.0\n")
    );
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let home = Home::new();
    let events: Vec<_> = (0..5000)
        .map(|id| request(id, Verdict::denied("no_rule"), "/"))
        .collect();
    home.recorded("gitea", &events);
    let mut child = home
        .command(&["events", "gitea"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut String::new())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[test]
fn unknown_names_are_met_with_near_ones() {
    let home = Home::new();
    assert_snapshot!("unknown_no_sandbox", home.run(&["events", "gitea"]));
    home.recorded("gitea", &[started("gitea")]);
    assert_snapshot!("unknown_near", home.run(&["verify", "gitae"]));
    assert_snapshot!("unknown_far", home.run(&["events", "..\x1b[2J"]));
    home.recorded("work", &[started("work"), stopped()]);
    home.record("work", WORK);
    fs::create_dir_all(home.sandbox("empty")).unwrap();
    assert_snapshot!("no_journal", home.run(&["events", "empty"]));
}

#[test]
fn a_whole_journal_is_verified() {
    let home = Home::new();
    home.recorded("gitea", &everything("gitea"));
    assert_snapshot!("verify_whole", home.run(&["verify", "gitea"]));
    assert_snapshot!(
        "verify_whole_json",
        home.run(&["verify", "gitea", "--json"])
    );
    home.recorded("open", &[started("open")]);
    assert_snapshot!("verify_open", home.run(&["verify", "open"]));
    let _alive = home.keep_alive("open");
    assert!(
        home.run(&["verify", "open"])
            .contains("the sandbox is running")
    );
}

#[test]
fn a_broken_journal_is_named() {
    let home = Home::new();
    home.recorded("gitea", &everything("gitea"));
    let path = home.sandbox("gitea").join("journal.jsonl");
    let journal = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = journal.lines().collect();

    let mut removed = lines.clone();
    removed.remove(9);
    fs::write(&path, removed.join("\n") + "\n").unwrap();
    assert_snapshot!("verify_removed", home.run(&["verify", "gitea"]));
    assert_snapshot!(
        "verify_removed_json",
        home.run(&["verify", "gitea", "--json"])
    );

    fs::write(&path, journal.replacen("no_rule", "no_rude", 1)).unwrap();
    assert_snapshot!("verify_changed", home.run(&["verify", "gitea"]));

    // The chain alone would not show these two; the anchor beside the journal does.
    fs::write(&path, journal.replacen("\"denied\":5", "\"denied\":0", 1)).unwrap();
    assert_snapshot!("verify_last_changed", home.run(&["verify", "gitea"]));
    fs::write(&path, lines[..9].join("\n") + "\n").unwrap();
    assert_snapshot!("verify_cut_off", home.run(&["verify", "gitea"]));

    fs::write(&path, "\x1b]0;junk\x07\n").unwrap();
    assert_snapshot!("verify_junk", home.run(&["verify", "gitea"]));
}

#[test]
fn an_anchor_kept_elsewhere_shows_a_record_written_anew() {
    let home = Home::new();
    let anchor = home
        .recorded("gitea", &[started("gitea"), stopped()])
        .anchor()
        .to_string();
    assert!(
        home.run(&["verify", "gitea", "--anchor", &anchor])
            .contains("whole")
    );
    fs::remove_dir_all(home.sandbox("gitea")).unwrap();
    home.recorded(
        "gitea",
        &[
            started("gitea"),
            request(1, Verdict::Allowed, "/"),
            stopped(),
        ],
    );
    assert!(home.run(&["verify", "gitea"]).contains("whole"));
    let told = home.run(&["verify", "gitea", "--anchor", &anchor]);
    assert!(
        told.contains("broken at line 2") && told.contains("exit status: 1"),
        "{told}"
    );
    let told = home.run(&["verify", "gitea", "--anchor", "2:xyz"]);
    assert!(
        told.contains("not an anchor") && told.contains("exit status: 2"),
        "{told}"
    );
}

#[test]
fn what_is_odd_about_a_whole_journal_is_said() {
    let home = Home::new();
    home.recorded("gitea", &[started("gitea")]);
    let path = home.sandbox("gitea").join("journal.jsonl");
    let torn = fs::read_to_string(&path).unwrap() + r#"{"seq":2,"time"#;
    fs::write(&path, torn).unwrap();
    assert_snapshot!("verify_torn", home.run(&["verify", "gitea"]));
    assert_snapshot!("events_torn", home.run(&["events", "gitea"]));
    let clock = wardian_events::ManualClock::at("2026-01-01T00:00:00.000Z".parse().unwrap());
    wardian_events::Journal::reopen(&path, "gitea", clock).unwrap();
    assert_snapshot!("verify_reopened", home.run(&["verify", "gitea"]));
    assert_snapshot!("events_reopened", home.run(&["events", "gitea"]));
}

/// A record of a sandbox that holds work in two places.
const WORK: &str = r#"{
    "command": ["claude"],
    "workspaces": {
        "main": { "path": "/home/ann/acme", "mode": "clone" },
        "others": [{ "path": "/home/ann/web", "mode": "overlay" }]
    },
    "persistence": "ephemeral",
    "privilege": "rootless",
    "started": 1795235027,
    "supervisor": 7,
    "cgroups": [],
    "ended": {
        "at": 1795235211,
        "status": 0,
        "kept": [
            {
                "path": "/home/ann/acme",
                "upper": "/state/workspaces/0/upper",
                "work": { "kind": "session", "refs": 1, "files": 3, "left_out": 0 }
            },
            {
                "path": "/home/ann/web",
                "upper": "/state/workspaces/1/upper",
                "work": { "kind": "changes" }
            }
        ]
    }
}"#;

#[test]
fn work_is_not_removed_unasked() {
    let home = Home::new();
    home.recorded("work", &[started("work"), stopped()]);
    home.record("work", WORK);
    assert_snapshot!("rm_work", home.run(&["rm", "work"]));
    assert!(home.sandbox("work").exists());
    assert_eq!(home.run(&["rm", "--force", "work"]), "");
    assert!(!home.sandbox("work").exists());
    // What is at home already is not lost.
    home.recorded("half", &[started("half"), stopped()]);
    home.record(
        "half",
        &WORK.replacen("\"upper\"", "\"applied\": true, \"upper\"", 1),
    );
    assert_snapshot!("rm_half_applied", home.run(&["rm", "half"]));
    home.recorded("applied", &[started("applied"), stopped()]);
    home.record(
        "applied",
        &WORK.replace("\"upper\"", "\"applied\": true, \"upper\""),
    );
    assert_eq!(home.run(&["rm", "applied"]), "");
    assert!(!home.sandbox("applied").exists());
}

#[test]
fn sandboxes_are_listed() {
    let home = Home::new();
    assert_snapshot!("ls_none", home.run(&["ls"]));
    home.recorded("gitea", &everything("gitea"));
    home.recorded("running", &[started("running")]);
    let _alive = home.keep_alive("running");
    home.recorded("lost", &[started("lost")]);
    home.recorded("work", &[started("work"), stopped()]);
    home.record("work", WORK);
    fs::create_dir_all(home.sandbox("empty")).unwrap();
    fs::create_dir_all(home.sandbox("odd")).unwrap();
    fs::write(home.sandbox("odd").join("journal.jsonl"), "junk\n").unwrap();
    fs::write(home.sandbox("not-a-directory"), "").unwrap();
    assert_snapshot!("ls", home.run(&["ls"]));
    assert_snapshot!("ls_json", home.run(&["ls", "--json"]));
}
