//! What a manifest says of an agent, beside its policy: its skills, and what it is told.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use wardian_credentials::expand;
use wardian_policy::{Agent, Preset, VisiblePath};

use super::briefing::Copies;
use super::sources::Sources;
use crate::failure::Failure;

/// Puts the skills where the agent's program looks for them.
pub(super) fn send_skills(
    agent: &Agent,
    preset: Option<&'static Preset>,
    sources: &Sources,
    copies: &mut Copies,
    home: &Path,
) -> Result<(), Failure> {
    if agent.skills().is_empty() {
        return Ok(());
    }
    let place = preset.and_then(Preset::skills).ok_or_else(|| {
        let program = &agent.command()[0];
        anyhow!(
            "the agent `{}` has skills, and where {program} looks for skills is not known",
            agent.name()
        )
    })?;
    let VisiblePath::Home(place) = place else {
        return Ok(());
    };
    for skill in agent.skills() {
        let source = resolve(skill, sources.directory_at(agent.level()), home);
        let name = source.file_name().map(ToOwned::to_owned);
        let name = name.filter(|_| source.join("SKILL.md").is_file());
        let Some(name) = name else {
            return Err(Failure::from(anyhow!(
                "the skill {} of the agent `{}` is no directory with a SKILL.md",
                source.display(),
                agent.name()
            )));
        };
        copies.add(&source, &home.join(place).join(name), home)?;
    }
    Ok(())
}

/// What an agent that is not known to Wardian is told, it may never read.
pub(super) fn note(agent: &Agent, preset: Option<&'static Preset>) -> Option<String> {
    let unread = preset.and_then(Preset::briefing).is_none();
    (agent.prompt().is_some() && unread).then(|| {
        format!(
            "what the agent `{}` is told stands in /run/wardian/README only: where {} would read it is not known",
            agent.name(),
            agent.command()[0]
        )
    })
}

/// A path of a manifest: `~/...`, absolute, or relative to the manifest.
pub(super) fn resolve(path: &str, directory: Option<&Path>, home: &Path) -> PathBuf {
    let path = expand(path, home);
    match directory {
        Some(directory) if path.is_relative() => directory.join(path),
        _ => path,
    }
}
