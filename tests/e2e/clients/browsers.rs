//! Browsers, which bring root stores of their own.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use wardian_tests::events::Events;
use wardian_tests::mode::Mode;

use super::{HELLO, INSPECTED, Reach};

wardian_tests::both_modes!(
    chromium_loads_a_page_with_a_websocket,
    chromium_trusts_by_policy_or_by_nss,
    firefox_trusts_by_policy,
);

const CHROMIUM: &str = "chromium --headless --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --disable-dev-shm-usage \
    --user-data-dir=/tmp/profile --virtual-time-budget=8000 --dump-dom";

fn chromium_loads_a_page_with_a_websocket(mode: Mode) {
    let mut reach = Reach::new(mode);
    let loads = |reach: &Reach, options: &str| {
        let outcome = reach.shell(&format!("{CHROMIUM} {options} https://origin.test/page"));
        let shown = "echoed: over a websocket";
        assert!(outcome.text().contains(shown), "{outcome:?}");
    };
    loads(&reach, "--no-sandbox");
    assert!(reach.arrived("origin.test", "/websocket"));
    // With its own sandbox, where nested namespaces are granted.
    if mode == Mode::Rootless {
        reach.policy = reach.policy.head("nested = true");
        loads(&reach, "");
    }
}

/// Either of both is enough, and it does take one.
fn chromium_trusts_by_policy_or_by_nss(mode: Mode) {
    const POLICY: &str = "/etc/chromium/policies/managed/wardian.json";
    const DATABASE: &str = "$HOME/.pki";
    for (without, is_trusted) in [
        (POLICY.to_owned(), true),
        (DATABASE.to_owned(), true),
        (format!("{POLICY} {DATABASE}"), false),
    ] {
        let reach = Reach::new(mode);
        let script = format!("rm -r {without} && {CHROMIUM} --no-sandbox {INSPECTED}");
        let outcome = reach.shell(&script).success();
        assert_eq!(
            outcome.text().contains(HELLO),
            is_trusted,
            "{without}: {outcome:?}"
        );
        assert_eq!(reach.arrived("origin.test", "/"), is_trusted);
    }
}

/// It makes its profile, with a database of certificates, at its first start, and imports what a policy names.
fn firefox_trusts_by_policy(mode: Mode) {
    const FIREFOX: &str = "mkdir /tmp/profile && exec firefox-esr --headless --no-remote --profile /tmp/profile \
        --screenshot /tmp/screenshot.png";
    let reach = Reach::new(mode);
    let outcome = reach.shell(&format!("{FIREFOX} {INSPECTED}")).success();
    assert!(reach.arrived("origin.test", "/"), "{outcome:?}");

    // Control: without the policy it refuses the same certificate. Of an error it never makes a picture.
    let reach = Reach::new(mode);
    let script = format!("rm /etc/firefox/policies/policies.json && {FIREFOX} {INSPECTED}");
    let started = reach.host.shell(&script).policy(&reach.policy).start();
    let refuses = || {
        let events = Events::read(&reach.host, started.name());
        let mut all = events.all().iter();
        all.any(|event| event["reason"] == "authority_not_trusted")
    };
    let until = Instant::now() + Duration::from_secs(60);
    started.wait_for_supervisor();
    while !refuses() {
        assert!(Instant::now() < until, "it never saw the certificate");
        std::thread::sleep(Duration::from_millis(200));
    }
    started.running.signal(Signal::TERM);
    let outcome = started.finish();
    assert!(!reach.arrived("origin.test", "/"), "{outcome:?}");
}
