//! Long bodies: security case 97, and that nothing is buffered whole.

use std::time::Duration;

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;

use crate::support::lines;

wardian_tests::both_modes!(
    case_97_a_long_upload_arrives_as_it_is,
    a_long_download_arrives_as_it_is,
    bodies_are_not_buffered,
);

fn case_97_a_long_upload_arrives_as_it_is(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let script = "head -c 67108864 /dev/urandom >/tmp/big; sum=$(sha256sum </tmp/big | cut -d' ' -f1); echo \"67108864 $sum\"
        for v in --http1.1 --http2; do curl -sS $v --data-binary @/tmp/big https://origin.test/sha256; curl -sS $v -T - https://origin.test/sha256 </tmp/big; done";
    let outcome = host
        .shell(script)
        .policy(&policy)
        .limit(Duration::from_secs(120))
        .finish()
        .success();
    let told = lines(&outcome);
    assert_eq!(told.len(), 5, "{outcome:?}");
    assert!(told[1..].iter().all(|line| *line == told[0]), "{told:?}");
}

fn a_long_download_arrives_as_it_is(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let script = "for v in --http1.1 --http2; do curl -sS $v https://origin.test/bytes/100000000 | sha256sum | cut -d' ' -f1; done; head -c 100000000 /dev/zero | sha256sum | cut -d' ' -f1";
    let told = lines(
        &host
            .shell(script)
            .policy(&policy)
            .limit(Duration::from_secs(120))
            .finish()
            .success(),
    );
    assert_eq!((&told[0], &told[1]), (&told[2], &told[2]));
}

fn bodies_are_not_buffered(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    // A reader that stops: the door must stop reading as well.
    let script = "curl -sS https://origin.test/endless | (head -c 1000000 >/dev/null; sleep 3)";
    let started = host.shell(script).policy(&policy).start();
    let mut most = 0;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_millis(50));
        if let Some(pid) = started.supervisor() {
            most = most.max(crate::memory::resident(pid));
        }
    }
    started.finish();
    assert!(
        most > 0 && most < 96 << 20,
        "the supervisor held {} MiB",
        most >> 20
    );
}
