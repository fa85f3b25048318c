//! The licences of all dependencies, against the list in `deny.toml` (which `cargo deny` reads as well).

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

pub(crate) fn check() -> Result<()> {
    let text = fs::read_to_string(shell::root().join("deny.toml")).context("deny.toml")?;
    let rules: toml::Table = text.parse().context("deny.toml")?;
    let allowed: BTreeSet<&str> = strings(&rules, "licenses", "allow").collect();
    let banned: BTreeSet<&str> = strings(&rules, "bans", "deny").collect();

    let metadata = shell::output(shell::cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--locked",
    ]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata has packages")?;
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or_default();
        if banned.contains(name) {
            wrong.push(format!("{name}: banned by deny.toml"));
        }
        if !satisfied(licence, &allowed) {
            wrong.push(format!(
                "{name}: licence {licence:?} is not one of deny.toml's"
            ));
        }
        let source = package["source"].as_str();
        if source.is_some_and(|source| !source.starts_with("registry+")) {
            wrong.push(format!("{name}: comes from {}", source.unwrap_or_default()));
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    eprintln!(
        "{} packages, all under licences that deny.toml allows",
        packages.len()
    );
    Ok(())
}

fn strings<'a>(table: &'a toml::Table, section: &str, key: &str) -> impl Iterator<Item = &'a str> {
    let list = table
        .get(section)
        .and_then(|section| section.get(key))
        .and_then(toml::Value::as_array);
    list.into_iter().flatten().filter_map(toml::Value::as_str)
}

/// Whether an SPDX expression can be met with the allowed licences. `/` is an older spelling of `OR`. AND binds closer
/// than OR.
fn satisfied(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any_of(&mut words, allowed);
    met && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    let mut met = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all_of(words, allowed);
    }
    met
}

fn all_of(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    match words.next() {
        Some("(") => {
            let met = any_of(words, allowed);
            words.next_if_eq(&")").is_some() && met
        }
        Some(licence) => {
            let with = words.next_if_eq(&"WITH").and_then(|_| words.next());
            match with {
                Some(exception) => allowed.contains(format!("{licence} WITH {exception}").as_str()),
                None => allowed.contains(licence),
            }
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let allowed = BTreeSet::from(["MIT", "ISC"]);
        for met in [
            "MIT",
            "MIT OR GPL-3.0",
            "Unlicense/MIT",
            "(MIT OR X) AND ISC",
            "X OR (MIT AND ISC)",
        ] {
            assert!(satisfied(met, &allowed), "{met}");
        }
        for unmet in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT",
            "MIT WITH X",
            "MIT MIT",
            "X OR MIT AND Y",
        ] {
            assert!(!satisfied(unmet, &allowed), "{unmet}");
        }
    }
}
