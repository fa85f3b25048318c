//! Going on in a sandbox that has ended.

mod kept;
mod kills;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use wardian_tests::host::{Host, TOOLS};
use wardian_tests::mode::Mode;
use wardian_tests::model::{ModelServer, Options, Script};
use wardian_tests::process::{Finished, Input, Running};

use crate::support::wait_until;

wardian_tests::both_modes!(
    it_goes_on_where_it_was_left,
    what_is_asked_for_is_worked_out_anew,
    what_cannot_be_resumed_says_why,
    a_repository_that_is_lost_is_named,
    case_34_35_what_a_program_left_in_its_home_leads_nowhere,
    what_is_in_the_way_of_a_mount_is_moved_aside,
    claude_continues_its_conversation,
);

/// For scripts inside, where nobody has told git who commits.
const ME: &str = "git config user.name Agent; git config user.email agent@example.org; ";

/// Runs `script` outside, with git set up as the user's.
#[track_caller]
fn shell(host: &Host, script: &str) -> String {
    let settings = "export GIT_AUTHOR_NAME=Ada GIT_AUTHOR_EMAIL=ada@example.org \
        GIT_COMMITTER_NAME=Ada GIT_COMMITTER_EMAIL=ada@example.org GIT_CONFIG_SYSTEM=/dev/null; set -eu; ";
    let finished = host.outside(["bash", "-c", &format!("{settings}{script}")]);
    finished.success().text()
}

fn repository(host: &Host) {
    shell(
        host,
        "git init -q -b main .; mkdir src; echo one >a; echo two >src/b; echo /target/ >.gitignore
         git add .; git commit -qm base; git branch other; echo edited >>a; echo untracked >untracked",
    );
}

/// All that git knows and all that is in the work tree, to see whether anything changed.
fn fingerprint(host: &Host) -> String {
    shell(
        host,
        "git for-each-ref; git status --porcelain=v2 --branch; git fsck --strict 2>&1; cat .git/HEAD .git/config
         find . -path ./.git -prune -o -printf '%p %y %m %l\\n' | sort; find .git/objects .git/refs | sort
         sha256sum $(git ls-files) untracked 2>&1 || true",
    )
}

#[track_caller]
fn listed(host: &Host, name: &str) -> Value {
    let listed = host.wardian(&["ls", "--json"]).success().text();
    let all: Vec<Value> = serde_json::from_str(&listed).unwrap();
    all.into_iter()
        .find(|it| it["name"] == name)
        .unwrap_or_default()
}

/// The verb's last words without the sandbox's name and how long it took.
fn summary(finished: &Finished) -> Vec<String> {
    let errors = finished.errors();
    let lines = errors.lines().filter(|line| line.starts_with("  "));
    lines.map(|line| line.trim().to_owned()).collect()
}

fn it_goes_on_where_it_was_left(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let before = fingerprint(&host);
    let script = format!(
        "{ME} echo changed >a; git commit -qam first; echo loose >loose; rm -r src; echo note >~/note
         echo gone >/tmp/gone; echo first"
    );
    let run = host.shell(&script).option(&["--allow", "never.example"]);
    let name = run.name().to_owned();
    assert_eq!(run.text(), "first\n");
    let start = host.state(&name).join("start.json");
    assert_eq!(start.metadata().unwrap().mode() & 0o7777, 0o600);
    let script = "git log --format=%s; git status --porcelain; cat a loose ~/note; ls src /tmp/gone 2>&1 | grep -c 'No such'
        pwd; git rev-parse --abbrev-ref HEAD; git fsck --strict 2>&1; git commit -qam second; mkdir src; echo back >src/b";
    let resumed = host.wardian(&["resume", &name, "--", "sh", "-c", script]);
    let resumed = resumed.success();
    assert_eq!(
        resumed.text(),
        format!(
            "first\nbase\n D src/b\n?? loose\nchanged\nloose\nnote\n2\n{}\nwardian/{name}\n",
            host.project().display()
        )
    );
    assert_eq!(summary(&resumed)[0], "kept: ~/project: 2 commits, 3 files");
    // Once more, the recorded command by itself.
    let again = host.wardian(&["resume", &name]).success();
    assert!(again.text().ends_with("first\n"), "{again:?}");
    assert_eq!(fingerprint(&host), before);
    let verified = host.wardian(&["verify", &name]).success();
    assert!(verified.errors().is_empty(), "{verified:?}");
    let events = host.wardian(&["events", &name, "--json"]).success().text();
    let kinds = |kind: &str| events.matches(&format!("\"kind\":\"{kind}\"")).count();
    let of = [
        "sandbox_started",
        "policy_in_force",
        "sandbox_stopped",
        "journal_reopened",
    ];
    assert_eq!(of.map(kinds), [3, 3, 3, 0]);
    assert_eq!(events.matches("never.example").count(), 3);
    let stat = host.wardian(&["diff", "--stat", &name]).success();
    assert!(
        stat.text().contains("src/b") && stat.text().contains("loose"),
        "{stat:?}"
    );
    host.wardian(&["apply", "--yes", &name]).success();
    let log = shell(&host, &format!("git log --format=%s wardian/{name}"));
    assert_eq!(log, "second\nfirst\nbase\n");
}

fn what_is_asked_for_is_worked_out_anew(mode: Mode) {
    let host = Host::new(mode);
    let policy = host.base().join("policy.toml");
    host.write(&policy, "[limits]\npids = 77\n\n[env]\nFROM = \"policy\"\n");
    let script = "echo $FROM $GIVEN $PASSED; ulimit -n; id -u";
    let run = host
        .shell(script)
        .option(&[
            "--policy",
            policy.to_str().unwrap(),
            "--env",
            "PASSED",
            "--files",
            "333",
        ])
        .env("GIVEN", "hunter2")
        .host_env("PASSED", "one")
        .as_inner_root();
    let name = run.name().to_owned();
    assert_eq!(run.text(), "policy hunter2 one\n333\n0\n");
    let start = fs::read_to_string(host.state(&name).join("start.json")).unwrap();
    assert!(
        !start.contains("hunter2") && start.contains("GIVEN"),
        "{start}"
    );
    let refused = host.wardian(&["resume", &name]).failed();
    assert!(refused.errors().contains("GIVEN"), "{refused:?}");
    let with = |variables: &[(&str, &str)], words: &[&str]| {
        let mut command = host.wardian_command(words);
        command.envs(variables.iter().copied());
        Running::start(command, Input::Nothing).wait(Duration::from_secs(30))
    };
    let resumed = with(
        &[("PASSED", "two")],
        &["resume", "--env", "GIVEN=new", "--files", "444", &name],
    );
    assert_eq!(resumed.success().text(), "policy new two\n444\n0\n");
    // For that time only.
    let resumed = with(&[("GIVEN", "outside")], &["resume", &name]);
    assert_eq!(resumed.success().text(), "policy outside\n333\n0\n");
    host.write(&policy, "[env]\nFROM = \"elsewhere\"\n");
    let refused = with(&[("GIVEN", "x")], &["resume", &name]).failed();
    assert!(
        refused.errors().contains("has changed since"),
        "{refused:?}"
    );
    let resumed = with(
        &[("GIVEN", "x")],
        &["resume", "--policy", policy.to_str().unwrap(), &name],
    );
    assert_eq!(resumed.success().text(), "elsewhere x\n333\n0\n");
}

fn what_cannot_be_resumed_says_why(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let unknown = host.wardian(&["resume", "nobody"]).failed();
    assert!(unknown.errors().contains("no sandbox"), "{unknown:?}");
    let started = host.shell("echo ready >ready; sleep 60").start();
    let name = started.name().to_owned();
    let ready = host.state(&name).join("layers/workspaces/0/upper/ready");
    wait_until(|| ready.exists());
    let running = host.wardian(&["resume", &name]).failed();
    assert!(running.errors().contains("is running"), "{running:?}");
    let taken = host
        .wardian(&["run", "--name", &name, "--", "true"])
        .exited(125);
    assert!(taken.errors().contains("exists already"), "{taken:?}");
    started.running.signal(Signal::TERM);
    started.finish();
    let taken = host
        .wardian(&["run", "--name", &name, "--", "true"])
        .exited(125);
    let hints = [
        format!("wardian resume {name}"),
        format!("wardian rm {name}"),
    ];
    assert!(
        hints.iter().all(|hint| taken.errors().contains(hint)),
        "{taken:?}"
    );
    // A start that fails leaves what was there, and can be tried again.
    let missing = host.wardian(&["resume", &name, "--", "./nothing"]);
    assert!(missing.failed().errors().contains("nothing"));
    let odd = host.wardian(&[
        "resume",
        &name,
        "--",
        "sh",
        "-c",
        "echo x >x; chmod +x x; exec ./x/y",
    ]);
    drop(odd.failed());
    let resumed = host.wardian(&["resume", &name, "--", "cat", "ready"]);
    assert_eq!(resumed.success().text(), "ready\n");
    // A program that is found outside, and cannot be executed inside.
    let tool = host.home().join("tool");
    host.write_program(&tool, "#!/nowhere\n");
    let failed = host
        .wardian(&["resume", &name, "--", tool.to_str().unwrap()])
        .failed();
    let resumed = host.wardian(&["resume", &name, "--", "cat", "ready"]);
    assert_eq!(resumed.success().text(), "ready\n", "{failed:?}");
    host.wardian(&["verify", &name]).success();
}

fn a_repository_that_is_lost_is_named(mode: Mode) {
    let host = Host::new(mode);
    let make = || {
        repository(&host);
        let run = host.shell("echo mine >mine");
        let name = run.name().to_owned();
        run.finish().success();
        name
    };
    let name = make();
    let (project, moved) = (host.project(), host.home().join("moved"));
    let mine = host.state(&name).join("layers/workspaces/0/upper/mine");
    let resume = || {
        let mut command = host.wardian_command(&["resume", &name, "--", "cat", "mine"]);
        command.current_dir(host.home());
        Running::start(command, Input::Nothing).wait(Duration::from_secs(30))
    };
    fs::rename(&project, &moved).unwrap();
    let gone = resume().exited(125);
    assert!(gone.errors().contains("is not there any more"), "{gone:?}");
    assert!(gone.errors().contains("layers/workspaces"), "{gone:?}");
    host.make_directory(&project);
    shell(&host, "git init -q .; git commit -q --allow-empty -m other");
    let pruned = resume().exited(125);
    assert!(pruned.errors().contains("was pruned"), "{pruned:?}");
    assert_eq!(fs::read_to_string(&mine).unwrap(), "mine\n");
    fs::remove_dir_all(&project).unwrap();
    fs::rename(&moved, &project).unwrap();
    assert_eq!(resume().success().text(), "mine\n");
    // Where the user's own history is written anew.
    shell(
        &host,
        "git commit -q --amend --allow-empty -m anew; git branch -D other; git reflog expire --expire=now --all
         git gc -q --prune=now",
    );
    let pruned = resume().exited(125);
    assert!(pruned.errors().contains("was pruned"), "{pruned:?}");
    assert_eq!(fs::read_to_string(&mine).unwrap(), "mine\n");
    assert!(host.wardian(&["diff", &name]).errors().lines().count() > 0);
}

/// What is to stay as it is: names, kinds, modes, sizes, times and contents.
fn canary(host: &Host) -> (PathBuf, String) {
    let canary = host.base().join("canary");
    (canary.clone(), look(&canary))
}

fn look(directory: &Path) -> String {
    let mut lines = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        let status = fs::symlink_metadata(&next).unwrap();
        let content = if status.is_file() {
            fs::read_to_string(&next).unwrap()
        } else {
            String::new()
        };
        lines.push(format!(
            "{} {:o} {} {} {}.{} {content:?}",
            next.display(),
            status.mode(),
            status.uid(),
            status.gid(),
            status.mtime(),
            status.mtime_nsec()
        ));
        if status.is_dir() {
            waiting.extend(
                fs::read_dir(&next)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    lines.sort();
    lines.join("\n")
}

/// Replaced in the home by links to a place outside: whatever Wardian, an agent or a tool has there.
const PLANTED: [&str; 8] = [
    ".pki", ".codex", ".claude", ".config", ".local", ".cache", ".gemini", ".tool",
];

fn case_34_35_what_a_program_left_in_its_home_leads_nowhere(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let canary_path = host.base().join("canary");
    host.make_directory(&canary_path);
    for name in ["nssdb", "skills", "opencode"] {
        host.make_directory(&canary_path.join(name));
    }
    for name in [
        "file",
        "settings.json",
        "config.toml",
        "CLAUDE.md",
        "AGENTS.md",
        "nssdb/cert9.db",
        "skills/x",
    ] {
        host.write(&canary_path.join(name), "canary\n");
    }
    // What Wardian brings along, were it to write it from outside.
    host.write(
        &host.home().join(".gitconfig"),
        "[user]\n\tname = Ada\n\temail = ada@example.org\n",
    );
    host.write(
        &host.home().join(".claude/settings.json"),
        "{\"model\":\"opus\"}\n",
    );
    host.write(&host.home().join(".codex/config.toml"), "model = \"x\"\n");
    let (canary, before) = canary(&host);
    let canary = canary.display();
    let plant = format!(
        "cd; rm -rf {all} .gitconfig .bashrc; for d in {all}; do ln -s {canary} $d; done
         ln -s {canary}/file .gitconfig; ln -s {canary}/file .bashrc; ln -s {canary}/file .claude.json; ln -s {canary}/file CLAUDE.md
         cd - >/dev/null; rm -rf src a; ln -s {canary} src; ln -s {canary}/file a; ln -s {canary} target; mkdir d; ln -s ../../../../.. d/up
         chmod 777 . ~; rm -rf .git/refs .git/objects/info; ln -s {canary} .git/refs; ln -s {canary} .git/objects/info
         rm .git/HEAD .git/config; ln -s {canary}/file .git/HEAD; ln -s {canary}/file .git/config; echo planted",
        all = PLANTED.join(" ")
    );
    let agents = [
        "--preset", "claude", "--preset", "codex", "--preset", "gemini", "--preset", "opencode",
    ];
    let run = host.shell(&plant).option(&agents);
    let name = run.name().to_owned();
    assert!(run.text().ends_with("planted\n"));
    for _ in 0..2 {
        let script = "readlink src; echo resumed >>went; cat went | wc -l";
        let resumed = host.wardian(&["resume", &name, "--", "sh", "-c", script]);
        let resumed = resumed.success();
        assert!(
            resumed.text().starts_with(&format!("{canary}\n")),
            "{resumed:?}"
        );
    }
    // As superuser inside, and everything that looks at a sandbox.
    for verb in [
        &["ls"][..],
        &["gc"],
        &["diff", &name],
        &["diff", "--stat", &name],
        &["events", &name],
    ] {
        host.wardian(verb);
    }
    let _ = host.wardian(&["apply", "--yes", &name]);
    assert_eq!(look(Path::new(&canary.to_string())), before);
    // The control: what follows the links from outside does write there.
    let home = host.state(&name).join("layers/home");
    host.outside([
        "sh",
        "-c",
        &format!("echo written >{}/.gitconfig", home.display()),
    ])
    .success();
    assert_ne!(look(Path::new(&canary.to_string())), before);
    host.write(&host.base().join("canary/file"), "canary\n");
    host.wardian(&["rm", "--force", &name]).success();
    assert_eq!(
        fs::read_to_string(host.base().join("canary/file")).unwrap(),
        "canary\n"
    );
    assert!(host.base().join("canary/nssdb/cert9.db").exists());
}

fn what_is_in_the_way_of_a_mount_is_moved_aside(mode: Mode) {
    let host = Host::new(mode);
    let tool = host.home().join(".cargo/bin/tool");
    host.write_program(&tool, "#!/bin/sh\necho from outside\n");
    let canary = host.base().join("canary");
    host.make_directory(&canary);
    let run = host.shell("~/.cargo/bin/tool; echo mine >~/mine");
    let name = run.name().to_owned();
    assert_eq!(run.text(), "from outside\n");
    // The mount is gone with the sandbox, and what it lay on is the program's own.
    let home = host.state(&name).join("layers/home");
    let planted = format!(
        "rm -rf {0}/.cargo && ln -s {1} {0}/.cargo",
        home.display(),
        canary.display()
    );
    host.outside(["sh", "-c", &planted]).success();
    let script = "~/.cargo/bin/tool; cat ~/mine; ls -A ~ | grep -c 'cargo.moved'";
    let resumed = host.wardian(&["resume", &name, "--", "sh", "-c", script]);
    assert_eq!(resumed.success().text(), "from outside\nmine\n1\n");
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
}

fn claude_continues_its_conversation(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let vendor = ModelServer::start(Options {
        script: Script::new(&[], "The password is swordfish."),
        require_key: Some("sk-real-key".to_owned()),
        websocket: false,
    });
    let claude = format!("{TOOLS}/claude/node_modules/.bin/claude");
    let run = host
        .run([claude.as_str(), "-p", "think of a password"])
        .policy(&crate::agents::claude_policy(&vendor))
        .host_env("REAL_KEY", "sk-real-key")
        .limit(Duration::from_secs(90));
    let name = run.name().to_owned();
    assert!(run.text().contains("swordfish"));
    let before = vendor.calls().len();
    let words = [
        "resume",
        &name,
        "--",
        &claude,
        "--continue",
        "-p",
        "which one",
    ];
    let mut command = host.wardian_command(&words);
    command.env("REAL_KEY", "sk-real-key");
    let resumed = Running::start(command, Input::Nothing).wait(Duration::from_secs(90));
    assert!(resumed.success().text().contains("swordfish"));
    let calls = vendor.calls();
    let bodies = calls[before..].iter().map(|call| call.body.as_ref());
    let asked: Vec<_> = bodies.map(String::from_utf8_lossy).collect();
    let knows = |body: &str| {
        ["think of a password", "swordfish", "which one"]
            .iter()
            .all(|text| body.contains(text))
    };
    assert!(asked.iter().any(|body| knows(body)), "{asked:?}");
}
