//! Answers that two parsers might read in two ways, or that break HTTP: the hostile side is the origin.

use std::time::Duration;

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::policy::Policy;
use wardian_tests::server::Server;

use crate::support::lines;

mod http1;
mod http2;

/// What the program gets to see of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// All of it.
    Whole,
    /// Nothing: the door answers in its place.
    Refused,
    /// Perhaps its beginning, and that it was cut short.
    Cut,
}

impl Seen {
    /// `told`: a status and curl's exit code.
    fn fits(self, told: &str) -> bool {
        let (status, exit) = told.split_once(' ').unwrap_or_default();
        match self {
            Self::Whole => told == "200 0",
            Self::Refused => status == "502" && exit == "0",
            Self::Cut => exit != "0",
        }
    }
}

struct Answer {
    name: &'static str,
    seen: Seen,
    bytes: Vec<u8>,
    /// Closes behind its answer, rather than wait for more.
    closes: bool,
}

fn answer(name: &'static str, seen: Seen, bytes: impl Into<Vec<u8>>) -> Answer {
    let bytes = bytes.into();
    Answer {
        name,
        seen,
        bytes,
        closes: false,
    }
}

fn closing(name: &'static str, seen: Seen, bytes: impl Into<Vec<u8>>) -> Answer {
    Answer {
        closes: true,
        ..answer(name, seen, bytes)
    }
}

/// Asks each of the servers for a page, and then the first again. What they sent must have been seen as told.
fn see(mode: Mode, curl: &str, answers: &[Answer], start: impl Fn(&Answer) -> Server) {
    let host = Host::new(mode);
    let mut policy = Policy::new();
    let mut script = format!(
        "ask() {{ told=$(curl -s {curl} -m 10 -o body -D head -w '%{{http_code}} %{{exitcode}}' https://$1.test/)
        printf '%s %s %s\\n' \"$1\" \"$told\" \"$(cat head body | grep -aic smuggled)\"; rm -f head body; }}\n"
    );
    let mut servers = Vec::new();
    for one in answers {
        let server = start(one);
        policy = policy.pin(&format!("{}.test", one.name), server.address());
        script.push_str(&format!("ask {}\n", one.name));
        servers.push(server);
    }
    script.push_str(&format!("ask {}\n", answers[0].name));
    let outcome = host
        .shell(&script)
        .policy(&policy)
        .limit(Duration::from_secs(120))
        .finish()
        .success();
    let told = lines(&outcome);
    assert_eq!(told.len(), answers.len() + 1, "{outcome:?}");
    let wrong: Vec<String> = answers
        .iter()
        .chain(answers.first())
        .zip(&told)
        .filter(|(one, line)| {
            let rest = line.strip_prefix(one.name).unwrap_or_default().trim();
            let (told, smuggled) = rest.rsplit_once(' ').unwrap_or_default();
            !one.seen.fits(told) || smuggled != "0"
        })
        .map(|(one, line)| format!("{line}, wanted {:?}", one.seen))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        servers.iter().all(|server| server.connections() > 0),
        "a server was never asked"
    );
}
