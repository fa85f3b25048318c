//! The one process that owns one sandbox: it opens its door, keeps its journal, holds its secrets,
//! and takes everything down with it.
//!
//! [`serve()`] is its whole life; [`protocol`] is what it and its client say to each other; [`log`] is
//! where it says what went wrong; [`sweep`](mod@sweep) cleans up after one that was killed,
//! and [`work`] tells what of it would be missed.

mod client;
mod confinement;
pub mod custody;
mod door;
pub mod downloads;
mod ending;
mod failure;
mod files;
pub mod layers;
pub mod limits;
pub mod log;
mod processes;
pub mod protocol;
mod record;
mod serve;
mod snapshots;
pub mod sweep;
pub mod work;

pub use serve::serve;
