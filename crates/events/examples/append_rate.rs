//! Prints how many records a second a journal takes, one `write(2)` each:
//!
//!     cargo run --release -p wardian-events --example append_rate [DIRECTORY]

use std::path::PathBuf;
use std::time::Instant;

use wardian_events::{
    ConnectionId, Event, Expect, Journal, Request, RequestId, SystemClock, Verdict, verify,
};

const RECORDS: u64 = 500_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let path = directory.join(format!("append-rate-{}.jsonl", std::process::id()));
    let journal = Journal::create(&path, "rate", SystemClock)?;
    let mut event = Request {
        id: RequestId(0),
        connection: ConnectionId(1),
        method: "GET".into(),
        scheme: "https".into(),
        host: "api.github.com".into(),
        port: 443,
        path: "/repos/acme/widgets/pulls?state=open&per_page=100".into(),
        version: "h2".into(),
        upgrade: None,
        verdict: Verdict::Allowed,
        rule: Some("github#3".into()),
        status: None,
    };
    let start = Instant::now();
    for id in 0..RECORDS {
        event.id = RequestId(id);
        journal.append(&Event::Request(event.clone()))?;
    }
    let appending = start.elapsed().as_secs_f64();
    let bytes = path.metadata()?.len();
    let start = Instant::now();
    let verified = verify(
        &path,
        &Expect {
            sandbox: Some("rate"),
            anchors: &[journal.anchor()],
        },
    )?;
    let verifying = start.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    println!(
        "{} records of {} bytes",
        verified.anchor.records,
        bytes / RECORDS
    );
    println!("append: {:.0} records/s", RECORDS as f64 / appending);
    println!("verify: {:.0} records/s", RECORDS as f64 / verifying);
    Ok(())
}
