//! Sessions made of every kind of repository, and looked at with git itself.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod changes;
mod config;
mod discover;
mod fixture;
mod kinds;
