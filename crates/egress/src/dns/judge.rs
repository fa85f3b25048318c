//! What a question gets, and why.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::Query;
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{Name, RData, RecordType};
use wardian_events::{Dns, DnsTransport, Verdict};
use wardian_policy::{HostName, NamePermit, Policy};

use super::AddressFamilies;
use super::message::is_internet;
use crate::names::Names;

/// What a question gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// One record; `address` if it is one.
    Data {
        data: RData,
        address: Option<IpAddr>,
    },
    /// The name is there, a record of this type is not, and that is as it should be.
    Empty,
    /// The name is there, but this type could carry data in or out: answered as absent.
    NoData(&'static str),
    /// The name is not for this sandbox.
    Denied(&'static str),
    /// Not a question that a resolver answers.
    Refused(&'static str),
    /// Too many names that the program made up are in use.
    Full,
}

/// An outcome with what its event needs.
#[derive(Debug)]
pub struct Judged {
    pub outcome: Outcome,
}

impl Judged {
    /// The record of the question.
    pub fn event(&self, query: &Query, transport: DnsTransport) -> Dns {
        let (answer, verdict) = match &self.outcome {
            Outcome::Data { address, .. } => (*address, Verdict::Allowed),
            Outcome::Empty => (None, Verdict::Allowed),
            Outcome::NoData(reason) | Outcome::Denied(reason) | Outcome::Refused(reason) => {
                (None, Verdict::denied(*reason))
            }
            Outcome::Full => (None, Verdict::denied("too_many_names")),
        };
        let mut question = query.name().to_ascii();
        if question.len() > 1 && question.ends_with('.') {
            question.pop();
        }
        Dns {
            question,
            record_type: query.query_type().to_string(),
            transport,
            answer,
            verdict,
        }
    }
}

/// Judges questions for one sandbox.
#[derive(Debug)]
pub struct Judge {
    names: Names,
    /// The sandbox's own host name, lower case.
    hostname: String,
    families: AddressFamilies,
}

impl Judge {
    pub fn new(names: Names, hostname: &str, families: AddressFamilies) -> Self {
        Self {
            names,
            hostname: hostname.to_ascii_lowercase(),
            families,
        }
    }

    /// Pure but for the table of names, in which an allowed name gets its addresses.
    pub fn judge(&self, query: &Query, policy: &Policy) -> Judged {
        Judged {
            outcome: self.outcome(query, policy),
        }
    }

    fn outcome(&self, query: &Query, policy: &Policy) -> Outcome {
        if !is_internet(query) {
            return Outcome::Refused("dns_class");
        }
        if matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
            return Outcome::Refused("zone_transfer");
        }
        let Some(text) = plain_text(query.name()) else {
            return Outcome::Denied("not_a_host_name");
        };
        if text == "arpa" || text.ends_with(".arpa") {
            return self.reverse(query);
        }
        if text == "localhost" || text.ends_with(".localhost") || text == self.hostname {
            return match query.query_type() {
                RecordType::A => address(Ipv4Addr::LOCALHOST.into()),
                RecordType::AAAA => address(Ipv6Addr::LOCALHOST.into()),
                _ => Outcome::Empty,
            };
        }
        let Ok(name) = HostName::parse(&text) else {
            return Outcome::Denied("not_a_host_name");
        };
        // Canonicalising changed more than letter case: the name judged would not be the name asked for.
        if name.as_str() != text {
            return Outcome::Denied("not_a_host_name");
        }
        let permit = match allowed(&name, policy) {
            Ok(permit) => permit,
            Err(reason) => return Outcome::Denied(reason),
        };
        match query.query_type() {
            RecordType::A => self.synthetic(&permit, |at| at.v4.into()),
            RecordType::AAAA if self.families == AddressFamilies::V4Only => Outcome::Empty,
            RecordType::AAAA => self.synthetic(&permit, |at| at.v6.into()),
            // Browsers and curl ask for these beside every address; having none is the usual answer.
            RecordType::HTTPS | RecordType::SVCB => Outcome::Empty,
            _ => Outcome::NoData("record_type_not_answered"),
        }
    }

    fn synthetic(
        &self,
        permit: &NamePermit,
        family: impl Fn(crate::names::Synthetic) -> IpAddr,
    ) -> Outcome {
        match self.names.assign(permit.name(), permit.spelled()) {
            Ok(synthetic) => address(family(synthetic)),
            Err(_) => Outcome::Full,
        }
    }

    fn reverse(&self, query: &Query) -> Outcome {
        if query.query_type() != RecordType::PTR {
            return Outcome::Denied("reverse_lookup");
        }
        let net = query.name().parse_arpa_name().ok();
        let Some(net) = net.filter(|net| net.prefix_len() == net.max_prefix_len()) else {
            return Outcome::Denied("reverse_lookup");
        };
        let name = match net.addr() {
            address if address.is_loopback() => Some("localhost".to_owned()),
            address => self.names.name_of(address).map(|name| name.to_string()),
        };
        match name.and_then(|name| Name::from_ascii(format!("{name}.")).ok()) {
            Some(name) => Outcome::Data {
                data: RData::PTR(PTR(name)),
                address: None,
            },
            None => Outcome::Denied("reverse_lookup"),
        }
    }
}

fn address(address: IpAddr) -> Outcome {
    let data = match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    };
    Outcome::Data {
        data,
        address: Some(address),
    }
}

/// Whether the policy could allow a connection to `name`, and the name is of the kind that DNS is asked for.
fn allowed(name: &HostName, policy: &Policy) -> Result<NamePermit, &'static str> {
    let permit = policy.check_name(name).map_err(|denial| denial.reason())?;
    match kind(name.as_str()) {
        Kind::Ordinary => Ok(permit),
        Kind::Never => Err("reserved_name"),
        Kind::IfNamed => {
            // A rule that also covers a name which nobody can have written covers everything: it means the internet.
            let anything =
                HostName::parse("nobody-wrote-this.invalid").map(|any| policy.check_name(&any));
            match anything {
                Ok(Err(_)) => Ok(permit),
                Ok(Ok(any)) if any.rule() != permit.rule() => Ok(permit),
                _ => Err("local_name"),
            }
        }
    }
}

enum Kind {
    Ordinary,
    /// Names of the local network (one label, `.local`): only for a rule that means them.
    IfNamed,
    /// Names that must not reach DNS (RFC 7686, RFC 6761).
    Never,
}

fn kind(name: &str) -> Kind {
    match name.rsplit_once('.').map(|(_, top)| top) {
        None | Some("local") => Kind::IfNamed,
        Some("onion" | "invalid") => Kind::Never,
        Some(_) => Kind::Ordinary,
    }
}

/// The name in lower case without the final dot, if it consists of letters, digits, hyphens and underscores.
fn plain_text(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if !label
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(
            label
                .iter()
                .map(|byte| char::from(byte.to_ascii_lowercase())),
        );
    }
    (!text.is_empty()).then_some(text)
}
