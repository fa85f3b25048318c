//! What stays of a sandbox at its end, and what is said of it.

use std::time::Duration;

use serde_json::Value;
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::process::{Finished, Input, Running};

use super::{ME, fingerprint, listed, repository, shell, summary};

wardian_tests::both_modes!(
    a_session_without_work_vanishes,
    work_is_kept_and_told,
    what_came_along_is_no_work,
    what_a_superuser_gave_away_is_kept,
    rm_asks_and_gc_never_drops_work,
    without_fuse_it_is_the_same,
);

/// The name that `wardian run` made up.
#[track_caller]
fn name_of(finished: &Finished) -> String {
    let errors = finished.errors();
    let line = errors
        .lines()
        .find_map(|line| line.strip_prefix("wardian: "));
    let line = line.unwrap_or_else(|| panic!("no summary: {finished:?}"));
    line.split(' ').next().unwrap().to_owned()
}

fn a_session_without_work_vanishes(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let before = fingerprint(&host);
    for (script, last) in [
        ("git status; cat a src/b; git log", vec![]),
        (
            "echo x >a; echo one >a; touch src/b; mv src/b c; mv c src/b",
            vec![],
        ),
        (
            "mkdir -p target/deep; touch target/x target/deep/y",
            vec!["dropped: 1 file or directory that git ignores"],
        ),
    ] {
        let finished = host.wardian(&["run", "--", "sh", "-c", script]).success();
        assert_eq!(summary(&finished), last, "{finished:?}");
        let name = name_of(&finished);
        assert!(!host.state(&name).join("layers").exists(), "{script}");
        assert_eq!(listed(&host, &name)["work"], Value::Array(Vec::new()));
        assert!(host.state(&name).join("journal.jsonl").exists());
        let resumed = host.wardian(&["resume", &name]).exited(125);
        assert!(resumed.errors().contains("nothing is kept"), "{resumed:?}");
    }
    // One that was given a name stays, with what git ignores.
    let run = host.shell("mkdir target; echo built >target/x; echo mine >~/note");
    let name = run.name().to_owned();
    let finished = run.finish().success().finished;
    assert_eq!(
        summary(&finished),
        [
            format!("go on: wardian resume {name}"),
            format!("drop: wardian rm {name}")
        ]
    );
    let script = "cat target/x ~/note";
    let resumed = host.wardian(&["resume", &name, "--", "sh", "-c", script]);
    assert_eq!(resumed.success().text(), "built\nmine\n");
    host.wardian(&["rm", &name]).success();
    assert_eq!(fingerprint(&host), before);
}

fn work_is_kept_and_told(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let other = host.home().join("web");
    host.make_directory(&other);
    shell(
        &host,
        "cd ../web; git init -q -b main .; echo w >w; git add .; git commit -qm base",
    );
    let overlay = host.home().join("notes");
    host.make_directory(&overlay);
    host.write(&overlay.join("n"), "n");
    let cases = [
        ("git commit -qam x --allow-empty", "1 commit"),
        (
            "echo x >a; git commit -qam x; git commit -q --allow-empty -m y; echo new >n",
            "2 commits, 2 files",
        ),
        ("rm -r src", "1 file"),
        ("chmod +x a", "1 file"),
        ("git tag mark", "branches or tags"),
        ("git branch -D other", "branches or tags"),
        // No branch leads to these.
        (
            "git checkout -q --detach; git commit -q --allow-empty -m x",
            "1 commit",
        ),
        (
            "git commit -q --allow-empty -m x; git reset -q --hard HEAD~",
            "1 commit",
        ),
        ("mkfifo pipe", "1 thing left out"),
        ("rm -rf .git", "perhaps work: "),
        ("chmod 0 . ", "perhaps work: "),
    ];
    for (script, words) in cases {
        let script = format!("{ME}{script}");
        let finished = host.wardian(&["run", "--", "sh", "-c", &script]).success();
        let name = name_of(&finished);
        let told = summary(&finished);
        // Root of the host may look into every directory.
        if told.is_empty() && mode == Mode::Root && script.contains("chmod 0") {
            continue;
        }
        assert!(
            told[0].starts_with(&format!("kept: ~/project: {words}")),
            "{script}: {told:?}"
        );
        assert_eq!(
            told[1..],
            [
                "see: wardian diff",
                "take: wardian apply",
                "drop: wardian rm"
            ]
            .map(|line| format!("{line} {name}"))
        );
        assert!(host.state(&name).join("layers/workspaces/0/upper").exists());
        let work = &listed(&host, &name)["work"];
        assert_eq!(work[0]["path"], host.project().to_str().unwrap(), "{work}");
        let events = host.wardian(&["events", &name, "--json"]).success().text();
        let stopped: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
        assert!(
            !stopped["event"]["kept"][0]["what"].is_null() || !stopped["kept"][0]["what"].is_null()
        );
    }
    // Several workspaces, of which one has none.
    let (web, notes) = (other.to_str().unwrap(), overlay.to_str().unwrap());
    let script = format!("cd {web} && {ME} echo more >>w");
    let finished = host.wardian(&["run", "--repo", web, "--", "sh", "-c", &script]);
    assert_eq!(summary(&finished.success())[0], "kept: ~/web: 1 file");
    let mut command = host.wardian_command(&["run", "--", "sh", "-c", "echo x >x"]);
    command.current_dir(notes);
    let finished = Running::start(command, Input::Nothing).wait(Duration::from_secs(30));
    let told = summary(&finished.success());
    assert_eq!(told[0], "kept: ~/notes: changed files");
}

fn what_came_along_is_no_work(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    shell(&host, "rm src/b; ln -s a link; echo s >s; git add s");
    let before = fingerprint(&host);
    for (script, last) in [
        ("git status --porcelain; cat a untracked; ! ls src/b", None),
        ("echo more >>untracked", Some("kept: ~/project: 5 files")),
        ("rm untracked", Some("kept: ~/project: 4 files")),
    ] {
        let words = ["run", "--with-changes", "--", "sh", "-c", script];
        let finished = host.wardian(&words).success();
        assert_eq!(summary(&finished).first().map(String::as_str), last);
    }
    assert_eq!(fingerprint(&host), before);
}

fn what_a_superuser_gave_away_is_kept(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let script = "mkdir given && echo work >given/file && chmod 700 given && chown -R 12:12 given";
    let finished = host.wardian(&["run", "--root", "--", "sh", "-c", script]);
    if finished
        .errors()
        .contains("giving files to other users inside")
    {
        return;
    }
    let finished = finished.success();
    let name = name_of(&finished);
    assert!(
        summary(&finished)[0].starts_with("kept: ~/project: "),
        "{finished:?}"
    );
    let script = "stat -c %u given && cat given/file && rm -r given";
    let resumed = host.wardian(&["resume", &name, "--", "sh", "-c", script]);
    let resumed = resumed.success();
    assert_eq!(resumed.text(), "12\nwork\n");
    // With the work, all of it goes.
    assert!(summary(&resumed).is_empty(), "{resumed:?}");
    assert!(!host.state(&name).join("layers").exists());
    // The top of the work tree itself.
    let run = host.shell("chown 12:12 .").as_inner_root();
    let name = run.name().to_owned();
    run.finish().success();
    let resumed = host.wardian(&["resume", &name, "--", "cat", "src/b"]);
    assert_eq!(resumed.success().text(), "two\n");
}

fn rm_asks_and_gc_never_drops_work(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let finished = host.wardian(&[
        "run",
        "--",
        "sh",
        "-c",
        &format!("{ME} echo x >a; git commit -qam x"),
    ]);
    let name = name_of(&finished.success());
    host.wardian(&["gc"]).success();
    let refused = host.wardian(&["rm", &name]).failed();
    let words = "holds work (~/project: commits, 1 file)";
    assert!(refused.errors().contains(words), "{refused:?}");
    assert!(
        host.state(&name)
            .join("layers/workspaces/0/upper/a")
            .exists()
    );
    let diff = host.wardian(&["diff", &name]).success();
    assert!(diff.text().contains("+x"), "{diff:?}");
    host.wardian(&["rm", "--force", &name]).success();
    assert!(!host.state(&name).exists());
}

/// Where the supervisor has no snapshot to serve, it has to know all the same what the session started from.
fn without_fuse_it_is_the_same(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let without = "mount --bind /dev/null /dev/fuse && exec \"$@\"";
    let without = ["unshare", "--mount", "sh", "-c", without, "sh"];
    let run = host
        .shell("cat src/b; echo x >x; rm src/b")
        .around(&without);
    let name = run.name().to_owned();
    let finished = run.finish().success().finished;
    assert!(
        finished.errors().contains("had to be copied"),
        "{finished:?}"
    );
    assert_eq!(summary(&finished)[0], "kept: ~/project: 2 files");
    assert!(!host.state(&name).join("layers/workspaces/0/tree").exists());
    let script = "cat x; ls src/b; rm x; git checkout src/b";
    let resumed = host.wardian(&["resume", &name, "--", "sh", "-c", script]);
    let resumed = resumed.success();
    assert_eq!(resumed.text(), "x\n");
    assert_eq!(
        summary(&resumed)[0],
        format!("go on: wardian resume {name}")
    );
}
