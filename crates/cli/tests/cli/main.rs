//! The `wardian` binary as its users see it, in an environment of its own: an empty home and no variables.

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made fails the test"
)]

mod doctor;
mod dry_run;
mod fixture;
mod help;
mod reading;
