//! The supervisor's memory stays flat, whatever goes through it.

use std::time::Duration;

use wardian_tests::host::{Host, TOOLS};
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;
use wardian_tests::run::Started;

wardian_tests::both_modes!(a_hundred_thousand_requests, ten_thousand_connections);

/// Resident memory of a process in bytes; 0 once it is gone.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Resident memory of the supervisor while a program runs, ten times a second.
fn samples(mut started: Started<'_>) -> (Vec<u64>, wardian_tests::run::Outcome<'_>) {
    let mut samples = Vec::new();
    let mut supervisor = None;
    while started.running.is_running() {
        std::thread::sleep(Duration::from_millis(100));
        supervisor = supervisor.or_else(|| started.supervisor());
        samples.extend(supervisor.map(resident).filter(|&bytes| bytes > 0));
    }
    (samples, started.finish())
}

/// The last quarter holds hardly more than the second: what grows with the number of requests would show.
#[track_caller]
fn assert_flat(samples: &[u64]) {
    assert!(samples.len() >= 16, "too few samples: {samples:?}");
    let quarter = samples.len() / 4;
    let median = |part: &[u64]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part[part.len() / 2]
    };
    let (early, late) = (
        median(&samples[quarter..2 * quarter]),
        median(&samples[3 * quarter..]),
    );
    assert!(
        late <= early + (4 << 20),
        "grew from {} KiB to {} KiB: {samples:?}",
        early >> 10,
        late >> 10
    );
    assert!(late < 128 << 20, "{} MiB", late >> 20);
}

/// In the tests' own Python: `LOAD COUNT CONNECTIONS`, keep-alive requests over raw TLS sockets.
const LOAD: &str = "import concurrent.futures, socket, ssl, sys
total, connections = int(sys.argv[1]), int(sys.argv[2])
context = ssl.create_default_context()
request = b'GET /status/200 HTTP/1.1\\r\\nHost: origin.test\\r\\n\\r\\n'
def work(count):
    done = 0
    s = context.wrap_socket(socket.create_connection(('origin.test', 443), 20), server_hostname='origin.test')
    for _ in range(count):
        s.sendall(request); data = b''
        while b'as asked' not in data:
            chunk = s.recv(4096)
            if not chunk: raise SystemExit('closed early')
            data += chunk
        done += data.startswith(b'HTTP/1.1 200')
    s.close()
    return done
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(work, [total // connections] * connections)))";

fn a_hundred_thousand_requests(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https_http1();
    let policy = Policy::new().pin("origin.test", origin.address());
    let run = host
        .run([
            format!("{TOOLS}/python/bin/python").as_str(),
            "-c",
            LOAD,
            "100000",
            "8",
        ])
        .policy(&policy)
        .limit(Duration::from_secs(400));
    let (samples, outcome) = samples(run.start());
    let outcome = outcome.success();
    assert_eq!(outcome.text(), "100000\n");
    assert_flat(&samples);
    assert_eq!(origin.requests().len(), 100_000);
    host.wardian(&["verify", &outcome.name]).success();
}

fn ten_thousand_connections(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https_http1();
    let policy = Policy::new().pin("origin.test", origin.address());
    let run = host
        .run([
            format!("{TOOLS}/python/bin/python").as_str(),
            "-c",
            LOAD,
            "10000",
            "10000",
        ])
        .policy(&policy)
        .limit(Duration::from_secs(400));
    let (samples, outcome) = samples(run.start());
    assert_eq!(outcome.success().text(), "10000\n");
    assert_flat(&samples);
}
