//! One sandbox from description to end: what it is ([`spec`]), where it lives on disk ([`state`]),
//! what its file system is made of ([`image`], [`plan`]) and how it is started ([`builtin`]).

pub mod builtin;
pub mod channel;
pub mod ids;
pub mod image;
pub mod janitor;
pub mod measure;
pub mod name;
pub mod parcel;
pub mod plan;
pub mod record;
pub mod remove;
pub mod spec;
pub mod state;
pub mod user;

pub use name::SandboxName;
pub use spec::SandboxSpec;
