//! What a record tells, gathered: pure, and bounded whatever a program did.

use std::collections::{BTreeMap, BTreeSet};

use wardian_events::{
    CommandExited, CommandStarted, Connection, ConnectionId, ConnectionMode, Event, FilesChanged,
    FurtherDenials, HostFact, LimitNotEnforced, LimitReached, ModelCall, Record, Request,
    RequestId, Response, SandboxStarted, SandboxStopped, Timestamp, Verdict,
};

use super::allow::how_to_allow;
use crate::commands::events::lines::{Exchanges, Line};
use crate::commands::events::processes;

/// Rows of each table, and lines of the timeline, beyond which things are counted together.
const MOST_ROWS: usize = 200;
const MOST_LINES: usize = 2000;
/// Exchanges that are open at once.
const MOST_OPEN: usize = 100_000;

/// One sandbox from its first start to the present end of its record.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) first: Option<(Timestamp, SandboxStarted)>,
    pub(super) starts: u64,
    pub(super) last: Option<Timestamp>,
    /// How it ended, if it has.
    pub(super) stopped: Option<SandboxStopped>,
    pub(super) hosts: BTreeMap<String, Host>,
    pub(super) elsewhere: Host,
    pub(super) denials: BTreeMap<DenialKey, Denial>,
    pub(super) further_denials: u64,
    pub(super) models: BTreeMap<String, Model>,
    pub(super) commands: Vec<Command>,
    pub(super) programs: BTreeMap<String, u64>,
    pub(super) further_programs: u64,
    pub(super) files: Vec<FilesChanged>,
    pub(super) credentials: BTreeMap<(String, String), u64>,
    pub(super) limits: Vec<LimitReached>,
    pub(super) not_enforced: Vec<LimitNotEnforced>,
    pub(super) timeline: Vec<Line>,
    pub(super) further_lines: u64,
    probing: bool,
    exchanges: Exchanges,
    requests: BTreeMap<RequestId, String>,
    connections: BTreeMap<ConnectionId, String>,
}

/// Traffic with one host.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) allowed: u64,
    pub(super) denied: u64,
    pub(super) up: u64,
    pub(super) down: u64,
    /// Of exchanges that were allowed and came to nothing.
    pub(super) failed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DenialKey {
    pub(super) place: String,
    pub(super) reason: String,
}

#[derive(Debug)]
pub(super) struct Denial {
    pub(super) count: u64,
    /// The first of them, in words.
    pub(super) example: String,
    /// What to give `wardian run` so that the first would have been allowed, if that can be said.
    pub(super) allow: Option<String>,
}

/// Calls of one model.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) calls: u64,
    pub(super) input: u64,
    pub(super) cached: u64,
    pub(super) output: u64,
    pub(super) micro_usd: u64,
    /// Calls whose price is not known.
    pub(super) unpriced: u64,
    pub(super) failed: u64,
    pub(super) tool_calls: u64,
}

#[derive(Debug)]
pub(super) struct Command {
    pub(super) time: Timestamp,
    pub(super) started: CommandStarted,
    pub(super) exited: Option<CommandExited>,
}

impl Story {
    pub(super) fn take(&mut self, record: &Record) {
        self.last = Some(record.time);
        let lines = self.exchanges.take(record);
        self.add_lines(lines);
        match &record.event {
            Event::SandboxStarted(started) => self.started(record.time, started),
            Event::SelfProbe(_) => self.probing = false,
            Event::SandboxStopped(stopped) => {
                self.probing = false;
                self.stopped = Some(stopped.clone());
            }
            Event::CommandStarted(started) => {
                self.probing = false;
                push(
                    &mut self.commands,
                    Command {
                        time: record.time,
                        started: started.clone(),
                        exited: None,
                    },
                );
            }
            Event::CommandExited(exited) => {
                if let Some(command) = self.commands.last_mut() {
                    command.exited = Some(exited.clone());
                }
            }
            Event::FilesChanged(changed) => push(&mut self.files, changed.clone()),
            Event::LimitReached(reached) => push(&mut self.limits, reached.clone()),
            Event::LimitNotEnforced(missing) => push(&mut self.not_enforced, missing.clone()),
            Event::ProcessStarted(started) => {
                let name = started.executable.rsplit('/').next().unwrap_or_default();
                self.program(name, 1);
            }
            Event::FurtherProcesses(further) => match &further.executable {
                Some(executable) => {
                    let name = executable.rsplit('/').next().unwrap_or_default();
                    self.program(name, further.count);
                }
                None => self.further_programs += further.count,
            },
            Event::ModelCall(call) => self.model_call(call),
            // What is refused before the self-probe is over was provoked by it.
            _ if self.probing => {}
            event => self.traffic(event),
        }
    }

    /// To be called once, at the end of the record.
    pub(super) fn finish(&mut self) {
        let open = std::mem::take(&mut self.exchanges).finish();
        self.add_lines(open);
        self.timeline.sort_by_key(|line| line.time);
    }

    pub(super) fn micro_usd(&self) -> u64 {
        self.models.values().map(|model| model.micro_usd).sum()
    }

    pub(super) fn count(&self, of: impl Fn(&Host) -> u64) -> u64 {
        self.hosts.values().chain([&self.elsewhere]).map(of).sum()
    }

    /// How many hosts something was allowed at.
    pub(super) fn reached(&self) -> usize {
        self.hosts.values().filter(|host| host.allowed > 0).count()
    }

    pub(super) fn denied_places(&self) -> usize {
        let places: BTreeSet<_> = self.denials.keys().map(|key| &key.place).collect();
        places.len()
    }

    /// Most traffic first.
    pub(super) fn by_traffic(&self) -> Vec<(&str, &Host)> {
        let mut hosts: Vec<_> = self
            .hosts
            .iter()
            .map(|(name, host)| (name.as_str(), host))
            .collect();
        hosts.sort_by_key(|(_, host)| std::cmp::Reverse((host.allowed + host.denied, host.down)));
        hosts
    }

    pub(super) fn by_denials(&self) -> Vec<(&DenialKey, &Denial)> {
        let mut denials: Vec<_> = self.denials.iter().collect();
        denials.sort_by_key(|(_, denial)| std::cmp::Reverse(denial.count));
        denials
    }

    pub(super) fn by_runs(&self) -> Vec<(&str, u64)> {
        let mut programs: Vec<_> = self
            .programs
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
            .collect();
        programs.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        programs
    }

    fn started(&mut self, time: Timestamp, started: &SandboxStarted) {
        self.starts += 1;
        self.probing = true;
        self.stopped = None;
        self.first.get_or_insert_with(|| (time, started.clone()));
    }

    fn add_lines(&mut self, lines: Vec<Line>) {
        for line in lines {
            // A build has more programs than all else together; they are counted.
            if processes::KINDS.contains(&line.kind) {
                continue;
            }
            match self.timeline.len() < MOST_LINES {
                true if !(self.probing && line.tag == "denied") => self.timeline.push(line),
                true => {}
                false => self.further_lines += 1,
            }
        }
    }

    fn program(&mut self, name: &str, count: u64) {
        let full = self.programs.len() >= MOST_ROWS;
        match self.programs.get_mut(name) {
            Some(before) => *before += count,
            None if full => self.further_programs += count,
            None => drop(self.programs.insert(name.to_owned(), count)),
        }
    }

    fn model_call(&mut self, call: &ModelCall) {
        let name = call.answered_by.as_ref().or(call.model.as_ref());
        let mut name = name.map_or_else(|| format!("unknown ({})", call.api), Clone::clone);
        if self.models.len() >= MOST_ROWS && !self.models.contains_key(&name) {
            name = "others".to_owned();
        }
        let model = self.models.entry(name).or_default();
        model.calls += 1;
        model.input += call.tokens.input.unwrap_or(0);
        model.cached += call.tokens.cached_read.unwrap_or(0);
        model.output += call.tokens.output.unwrap_or(0);
        model.micro_usd += call.cost_micro_usd.unwrap_or(0);
        model.unpriced += u64::from(call.cost_micro_usd.is_none());
        model.failed += u64::from(call.error.is_some() || !call.decoded);
        model.tool_calls += call.tool_calls.len() as u64 + call.further_tool_calls;
    }

    fn traffic(&mut self, event: &Event) {
        let place = event.place();
        match event {
            Event::Request(request) => self.request(request),
            Event::Response(response) => self.response(response),
            Event::Connection(connection) => self.connection(connection),
            Event::ConnectionClosed(closed) => {
                if let Some(name) = self.connections.remove(&closed.id) {
                    let host = self.host(&name);
                    host.up += closed.bytes_up;
                    host.down += closed.bytes_down;
                }
            }
            Event::Dns(_) | Event::ProtocolError(_) => {
                if let Some(reason) = event.denied() {
                    self.denied(place, reason, 1, event);
                }
            }
            Event::FurtherDenials(FurtherDenials { count, .. }) => {
                if let Some(reason) = event.denied() {
                    self.denied(place, reason, *count, event);
                }
            }
            Event::CredentialUsed(used) => {
                let key = (used.credential.clone(), used.host.clone());
                if self.credentials.len() < MOST_ROWS || self.credentials.contains_key(&key) {
                    *self.credentials.entry(key).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    fn request(&mut self, request: &Request) {
        match &request.verdict {
            Verdict::Allowed => {
                self.host(&request.host).allowed += 1;
                if self.requests.len() < MOST_OPEN {
                    self.requests.insert(request.id, request.host.clone());
                }
            }
            Verdict::Denied { reason } => {
                let event = Event::Request(request.clone());
                self.denied(Some(request.host.clone()), reason, 1, &event);
            }
        }
    }

    fn response(&mut self, response: &Response) {
        let name = self.requests.remove(&response.request);
        let host = match &name {
            Some(name) => self.host(name),
            None => &mut self.elsewhere,
        };
        host.up += response.bytes_up;
        host.down += response.bytes_down;
        let is_complete = response.outcome == wardian_events::ResponseOutcome::Complete;
        host.failed += u64::from(!is_complete);
    }

    fn connection(&mut self, connection: &Connection) {
        let event = Event::Connection(connection.clone());
        let place = event.place();
        match (&connection.verdict, connection.mode) {
            // Its requests are counted.
            (Verdict::Allowed, ConnectionMode::Inspect) => {}
            (Verdict::Allowed, _) => {
                let name = match &connection.host {
                    HostFact::Known { host } => host.clone(),
                    HostFact::Absent { .. } => place.unwrap_or_default(),
                };
                self.host(&name).allowed += 1;
                if self.connections.len() < MOST_OPEN {
                    self.connections.insert(connection.id, name);
                }
            }
            (Verdict::Denied { reason }, _) => self.denied(place, reason, 1, &event),
        }
    }

    fn denied(&mut self, place: Option<String>, reason: &str, count: u64, event: &Event) {
        let Some(place) = place else {
            self.elsewhere.denied += count;
            self.further_denials += count;
            return;
        };
        self.host(&place).denied += count;
        let full = self.denials.len() >= MOST_ROWS;
        let key = DenialKey {
            place,
            reason: reason.to_owned(),
        };
        match self.denials.get_mut(&key) {
            Some(denial) => denial.count += count,
            None if full => self.further_denials += count,
            None => {
                let denial = Denial {
                    count,
                    example: example(event),
                    allow: how_to_allow(event),
                };
                self.denials.insert(key, denial);
            }
        }
    }

    fn host(&mut self, name: &str) -> &mut Host {
        if self.hosts.len() >= MOST_ROWS && !self.hosts.contains_key(name) {
            return &mut self.elsewhere;
        }
        self.hosts.entry(name.to_owned()).or_default()
    }
}

fn push<T>(all: &mut Vec<T>, one: T) {
    if all.len() < MOST_ROWS {
        all.push(one);
    }
}

/// What was refused, without where.
fn example(event: &Event) -> String {
    match event {
        Event::Request(request) => format!("{} {}", request.method, request.path),
        Event::Dns(dns) => format!("dns {}", dns.record_type),
        Event::Connection(connection) => {
            let protocol = connection.protocol.as_deref().unwrap_or("connection");
            format!("{protocol} to port {}", connection.destination.port())
        }
        Event::ProtocolError(error) => error.detail.clone(),
        Event::FurtherDenials(further) => format!("{} (counted)", further.of),
        other => other.kind().to_owned(),
    }
}
