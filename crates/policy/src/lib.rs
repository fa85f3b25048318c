//! What a sandbox may do.
//!
//! People write manifests, options and preset names; [`Policy::build`] turns them into one immutable [`Policy`]. The
//! processes that hold the door ask it four questions (`check_name`, `check_connection`, `check_address`,
//! `check_request`), each answered with a permit that only this crate can make, or with a named [`Denial`].
//!
//! Everything here is a pure function of text: no I/O, no clock, no async. Hosts, request targets and paths are parsed
//! into one canonical spelling first, so that what is judged is what is sent.

pub mod address;
pub mod allow;
pub mod credential;
pub mod denial;
pub mod environment;
pub mod host;
mod index;
pub mod limits;
pub mod login;
pub mod manifest;
mod method;
mod nearest;
pub mod path;
pub mod permit;
pub mod policy;
mod ports;
pub mod preset;
pub mod rule;
pub mod settings;
pub mod target;
pub mod toolchain;
pub mod visible;

pub use address::{AddressClass, classify};
pub use credential::{
    CredentialName, CredentialSource, CredentialSpec, ForeignLogins, HeaderFormat, Injection,
    PlaceholderShape, Presence,
};
pub use denial::Denial;
pub use environment::{EnvName, EnvValue, EnvVar};
pub use host::{Authority, Host, HostError, HostName, HostPattern, Port};
pub use limits::{LimitKind, Limits};
pub use login::Login;
pub use manifest::{Agent, Manifest, ManifestError, Manifests, PolicyFile, Project, Trust};
pub use method::MethodError;
pub use path::PathPattern;
pub use permit::{AddressPermit, ConnectionPermit, NamePermit, RequestPermit, Spelled};
pub use policy::{
    Destination, Explanation, LayerSummary, Nested, Places, Policy, PolicyError, PolicyInputs,
    PolicySummary, RequestFacts, RuleSummary,
};
pub use ports::Ports;
pub use preset::{Preset, SettingsFile};
pub use rule::{Action, Level, Mode, Origin, RuleId, Scheme, Upgrade, Upstream};
pub use settings::{Access, CacheKind, Changes, Recording, WorkspaceSpec};
pub use target::{AbsoluteTarget, RequestTarget, TargetError};
pub use toolchain::{ToolchainPath, toolchain_paths};
pub use visible::VisiblePath;
