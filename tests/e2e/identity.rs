//! Who the user is to git inside, without the keys that prove it.

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;

wardian_tests::both_modes!(
    commits_are_the_users_in_a_clone_and_elsewhere,
    what_the_sandbox_has_by_itself_stays,
);

/// A home of a user who signs all commits, and whose git starts programs.
fn host_of_ada(mode: Mode) -> Host {
    let host = Host::new(mode);
    let config = "[user]\n\tname = Ada Lovelace\n\temail = ada@example.org\n\tsigningkey = ABCDEF\n\
        [commit]\n\tgpgsign = true\n[tag]\n\tgpgsign = true\n[gpg]\n\tprogram = /bin/false\n\
        [core]\n\tfsmonitor = /bin/false\n\thooksPath = /nowhere\n[init]\n\tdefaultBranch = trunk\n";
    host.write(&host.home().join(".gitconfig"), config);
    host.outside(["git", "init", "-q", "."]).success();
    host.outside([
        "git",
        "-c",
        "commit.gpgsign=false",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "base",
    ])
    .success();
    host
}

const COMMIT: &str =
    "git commit -q --allow-empty -m work && git log -1 --format='%an <%ae> %cn %G?'";

fn commits_are_the_users_in_a_clone_and_elsewhere(mode: Mode) {
    let host = host_of_ada(mode);
    // The control: as it is set up, no commit can be made.
    host.outside(["git", "commit", "-q", "--allow-empty", "-m", "x"])
        .failed();
    let script = format!(
        "set -e; {COMMIT}; git init -q /tmp/other; cd /tmp/other; git symbolic-ref --short HEAD; {COMMIT}
         git config --get-regexp 'signingkey|program|fsmonitor|hookspath' || echo nothing"
    );
    let who = "Ada Lovelace <ada@example.org> Ada Lovelace N";
    let wanted = format!("{who}\ntrunk\n{who}\nnothing\n");
    for run in [host.shell(&script), host.shell(&script).as_inner_root()] {
        let outcome = run.finish().success();
        assert_eq!(outcome.text(), wanted);
        let said = outcome.errors().matches("are not signed").count();
        assert_eq!(said, 1, "{outcome:?}");
    }
    let plan = host.wardian(&["run", "--dry-run", "true"]).success();
    let path = host.home().join(".gitconfig");
    assert!(plan.text().contains(path.to_str().unwrap()), "{plan:?}");
}

fn what_the_sandbox_has_by_itself_stays(mode: Mode) {
    let host = host_of_ada(mode);
    let run = host.shell("git config --global user.name Other; echo");
    let name = run.name().to_owned();
    run.finish().success();
    let again = host.wardian(&["resume", &name, "--", "git", "config", "user.name"]);
    assert_eq!(again.success().text(), "Other\n");
}
