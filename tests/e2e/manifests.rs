//! `wardian.toml`: whose counts, what a stranger's may do, and that no sandbox writes one that counts.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;

use crate::support::at_terminal;

wardian_tests::both_modes!(
    a_project_grants_nothing_until_it_is_trusted,
    a_manifest_that_a_sandbox_wrote_is_not_trusted,
    a_stranger_may_deny,
    what_the_user_denies_stays_denied,
    an_agent_has_its_sandbox_its_skills_and_its_orders,
    a_manifest_says_what_is_worked_on,
    what_decides_is_not_worked_on,
    a_value_is_asked_for_and_written_down_nowhere,
    a_resumed_sandbox_asks_its_manifest_again,
    policy_show_names_lines,
);

const CURL: &str = "curl -sS --noproxy '*' --max-time 5 https://origin.test/";
const HELLO: &str = "hello from the origin\n";

fn manifest(host: &Host) -> PathBuf {
    host.project().join("wardian.toml")
}

fn users_manifest(host: &Host) -> PathBuf {
    host.home().join(".config/wardian/wardian.toml")
}

/// A rule that lets `origin.test` pass.
fn rule(host: &Host, origin: &Origin, sandbox: &str) -> String {
    format!(
        "[[sandbox.{sandbox}.egress]]\nhost = \"origin.test\"\nports = [443]\nconnect = \"{}\"\nca = \"{}\"\n",
        origin.address(),
        host.ca_file().display()
    )
}

fn write_manifest(host: &Host, text: &str) {
    host.write(&manifest(host), text);
}

fn trust(host: &Host) {
    let shown = host.wardian(&["trust", "--show"]).exited(1).text();
    let hash = shown
        .lines()
        .find_map(|line| line.strip_prefix("SHA-256 "))
        .unwrap();
    host.wardian(&["trust", "--hash", hash]).success();
    host.wardian(&["trust", "--show"]).success();
}

fn a_project_grants_nothing_until_it_is_trusted(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let text = format!(
        "default = \"work\"\n{}[sandbox.work.env]\nWHO = \"project\"\n",
        rule(&host, &origin, "work")
    );
    write_manifest(&host, &text);
    let script = format!("echo who=$WHO; {CURL}");
    let before = origin.server().connections();
    let refused = host.shell(&script).finish().failed();
    assert!(refused.text().starts_with("who=\n"), "{refused:?}");
    assert!(refused.errors().contains("is not trusted"), "{refused:?}");
    assert_eq!(origin.server().connections(), before);
    // Nor is it there by name.
    let named = host.shell("true").option(&["--sandbox", "work"]);
    assert!(named.finish().exited(2).errors().contains("wardian trust"));
    let wrong = host.wardian(&["trust", "--hash", &"0".repeat(64)]);
    wrong.exited(2);
    let asked = host.wardian(&["trust"]).exited(2);
    assert!(asked.errors().contains("no terminal"), "{asked:?}");

    // The control: the same text, trusted.
    trust(&host);
    let granted = host.shell(&script).finish().success();
    assert_eq!(granted.text(), format!("who=project\n{HELLO}"));
    assert!(!granted.errors().contains("is not trusted"), "{granted:?}");

    // One byte more, and nobody has agreed to it.
    write_manifest(&host, &format!("{text}\n"));
    host.shell(&script).finish().failed();
    write_manifest(&host, &text);
    host.shell(&script).finish().success();
    host.wardian(&["trust", "--revoke"]).success();
    host.shell(&script).finish().failed();

    // In a pipeline: for one run.
    let shown = host.wardian(&["trust", "--show"]).exited(1).text();
    let hash = shown.lines().find_map(|it| it.strip_prefix("SHA-256 "));
    let hash = hash.unwrap();
    let once = host.shell(CURL).option(&["--trust-hash", hash]);
    assert_eq!(once.text(), HELLO);
    let other = "1".repeat(64);
    let other = host.shell(CURL).option(&["--trust-hash", &other]);
    other.finish().exited(2);
    host.shell(CURL).finish().failed();
}

fn a_manifest_that_a_sandbox_wrote_is_not_trusted(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let text = format!("default = \"work\"\n{}", rule(&host, &origin, "work"));
    write_manifest(&host, "default = \"work\"\n[sandbox.work]\n");
    trust(&host);
    let path = host.base().join("granting.toml");
    host.write(&path, &text);
    // The program works on the directory itself, and grants its successor what it wants.
    let script = format!("cat > wardian.toml <<'END'\n{text}END\n");
    host.shell(&script).option(&["--bind"]).finish().success();
    assert_eq!(fs::read_to_string(manifest(&host)).unwrap(), text);
    let refused = host.shell(CURL).finish().failed();
    assert!(refused.errors().contains("is not trusted"), "{refused:?}");
    let shown = host.wardian(&["trust", "--show"]).exited(1);
    assert!(shown.errors().contains("has changed"), "{shown:?}");
    // The control: once somebody agrees, it counts.
    trust(&host);
    assert_eq!(host.shell(CURL).text(), HELLO);
}

fn a_stranger_may_deny(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let own = format!("base = \"own\"\n{}", rule(&host, &origin, "own"));
    host.write(&users_manifest(&host), own);
    assert_eq!(host.shell(CURL).text(), HELLO);
    write_manifest(
        &host,
        "default = \"d\"\n[sandbox.d.limits]\npids = 7\n[[sandbox.d.egress]]\nhost = \"origin.test\"\naction = \"deny\"\n",
    );
    host.shell(CURL).finish().failed();
    let shown = host.wardian(&["policy", "show"]).success().text();
    assert!(
        shown.contains("narrow: not trusted") && shown.contains("pids 7"),
        "{shown}"
    );
}

fn what_the_user_denies_stays_denied(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    write_manifest(
        &host,
        &format!("default = \"work\"\n{}", rule(&host, &origin, "work")),
    );
    trust(&host);
    assert_eq!(host.shell(CURL).text(), HELLO);
    host.write(
        &users_manifest(&host),
        "base = \"never\"\n[[sandbox.never.egress]]\nhost = \"origin.test\"\naction = \"deny\"\n",
    );
    let before = origin.server().connections();
    let outcome = host
        .shell(CURL)
        .option(&["--allow", "origin.test"])
        .finish()
        .failed();
    assert_eq!(origin.server().connections(), before);
    let denied = outcome.events();
    assert!(format!("{denied:?}").contains("user:never#1"), "{denied:?}");
}

fn an_agent_has_its_sandbox_its_skills_and_its_orders(mode: Mode) {
    let host = Host::new(mode);
    let program = host.project().join("bin/claude");
    host.make_directory(program.parent().unwrap());
    host.write_program(
        &program,
        "#!/bin/sh\necho \"args: $*\"\necho \"who: $WHO\"\ncat ~/.claude/skills/review/SKILL.md\ncat /etc/claude-code/CLAUDE.md\n",
    );
    let skill = host.project().join("skills/review");
    host.make_directory(&skill);
    host.write(&skill.join("SKILL.md"), "how to review\n");
    write_manifest(
        &host,
        "[sandbox.calm.env]\nWHO = \"calm\"\n[agent.helper]\nsandbox = \"calm\"\ncommand = [\"./bin/claude\", \"--print\"]\nskills = [\"skills/review\"]\nprompt = \"You help maintain the gardens.\"\n",
    );
    // Without trust there is no such agent.
    host.run(["helper"]).finish().exited(127);
    trust(&host);
    let outcome = host.run(["helper", "more words"]).finish().success();
    let text = outcome.text();
    assert!(text.contains("--print more words"), "{text}");
    assert!(text.contains("who: calm"), "{text}");
    assert!(text.contains("how to review"), "{text}");
    assert!(text.contains("You help maintain the gardens."), "{text}");
}

fn a_manifest_says_what_is_worked_on(mode: Mode) {
    let host = Host::new(mode);
    let other = host.project().join("other");
    host.make_directory(&other);
    host.write(&other.join("file"), "theirs\n");
    write_manifest(
        &host,
        "default = \"w\"\n[sandbox.w]\nworkspace = [{ overlay = \".\" }, { bind = \"other\", read_only = true }, { volume = \"data\", at = \"/srv/data\" }]\n",
    );
    trust(&host);
    let script = "cat other/file; echo x > other/file 2>/dev/null || echo read-only; echo y > mine; echo z > /srv/data/z";
    assert_eq!(host.shell(script).text(), "theirs\nread-only\n");
    assert!(!host.project().join("mine").exists());
    assert_eq!(host.shell("cat /srv/data/z").text(), "z\n");
    write_manifest(
        &host,
        "default = \"w\"\n[sandbox.w]\nworkspace = { clone = \".\" }\n",
    );
    trust(&host);
    let refused = host.shell("true").finish().exited(2);
    assert!(refused.errors().contains("wants a clone"), "{refused:?}");
}

fn what_decides_is_not_worked_on(mode: Mode) {
    let host = Host::new(mode);
    let configuration = host.home().join(".config/wardian");
    host.make_directory(&configuration);
    for place in [host.home(), host.home().join(".config"), configuration] {
        let bind = format!("--bind={}", place.display());
        let refused = host.shell("true").option(&[&bind]).finish().exited(2);
        assert!(
            refused.errors().contains("cannot be worked on"),
            "{refused:?}"
        );
    }
    // The control: a directory beside it can be.
    let beside = host.home().join("beside");
    host.make_directory(&beside);
    let bind = format!("--bind={}", beside.display());
    host.shell("true").option(&[&bind]).finish().success();
}

fn a_value_is_asked_for_and_written_down_nowhere(mode: Mode) {
    let host = Host::new(mode);
    write_manifest(
        &host,
        "default = \"w\"\n[sandbox.w.env]\nCODE = { prompt = \"one-time code\" }\n",
    );
    trust(&host);
    let run = host.shell("echo \"length ${#CODE}\"");
    let state = host.state(run.name());
    let screen = at_terminal(
        run,
        &json!([
            ["expect", "one-time code (CODE): "],
            ["send", "hunter2hunter2\r"],
            ["expect", "length 14"]
        ]),
    );
    assert_eq!(screen.exit, Some(0), "{screen:?}");
    assert!(screen.restored, "{screen:?}");
    assert!(!screen.shown.contains("hunter2"), "{screen:?}");
    for entry in fs::read_dir(state).into_iter().flatten() {
        let text = fs::read(entry.unwrap().path()).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&text).contains("hunter2"));
    }
    let given = host.shell("echo $CODE").option(&["--env", "CODE=given"]);
    assert_eq!(given.text(), "given\n");
}

fn a_resumed_sandbox_asks_its_manifest_again(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    write_manifest(&host, &rule(&host, &origin, "work"));
    trust(&host);
    let first = host
        .shell(CURL)
        .named("kept")
        .option(&["--sandbox", "work"]);
    assert_eq!(first.text(), HELLO);
    let again = host.wardian(&["resume", "kept"]).success();
    assert_eq!(again.text(), HELLO);
    host.wardian(&["trust", "--revoke"]).success();
    let refused = host.wardian(&["resume", "kept"]);
    assert!(refused.failed().errors().contains("not trusted"));
    host.wardian(&["rm", "--force", "kept"]).success();
}

fn policy_show_names_lines(mode: Mode) {
    let host = Host::new(mode);
    write_manifest(
        &host,
        "default = \"a\"\n[sandbox.a]\nextends = \"b\"\n[sandbox.b]\negress = [{ host = \"b.example.com\" }]\n",
    );
    trust(&host);
    let shown = host
        .wardian(&["policy", "show", "--allow", "c.example.com", "claude"])
        .success()
        .text();
    for part in [
        "project sandbox a",
        "preset claude",
        "wardian.toml:b#1",
        "wardian.toml:5",
        "--allow#1",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let json = host.wardian(&["policy", "show", "--json"]).success().text();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["policy"]["rules"][0]["id"], "wardian.toml:b#1");
    assert!(
        json["places"]["rules"][0]
            .as_str()
            .unwrap()
            .ends_with("wardian.toml:5")
    );
    let schema = host.wardian(&["schema"]).success().text();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["title"], "wardian.toml");
}
