//! Help, completions and man pages.

use insta::assert_snapshot;

use crate::fixture::Home;

#[test]
fn verbs_explain_themselves() {
    let home = Home::new();
    for verb in [
        "resume",
        "events",
        "verify",
        "ls",
        "rm",
        "gc",
        "llm",
        "cp",
        "volume",
        "trust",
        "policy",
        "schema",
        "completions",
        "man",
    ] {
        assert_snapshot!(format!("help_{verb}"), home.run(&[verb, "--help"]));
    }
}

#[test]
fn completions_know_the_verbs() {
    let home = Home::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = home.run(&["completions", shell]);
        assert!(
            script.contains("verify") && script.contains("follow"),
            "{shell}: {script}"
        );
        assert!(!script.contains("--- stderr"), "{shell}: {script}");
    }
}

#[test]
fn man_pages_are_written_for_each_verb() {
    let home = Home::new();
    assert_eq!(home.run(&["man", "share/man1"]), "");
    for page in [
        "wardian.1",
        "wardian-events.1",
        "wardian-verify.1",
        "wardian-ls.1",
    ] {
        let text = std::fs::read_to_string(home.path().join("share/man1").join(page)).unwrap();
        assert!(
            text.contains(".SH NAME") && text.contains("wardian"),
            "{page}"
        );
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_told() {
    let home = Home::new();
    let told = home.run(&["evnets", "claude"]);
    assert!(
        told.contains("'events'") && told.contains("exit status: 2"),
        "{told}"
    );
}
