//! Puts a policy together from its sources.

use std::collections::BTreeMap;

use super::error::PolicyError;
use super::{Nested, Policy};
use crate::allow;
use crate::credential::{CredentialName, CredentialSource, CredentialSpec, Injection};
use crate::environment::{EnvName, EnvValue, EnvVar};
use crate::index::Index;
use crate::limits::{LimitKind, Limits};
use crate::manifest::{Fragment, Manifest, ManifestError, Place};
use crate::nearest::nearest;
use crate::preset::Preset;
use crate::rule::{Mode, Origin, Rule, Upstream};
use crate::visible::VisiblePath;

/// Everything that a policy is built from. With nothing in it, the policy denies everything.
#[derive(Debug, Clone, Default)]
pub struct PolicyInputs {
    /// The manifest given with `--policy`.
    pub manifest: Option<Manifest>,
    /// Presets by name, beside those that the manifest names.
    pub presets: Vec<String>,
    /// The values of `--allow`.
    pub allow: Vec<String>,
    /// Limits of the command line, which replace those of the manifest.
    pub limits: Vec<(LimitKind, String)>,
    /// The values of `--env`: `NAME=VALUE`, or `NAME` to pass the host's value on.
    pub env: Vec<String>,
}

impl Policy {
    /// Builds a policy. Rules are tried in this order: manifest, `--allow`, presets; variables and limits of the command
    /// line win over the manifest's, and the manifest's over those of presets.
    pub fn build(inputs: &PolicyInputs) -> Result<Self, PolicyError> {
        let PolicyInputs {
            manifest,
            presets: preset_names,
            allow,
            limits: limit_options,
            env,
        } = inputs;
        let manifest = manifest.as_ref().map(|manifest| &manifest.fragment);
        let presets = resolve_presets(manifest, preset_names)?;
        let credentials = gather_credentials(manifest, &presets)?;
        let environment = gather_environment(manifest, &presets, env)?;
        refuse_secrets_in_environment(&credentials, &environment)?;

        let mut rules: Vec<Rule> = Vec::new();
        if let Some(fragment) = manifest {
            refuse_dangling_names(fragment, &credentials)?;
            rules.extend(fragment.rules.iter().map(|draft| draft.value.clone()));
        }
        for (number, text) in (1..).zip(allow) {
            let rule = allow::parse(text, number).map_err(|source| PolicyError::Allow {
                text: text.clone(),
                source,
            })?;
            rules.push(rule);
        }
        for preset in &presets {
            rules.extend(preset_rules(preset.fragment()));
        }
        refuse_hidden_requests(&rules)?;
        if let Some(fragment) = manifest {
            refuse_idle_placeholders(fragment, &rules)?;
        }

        Ok(Self {
            index: Index::new(&rules),
            rules,
            credentials,
            environment,
            limits: gather_limits(manifest, limit_options)?,
            visible: gather_visible(manifest, &presets),
            nested: gather_nested(manifest, &presets),
            presets: presets
                .iter()
                .map(|preset| preset.name().to_owned())
                .collect(),
        })
    }
}

/// The named presets and those that they include, each once, an including one before what it includes.
fn resolve_presets(
    manifest: Option<&Fragment>,
    names: &[String],
) -> Result<Vec<&'static Preset>, PolicyError> {
    let mut resolved: Vec<&'static Preset> = Vec::new();
    let from_manifest = manifest.into_iter().flat_map(|fragment| &fragment.presets);
    for located in from_manifest {
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

/// A manifest's declaration replaces a preset's of the same name; presets that share a name must agree.
fn gather_credentials(
    manifest: Option<&Fragment>,
    presets: &[&Preset],
) -> Result<Vec<CredentialSpec>, PolicyError> {
    let own = manifest
        .into_iter()
        .flat_map(|fragment| &fragment.credentials);
    let mut by_name: BTreeMap<CredentialName, CredentialSpec> = own
        .map(|located| (located.value.name.clone(), located.value.clone()))
        .collect();
    let from_presets = presets
        .iter()
        .flat_map(|preset| &preset.fragment().credentials);
    for spec in from_presets.map(|located| &located.value) {
        match by_name.get(&spec.name) {
            Some(earlier) if earlier.origin == Origin::Manifest || earlier.agrees_with(spec) => {}
            Some(_) => return Err(PolicyError::CredentialConflict(spec.name.clone())),
            None => {
                by_name.insert(spec.name.clone(), spec.clone());
            }
        }
    }
    Ok(by_name.into_values().collect())
}

fn gather_environment(
    manifest: Option<&Fragment>,
    presets: &[&Preset],
    options: &[String],
) -> Result<Vec<EnvVar>, PolicyError> {
    let mut by_name: BTreeMap<EnvName, EnvVar> = BTreeMap::new();
    let fragments = presets.iter().rev().map(|preset| preset.fragment());
    for variable in fragments
        .chain(manifest)
        .flat_map(|fragment| &fragment.environment)
    {
        by_name.insert(variable.value.name.clone(), variable.value.clone());
    }
    for option in options {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option.as_str(), None),
        };
        let refused = || PolicyError::Env {
            name: name.to_owned(),
        };
        let name = EnvName::new(name).ok_or_else(refused)?;
        let value = match value {
            Some(value) if value.contains('\0') => return Err(refused()),
            Some(value) => EnvValue::Literal(value.to_owned()),
            None => EnvValue::FromHost(name.clone()),
        };
        by_name.insert(
            name.clone(),
            EnvVar {
                name,
                value,
                origin: Origin::CommandLine,
            },
        );
    }
    Ok(by_name.into_values().collect())
}

fn refuse_secrets_in_environment(
    credentials: &[CredentialSpec],
    environment: &[EnvVar],
) -> Result<(), PolicyError> {
    for variable in environment {
        let EnvValue::FromHost(outside) = &variable.value else {
            continue;
        };
        let holds = |spec: &&CredentialSpec| match spec.source() {
            CredentialSource::Env(names) => names.iter().any(|name| name == outside.as_str()),
            CredentialSource::File(_) | CredentialSource::Command(_) => false,
        };
        if let Some(spec) = credentials.iter().find(holds) {
            return Err(PolicyError::SecretInEnvironment {
                inside: variable.name.clone(),
                outside: outside.clone(),
                credential: spec.name.clone(),
            });
        }
    }
    Ok(())
}

/// Every credential that the manifest names exists, and can go to the host or the proxy of the rule that names it.
fn refuse_dangling_names(
    fragment: &Fragment,
    credentials: &[CredentialSpec],
) -> Result<(), ManifestError> {
    let find = |name: &CredentialName, place: &Place| {
        credentials
            .iter()
            .find(|spec| spec.name == *name)
            .ok_or_else(|| {
                let known: Vec<&str> = credentials.iter().map(|spec| spec.name.as_str()).collect();
                place
                    .error(format_args!("no credential `{name}` is declared"))
                    .or_nearest(nearest(name.as_str(), &known))
            })
    };
    for draft in &fragment.rules {
        for name in &draft.value.credentials {
            let spec = find(name, &draft.place)?;
            if !spec
                .hosts
                .iter()
                .any(|host| host.overlaps(&draft.value.host))
            {
                return Err(draft.place.error(format_args!(
                    "the credential `{name}` does not belong to `{}`: its `hosts` do not cover it",
                    draft.value.host
                )));
            }
        }
    }
    for draft in &fragment.rules {
        let Upstream::HttpProxy {
            host,
            credential: Some(name),
            ..
        } = &draft.value.route.upstream
        else {
            continue;
        };
        let spec = find(name, &draft.place)?;
        if !spec.belongs_to(host) {
            return Err(draft.place.error(format_args!(
                "the credential `{name}` does not belong to the proxy `{host}`: its `hosts` do not cover it"
            )));
        }
        if !matches!(spec.injection, Injection::Basic { .. }) {
            return Err(draft
                .place
                .error(format_args!(
                    "the credential `{name}` has no user name, and a proxy asks for one"
                ))
                .with_example("inject = { basic = \"USER\" } in its table"));
        }
    }
    for variable in &fragment.environment {
        if let EnvValue::Placeholder(name) = &variable.value.value {
            find(name, &variable.place)?;
        }
    }
    Ok(())
}

/// A placeholder that no rule may replace would only puzzle the program that finds it.
fn refuse_idle_placeholders(fragment: &Fragment, rules: &[Rule]) -> Result<(), ManifestError> {
    for variable in &fragment.environment {
        let EnvValue::Placeholder(name) = &variable.value.value else {
            continue;
        };
        if !rules.iter().any(|rule| rule.credentials.contains(name)) {
            return Err(variable
                .place
                .error(format_args!(
                    "no rule uses the credential `{name}`, so its placeholder would never be replaced"
                ))
                .with_example("credential = \"NAME\" in the [[egress]] rule of its host"));
        }
    }
    Ok(())
}

/// A preset's rules may replace each placeholder that the preset declares, without naming it: the preset was written as a
/// whole, and hosts still bound where each may go. Headers that the door adds by itself must be named.
fn preset_rules(fragment: &Fragment) -> impl Iterator<Item = Rule> {
    let implied: Vec<&CredentialName> = fragment
        .credentials
        .iter()
        .filter(|located| located.value.injection == Injection::Placeholder)
        .map(|located| &located.value.name)
        .collect();
    fragment.rules.iter().map(move |draft| {
        let mut rule = draft.value.clone();
        if rule.allows() && rule.route.mode == Mode::Inspect {
            for name in &implied {
                if !rule.credentials.contains(name) {
                    rule.credentials.push((*name).clone());
                }
            }
        }
        rule
    })
}

fn refuse_hidden_requests(rules: &[Rule]) -> Result<(), PolicyError> {
    for (position, allow) in rules.iter().enumerate() {
        if !allow.allows() || allow.route.mode == Mode::Inspect {
            continue;
        }
        let hidden = rules[..position].iter().find(|deny| {
            !deny.allows()
                && deny.is_about_requests()
                && deny.ports.overlaps(&allow.ports)
                && deny.host.overlaps(&allow.host)
        });
        if let Some(deny) = hidden {
            return Err(PolicyError::UninspectedDeny {
                deny: deny.id.clone(),
                allow: allow.id.clone(),
            });
        }
    }
    Ok(())
}

fn gather_limits(
    manifest: Option<&Fragment>,
    options: &[(LimitKind, String)],
) -> Result<Limits, PolicyError> {
    let mut limits = manifest.map_or_else(Limits::default, |fragment| fragment.limits.clone());
    for (kind, value) in options {
        limits
            .set(*kind, value)
            .map_err(|source| PolicyError::Limit {
                kind: *kind,
                source,
            })?;
    }
    match limits.require.iter().find(|kind| !limits.has(**kind)) {
        Some(kind) => Err(PolicyError::RequiredLimitUnset(*kind)),
        None => Ok(limits),
    }
}

fn gather_visible(manifest: Option<&Fragment>, presets: &[&Preset]) -> Vec<VisiblePath> {
    let from_presets = presets.iter().map(|preset| preset.fragment());
    let mut visible: Vec<VisiblePath> = from_presets
        .chain(manifest)
        .flat_map(|fragment| fragment.visible.iter().cloned())
        .collect();
    visible.sort_unstable();
    visible.dedup();
    visible
}

fn gather_nested(manifest: Option<&Fragment>, presets: &[&Preset]) -> Nested {
    let mut fragments = presets
        .iter()
        .map(|preset| preset.fragment())
        .chain(manifest);
    match fragments.any(|fragment| fragment.nested == Nested::Granted) {
        true => Nested::Granted,
        false => Nested::Refused,
    }
}
