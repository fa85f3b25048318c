//! Common programs work unmodified: none is told of a proxy or of a certificate authority.

mod browsers;
mod runtimes;
mod transfers;

use std::time::Duration;

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;
use wardian_tests::run::Outcome;

use crate::support::lines;

const HELLO: &str = "hello from the origin";

/// Of an origin behind the door, which shows a certificate of the sandbox's own authority.
const INSPECTED: &str = "https://origin.test/";
/// Of the same, relayed as it is: its certificate is good, but by an authority that nothing inside trusts.
const STRANGER: &str = "https://stranger.test/";
/// No rule allows it.
const REFUSED: &str = "https://refused.test/";

/// An account from which programs reach an origin under three names.
struct Reach {
    host: Host,
    origin: Origin,
    policy: Policy,
}

impl Reach {
    fn new(mode: Mode) -> Self {
        let origin = Origin::https();
        let policy = Policy::new()
            .pin("origin.test", origin.address())
            .rule(&format!(
                "host = \"stranger.test\"\ninspect = false\nconnect = \"{}\"",
                origin.address()
            ));
        Self {
            host: Host::new(mode),
            origin,
            policy,
        }
    }

    fn run(&self, words: &[&str]) -> Outcome<'_> {
        self.host
            .run(words.iter().copied())
            .policy(&self.policy)
            .limit(Duration::from_secs(90))
            .finish()
    }

    fn shell(&self, script: &str) -> Outcome<'_> {
        self.run(&["sh", "-c", script])
    }

    /// A program that takes a URL and prints what is there: it trusts the sandbox's authority, and not just any.
    #[track_caller]
    fn gets(&self, words: &[&str]) {
        let run = |url| self.run(&[words, &[url]].concat());
        let outcome = run(INSPECTED).success();
        assert_eq!(lines(&outcome), [HELLO], "{outcome:?}");
        let arrived = self.origin.requests().len();

        let outcome = run(STRANGER).failed();
        let events = outcome.events();
        assert!(
            events
                .all()
                .iter()
                .any(|event| event["mode"] == "passthrough"),
            "it never connected: {outcome:?}"
        );
        let outcome = run(REFUSED).failed();
        assert!(!outcome.events().denied().is_empty(), "{outcome:?}");
        assert_eq!(self.origin.requests().len(), arrived, "{outcome:?}");
    }

    /// Whether a request for `path` of `host` arrived.
    fn arrived(&self, host: &str, path: &str) -> bool {
        let requests = self.origin.requests();
        requests
            .iter()
            .any(|request| request.host == host && request.path == path)
    }
}
