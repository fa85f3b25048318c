//! Where each part of a policy stands, for a person who asks why.

use serde::Serialize;

use super::build::Gathered;
use super::{Policy, PolicyError, PolicyInputs, PolicySummary};
use crate::manifest::{Located, Trust};

/// A policy in words, the documents that it comes from, and the place of each part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// What was put together, the nearest first.
    pub order: Vec<LayerSummary>,
    /// What is in force.
    pub policy: PolicySummary,
    /// Where each part of it stands.
    pub places: Places,
}

/// One of the documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LayerSummary {
    /// `options`, `policy file`, `project sandbox gitea`, `preset claude`.
    pub name: String,
    /// The file, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Without trust it only denies and limits.
    pub trusted: bool,
}

/// `FILE:LINE`, or an option, for each entry of the [`PolicySummary`], in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Places {
    /// Of rules.
    pub rules: Vec<String>,
    /// Of credentials.
    pub credentials: Vec<String>,
    /// Of variables.
    pub environment: Vec<String>,
    /// Of limits.
    pub limits: Vec<String>,
    /// Of visible paths.
    pub visible: Vec<String>,
    /// Of kinds of downloads.
    pub cache: Vec<String>,
    /// Absent: nothing says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nested: Option<String>,
    /// Absent: nothing says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspaces: Option<String>,
    /// Absent: nothing says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

impl Policy {
    /// Builds a policy as [`Policy::build`] does, and says where each part of it stands.
    pub fn explain(inputs: &PolicyInputs) -> Result<Explanation, PolicyError> {
        let gathered = Gathered::from(inputs)?;
        let rest = &gathered.rest;
        let places = Places {
            rules: places(&gathered.rules),
            credentials: places(&rest.credentials),
            environment: places(&rest.environment),
            limits: places(rest.limits.values()),
            visible: places(&rest.visible),
            cache: places(&rest.cache),
            nested: rest.nested.as_ref().map(place),
            workspaces: rest.workspaces.as_ref().map(place),
            record: rest.record.as_ref().map(place),
        };
        let mut order = vec![LayerSummary {
            name: "options".to_owned(),
            file: None,
            trusted: true,
        }];
        order.extend(inputs.file.iter().map(|file| LayerSummary {
            name: "policy file".to_owned(),
            file: Some(file.source_name().to_owned()),
            trusted: true,
        }));
        for layer in inputs.manifests.layers(inputs.sandbox.as_deref())? {
            order.push(LayerSummary {
                name: format!("{} sandbox {}", layer.manifest.level(), layer.name),
                file: Some(layer.manifest.source_name().to_owned()),
                trusted: layer.trust == Trust::Given,
            });
        }
        order.extend(gathered.presets.iter().map(|preset| LayerSummary {
            name: format!("preset {}", preset.name()),
            file: None,
            trusted: true,
        }));
        Ok(Explanation {
            order,
            places,
            policy: gathered.policy()?.describe(),
        })
    }
}

fn places<'a, T: 'a>(located: impl IntoIterator<Item = &'a Located<T>>) -> Vec<String> {
    located.into_iter().map(place).collect()
}

fn place<T>(located: &Located<T>) -> String {
    located.place.to_string()
}
