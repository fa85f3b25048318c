//! How long a decision takes under a manifest of 10,000 rules, and how long it takes to read it.
//!
//! ```text
//! cargo run --release -p wardian-policy --example decide
//! ```

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use wardian_policy::policy::Destination;
use wardian_policy::{
    Authority, Host, HostName, Level, Manifest, Manifests, Policy, PolicyInputs, Port,
    RequestFacts, RequestTarget, Scheme,
};

const RULES: usize = 10_000;
const REPEATS: u32 = 20_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = manifest()?;
    let started = Instant::now();
    let manifest = Manifest::parse(Level::User, "wardian.toml", &text)?;
    let inputs = PolicyInputs {
        manifests: Manifests {
            user: Some(manifest),
            project: None,
        },
        ..PolicyInputs::default()
    };
    let policy = Policy::build(&inputs)?;
    println!(
        "{RULES} rules, {} KiB: read and put together in {:.1?}",
        text.len() >> 10,
        started.elapsed()
    );
    for (what, host) in [
        ("the first rule's host", "host0.example.com"),
        ("the last rule's host", "host9999.example.com"),
        ("a host with a thousand rules", "many.example.com"),
        ("a host below wildcards", "a.b.c.wild.example.net"),
        ("a host that no rule covers", "nowhere.example.org"),
    ] {
        let (connection, request) = measure(&policy, host)?;
        println!("{what:<30} connection {connection:>9.0?}  request {request:>9.0?}");
    }
    Ok(())
}

/// Most rules are about one host each; a thousand are about the same one, and some are wildcards.
fn manifest() -> Result<String, std::fmt::Error> {
    let mut text = "default = \"large\"\n".to_owned();
    for number in 0..RULES {
        let host = match number {
            1000..2000 => "many.example.com".to_owned(),
            2000..2010 => "*.wild.example.net".to_owned(),
            _ => format!("host{number}.example.com"),
        };
        writeln!(
            text,
            "[[sandbox.large.egress]]\nhost = \"{host}\"\nmethods = [\"GET\"]\npaths = [\"/repos/{number}/**\"]"
        )?;
    }
    Ok(text)
}

/// The time of one decision about a connection, and of one about a request that matches the last rule for the host, or
/// none.
fn measure(
    policy: &Policy,
    host: &str,
) -> Result<(Duration, Duration), Box<dyn std::error::Error>> {
    let to = Destination {
        host: Host::Name(HostName::parse(host)?),
        port: Port::HTTPS,
    };
    let started = Instant::now();
    for _ in 0..REPEATS {
        let _ = black_box(policy.check_connection(black_box(&to)));
    }
    let connection = started.elapsed() / REPEATS;
    let Ok(permit) = policy.check_connection(&to) else {
        return Ok((connection, Duration::ZERO));
    };
    let authority = Authority::parse(host)?;
    let target = RequestTarget::parse_for("GET", "/repos/1999/issues")?;
    let facts = RequestFacts {
        scheme: Scheme::Https,
        method: "GET",
        authority: &authority,
        target: &target,
        upgrade: None,
    };
    let started = Instant::now();
    for _ in 0..REPEATS {
        let _ = black_box(policy.check_request(black_box(&permit), black_box(&facts)));
    }
    Ok((connection, started.elapsed() / REPEATS))
}
