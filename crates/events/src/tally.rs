//! Counting what was allowed and what was denied.
//!
//! One action counts once, where it is decided: a request of an inspected connection by its request, any other
//! connection by itself, a DNS question only if it was refused.

use std::collections::BTreeMap;
use std::path::Path;

use crate::event::{ConnectionMode, Event};
use crate::read::{ReadError, read};

/// Counts of one run of a sandbox, for its summary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub allowed: u64,
    pub denied: u64,
    places: BTreeMap<Denied, u64>,
    /// Denials at places beyond the first [`MAX_PLACES`].
    pub elsewhere: u64,
}

/// Where something was denied and by which reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denied {
    /// A host, or an address where no name is known, or a protocol where there is not even that. As it came from
    /// inside: to be made [`visible`](crate::visible()) before anyone looks.
    pub place: String,
    pub reason: String,
}

/// A program inside can name any number of hosts; this many are told apart.
pub const MAX_PLACES: usize = 1000;

impl Tally {
    /// Counts what a journal holds of the last start, from the first command on. Before that there are only
    /// probes, which are refused on purpose. Stops at the first record that cannot be read.
    pub fn of_commands(path: &Path) -> Result<Self, ReadError> {
        let events = read(path)?.map_while(Result::ok);
        Ok(Self::of_last_start(events.map(|entry| entry.record.event)))
    }

    fn of_last_start(events: impl Iterator<Item = Event>) -> Self {
        let mut tally = None;
        for event in events {
            match event {
                Event::SandboxStarted(_) => tally = None,
                Event::CommandStarted(_) => drop(tally.get_or_insert_default()),
                event => {
                    if let Some(tally) = &mut tally {
                        Self::add(tally, &event);
                    }
                }
            }
        }
        tally.unwrap_or_default()
    }

    pub fn add(&mut self, event: &Event) {
        let Some(reason) = event.denied() else {
            self.allowed += u64::from(match event {
                Event::Request(_) => true,
                Event::Connection(connection) => connection.mode != ConnectionMode::Inspect,
                _ => false,
            });
            return;
        };
        let count = match event {
            Event::FurtherDenials(denials) => denials.count,
            _ => 1,
        };
        self.denied += count;
        let Some(place) = event.place() else {
            self.elsewhere += count;
            return;
        };
        let full = self.places.len() >= MAX_PLACES;
        let denied = Denied {
            place,
            reason: reason.to_owned(),
        };
        match self.places.get_mut(&denied) {
            Some(before) => *before += count,
            None if full => self.elsewhere += count,
            None => drop(self.places.insert(denied, count)),
        }
    }

    /// The places where something was denied, most denials first.
    pub fn denied_by_place(&self) -> Vec<(&Denied, u64)> {
        let mut places: Vec<_> = self
            .places
            .iter()
            .map(|(denied, count)| (denied, *count))
            .collect();
        places.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        Connection, Dns, DnsTransport, FurtherDenials, HostAbsent, HostFact, Verdict,
    };
    use crate::{ConnectionId, PolicyInForce};

    fn dns(name: &str, verdict: Verdict) -> Event {
        Event::Dns(Dns {
            question: name.into(),
            record_type: "A".into(),
            transport: DnsTransport::Udp,
            answer: None,
            verdict,
        })
    }

    fn connection(mode: ConnectionMode, verdict: Verdict) -> Event {
        Event::Connection(Connection {
            id: ConnectionId(1),
            destination: ([1, 2, 3, 4], 443).into(),
            host: HostFact::absent(HostAbsent::NotSynthetic),
            verdict,
            rule: None,
            mode,
            protocol: None,
        })
    }

    #[test]
    fn an_action_counts_once_where_it_is_decided() {
        let mut tally = Tally::default();
        for event in [
            dns("allowed.example.", Verdict::Allowed),
            dns("evil.example.", Verdict::denied("no_rule")),
            dns("evil.example", Verdict::denied("no_rule")),
            connection(ConnectionMode::Inspect, Verdict::Allowed),
            connection(ConnectionMode::Tcp, Verdict::Allowed),
            connection(ConnectionMode::None, Verdict::denied("not_a_name")),
            Event::PolicyInForce(PolicyInForce::new("{}", 0)),
        ] {
            tally.add(&event);
        }
        assert_eq!((tally.allowed, tally.denied), (1, 3));
        let places: Vec<_> = tally
            .denied_by_place()
            .into_iter()
            .map(|(denied, count)| (denied.place.as_str(), count))
            .collect();
        assert_eq!(places, [("evil.example", 2), ("1.2.3.4:443", 1)]);
    }

    #[test]
    fn counted_denials_count_as_what_they_were() {
        let further = |place: Option<&str>, count| {
            Event::FurtherDenials(FurtherDenials {
                of: "dns".into(),
                place: place.map(str::to_owned),
                port: None,
                count,
                verdict: Verdict::denied("no_rule"),
            })
        };
        let mut tally = Tally::default();
        tally.add(&dns("evil.example.", Verdict::denied("no_rule")));
        tally.add(&further(Some("evil.example"), 40));
        tally.add(&further(None, 2));
        assert_eq!((tally.denied, tally.elsewhere), (43, 2));
        assert_eq!(tally.denied_by_place()[0].1, 41);
    }

    #[test]
    fn a_sandbox_that_is_resumed_is_counted_from_its_last_start() {
        use crate::event::{Command, CommandStarted, PrivilegeMode, SandboxStarted};
        let started = Event::SandboxStarted(SandboxStarted {
            name: "one".into(),
            command: Vec::new(),
            workspace: "/home/ann/api".into(),
            uid: 1000,
            mode: PrivilegeMode::Rootless,
            wardian: "0.1.0".into(),
            enforced: Vec::new(),
        });
        let command = Event::CommandStarted(CommandStarted {
            command: Command(1),
            argv: Vec::new(),
            pid: 2,
        });
        let allowed = connection(ConnectionMode::Tcp, Verdict::Allowed);
        let probe = dns("probe.invalid", Verdict::denied("no_rule"));
        let run = |requests: usize| {
            [&started, &probe, &command]
                .into_iter()
                .chain(std::iter::repeat_n(&allowed, requests))
                .cloned()
        };
        let tally = Tally::of_last_start(run(3).chain(run(2)));
        assert_eq!((tally.allowed, tally.denied), (2, 0));
        let tally = Tally::of_last_start(run(3).chain([started.clone(), probe.clone()]));
        assert_eq!((tally.allowed, tally.denied), (0, 0));
    }

    #[test]
    fn a_million_names_do_not_fill_the_memory() {
        let mut tally = Tally::default();
        for number in 0..MAX_PLACES + 10 {
            tally.add(&dns(
                &format!("{number}.example"),
                Verdict::denied("no_rule"),
            ));
        }
        tally.add(&dns("0.example", Verdict::denied("no_rule")));
        assert_eq!(tally.denied_by_place().len(), MAX_PLACES);
        assert_eq!((tally.elsewhere, tally.denied_by_place()[0].1), (10, 2));
    }
}
