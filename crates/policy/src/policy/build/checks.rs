//! What documents say together must make sense.

use super::super::error::PolicyError;
use crate::credential::{CredentialName, CredentialSource, CredentialSpec, Injection};
use crate::environment::{EnvValue, EnvVar};
use crate::manifest::{Fragment, Located, ManifestError, Place, RuleDraft};
use crate::nearest::nearest;
use crate::rule::{Mode, Rule, Upstream};

pub(super) fn refuse_secrets_in_environment(
    credentials: &[Located<CredentialSpec>],
    environment: &[Located<EnvVar>],
) -> Result<(), PolicyError> {
    for variable in environment.iter().map(|located| &located.value) {
        let EnvValue::FromHost(outside) = &variable.value else {
            continue;
        };
        let holds = |spec: &&CredentialSpec| match spec.source() {
            CredentialSource::Env(names) => names.iter().any(|name| name == outside.as_str()),
            CredentialSource::File(_)
            | CredentialSource::Command(_)
            | CredentialSource::Login(_) => false,
        };
        if let Some(spec) = credentials.iter().map(|it| &it.value).find(holds) {
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
pub(super) fn refuse_dangling_names(
    fragment: &Fragment,
    credentials: &[Located<CredentialSpec>],
) -> Result<(), ManifestError> {
    let find = |name: &CredentialName, place: &Place| {
        let mut specs = credentials.iter().map(|located| &located.value);
        specs.find(|spec| spec.name == *name).ok_or_else(|| {
            let known: Vec<&str> = credentials
                .iter()
                .map(|spec| spec.value.name.as_str())
                .collect();
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
pub(super) fn refuse_idle_placeholders(
    fragment: &Fragment,
    rules: &[RuleDraft],
) -> Result<(), ManifestError> {
    for variable in &fragment.environment {
        let EnvValue::Placeholder(name) = &variable.value.value else {
            continue;
        };
        if !rules
            .iter()
            .any(|rule| rule.value.credentials.contains(name))
        {
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

pub(super) fn refuse_hidden_requests(rules: &[RuleDraft]) -> Result<(), PolicyError> {
    let rules: Vec<&Rule> = rules.iter().map(|draft| &draft.value).collect();
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
