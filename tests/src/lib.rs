//! What the end-to-end tests are made of: origins and a model vendor on loopback, an account on this host from which
//! `wardian` is run, and the means to say what came of it.
//!
//! A scenario is written once and runs as root and as an ordinary user; see [`both_modes!`].

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

pub mod account;
pub mod certificates;
pub mod events;
pub mod git;
pub mod host;
pub mod mode;
pub mod model;
pub mod origin;
pub mod policy;
pub mod process;
pub mod residue;
pub mod run;
pub mod server;
