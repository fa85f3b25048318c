//! Finds the rules for a host without looking at the others, in the order in which they were written.

use std::collections::HashMap;

use crate::host::{Host, HostName, HostPattern};
use crate::rule::Rule;

/// Positions in a list of rules, by the kind of their host pattern. Each list ascends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    exact: HashMap<HostName, Vec<usize>>,
    suffix: HashMap<HostName, Vec<usize>>,
    any_name: Vec<usize>,
    addresses: Vec<usize>,
}

impl Index {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (position, rule) in rules.iter().enumerate() {
            let list = match &rule.host {
                HostPattern::Exact(name) => index.exact.entry(name.clone()).or_default(),
                HostPattern::Suffix(name) => index.suffix.entry(name.clone()).or_default(),
                HostPattern::Any => &mut index.any_name,
                HostPattern::Ip(_) | HostPattern::Net(_) => &mut index.addresses,
            };
            list.push(position);
        }
        index
    }

    /// Positions of the rules that could cover `host`; address rules must still be compared.
    pub(crate) fn candidates(&self, host: &Host) -> impl Iterator<Item = usize> {
        let mut lists: Vec<&[usize]> = Vec::new();
        match host {
            Host::Name(name) => {
                lists.extend(self.exact.get(name).map(Vec::as_slice));
                let parents = name.ancestors().skip(1);
                lists.extend(
                    parents
                        .filter_map(|parent| self.suffix.get(parent))
                        .map(Vec::as_slice),
                );
                lists.push(&self.any_name);
            }
            Host::Ip(_) => lists.push(&self.addresses),
        }
        std::iter::from_fn(move || {
            let list = lists
                .iter_mut()
                .filter(|list| !list.is_empty())
                .min_by_key(|list| list[0])?;
            let (first, rest) = list.split_first()?;
            *list = rest;
            Some(*first)
        })
    }

    /// Positions of the rules about addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = usize> {
        self.addresses.iter().copied()
    }
}
