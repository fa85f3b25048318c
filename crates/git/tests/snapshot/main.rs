//! HEAD's tree as a snapshot shows it, against real git.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod checkout;
mod fixture;
mod mounted;
