//! Credentials: the program has placeholders, the host that a credential is for gets its value, and nobody
//! else does.

use wardian_events::Event;

use super::check::{Check, Promise};
use super::inside::{Answer, Errand, Facts, Visited};
use super::stage::{Heard, Over, Planted};

/// All that there is to judge by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence<'a> {
    pub(super) planted: &'a Planted,
    pub(super) facts: &'a Facts,
    /// Of the sandbox's files on disk, those that hold a planted value.
    pub(super) files: &'a [String],
    /// What the hosts were sent.
    pub(super) heard: &'a [Heard],
    /// The certificate that the hosts themselves show.
    pub(super) certificate: &'a [u8],
    /// The sandbox's name, which its authority bears.
    pub(super) sandbox: &'a str,
    pub(super) events: &'a [Event],
}

pub(super) fn checks(evidence: Evidence<'_>) -> Vec<Check> {
    let secret =
        |name, against, good: &str| Check::unless(Promise::SecretsStayOutside, name, against, good);
    vec![
        secret(
            "a placeholder stands in",
            evidence.placeholder(),
            "the program sees one",
        ),
        secret(
            "no process holds the value",
            evidence.processes(),
            "neither a credential nor the caller's other variables are in any environment inside",
        ),
        secret(
            "no file holds the value",
            evidence.files(),
            "neither layers, nor record, nor log",
        ),
        secret(
            "TLS is inspected",
            evidence.inspection(),
            "certificates inside are by the sandbox's own authority, and verify",
        ),
        secret(
            "the value goes in at the door",
            evidence.injection(),
            "the program sent the placeholder, its host was sent the value",
        ),
        secret(
            "no other host gets it",
            evidence.other_host(),
            "another allowed host was sent the placeholder",
        ),
        secret(
            "no impostor gets it",
            evidence.impostor(),
            "a host with a wrong certificate was sent nothing",
        ),
        secret(
            "not without TLS",
            evidence.plain(),
            "over plain HTTP, the host was sent the placeholder",
        ),
        Check::unless(
            Promise::DefaultDeny,
            "a request without a rule",
            evidence.denial(),
            "403 by the door, and the allowed host never heard of it",
        ),
        Check::unless(
            Promise::OnTheRecord,
            "requests over TLS are recorded",
            evidence.record(),
            "each verdict, and each use of a credential by its name",
        ),
    ]
}

impl Evidence<'_> {
    fn placeholder(self) -> Vec<String> {
        match &self.facts.placeholder {
            Some(placeholder) if self.planted.is_in(placeholder) => {
                vec!["the program sees the value".to_owned()]
            }
            Some(_) => Vec::new(),
            None => vec!["the program sees nothing, not even a placeholder".to_owned()],
        }
    }

    fn processes(self) -> Vec<String> {
        let texts = &self.facts.processes;
        let mut against = Vec::new();
        if texts.iter().any(|text| self.planted.is_in(text)) {
            against.push("an environment or command line inside holds it".to_owned());
        }
        if texts.is_empty() {
            against.push("no process could be read".to_owned());
        }
        against
    }

    fn files(self) -> Vec<String> {
        let files = self.files.iter();
        files.map(|path| format!("{path} holds it")).collect()
    }

    fn inspection(self) -> Vec<String> {
        let mut against = Vec::new();
        for Visited { visit, answer } in &self.facts.visits {
            let host = &visit.host;
            match answer {
                Err(why) => against.push(format!("https://{host}{}: {why}", visit.path)),
                Ok(Answer { certificate, .. }) if certificate == self.certificate => {
                    against.push(format!("{host} was reached without inspection"));
                }
                Ok(Answer { certificate, .. }) if !holds(certificate, self.sandbox) => {
                    against.push(format!("the certificate for {host} is by somebody else"));
                }
                Ok(_) => {}
            }
        }
        if self.facts.visits.is_empty() {
            against.push("nothing was tried".to_owned());
        }
        against
    }

    fn injection(self) -> Vec<String> {
        let heads = self.heads(Errand::Allowed);
        let mut against = Vec::new();
        if !heads.iter().any(|head| head.contains(&self.planted.secret)) {
            against.push("its host was not sent the value".to_owned());
        }
        if self
            .answer(Errand::Allowed)
            .is_none_or(|text| !text.starts_with(OK))
        {
            against.push("the request was not answered".to_owned());
        }
        let answers = self.facts.visits.iter().flat_map(|visited| &visited.answer);
        if answers
            .into_iter()
            .any(|answer| self.planted.is_in(&answer.text))
        {
            against.push("the program saw the value in an answer".to_owned());
        }
        against
    }

    fn other_host(self) -> Vec<String> {
        let heads = self.heads(Errand::OtherHost);
        let mut against = Vec::new();
        if heads.iter().any(|head| self.planted.is_in(head)) {
            against.push("it was sent the value".to_owned());
        }
        if heads.is_empty() {
            against.push("no request arrived".to_owned());
        }
        against
    }

    fn impostor(self) -> Vec<String> {
        let mut against = Vec::new();
        if !self.heads(Errand::Impostor).is_empty() {
            against.push("it was sent a request".to_owned());
        }
        if self
            .answer(Errand::Impostor)
            .is_none_or(|text| !text.starts_with(BAD_GATEWAY))
        {
            against.push("the program was not told with a 502".to_owned());
        }
        against
    }

    fn plain(self) -> Vec<String> {
        let mut heads = self
            .heard
            .iter()
            .filter(|heard| heard.over == Over::Plain)
            .peekable();
        let mut against = Vec::new();
        if heads.peek().is_none() {
            against.push("no request arrived".to_owned());
        }
        if heads.any(|heard| self.planted.is_in(&heard.head)) {
            against.push("the value was sent without TLS".to_owned());
        }
        against
    }

    fn denial(self) -> Vec<String> {
        let mut against = Vec::new();
        if !self.heads(Errand::Denied).is_empty() {
            against.push("the host was sent it".to_owned());
        }
        let is_denial = |text: &str| text.starts_with(FORBIDDEN) && text.contains("wardian_denied");
        if !self.answer(Errand::Denied).is_some_and(is_denial) {
            against.push("the program was not told with a 403".to_owned());
        }
        against
    }

    fn record(self) -> Vec<String> {
        let mut missing = Vec::new();
        for Visited { visit, .. } in &self.facts.visits {
            let allowed = visit.errand != Errand::Denied;
            let is_recorded = self.events.iter().any(|event| {
                matches!(event, Event::Request(request) if request.scheme == "https"
                    && (&request.host, &request.path) == (&visit.host, &visit.path)
                    && request.verdict.is_allowed() == allowed)
            });
            if !is_recorded {
                missing.push(format!(
                    "https://{}{} is not on the record",
                    visit.host, visit.path
                ));
            }
        }
        let uses = self.events.iter().filter_map(|event| match event {
            Event::CredentialUsed(used) => Some(used.host.as_str()),
            _ => None,
        });
        let host = self
            .visited(Errand::Allowed)
            .map(|visited| visited.visit.host.as_str());
        if uses.collect::<Vec<_>>() != Vec::from_iter(host) {
            missing
                .push("one use of a credential should be on the record, for its host".to_owned());
        }
        missing
    }

    fn visited(&self, errand: Errand) -> Option<&Visited> {
        let mut visits = self.facts.visits.iter();
        visits.find(|visited| visited.visit.errand == errand)
    }

    /// What the program got to see.
    fn answer(&self, errand: Errand) -> Option<&str> {
        let answer = self.visited(errand)?.answer.as_ref().ok()?;
        Some(&answer.text)
    }

    /// What the host of this errand was sent for it over TLS.
    fn heads(&self, errand: Errand) -> Vec<&str> {
        let Some(Visited { visit, .. }) = self.visited(errand) else {
            return Vec::new();
        };
        let (first, host) = (
            format!("GET {} ", visit.path),
            format!("host: {}\r\n", visit.host),
        );
        let is_of_it =
            |head: &&str| head.starts_with(&first) && head.to_ascii_lowercase().contains(&host);
        let over_tls = self.heard.iter().filter(|heard| heard.over == Over::Tls);
        over_tls
            .map(|heard| heard.head.as_str())
            .filter(is_of_it)
            .collect()
    }
}

const OK: &str = "HTTP/1.1 200 ";
const FORBIDDEN: &str = "HTTP/1.1 403 ";
const BAD_GATEWAY: &str = "HTTP/1.1 502 ";

/// The name of who signed it stands in a certificate as it is.
fn holds(certificate: &[u8], text: &str) -> bool {
    certificate
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[cfg(test)]
mod tests;
