//! The four checks.

use std::net::{IpAddr, SocketAddr};

use super::{Destination, Policy, RequestFacts};
use crate::address::{AddressClass, classify};
use crate::credential::{CredentialName, Injection};
use crate::denial::Denial;
use crate::host::{Host, HostName, HostPattern, Port};
use crate::method::is_token;
use crate::permit::{AddressPermit, ConnectionPermit, NamePermit, RequestPermit, Spelled};
use crate::ports::Ports;
use crate::rule::{Action, Mode, Rule, RuleId, Scheme, Upgrade, Upstream};

impl Policy {
    /// Could some rule allow a connection to some port of this name? DNS inside answers only then.
    pub fn check_name(&self, name: &HostName) -> Result<NamePermit, Denial> {
        let host = Host::Name(name.clone());
        let mut denied: Option<(&Rule, Ports)> = None;
        let mut nearest = Nearest::default();
        let mut first: Option<&RuleId> = None;
        for rule in self.covering(&host) {
            if rule.allows() {
                if nearest.crosses_public_suffix(rule, &host) {
                    continue;
                }
                let open = denied
                    .as_ref()
                    .is_none_or(|(_, ports)| !rule.ports.is_within(ports));
                if open {
                    let first = *first.get_or_insert(&rule.id);
                    if matches!(rule.host, HostPattern::Exact(_)) {
                        return Ok(name_permit(name, first, Spelled::ByRule));
                    }
                }
            } else if !rule.is_about_requests() {
                denied = Some(match denied {
                    Some((first, ports)) => (first, ports.union(&rule.ports)),
                    None => (rule, rule.ports.clone()),
                });
            }
        }
        if let Some(first) = first {
            return Ok(name_permit(name, first, Spelled::ByProgram));
        }
        Err(match (denied, nearest.into_denial(&host)) {
            (Some((rule, _)), _) => Denial::DeniedByRule {
                rule: rule.id.clone(),
                host,
            },
            (None, Some(denial)) => denial,
            (None, None) => Denial::NameNotAllowed { name: name.clone() },
        })
    }

    /// May a connection be accepted, and how is it to be treated?
    pub fn check_connection(&self, to: &Destination) -> Result<ConnectionPermit, Denial> {
        let Destination { host, port } = to;
        let mut conditional: Option<&Rule> = None;
        let mut nearest = Nearest::default();
        for rule in self
            .covering(host)
            .filter(|rule| rule.ports.contains(*port))
        {
            match rule.action {
                Action::Deny if rule.is_about_requests() => {
                    conditional = conditional.or(Some(rule));
                }
                Action::Deny => {
                    return Err(Denial::DeniedByRule {
                        rule: rule.id.clone(),
                        host: host.clone(),
                    });
                }
                Action::Allow if nearest.crosses_public_suffix(rule, host) => {}
                Action::Allow => {
                    return match conditional {
                        Some(deny) if rule.route.mode != Mode::Inspect => {
                            Err(Denial::UninspectedDeny {
                                deny: deny.id.clone(),
                                allow: rule.id.clone(),
                                host: host.clone(),
                            })
                        }
                        _ => Ok(ConnectionPermit {
                            rule: rule.id.clone(),
                            host: host.clone(),
                            port: *port,
                            route: rule.route.clone(),
                            pattern: rule.host.clone(),
                        }),
                    };
                }
            }
        }
        Err(nearest.into_denial(host).unwrap_or_else(|| Denial::NoRule {
            host: host.clone(),
            port: *port,
        }))
    }

    /// May this address be dialled for the connection? The port comes with the permit.
    ///
    /// Only public addresses pass, but for those that the rule names (as host, network or pin). A named upstream proxy may
    /// also be in a private network, and on the machine itself if it is called `localhost`.
    pub fn check_address(
        &self,
        on: &ConnectionPermit,
        address: IpAddr,
    ) -> Result<AddressPermit, Denial> {
        let address = address.to_canonical();
        let bound_to = |expected: IpAddr| {
            if expected.to_canonical() == address {
                Ok(())
            } else {
                Err(Denial::AddressMismatch {
                    host: on.host.clone(),
                    expected,
                    address,
                })
            }
        };
        let permit = |port: Port| AddressPermit {
            address: SocketAddr::new(address, port.get()),
        };
        match &on.route.upstream {
            Upstream::Pinned(pin) => {
                bound_to(pin.ip())?;
                Ok(AddressPermit { address: *pin })
            }
            Upstream::HttpProxy {
                host: Host::Ip(proxy),
                port,
                credential: _,
            } => {
                bound_to(*proxy)?;
                Ok(permit(*port))
            }
            Upstream::HttpProxy {
                host: Host::Name(proxy),
                port,
                credential: _,
            } => match classify(address) {
                AddressClass::Public | AddressClass::Private | AddressClass::CarrierGradeNat => {
                    Ok(permit(*port))
                }
                AddressClass::Loopback if proxy.as_str() == "localhost" => Ok(permit(*port)),
                class => Err(private_address(on, address, class)),
            },
            Upstream::Direct => {
                if let Host::Ip(expected) = on.host {
                    bound_to(expected)?;
                }
                self.refuse_denied_address(on, address)?;
                match classify(address) {
                    AddressClass::Public => Ok(permit(on.port)),
                    _ if on.pattern.opens(address) => Ok(permit(on.port)),
                    class => Err(private_address(on, address, class)),
                }
            }
        }
    }

    /// May the request be forwarded on this connection, and with which credentials?
    pub fn check_request(
        &self,
        on: &ConnectionPermit,
        head: &RequestFacts<'_>,
    ) -> Result<RequestPermit, Denial> {
        let host = &on.host;
        refuse_malformed(on, head)?;
        self.refuse_stale(on)?;
        let mut allowed: Option<(&Rule, Vec<CredentialName>)> = None;
        let mut not_as_websocket: Option<&RuleId> = None;
        for rule in self
            .covering(host)
            .filter(|rule| rule.ports.contains(on.port))
        {
            // What passes uninspected elsewhere says nothing about requests.
            let silent = rule.allows()
                && (rule.route.mode != Mode::Inspect
                    || rule.host.public_suffix_between(host).is_some());
            if silent || !rule.matches_path(head.target) {
                continue;
            }
            if !rule.methods.matches(head.method, head.upgrade, rule.action) {
                let plain_get = rule.methods.matches("GET", None, rule.action);
                if rule.allows() && head.upgrade == Some(Upgrade::WebSocket) && plain_get {
                    not_as_websocket = not_as_websocket.or(Some(&rule.id));
                }
                continue;
            }
            match (rule.action, &mut allowed) {
                (Action::Deny, None) => {
                    return Err(Denial::RequestDeniedByRule {
                        rule: rule.id.clone(),
                        host: host.clone(),
                        method: head.method.to_owned(),
                        path: head.target.path().to_owned(),
                    });
                }
                // Later rules only matter for their credentials, and only up to the first that would deny.
                (Action::Deny, Some(_)) => break,
                (Action::Allow, None) => {
                    let mut credentials = Vec::new();
                    self.collect_credentials(rule, host, head.scheme, &mut credentials);
                    allowed = Some((rule, credentials));
                }
                (Action::Allow, Some((_, credentials))) => {
                    self.collect_credentials(rule, host, head.scheme, credentials);
                }
            }
        }
        match (allowed, not_as_websocket) {
            (Some((rule, credentials)), _) => Ok(RequestPermit {
                rule: rule.id.clone(),
                credentials,
            }),
            (None, Some(rule)) => Err(Denial::WebSocketNotAllowed {
                rule: rule.clone(),
                host: host.clone(),
                path: head.target.path().to_owned(),
            }),
            (None, None) => Err(Denial::NoRuleForRequest {
                host: host.clone(),
                port: on.port,
                method: head.method.to_owned(),
                path: head.target.path().to_owned(),
            }),
        }
    }

    /// Rules whose host pattern covers `host`, in order.
    fn covering<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Rule> {
        self.index
            .candidates(host)
            .map(|position| &self.rules[position])
            .filter(move |rule| rule.host.covers(host))
    }

    /// A name that resolves into a denied network is denied, unless its own rule stands before the denial.
    fn refuse_denied_address(&self, on: &ConnectionPermit, address: IpAddr) -> Result<(), Denial> {
        let host = Host::Ip(address);
        let denying = self
            .index
            .addresses()
            .map(|position| &self.rules[position])
            .find(|rule| {
                !rule.allows()
                    && !rule.is_about_requests()
                    && rule.host.covers(&host)
                    && rule.ports.contains(on.port)
            });
        let Some(denying) = denying else {
            return Ok(());
        };
        let before = self
            .rules
            .iter()
            .find(|rule| rule.id == denying.id || rule.id == on.rule);
        match before {
            Some(rule) if rule.id == on.rule => Ok(()),
            _ => Err(Denial::DeniedByRule {
                rule: denying.id.clone(),
                host,
            }),
        }
    }

    /// The permit may come from a policy that was replaced meanwhile.
    fn refuse_stale(&self, on: &ConnectionPermit) -> Result<(), Denial> {
        let fresh = self.check_connection(&Destination {
            host: on.host.clone(),
            port: on.port,
        })?;
        let same_address_grant = matches!(on.host, Host::Name(_)) || fresh.pattern == on.pattern;
        if fresh.route == on.route && same_address_grant {
            Ok(())
        } else {
            Err(Denial::PolicyChanged {
                host: on.host.clone(),
            })
        }
    }

    fn collect_credentials(
        &self,
        rule: &Rule,
        host: &Host,
        scheme: Scheme,
        into: &mut Vec<CredentialName>,
    ) {
        if scheme != Scheme::Https {
            return;
        }
        for name in &rule.credentials {
            let Some(spec) = self.credential(name) else {
                continue;
            };
            if into.contains(name) || !spec.belongs_to(host) {
                continue;
            }
            // Two secrets for one header: the rule that comes first has it.
            let header = sets_header(spec.injection());
            let taken = header.is_some()
                && into
                    .iter()
                    .filter_map(|other| self.credential(other))
                    .any(|other| sets_header(other.injection()) == header);
            if !taken {
                into.push(name.clone());
            }
        }
    }
}

/// Remembers a wildcard that did not reach the host, because that explains the refusal better than "no rule".
#[derive(Default)]
struct Nearest<'a> {
    wildcard: Option<(&'a RuleId, String)>,
}

impl<'a> Nearest<'a> {
    fn crosses_public_suffix(&mut self, rule: &'a Rule, host: &Host) -> bool {
        let Some(suffix) = rule.host.public_suffix_between(host) else {
            return false;
        };
        if self.wildcard.is_none() {
            self.wildcard = Some((&rule.id, suffix.to_owned()));
        }
        true
    }

    fn into_denial(self, host: &Host) -> Option<Denial> {
        self.wildcard
            .map(|(rule, suffix)| Denial::WildcardAcrossPublicSuffix {
                rule: rule.clone(),
                host: host.clone(),
                suffix,
            })
    }
}

fn name_permit(name: &HostName, rule: &RuleId, spelled: Spelled) -> NamePermit {
    NamePermit {
        name: name.clone(),
        rule: rule.clone(),
        spelled,
    }
}

fn refuse_malformed(on: &ConnectionPermit, head: &RequestFacts<'_>) -> Result<(), Denial> {
    let host = || on.host.clone();
    if on.route.mode != Mode::Inspect {
        return Err(Denial::NotInspected { host: host() });
    }
    if !is_token(head.method) {
        return Err(Denial::InvalidMethod);
    }
    if head.method.eq_ignore_ascii_case("CONNECT") && head.upgrade.is_none() {
        return Err(Denial::ConnectMethod { host: host() });
    }
    if head.scheme == Scheme::Http && on.port == Port::HTTPS {
        return Err(Denial::NotTls {
            host: host(),
            port: on.port,
        });
    }
    if !head.authority.agrees_with(&on.host, on.port) {
        return Err(Denial::AuthorityMismatch {
            host: host(),
            port: on.port,
            authority: head.authority.clone(),
        });
    }
    if head.target.is_asterisk() && head.method != "OPTIONS" {
        return Err(Denial::InvalidTarget);
    }
    Ok(())
}

fn private_address(on: &ConnectionPermit, address: IpAddr, class: AddressClass) -> Denial {
    Denial::PrivateAddress {
        host: on.host.clone(),
        address,
        class,
        rule: on.rule.clone(),
    }
}

fn sets_header(injection: &Injection) -> Option<&str> {
    match injection {
        Injection::Placeholder => None,
        Injection::Header { name, .. } => Some(name),
        Injection::Basic { .. } => Some("authorization"),
    }
}
