//! Options of the command line, as a document nearer than all others.

use std::collections::BTreeMap;

use super::super::error::PolicyError;
use super::PolicyInputs;
use crate::allow;
use crate::environment::{EnvName, EnvValue, EnvVar};
use crate::limits::{Limit, LimitKind};
use crate::manifest::{Fragment, Located, Place, RuleDraft};
use crate::rule::Origin;
use crate::settings::CacheKind;

pub(super) fn fragment(inputs: &PolicyInputs) -> Result<Fragment, PolicyError> {
    Ok(Fragment {
        rules: rules(&inputs.allow)?,
        limits: limits(&inputs.limits)?,
        environment: environment(&inputs.env)?,
        cache: cache(&inputs.cache),
        ..Fragment::default()
    })
}

fn rules(allow: &[String]) -> Result<Vec<RuleDraft>, PolicyError> {
    let rules = (1..).zip(allow).map(|(number, text)| {
        let value = allow::parse(text, number).map_err(|source| PolicyError::Allow {
            text: text.clone(),
            source,
        })?;
        Ok(Located {
            value,
            place: Place::option("--allow"),
        })
    });
    rules.collect()
}

fn cache(kinds: &[CacheKind]) -> Vec<Located<CacheKind>> {
    let located = kinds.iter().map(|kind| Located {
        value: *kind,
        place: Place::option("--cache"),
    });
    located.collect()
}

fn limits(
    options: &[(LimitKind, String)],
) -> Result<BTreeMap<LimitKind, Located<Limit>>, PolicyError> {
    let limits = options.iter().map(|(kind, text)| {
        let value = Limit::parse(*kind, text).map_err(|source| PolicyError::Limit {
            kind: *kind,
            source,
        })?;
        let place = Place::option(&format!("--{kind}"));
        Ok((*kind, Located { value, place }))
    });
    limits.collect()
}

/// Of two options for one variable, the later counts.
fn environment(options: &[String]) -> Result<Vec<Located<EnvVar>>, PolicyError> {
    let mut by_name = BTreeMap::new();
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
            Located {
                value: EnvVar {
                    name,
                    value,
                    origin: Origin::CommandLine,
                },
                place: Place::option("--env"),
            },
        );
    }
    Ok(by_name.into_values().collect())
}
