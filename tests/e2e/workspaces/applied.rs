//! Work that has been brought home is not missed; work that came later is.

use serde_json::Value;
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;

use super::{ME, repository, shell};

wardian_tests::both_modes!(
    what_was_applied_is_missed_no_more,
    parts_add_up_and_what_cannot_come_stays,
    an_overlay_that_was_applied_is_missed_no_more,
    what_no_branch_leads_to_is_named_and_can_be_had,
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
        host.wardian(&["apply", "--all", &name]).success();
        assert!(is_applied(&host, &name), "{work}");
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

/// Tags, stashes, and commits that the session has left behind.
fn what_no_branch_leads_to_is_named_and_can_be_had(mode: Mode) {
    let host = Host::new(mode);
    clean_repository(&host);
    let run = host.shell(&format!(
        "{ME} git commit -q --allow-empty -m kept; git tag -a -m note mark; echo x >>a; git stash -q
         git commit -q --allow-empty -m lost; git commit -q --allow-empty -m 'lost too'; git reset -q --hard HEAD~2
         git commit -q --allow-empty -m old; git commit -q --amend --allow-empty -m new; git branch -f other HEAD~
         git checkout -q --detach; git commit -q --allow-empty -m alone"
    ));
    let name = run.name().to_owned();
    run.finish().success();
    let loose = ["tag mark", "stash ", "lost too"];
    let diff = host.wardian(&["diff", "--stat", &name]).success();
    let errors = diff.errors();
    let (_, named) = errors.split_once("no branch leads to").unwrap();
    assert!(loose.iter().all(|it| named.contains(it)), "{errors}");
    assert!(
        !named.contains("old") && !named.contains("alone"),
        "{errors}"
    );
    assert_eq!(named.matches("lost").count(), 1, "{errors}");
    let applied = host.wardian(&["apply", &name]).success();
    assert!(applied.errors().contains("lost too"), "{applied:?}");
    let branches = "git for-each-ref --format='%(refname) %(subject)' | grep /wardian";
    let sorted = |text: String| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines.join("\n")
    };
    assert_eq!(
        sorted(shell(&host, branches)),
        format!(
            "refs/heads/wardian-{name}/HEAD alone\nrefs/heads/wardian-{name}/other kept\nrefs/heads/wardian/{name} new"
        )
    );
    assert_missed(&host, &name);
    let before = shell(&host, "git for-each-ref");
    host.wardian(&["apply", "--all", &name]).success();
    assert!(is_applied(&host, &name));
    let now = shell(&host, branches);
    for (kind, subject) in [
        ("refs/heads", "lost too"),
        ("refs/heads", "WIP on"),
        ("refs/tags", "note"),
    ] {
        let mut lines = now.lines();
        assert!(
            lines.any(|line| line.starts_with(&format!("{kind}/wardian-{name}/"))
                && line.contains(subject)),
            "{subject}: {now}"
        );
    }
    let log = format!(
        "git log --format=%s -2 $(git for-each-ref --format='%(refname)' 'refs/heads/wardian-{name}/lost-*')"
    );
    assert_eq!(shell(&host, &log), "lost too\nlost\n");
    shell(
        &host,
        &format!(
            "git stash apply -q $(git for-each-ref --format='%(refname)' 'refs/heads/wardian-{name}/stash-*'); grep -q x a; git checkout -q a; git fsck --strict"
        ),
    );
    host.wardian(&["apply", "--undo", &name]).success();
    assert_eq!(shell(&host, "git for-each-ref"), before);
    assert_missed(&host, &name);
    host.wardian(&["apply", "--all", &name]).success();
    host.wardian(&["rm", &name]).success();
}
