//! A whole `wardian.toml` from the wire types.

use std::sync::Arc;

use super::convert::{self, Located};
use super::convert_credential::credential;
use super::wire::{AgentTable, Entries, ManifestDocument, Text};
use super::{Agent, Manifest, ManifestError, Source};
use crate::rule::{Level, Origin};

pub(super) fn manifest(
    source: &Source<'_>,
    level: Level,
    document: ManifestDocument,
) -> Result<Manifest, ManifestError> {
    let ManifestDocument {
        default,
        base,
        sandbox,
        agent,
        credential: credentials,
    } = document;
    if let (Level::Project, Some(base)) = (level, &base) {
        return Err(source
            .place(base.span.start)
            .error("`base` is for the user's own wardian.toml: here, let sandboxes extend it")
            .with_example(r#"extends = "NAME""#));
    }
    let Entries(sandboxes) = sandbox;
    let sandboxes = sandboxes.into_iter().map(|(name, table)| {
        let name = plain_name(source, name)?;
        let label: Arc<str> = Arc::from(match level {
            Level::Project => format!("wardian.toml:{}", name.value),
            Level::User => format!("user:{}", name.value),
        });
        let origin = Origin::Sandbox(level, Arc::from(name.value.as_str()));
        let fragment = convert::sandbox(source, table, &label, &origin)?;
        Ok((name, fragment))
    });
    Ok(Manifest {
        level,
        name: Arc::clone(&source.name),
        default: default.map(|text| located(source, text)),
        base: base.map(|text| located(source, text)),
        sandboxes: sandboxes.collect::<Result<_, ManifestError>>()?,
        agents: agent
            .0
            .into_iter()
            .map(|(name, table)| one_agent(source, level, name, table))
            .collect::<Result<_, _>>()?,
        credentials: credentials
            .0
            .into_iter()
            .map(|(name, table)| credential(source, &name, table, &Origin::Manifest(level)))
            .collect::<Result<_, _>>()?,
    })
}

pub(super) fn located(source: &Source<'_>, text: Text) -> Located<String> {
    Located {
        place: source.place(text.span.start),
        value: text.value,
    }
}

fn one_agent(
    source: &Source<'_>,
    level: Level,
    name: Text,
    table: AgentTable,
) -> Result<Agent, ManifestError> {
    let AgentTable {
        sandbox,
        command,
        skills,
        prompt,
    } = table;
    let name = plain_name(source, name)?;
    if command.value.is_empty() {
        return Err(source
            .place(command.span.start)
            .error("`command` is an empty list: the program should stand here")
            .with_example(r#"command = ["claude"]"#));
    }
    let words = [&command.value, &skills];
    if let Some(text) = words
        .into_iter()
        .flatten()
        .chain(&prompt)
        .find(|text| text.value.contains('\0'))
    {
        return Err(source
            .place(text.span.start)
            .error("a NUL byte cannot be passed on"));
    }
    Ok(Agent {
        name: name.value,
        level,
        sandbox: sandbox.map(|text| located(source, text)),
        command: command.value.into_iter().map(|word| word.value).collect(),
        skills: skills.into_iter().map(|path| path.value).collect(),
        prompt: prompt.map(|text| text.value),
    })
}

fn plain_name(source: &Source<'_>, name: Text) -> Result<Located<String>, ManifestError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let name = located(source, name);
    match (1..=64).contains(&name.value.len()) && name.value.bytes().all(allowed) {
        true => Ok(name),
        false => Err(name.place.error(format_args!(
            "`{}` is no name: lower-case letters, digits, `-` and `_`, at most 64",
            name.value.escape_debug()
        ))),
    }
}
