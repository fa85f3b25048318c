//! Anchors that are kept elsewhere show what nobody could show who has only the record.

use std::fs;
use std::path::Path;

use serde_json::Value;
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;

wardian_tests::both_modes!(
    a_record_that_was_cut_off_or_written_anew_is_found,
    anchors_lie_in_a_repository,
    anchors_go_to_a_server,
    nothing_is_kept_within_reach,
);

/// Cuts the journal off as somebody would who can write all of the sandbox's directory.
fn cut_off(directory: &Path, keep: usize) {
    let path = directory.join("journal.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> = text.lines().take(keep).collect();
    fs::write(&path, kept.join("\n") + "\n").unwrap();
    fs::remove_file(directory.join("journal.anchor")).unwrap();
}

fn a_record_that_was_cut_off_or_written_anew_is_found(mode: Mode) {
    let host = Host::new(mode);
    let anchors = host.home().join("anchors.jsonl");
    let file = anchors.to_str().unwrap();
    let run = |script: &str| {
        host.shell(script)
            .named("kept")
            .option(&["--anchor", file])
            .finish()
            .success();
    };
    run("curl -s https://denied.test/; exit 0");
    let directory = host.state("kept");
    let lines = fs::read_to_string(&anchors).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["sandbox"], &last["stopped"]),
        (&"kept".into(), &true.into())
    );
    host.wardian(&["verify", "kept", "--anchor", file])
        .success();

    let whole = fs::read(directory.join("journal.jsonl")).unwrap();
    let beside = fs::read(directory.join("journal.anchor")).unwrap();
    cut_off(&directory, 6);
    // The control: without it, nobody can tell.
    host.wardian(&["verify", "kept"]).success();
    let told = host
        .wardian(&["verify", "kept", "--anchor", file])
        .exited(1);
    assert!(
        told.text().contains("its end was cut off"),
        "{}",
        told.text()
    );
    host.write(&directory.join("journal.jsonl"), whole);
    host.write(&directory.join("journal.anchor"), beside);
    host.wardian(&["verify", "kept", "--anchor", file])
        .success();

    // Another record under the same name, as good as new.
    host.wardian(&["rm", "--force", "kept"]).success();
    let again = host.shell("exit 0").named("kept").finish();
    again.success();
    host.wardian(&["verify", "kept"]).success();
    let told = host
        .wardian(&["verify", "kept", "--anchor", file])
        .exited(1);
    assert!(
        told.errors().contains("none of them of this record"),
        "{}",
        told.errors()
    );
}

fn anchors_lie_in_a_repository(mode: Mode) {
    let host = Host::new(mode);
    let audit = host.base().join("audit");
    host.make_directory(&audit);
    let script = format!(
        "set -e; cd {}; git init -q .; printf '#!/bin/sh\\ntouch {}/ran\\n' >.git/hooks/reference-transaction; chmod +x .git/hooks/reference-transaction",
        audit.display(),
        host.base().display()
    );
    host.outside(["sh", "-c", &script]).success();
    let _ = fs::remove_file(host.base().join("ran"));
    let place = format!("git:{}", audit.display());
    host.shell("exit 0").named("kept").finish().success();
    host.wardian(&["anchor", "kept", "--to", &place]).success();
    host.wardian(&["resume", "kept"]).success();
    host.wardian(&["anchor", "kept", "--to", &place]).success();
    let log = [
        "git",
        "-C",
        audit.to_str().unwrap(),
        "log",
        "--format=%s",
        "refs/wardian/anchors",
    ];
    let log = host.outside(log).success().text();
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(log.lines().all(|line| line.starts_with("kept ")), "{log}");
    assert!(!host.base().join("ran").exists(), "a hook ran");
    host.wardian(&["verify", "kept", "--anchor", &place])
        .success();
    cut_off(&host.state("kept"), 8);
    host.wardian(&["verify", "kept"]).success();
    host.wardian(&["verify", "kept", "--anchor", &place])
        .exited(1);
}

fn anchors_go_to_a_server(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let url = format!("http://{}/anchors", origin.address());
    host.shell("sleep 1; exit 0")
        .option(&["--anchor", &url])
        .finish()
        .success();
    let requests = origin.requests();
    assert!(!requests.is_empty());
    assert!(
        requests
            .iter()
            .all(|it| it.method == "POST" && it.path == "/anchors")
    );
}

fn nothing_is_kept_within_reach(mode: Mode) {
    let host = Host::new(mode);
    host.shell("exit 0")
        .named("bound")
        .option(&["--bind"])
        .finish()
        .success();
    let inside = host.project().join("anchors");
    let own = host.state("bound").join("anchors");
    let git = format!("git:{}", host.project().display());
    for place in [inside.to_str().unwrap(), own.to_str().unwrap(), &git] {
        let told = host.wardian(&["anchor", "bound", "--to", place]).exited(2);
        assert!(
            told.errors().contains("which the sandbox writes to"),
            "{}",
            told.errors()
        );
    }
    assert!(!inside.exists() && !own.exists());
}
