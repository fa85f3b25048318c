//! Everything that Wardian promises, shown on the real binary. One file an area.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod agents;
mod anchor;
mod briefing;
mod caches;
mod clients;
mod cp;
mod crash;
mod custody;
mod disk;
mod dns;
mod export;
mod fail_closed;
mod files_changed;
mod hosts;
mod http;
mod identity;
mod ipc;
mod journal;
mod kernel;
mod logins;
mod manifests;
mod memory;
mod model_calls;
mod mounts;
mod network;
mod processes;
mod procfs;
mod record;
mod resume;
mod robustness;
mod sandbox;
mod smuggling;
mod stdio;
mod support;
mod tls;
mod upload;
mod volumes;
mod workspaces;
