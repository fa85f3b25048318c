//! Session clones: a repository of its own for each sandbox, and the way back.
//!
//! ```text
//! user's repository ──▶ [`Repository`] ──▶ [`session`]    a `.git` that reads the user's objects
//!                                    └───▶ [`snapshot`]   HEAD's files, without a checkout
//!
//! session (hostile) ──▶ [`changes`]    what the files became, read without git
//!                  └──▶ [`confined`]   git itself, locked up ──▶ [`transfer`] ──▶ a branch of the user
//! ```
//!
//! Two repositories, two attitudes. The user's is read with no config of it executed, for it may have
//! been downloaded from anywhere. The session's was written by the agent: its config, hooks, attributes
//! outside the tree, alternates, refs and objects are bytes to be checked, and never steer anything here.

pub mod apply;
mod base;
pub mod changes;
pub mod confined;
pub mod hazards;
pub mod identity;
pub mod origin;
mod pointer;
pub mod refs;
pub mod repository;
pub mod review;
pub mod session;
pub mod snapshot;
pub mod transfer;

pub use base::{Base, BaseError, Head};
pub use gix::ObjectId;
pub use gix::bstr::BString;
pub use gix::hash::Kind as ObjectFormat;
pub use repository::{Repository, RepositoryError};
