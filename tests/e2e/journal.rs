//! A journal that grows: over many files, and up to its end.

use std::fs;

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;

wardian_tests::both_modes!(
    a_full_journal_ends_the_sandbox,
    what_was_sealed_is_watched_over,
);

/// Many requests, one after the other on one connection, to keep the journal busy.
const REQUESTS: &str = "
import http.client, sys
connection = http.client.HTTPConnection('origin.test', 80)
for number in range(int(sys.argv[1])):
    connection.request('GET', f'/{number}')
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        print('refused', number, answer.status, flush=True)
print('done')
";

fn a_full_journal_ends_the_sandbox(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let policy = Policy::new().pin_plain("origin.test", origin.address());
    let words = ["/usr/bin/python3", "-c", REQUESTS, "100000"];
    let outcome = host
        .run(words)
        .policy(&policy)
        .option(&["--journal", "1M"])
        .finish()
        .exited(125);
    assert!(
        outcome.errors().contains("its journal was full"),
        "{}",
        outcome.errors()
    );
    let events = outcome.events();
    let stopped = events.of_kind("sandbox_stopped")[0];
    assert_eq!(stopped["cause"], "limit", "{stopped}");
    let reached = events.of_kind("limit_reached")[0];
    assert_eq!(reached["limit"], "journal", "{reached}");
    // No record, no action: what came through is on it.
    let recorded = events.of_kind("request").len();
    let arrived = origin.requests().len();
    assert!(arrived > 500 && arrived <= recorded, "{arrived} {recorded}");
    host.wardian(&["verify", &outcome.name]).success();

    // Without that limit the same requests are nothing.
    let words = ["/usr/bin/python3", "-c", REQUESTS, "3000"];
    let outcome = host.run(words).policy(&policy).finish().success();
    assert_eq!(outcome.text(), "done\n");
}

fn what_was_sealed_is_watched_over(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let policy = Policy::new().pin_plain("origin.test", origin.address());
    let words = ["/usr/bin/python3", "-c", REQUESTS, "700"];
    let run = || {
        host.run(words)
            .policy(&policy)
            .option(&["--journal", "1M"])
            .named("busy")
    };
    let outcome = run().finish().success();
    // The next run has room of its own, in the same journal.
    host.wardian(&["resume", "busy", "--"]).success();
    let directory = host.state(&outcome.name);
    let sealed = || {
        let names = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut sealed: Vec<_> = names.filter(|name| name.ends_with(".zst")).collect();
        sealed.sort();
        sealed
    };
    assert!(sealed().len() >= 4, "{:?}", sealed());
    host.wardian(&["verify", "busy"]).success();
    let all = host.wardian(&["events", "busy", "--json"]).success().text();
    let requests = all
        .lines()
        .filter(|line| line.contains("\"kind\":\"request\""));
    assert_eq!(requests.count(), 1400);

    let one = directory.join(&sealed()[1]);
    let whole = fs::read(&one).unwrap();
    fs::remove_file(&one).unwrap();
    let told = host.wardian(&["verify", "busy"]).failed();
    assert!(
        told.text().contains("records were removed"),
        "{}",
        told.text()
    );
    host.write(&one, &whole);
    host.wardian(&["verify", "busy"]).success();
}
