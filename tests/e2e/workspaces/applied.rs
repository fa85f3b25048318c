//! Work that has been brought home is not missed; work that came later is.

use serde_json::Value;
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;

use super::{ME, repository, shell};

wardian_tests::both_modes!(
    what_was_applied_is_missed_no_more,
    parts_add_up_and_what_cannot_come_stays,
    an_overlay_that_was_applied_is_missed_no_more,
);

/// Of the sandbox's first workspace.
#[track_caller]
fn is_applied(host: &Host, name: &str) -> bool {
    let listed = host.wardian(&["ls", "--json"]).success().text();
    let all: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let one = all.iter().find(|it| it["name"] == name).unwrap();
    one["work"][0]["applied"].as_bool().unwrap()
}

#[track_caller]
fn resume(host: &Host, name: &str, script: &str) {
    host.wardian(&["resume", name, "--", "sh", "-c", script])
        .success();
}

/// Not applied, as `ls` and `rm` see it.
#[track_caller]
fn assert_missed(host: &Host, name: &str) {
    assert!(!is_applied(host, name));
    let refused = host.wardian(&["rm", name]).failed();
    assert!(refused.errors().contains("holds work"), "{refused:?}");
}

#[track_caller]
fn clean_repository(host: &Host) {
    repository(host);
    shell(host, "rm untracked .env; git checkout -q a");
}

fn what_was_applied_is_missed_no_more(mode: Mode) {
    let host = Host::new(mode);
    clean_repository(&host);
    let run = host.shell(&format!(
        "{ME} echo new >new; git add new; git commit -qm new; echo more >>a"
    ));
    let name = run.name().to_owned();
    run.finish().success();
    assert_missed(&host, &name);
    host.wardian(&["apply", &name]).success();
    assert!(is_applied(&host, &name));
    let table = host.wardian(&["ls"]).success();
    assert!(table.text().contains("applied"), "{table:?}");
    // A look around is no work.
    resume(
        &host,
        &name,
        "git status; git checkout -q other; git checkout -q -",
    );
    assert!(is_applied(&host, &name));
    for work in [
        "echo again >again",
        "git add again; git commit -qm again",
        "git tag late",
        "git checkout -q --detach; git commit -q --allow-empty -m late; git checkout -q -",
    ] {
        resume(&host, &name, work);
        assert_missed(&host, &name);
        host.wardian(&["apply", &name]).success();
    }
    // What was taken back is missed again.
    resume(&host, &name, "echo last >last");
    host.wardian(&["apply", &name]).success();
    host.wardian(&["apply", "--undo", &name]).success();
    assert_missed(&host, &name);
}

fn parts_add_up_and_what_cannot_come_stays(mode: Mode) {
    let host = Host::new(mode);
    clean_repository(&host);
    let script = format!("{ME} echo new >new; git add new; git commit -qm new; echo more >>a");
    let session = |script: &str| {
        let run = host.shell(script);
        let name = run.name().to_owned();
        run.finish().success();
        name
    };
    let name = session(&script);
    host.wardian(&["apply", "--commits", &name]).success();
    assert_missed(&host, &name);
    host.wardian(&["apply", "--changes", &name]).success();
    assert!(is_applied(&host, &name));
    host.wardian(&["rm", &name]).success();
    assert!(!host.state(&name).exists());
    // Merged with what the user wrote meanwhile.
    shell(
        &host,
        "git checkout -q a; seq 20 >n; git add n; git commit -qm n",
    );
    let name = session("sed -i s/^20$/twenty/ n");
    shell(&host, "sed -i s/^1$/one/ n");
    host.wardian(&["apply", &name]).success();
    assert_eq!(
        shell(&host, "sed -n '1p;20p' n; git checkout -q n"),
        "one\ntwenty\n"
    );
    // By hand: there is nothing left to apply.
    shell(&host, "sed -i s/^20$/twenty/ n");
    host.wardian(&["apply", &name]).success();
    assert!(is_applied(&host, &name));
    shell(&host, "git checkout -q n");
    for script in ["echo x >x; mkfifo pipe", "echo x >x; git init -q in"] {
        let name = session(script);
        host.wardian(&["apply", &name]).success();
        assert_missed(&host, &name);
        shell(&host, "rm x");
    }
}

fn an_overlay_that_was_applied_is_missed_no_more(mode: Mode) {
    let host = Host::new(mode);
    shell(&host, "mkdir d; echo a >a; echo b >d/b");
    let run = host.shell("echo more >>a; rm -r d; mkdir d; echo new >d/new");
    let name = run.name().to_owned();
    run.finish().success();
    assert_missed(&host, &name);
    host.wardian(&["apply", &name]).success();
    assert!(is_applied(&host, &name));
    resume(&host, &name, "cat a d/new; ls -R");
    assert!(is_applied(&host, &name));
    // Of the same length, and as if it had been written long ago.
    resume(
        &host,
        &name,
        "touch -r a then; printf 'b\\nmore\\n' >a; touch -r then a; rm then",
    );
    assert_missed(&host, &name);
    host.wardian(&["apply", &name]).success();
    resume(&host, &name, "rm d/new");
    assert_missed(&host, &name);
    host.wardian(&["apply", &name]).success();
    assert!(is_applied(&host, &name));
    host.wardian(&["apply", "--undo", &name]).success();
    assert_missed(&host, &name);
}
