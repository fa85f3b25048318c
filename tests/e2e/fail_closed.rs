//! What cannot be parsed denies, what cannot be enforced does not start: security cases 2 to 4.

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;
use wardian_tests::run::Outcome;

wardian_tests::both_modes!(
    case_3_what_the_self_probe_finds_wrong_does_not_start,
    case_2_no_policy_denies_everything,
    case_2_empty_and_missing_rules_deny,
    case_2_unknown_keys_are_errors_that_help,
    case_2_contradictions_and_wide_wildcards_are_errors,
    case_3_the_self_probe_is_on_the_record,
    case_3_limits_that_are_required_are_enforced_or_refused,
    case_4_files_of_the_repository_change_nothing,
    a_policy_that_is_not_there,
    a_record_that_cannot_be_written,
    credentials_that_cannot_be_had,
    a_start_that_fails_leaves_nothing,
);

const CURL: &str = "curl -sS -m 5 https://origin.test/";

#[track_caller]
fn reaches_nothing(outcome: Outcome<'_>, origin: &Origin) {
    let outcome = outcome.failed();
    assert!(!outcome.text().contains("hello"), "{outcome:?}");
    origin.assert_untouched();
}

fn case_2_no_policy_denies_everything(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    reaches_nothing(host.shell(CURL).finish(), &origin);
    // Control: with a rule the same program gets there.
    assert_eq!(
        host.shell(CURL)
            .policy(&Policy::new().pin("origin.test", origin.address()))
            .text(),
        "hello from the origin\n"
    );
}

fn case_2_empty_and_missing_rules_deny(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    for text in [
        "",
        "egress = []",
        "presets = []",
        "[limits]\npids = 100",
        "# nothing but a comment",
    ] {
        reaches_nothing(
            host.shell(CURL).policy(&Policy::new().head(text)).finish(),
            &origin,
        );
    }
    // Rules that say nothing, or null, are no rules at all: refused before anything starts.
    let path = host.base().join("policy.json");
    for text in [
        r#"{"egress": null}"#,
        r#"{"egress": [{}]}"#,
        r#"{"egress": [{"host": null}]}"#,
        r#"{"egress": [{"host": ""}]}"#,
        "null",
        "[]",
        "{",
    ] {
        host.write(&path, text);
        reaches_nothing(
            host.shell(CURL)
                .option(&["--policy", path.to_str().unwrap()])
                .finish(),
            &origin,
        );
    }
}

fn case_2_unknown_keys_are_errors_that_help(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    for (text, wrong, nearest) in [
        ("[[egres]]\nhost = \"origin.test\"", "egres", "egress"),
        ("[[egress]]\nhots = \"origin.test\"", "hots", "host"),
        (
            "[[egress]]\nhost = \"origin.test\"\nmethod = [\"GET\"]",
            "method",
            "methods",
        ),
        ("[limits]\nmemmory = \"1G\"", "memmory", "memory"),
        (
            "[[egress]]\nhost = \"origin.test\"\naction = \"alow\"",
            "alow",
            "allow",
        ),
    ] {
        let path = host.base().join("wrong.toml");
        host.write(&path, text);
        let outcome = host
            .shell(CURL)
            .option(&["--policy", path.to_str().unwrap()])
            .finish()
            .failed();
        let errors = outcome.errors();
        assert!(
            errors.contains(wrong) && errors.contains(nearest),
            "{text}: {errors}"
        );
        assert!(errors.contains("wrong.toml:"), "no file and line: {errors}");
    }
    origin.assert_untouched();
}

fn case_2_contradictions_and_wide_wildcards_are_errors(mode: Mode) {
    let host = Host::new(mode);
    for rule in [
        "host = \"*.com\"",
        "host = \"*.co.uk\"",
        "host = \"*.github.io\"",
        "host = \"**\"",
        "host = \"a.*.test\"",
        "host = \"user@x.test\"",
        "host = \"x.test:443\"",
        "host = \"x.test\"\nports = [0]",
        "host = \"x.test\"\nports = [65537]",
        "host = \"127.1\"",
        "host = \"0x7f.0.0.1\"",
        "host = \"2130706433\"",
        "host = \"x.test\"\nprotocol = \"tcp\"\npaths = [\"/a\"]",
        "host = \"x.test\"\ninspect = false\nmethods = [\"GET\"]",
        "host = \"x.test\"\nconnect = \"nonsense\"",
        "host = \"x.test\"\ncredential = \"undefined\"",
    ] {
        let outcome = host
            .run(["echo", "started"])
            .policy(&Policy::new().rule(rule))
            .finish()
            .failed();
        assert!(!outcome.text().contains("started"), "{rule}: {outcome:?}");
    }
}

fn case_3_the_self_probe_is_on_the_record(mode: Mode) {
    let host = Host::new(mode);
    let events = host.run(["true"]).finish().success().events();
    let probe = events.of_kind("self_probe");
    assert_eq!(probe.len(), 1, "{events:?}");
    assert!(
        probe[0]["passed"]
            .as_array()
            .is_some_and(|passed| passed.len() >= 3),
        "{probe:?}"
    );
    assert!(
        probe[0]
            .get("failed")
            .is_none_or(|failed| failed.as_array().is_some_and(Vec::is_empty)),
        "{probe:?}"
    );
    // It comes before the command.
    let position = |kind: &str| {
        events
            .all()
            .iter()
            .position(|event| event["kind"] == kind)
            .unwrap()
    };
    assert!(
        position("self_probe") < position("command_started")
            && position("policy_in_force") < position("self_probe")
    );
}

fn case_3_limits_that_are_required_are_enforced_or_refused(mode: Mode) {
    let host = Host::new(mode);
    for (limit, check) in [
        (
            "pids = 40",
            "for i in $(seq 100); do sleep 2 & done 2>/dev/null; jobs | wc -l",
        ),
        ("files = 64", "ulimit -n"),
    ] {
        let name = limit.split(' ').next().unwrap();
        let policy = Policy::new().table(&format!("[limits]\n{limit}\nrequire = [\"{name}\"]"));
        let outcome = host.run(["bash", "-c", check]).policy(&policy).finish();
        if outcome.errors().contains("cannot") {
            outcome.failed();
        } else {
            let count: u32 = outcome.text().trim().parse().unwrap_or(0);
            assert!(count < 100, "{limit}: {outcome:?}");
        }
    }
}

fn case_4_files_of_the_repository_change_nothing(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let wide = "[[egress]]\nhost = \"*\"\n";
    let address = origin.address();
    for (file, text) in [
        (
            ".env",
            format!(
                "WARDIAN_POLICY={0}/policy.toml\nHOME={0}\nXDG_CONFIG_HOME={0}\nXDG_DATA_HOME={0}\nWARDIAN_ALLOW=origin.test\n",
                host.project().display()
            ),
        ),
        (
            "wardian.toml",
            format!(
                "default = \"wide\"\n[[sandbox.wide.egress]]\nhost = \"origin.test\"\nconnect = \"{address}\"\n[[sandbox.wide.egress]]\nhost = \"*\"\n"
            ),
        ),
        ("policy.toml", wide.to_owned()),
        (".wardian/config.toml", wide.to_owned()),
        (".config/wardian/wardian.toml", wide.to_owned()),
        (".envrc", "export WARDIAN_POLICY=policy.toml\n".to_owned()),
    ] {
        host.write(&host.project().join(file), text);
    }
    let outcome = host.shell(CURL).finish();
    let name = outcome.name.clone();
    reaches_nothing(outcome, &origin);
    assert!(host.state(&name).exists(), "the state went elsewhere");
}

fn a_policy_that_is_not_there(mode: Mode) {
    let host = Host::new(mode);
    let outcome = host
        .run(["echo", "started"])
        .option(&["--policy", "/no/such/policy.toml"])
        .finish()
        .failed();
    assert!(
        !outcome.text().contains("started") && outcome.errors().contains("/no/such/policy.toml"),
        "{outcome:?}"
    );
}

fn a_record_that_cannot_be_written(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    // A file-size limit of nothing, which the supervisor inherits, so that no record fits.
    let outcome = host
        .shell(CURL)
        .policy(&policy)
        .by_way_of(&["sh", "-c", "ulimit -f 0; exec \"$@\"", "sh"])
        .finish();
    assert!(!outcome.text().contains("hello"), "{outcome:?}");
    origin.assert_untouched();
}

fn credentials_that_cannot_be_had(mode: Mode) {
    let host = Host::new(mode);
    for source in [
        "{ env = \"NOT_SET_ANYWHERE\" }",
        "{ file = \"/no/such/file\" }",
        "{ command = [\"false\"] }",
        "{ command = [\"/no/such/command\"] }",
    ] {
        let policy = Policy::new()
            .rule("host = \"origin.test\"\ncredential = \"key\"")
            .table("[env]\nKEY = { credential = \"key\" }")
            .table(&format!(
                "[credential.key]\nsource = {source}\nhosts = [\"origin.test\"]"
            ));
        let outcome = host
            .run(["echo", "started"])
            .policy(&policy)
            .finish()
            .failed();
        assert!(
            !outcome.text().contains("started") && outcome.errors().contains("key"),
            "{source}: {outcome:?}"
        );
    }
}

fn a_start_that_fails_leaves_nothing(mode: Mode) {
    let host = Host::new(mode);
    let script = host.project().join("script");
    host.write_program(&script, "no first line");
    let never = Policy::new().table("[limits]\ncpus = 100000\nrequire = [\"memory\"]");
    let missing_ca = Policy::new().rule("host = \"x.test\"\nca = \"/no/such/file\"");
    for (run, status) in [
        (host.run(["./script"]), 126),
        (host.run(["./no-such-file"]), 127),
        (host.run(["true"]).policy(&missing_ca), 125),
        (host.run(["true"]).policy(&never), 2),
    ] {
        // Twice: the name is free again at once.
        run.named("again").finish().exited(status);
        assert!(!host.state("again").exists(), "status {status}");
        assert_eq!(host.wardian(&["ls"]).success().text(), "");
    }
    host.write_program(&script, "#!/bin/sh\necho ran; exit 1");
    let run = || host.run(["./script"]).named("again").finish();
    assert_eq!(run().exited(1).text(), "ran\n");
    // Control: of a program that ran, record and name are kept.
    let refused = run().exited(125);
    assert!(refused.errors().contains("exists already"), "{refused:?}");
    host.wardian(&["verify", "again"]).success();
}

/// A promise that turns out not to hold, seen from inside: the program is never executed.
fn case_3_what_the_self_probe_finds_wrong_does_not_start(mode: Mode) {
    use std::os::unix::fs::{PermissionsExt, chown};
    let host = Host::new(mode);
    let shut = host.home().join("shut");
    host.make_directory(&shut);
    let run = || {
        host.shell("echo ran")
            .option(&[&format!("--bind={}", shut.display())])
            .finish()
    };
    // The control: with the directory open, the probe passes.
    assert_eq!(run().success().text(), "ran\n");
    // Its owner is an id that does not exist inside.
    chown(&shut, Some(200_000), Some(200_000)).unwrap();
    std::fs::set_permissions(&shut, std::fs::Permissions::from_mode(0o700)).unwrap();
    let outcome = run().exited(125);
    assert_eq!(outcome.text(), "");
    let errors = outcome.errors();
    assert!(errors.contains("the workspace is there"), "{errors}");
}
