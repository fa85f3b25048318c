//! The policy of one sandbox and the decisions that it takes.
//!
//! ```text
//! DNS question   -> check_name        -> NamePermit
//! connection     -> check_connection  -> ConnectionPermit    how the host is reached: the first allow rule says
//! address to dial -> check_address    -> AddressPermit
//! request        -> check_request     -> RequestPermit       which requests pass: every rule has its say, in order
//! ```
//!
//! Rules are tried in order and the first that matches decides; nothing matches: denied. The nearest come first: options,
//! the file of `--policy`, sandboxes of manifests, presets. So what the user wrote for this sandbox can narrow, deny or
//! redirect what a preset grants. Only what the user's own manifest denies comes before all of them.
//!
//! A policy is immutable. To change it, build another one and check the open connections again.

mod build;
mod check;
pub(crate) mod describe;
mod error;
mod explain;
#[cfg(test)]
mod tests;

use crate::credential::{CredentialName, CredentialSpec};
use crate::environment::EnvVar;
use crate::host::{Authority, Host, Port};
use crate::index::Index;
use crate::limits::Limits;
use crate::manifest::Workspaces;
use crate::rule::{Origin, Rule, Scheme, Upgrade};
use crate::settings::{CacheKind, Recording, WorkspaceSpec};
use crate::target::RequestTarget;
use crate::visible::VisiblePath;

pub use build::PolicyInputs;
pub use describe::{CredentialSummary, EnvSummary, LimitSummary, PolicySummary, RuleSummary};
pub use error::PolicyError;
pub use explain::{Explanation, LayerSummary, Places};

/// What a sandbox may do.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Vec<Rule>,
    index: Index,
    credentials: Vec<CredentialSpec>,
    environment: Vec<EnvVar>,
    limits: Limits,
    visible: Vec<VisiblePath>,
    nested: Nested,
    workspaces: Option<Workspaces>,
    cache: Vec<CacheKind>,
    recording: Recording,
    presets: Vec<String>,
}

/// Whether the sandbox may hold sandboxes of its own (namespaces and mounts inside).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Nested {
    /// Namespaces cannot be made inside.
    #[default]
    Refused,
    /// `nested = true`: for agents and browsers that sandbox themselves, and for rootless containers.
    Granted,
}

/// Where a program wants to connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The name behind a synthetic address, or the address itself.
    pub host: Host,
    /// The port that was dialled.
    pub port: Port,
}

/// The parts of a request head that rules speak about.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// Whether it came over TLS.
    pub scheme: Scheme,
    /// As sent.
    pub method: &'a str,
    /// `Host` or `:authority`.
    pub authority: &'a Authority,
    /// Canonical, and what will be sent.
    pub target: &'a RequestTarget,
    /// The protocol that the request asks to switch to.
    pub upgrade: Option<Upgrade>,
}

impl Policy {
    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Every credential that the policy declares, in a fixed order.
    pub fn credentials(&self) -> impl Iterator<Item = &CredentialSpec> {
        self.credentials.iter()
    }

    /// The credential of this name.
    pub fn credential(&self, name: &CredentialName) -> Option<&CredentialSpec> {
        self.credentials.iter().find(|spec| spec.name() == name)
    }

    /// The credentials whose placeholders may stand in something meant for `host`: all others are out of place there.
    pub fn credentials_for_host(&self, host: &Host) -> impl Iterator<Item = &CredentialSpec> {
        self.credentials
            .iter()
            .filter(move |spec| spec.belongs_to(host))
    }

    /// The variables to set inside, sorted by name, each name once.
    pub fn environment(&self) -> &[EnvVar] {
        &self.environment
    }

    /// Paths of the host that are visible inside, read-only.
    pub fn visible_paths(&self) -> &[VisiblePath] {
        &self.visible
    }

    /// Whether nested sandboxes are granted.
    pub fn nested(&self) -> Nested {
        self.nested
    }

    /// What the program works on, the main place first, and who says so: paths may be relative to that document.
    pub fn workspaces(&self) -> Option<(&Origin, &[WorkspaceSpec])> {
        let named = self.workspaces.as_ref()?;
        Some((&named.origin, &named.specs))
    }

    /// Whose downloads the door keeps for other sandboxes, sorted.
    pub fn cache(&self) -> &[CacheKind] {
        &self.cache
    }

    /// How much of conversations with models is kept.
    pub fn recording(&self) -> Recording {
        self.recording
    }

    /// The certificate files that rules name, as written.
    pub fn extra_cas(&self) -> impl Iterator<Item = &str> {
        self.rules
            .iter()
            .filter_map(|rule| rule.route.extra_ca.as_deref())
    }

    /// The presets in force, included ones too, in the order of their rules.
    pub fn presets(&self) -> &[String] {
        &self.presets
    }
}
