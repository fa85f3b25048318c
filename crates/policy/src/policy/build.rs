//! Puts a policy together from its sources.

mod checks;
mod flags;

use std::collections::BTreeSet;

use super::error::PolicyError;
use super::{Nested, Policy};
use crate::credential::{CredentialName, CredentialSpec, Injection};
use crate::environment::EnvValue;
use crate::index::Index;
use crate::limits::{LimitKind, Limits};
use crate::manifest::{Fragment, Located, Manifests, PolicyFile, RuleDraft, Trust};
use crate::nearest::nearest;
use crate::preset::Preset;
use crate::rule::{Action, Mode, Upstream};
use crate::settings::CacheKind;

/// Everything that a policy is built from. With nothing in it, the policy denies everything.
#[derive(Debug, Clone, Default)]
pub struct PolicyInputs {
    /// The manifests that there are.
    pub manifests: Manifests,
    /// The sandbox of theirs that is asked for with `--sandbox`.
    pub sandbox: Option<String>,
    /// The file given with `--policy`.
    pub file: Option<PolicyFile>,
    /// Presets by name, beside those that documents name.
    pub presets: Vec<String>,
    /// The values of `--allow`.
    pub allow: Vec<String>,
    /// Limits of the command line.
    pub limits: Vec<(LimitKind, String)>,
    /// The values of `--env`: `NAME=VALUE`, or `NAME` to pass the host's value on.
    pub env: Vec<String>,
    /// The values of `--cache`.
    pub cache: Vec<CacheKind>,
}

/// What all sources say together, and where each part of it stands.
#[derive(Debug, Clone)]
pub(super) struct Gathered {
    /// In the order in which they are tried.
    pub(super) rules: Vec<RuleDraft>,
    pub(super) presets: Vec<&'static Preset>,
    /// All else, presets' share included.
    pub(super) rest: Fragment,
}

impl Policy {
    /// Builds a policy. Sources count from near to far: options, the file of `--policy`, the sandboxes of manifests,
    /// presets. Rules are tried in that order, and the nearest value of a variable or a limit counts; but what the user's
    /// own manifest denies is denied before any other rule is asked.
    pub fn build(inputs: &PolicyInputs) -> Result<Self, PolicyError> {
        Gathered::from(inputs)?.policy()
    }
}

impl Gathered {
    pub(super) fn from(inputs: &PolicyInputs) -> Result<Self, PolicyError> {
        let mut rest = inputs.manifests.documents(inputs.sandbox.as_deref())?;
        if let Some(file) = &inputs.file {
            rest = file.fragment.clone().over(rest);
        }
        let credentials = inputs.manifests.credentials().cloned().collect();
        rest = rest.over(Fragment {
            credentials,
            ..Fragment::default()
        });
        let presets = resolve_presets(&rest, &inputs.presets)?;
        rest = flags::fragment(inputs)?.over(rest);
        let written = rest.clone();
        let of_presets = presets_together(&presets)?;
        rest = rest.over(of_presets);
        checks::refuse_secrets_in_environment(&rest.credentials, &rest.environment)?;
        checks::refuse_dangling_names(&written, &rest.credentials)?;

        let (mut rules, others): (Vec<RuleDraft>, _) = std::mem::take(&mut rest.rules)
            .into_iter()
            .partition(is_of_user_and_denies);
        rules.extend(others);
        checks::refuse_hidden_requests(&rules)?;
        checks::refuse_idle_placeholders(&written, &rules)?;
        let used = used_credentials(&rules, &rest);
        rest.credentials
            .retain(|spec| used.contains(&spec.value.name));
        let name = |spec: &Located<CredentialSpec>| spec.value.name.clone();
        rest.credentials.sort_by_key(name);
        rest.environment.sort_by_key(|it| it.value.name.clone());
        rest.visible.sort_by_key(|path| path.value.clone());
        rest.cache.sort_by_key(|kind| kind.value);
        rest.require.sort_by_key(|kind| kind.value);
        Ok(Self {
            rules,
            presets,
            rest,
        })
    }

    pub(super) fn policy(self) -> Result<Policy, PolicyError> {
        let Self {
            rules,
            presets,
            rest,
        } = self;
        let mut limits = Limits::default();
        for limit in rest.limits.values() {
            limits.set(limit.value);
        }
        limits.require = unplaced(rest.require);
        if let Some(kind) = limits.require.iter().find(|kind| !limits.has(**kind)) {
            return Err(PolicyError::RequiredLimitUnset(*kind));
        }
        let rules = unplaced(rules);
        Ok(Policy {
            index: Index::new(&rules),
            rules,
            credentials: unplaced(rest.credentials),
            environment: unplaced(rest.environment),
            limits,
            visible: unplaced(rest.visible),
            nested: rest.nested.map_or(Nested::Refused, |nested| nested.value),
            workspaces: rest.workspaces.map(|located| located.value),
            cache: unplaced(rest.cache),
            recording: rest.record.map(|record| record.value).unwrap_or_default(),
            presets: presets
                .iter()
                .map(|preset| preset.name().to_owned())
                .collect(),
        })
    }
}

impl Manifests {
    /// What the sandboxes that apply say together.
    fn documents(&self, chosen: Option<&str>) -> Result<Fragment, PolicyError> {
        let layers = self.layers(chosen)?;
        let far_to_near = layers.into_iter().rev();
        Ok(far_to_near.fold(Fragment::default(), |below, layer| {
            let fragment = layer.fragment.clone();
            match layer.trust {
                Trust::Given => fragment.over(below),
                Trust::NotGiven => fragment.narrowing(below),
            }
        }))
    }
}

fn unplaced<T>(located: Vec<Located<T>>) -> Vec<T> {
    located.into_iter().map(|located| located.value).collect()
}

/// What the user denies for every project, no project and no option can undo.
fn is_of_user_and_denies(draft: &RuleDraft) -> bool {
    draft.value.action == Action::Deny && draft.value.origin.is_of_user()
}

/// The named presets and those that they include.
fn resolve_presets(
    documents: &Fragment,
    names: &[String],
) -> Result<Vec<&'static Preset>, PolicyError> {
    let mut resolved: Vec<&'static Preset> = Vec::new();
    for located in &documents.presets {
        let preset = Preset::find(&located.value).ok_or_else(|| {
            located
                .place
                .error(format_args!(
                    "there is no preset `{}`",
                    located.value.escape_debug()
                ))
                .or_nearest(nearest(&located.value, &Preset::names()))
        })?;
        include(preset, &mut resolved)?;
    }
    for name in names {
        let preset = Preset::find(name).ok_or_else(|| unknown_preset(name))?;
        include(preset, &mut resolved)?;
    }
    Ok(resolved)
}

/// A preset and those that it includes, each once, an including one before what it includes.
fn include(
    preset: &'static Preset,
    resolved: &mut Vec<&'static Preset>,
) -> Result<(), PolicyError> {
    if resolved.iter().any(|other| other.name() == preset.name()) {
        return Ok(());
    }
    resolved.push(preset);
    for included in &preset.fragment().presets {
        let included =
            Preset::find(&included.value).ok_or_else(|| unknown_preset(&included.value))?;
        include(included, resolved)?;
    }
    Ok(())
}

fn unknown_preset(name: &str) -> PolicyError {
    PolicyError::UnknownPreset {
        name: name.to_owned(),
        nearest: nearest(name, &Preset::names()),
    }
}

/// What presets say, without the presets that they name. Those that share the name of a credential must agree.
fn presets_together(presets: &[&'static Preset]) -> Result<Fragment, PolicyError> {
    let mut together = Fragment::default();
    for preset in presets {
        let fragment = preset.fragment();
        for spec in fragment.credentials.iter().map(|located| &located.value) {
            let mut known = together.credentials.iter().map(|located| &located.value);
            if known
                .any(|other: &CredentialSpec| other.name == spec.name && !other.agrees_with(spec))
            {
                return Err(PolicyError::CredentialConflict(spec.name.clone()));
            }
        }
        together = together.over(Fragment {
            presets: Vec::new(),
            rules: preset_rules(fragment).collect(),
            ..fragment.clone()
        });
    }
    Ok(together)
}

/// A preset's rules may replace each placeholder that the preset declares, without naming it: the preset was written as a
/// whole, and hosts still bound where each may go. Headers that the door adds by itself must be named.
fn preset_rules(fragment: &Fragment) -> impl Iterator<Item = RuleDraft> {
    let implied: Vec<&CredentialName> = fragment
        .credentials
        .iter()
        .filter(|located| located.value.injection == Injection::Placeholder)
        .map(|located| &located.value.name)
        .collect();
    fragment.rules.iter().map(move |draft| {
        let mut draft = draft.clone();
        let rule = &mut draft.value;
        if rule.allows() && rule.route.mode == Mode::Inspect {
            for name in &implied {
                if !rule.credentials.contains(name) {
                    rule.credentials.push((*name).clone());
                }
            }
        }
        draft
    })
}

/// A credential that nothing names is not even read: a user's manifest has those of many projects.
fn used_credentials(rules: &[RuleDraft], rest: &Fragment) -> BTreeSet<CredentialName> {
    let mut used = BTreeSet::new();
    for rule in rules.iter().map(|draft| &draft.value) {
        used.extend(rule.credentials.iter().cloned());
        if let Upstream::HttpProxy {
            credential: Some(name),
            ..
        } = &rule.route.upstream
        {
            used.insert(name.clone());
        }
    }
    used.extend(
        rest.environment
            .iter()
            .filter_map(|variable| match &variable.value.value {
                EnvValue::Placeholder(name) => Some(name.clone()),
                EnvValue::Literal(_) | EnvValue::FromHost(_) | EnvValue::Prompt(_) => None,
            }),
    );
    used
}
