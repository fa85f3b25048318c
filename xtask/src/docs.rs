//! Documentation that can be checked: links lead somewhere, and commands exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{events_reference, shell};

pub(crate) fn check() -> Result<()> {
    crate::reference::check()?;
    let root = shell::root();
    let listed = shell::output(shell::command(
        "git",
        &[
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.md",
        ],
    ))?;
    let mut wrong = Vec::new();
    let mut verbs = BTreeSet::new();
    let mut tasks = BTreeSet::new();
    for name in listed.lines() {
        let path = root.join(name);
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for link in links(&text) {
            if let Some(problem) = broken(&path, &text, link) {
                wrong.push(format!("{name}: {problem}"));
            }
        }
        for (program, verb) in commands(&text) {
            match program {
                Program::Wardian => verbs.insert(verb.to_owned()),
                Program::Xtask => tasks.insert(verb.to_owned()),
            };
        }
    }
    wrong.extend(
        events_reference::check()
            .err()
            .map(|error| error.to_string()),
    );
    wrong.extend(unknown_tasks(&tasks)?);
    wrong.extend(unknown_verbs(&root, &verbs)?);
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    eprintln!(
        "{} documents; all links lead somewhere, all commands exist",
        listed.lines().count()
    );
    Ok(())
}

/// Targets of `[text](target)` outside code.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block || line.starts_with("    ") {
            continue;
        }
        let mut rest = line;
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            if let Some(end) = rest.find(')') {
                found.push(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    found
}

fn broken(document: &Path, text: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link
        .split_once('#')
        .map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = document.parent()?.join(file);
    let there = if file.is_empty() {
        text.to_owned()
    } else {
        fs::read_to_string(&target).unwrap_or_default()
    };
    if !file.is_empty() && !target.exists() {
        return Some(format!("{link} leads nowhere"));
    }
    let anchor = anchor?;
    let has = there
        .lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| slug(line.trim_start_matches('#')) == anchor);
    (!has).then(|| format!("{link}: there is no such heading"))
}

/// As the usual renderers make an anchor of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Wardian,
    Xtask,
}

/// Commands in code blocks, fenced or indented: the program and the word after it.
fn commands(text: &str) -> Vec<(Program, &str)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        if !in_block && !line.starts_with("    ") {
            continue;
        }
        let line = line
            .trim_start()
            .trim_start_matches("$ ")
            .trim_start_matches("sudo ");
        for (start, program) in [
            ("wardian ", Program::Wardian),
            ("cargo xtask ", Program::Xtask),
        ] {
            let word = line
                .strip_prefix(start)
                .and_then(|rest| rest.split_whitespace().next());
            if let Some(word) = word.filter(|word| {
                word.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            }) {
                found.push((program, word));
            }
        }
    }
    found
}

fn unknown_tasks(tasks: &BTreeSet<String>) -> Result<Vec<String>> {
    let known = |task: &str| {
        crate::HELP
            .lines()
            .any(|line| line.split_whitespace().nth(2) == Some(task))
    };
    Ok(tasks
        .iter()
        .filter(|task| !known(task))
        .map(|task| format!("`cargo xtask {task}` does not exist"))
        .collect())
}

fn unknown_verbs(root: &Path, verbs: &BTreeSet<String>) -> Result<Vec<String>> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let binary = target.join("debug/wardian");
    let mut wrong = Vec::new();
    for verb in verbs.iter().filter(|verb| !verb.starts_with('-')) {
        let told = std::process::Command::new(&binary)
            .args([verb, "--help"])
            .output()
            .with_context(|| format!("{}: build it first", binary.display()))?;
        if !told.status.success() {
            wrong.push(format!("`wardian {verb}` does not exist"));
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_outside_code_only() {
        let text = "see [a](a.md) and [b](b.md#c)\n```\n[x](y)\n```\n    [z](w)\n";
        assert_eq!(links(text), ["a.md", "b.md#c"]);
    }

    #[test]
    fn commands_in_code_only() {
        let text = "wardian nothing\n\n    wardian run claude\n    # wardian x\n```\n$ cargo xtask test --quick\nwardian <verb>\n```\n";
        assert_eq!(
            commands(text),
            [(Program::Wardian, "run"), (Program::Xtask, "test")]
        );
    }

    #[test]
    fn anchors() {
        assert_eq!(
            slug(" 4. The seal (proven on 6.18)"),
            "4-the-seal-proven-on-618"
        );
    }
}
