//! `run --dry-run` decides everything and touches nothing.

use std::fs;
use std::path::Path;

use crate::fixture::Home;

/// Everything below `path`, with sizes and times.
fn tree(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut queue = vec![path.to_owned()];
    while let Some(directory) = queue.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let metadata = entry.metadata().unwrap();
            let modified = metadata.modified().unwrap();
            found.push(format!(
                "{:?} {} {modified:?}",
                entry.path(),
                metadata.len()
            ));
            if metadata.is_dir() {
                queue.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn project(home: &Home, policy: &str) -> std::path::PathBuf {
    let project = home.path().join("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("policy.toml"), policy).unwrap();
    project
}

#[test]
fn a_dry_run_touches_nothing_and_runs_no_command() {
    let home = Home::new();
    let project = project(
        &home,
        "[[egress]]\nhost = \"example.org\"\ncredential = \"key\"\n\
         [credential.key]\nsource = { command = [\"touch\", \"ran\"] }\nhosts = [\"example.org\"]\n\
         [env]\nKEY = { credential = \"key\" }\n",
    );
    let before = tree(home.path());
    let output = home
        .command(&[
            "run",
            "--dry-run",
            "--name",
            "plan",
            "--policy",
            "policy.toml",
        ])
        .args(["--memory", "64M", "--", "sh", "-c", "touch ran"])
        .env("GH_TOKEN", "hunter2-outside")
        .current_dir(&project)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{told}{output:?}");
    assert_eq!(tree(home.path()), before);
    let workspace = fs::canonicalize(&project).unwrap();
    for part in [
        "plan",
        "sh -c 'touch ran'",
        "/bin/sh",
        workspace.to_str().unwrap(),
        "example.org",
        "would run touch",
        "a placeholder for the credential key",
        "memory",
        "64M",
        "/etc",
        "none can be made inside",
    ] {
        assert!(told.contains(part), "{part:?} is missing in\n{told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_dry_run_tells_what_a_run_would_refuse() {
    let home = Home::new();
    let in_home = home.run(&["run", "--dry-run", "--", "sh"]);
    assert!(
        in_home.contains("must stay hidden") && in_home.contains("exit status: 125"),
        "{in_home}"
    );

    let project = project(&home, "");
    home.journal("taken");
    let output = home
        .command(&["run", "--dry-run", "--name", "taken", "--", "sh"])
        .current_dir(&project)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("exists already"), "{told}");
    assert_eq!(output.status.code(), Some(125));
}
