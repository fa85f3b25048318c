//! Which sandboxes of which manifests apply to a run, and in which order.
//!
//! ```text
//! the project's manifest, while nobody vouches for it: its default sandbox, which may only narrow
//! the sandbox that is asked for, or else the project's default, or else the user's
//!   what it extends, depth by depth; one that several extend comes behind them all
//! the user's base
//! ```

use std::collections::HashMap;

use super::convert::{Fragment, Located};
use super::error::Place;
use super::{Agent, Manifest, ManifestError};
use crate::credential::CredentialSpec;
use crate::nearest::nearest;
use crate::policy::PolicyError;
use crate::rule::Level;

/// No chain of sandboxes that extend each other is longer.
const MOST_DEPTH: usize = 64;

/// The manifests that there are.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    /// The user's own.
    pub user: Option<Manifest>,
    /// The one of the repository or the directory.
    pub project: Option<Project>,
}

/// The manifest of a project, which may be a stranger's.
#[derive(Debug, Clone)]
pub struct Project {
    /// The manifest.
    pub manifest: Manifest,
    /// What the user said of it.
    pub trust: Trust,
}

/// Whether a user vouches for what a manifest grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The user has seen this very text and agreed.
    Given,
    /// Nobody has. It may deny and limit, and grants nothing.
    NotGiven,
}

/// One sandbox that applies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) name: &'a str,
    pub(crate) fragment: &'a Fragment,
    pub(crate) trust: Trust,
}

impl Manifests {
    /// The agent of this name, the project's before the user's. Without trust, a project has no agents.
    pub fn agent(&self, name: &str) -> Option<&Agent> {
        self.trusted()
            .flat_map(|manifest| &manifest.agents)
            .find(|agent| agent.name == name)
    }

    /// The manifest whose grants count at this level.
    pub fn manifest(&self, level: Level) -> Option<&Manifest> {
        self.trusted().find(|manifest| manifest.level == level)
    }

    /// The sandboxes that apply, the nearest first, if `chosen` is asked for.
    pub(crate) fn layers(&self, chosen: Option<&str>) -> Result<Vec<Layer<'_>>, PolicyError> {
        self.check()?;
        let mut roots = Vec::new();
        match chosen {
            Some(name) => roots.push(self.find(name).ok_or_else(|| self.unknown(name))?),
            None => roots.extend(self.default_sandbox()?),
        }
        if let Some(base) = self.user.as_ref().and_then(|user| user.base.as_ref()) {
            roots.push(self.reachable(base, Level::User)?);
        }
        let mut layers = Vec::new();
        if let Some(Project {
            manifest,
            trust: Trust::NotGiven,
        }) = &self.project
            && let Some(default) = &manifest.default
            && let Some(fragment) = manifest.find(&default.value)
        {
            let narrowing = Layer {
                manifest,
                name: &default.value,
                fragment,
                trust: Trust::NotGiven,
            };
            let mut row = Row::new(self);
            row.visit(narrowing, None)?;
            // A stranger does not choose among the user's sandboxes.
            layers.extend(row.finish().filter(|layer| layer.trust == Trust::NotGiven));
        }
        let mut row = Row::new(self);
        for root in roots.into_iter().rev() {
            row.visit(root, None)?;
        }
        layers.extend(row.finish());
        Ok(layers)
    }

    /// The credentials that may be used, the nearest first.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = &Located<CredentialSpec>> {
        self.trusted().flat_map(|manifest| &manifest.credentials)
    }

    /// Every name in them leads somewhere.
    fn check(&self) -> Result<(), PolicyError> {
        let mut row = Row::new(self);
        for manifest in self.all() {
            for (name, fragment) in &manifest.sandboxes {
                let trust = self.trust_in(manifest);
                let name = name.value.as_str();
                row.visit(
                    Layer {
                        manifest,
                        name,
                        fragment,
                        trust,
                    },
                    None,
                )?;
            }
            let named = manifest.default.iter().chain(&manifest.base);
            let of_agents = manifest
                .agents
                .iter()
                .filter_map(|agent| agent.sandbox.as_ref());
            for name in named.chain(of_agents) {
                self.reachable(name, manifest.level)?;
            }
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Manifest> {
        let project = self.project.iter().map(|project| &project.manifest);
        project.chain(&self.user)
    }

    fn trusted(&self) -> impl Iterator<Item = &Manifest> {
        self.all()
            .filter(|manifest| self.trust_in(manifest) == Trust::Given)
    }

    fn trust_in(&self, manifest: &Manifest) -> Trust {
        match (&self.project, manifest.level) {
            (Some(project), Level::Project) => project.trust,
            _ => Trust::Given,
        }
    }

    /// The sandbox of this name whose grants count.
    fn find(&self, name: &str) -> Option<Layer<'_>> {
        self.trusted()
            .find_map(|manifest| self.layer(manifest, name))
    }

    fn layer<'a>(&self, manifest: &'a Manifest, name: &str) -> Option<Layer<'a>> {
        let mut sandboxes = manifest.sandboxes.iter();
        let (name, fragment) = sandboxes.find(|(known, _)| known.value == name)?;
        Some(Layer {
            manifest,
            name: &name.value,
            fragment,
            trust: self.trust_in(manifest),
        })
    }

    fn default_sandbox(&self) -> Result<Option<Layer<'_>>, PolicyError> {
        let manifest = self.trusted().find(|manifest| manifest.default.is_some());
        let named =
            manifest.and_then(|manifest| Some((manifest.level, manifest.default.as_ref()?)));
        Ok(match named {
            Some((level, name)) => Some(self.reachable(name, level)?),
            None => None,
        })
    }

    /// What a name in the manifest of `level` means: the user's manifest does not know of projects.
    fn reachable(&self, name: &Located<String>, level: Level) -> Result<Layer<'_>, ManifestError> {
        let seen = || self.all().filter(move |other| is_in_reach(level, other));
        seen()
            .find_map(|manifest| self.layer(manifest, &name.value))
            .ok_or_else(|| {
                let known: Vec<&str> = seen().flat_map(Manifest::sandboxes).collect();
                no_such_sandbox(&name.place, &name.value, &known)
            })
    }

    fn unknown(&self, name: &str) -> PolicyError {
        let untrusted = self
            .all()
            .any(|manifest| self.layer(manifest, name).is_some());
        if untrusted {
            return PolicyError::UntrustedSandbox(name.to_owned());
        }
        let known: Vec<&str> = self.all().flat_map(Manifest::sandboxes).collect();
        PolicyError::UnknownSandbox {
            name: name.to_owned(),
            nearest: nearest(name, &known).map(str::to_owned),
            known: known.into_iter().map(str::to_owned).collect(),
        }
    }
}

fn is_in_reach(level: Level, other: &Manifest) -> bool {
    level == Level::Project || other.level == Level::User
}

fn no_such_sandbox(place: &Place, name: &str, known: &[&str]) -> ManifestError {
    place
        .error(format_args!(
            "there is no sandbox `{}`",
            name.escape_debug()
        ))
        .or_nearest(nearest(name, known))
}

type Key<'a> = (Level, &'a str);

/// Sandboxes in the making of an order: each before what it extends.
struct Row<'a> {
    manifests: &'a Manifests,
    /// `false` while what it extends is looked at.
    done: HashMap<Key<'a>, bool>,
    path: Vec<&'a str>,
    /// The farthest first.
    order: Vec<Layer<'a>>,
}

impl<'a> Row<'a> {
    fn new(manifests: &'a Manifests) -> Self {
        Self {
            manifests,
            done: HashMap::new(),
            path: Vec::new(),
            order: Vec::new(),
        }
    }

    /// `named` is where the sandbox is extended.
    fn visit(&mut self, layer: Layer<'a>, named: Option<&Place>) -> Result<(), ManifestError> {
        let key = (layer.manifest.level, layer.name);
        match (self.done.get(&key), named) {
            (Some(true), _) | (Some(false), None) => return Ok(()),
            (Some(false), Some(place)) => {
                let from = self.path.iter().position(|name| *name == layer.name);
                let round = &self.path[from.unwrap_or(0)..];
                return Err(place.error(format_args!(
                    "`{}` extends itself: {} -> {}",
                    layer.name,
                    round.join(" -> "),
                    layer.name
                )));
            }
            (None, Some(place)) if self.path.len() >= MOST_DEPTH => {
                return Err(place.error(format_args!(
                    "more than {MOST_DEPTH} sandboxes extend one another"
                )));
            }
            (None, _) => {}
        }
        self.done.insert(key, false);
        self.path.push(layer.name);
        for name in layer.fragment.extends.iter().rev() {
            let extended = self.manifests.reachable(name, layer.manifest.level)?;
            self.visit(extended, Some(&name.place))?;
        }
        self.path.pop();
        self.done.insert(key, true);
        self.order.push(layer);
        Ok(())
    }

    fn finish(self) -> impl Iterator<Item = Layer<'a>> {
        self.order.into_iter().rev()
    }
}
