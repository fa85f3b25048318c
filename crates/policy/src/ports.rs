//! Sets of ports.

use std::fmt;

use crate::host::Port;

/// A non-empty set of ports, as sorted ranges that do not touch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ports(Vec<(u16, u16)>);

impl Ports {
    /// Every port.
    pub(crate) fn all() -> Self {
        Self(vec![(1, u16::MAX)])
    }

    /// What an HTTP rule covers that names no ports.
    pub(crate) fn web() -> Self {
        Self(vec![(80, 80), (443, 443)])
    }

    pub(crate) fn one(port: Port) -> Self {
        Self(vec![(port.get(), port.get())])
    }

    /// `None` if there are no ranges at all.
    pub(crate) fn from_ranges(ranges: impl IntoIterator<Item = (Port, Port)>) -> Option<Self> {
        let mut ranges: Vec<(u16, u16)> = ranges
            .into_iter()
            .map(|(low, high)| (low.get().min(high.get()), low.get().max(high.get())))
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        (!merged.is_empty()).then_some(Self(merged))
    }

    /// Whether `port` is in the set.
    pub fn contains(&self, port: Port) -> bool {
        self.0
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&port.get()))
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|(low, high)| {
            other
                .0
                .iter()
                .any(|(other_low, other_high)| low <= other_high && other_low <= high)
        })
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let port = |number: &u16| Port::new(*number).expect("a set of ports holds no 0");
        let both = self.0.iter().chain(&other.0);
        Self::from_ranges(both.map(|(low, high)| (port(low), port(high))))
            .expect("the union of sets that are not empty is not empty")
    }

    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.iter().all(|(low, high)| {
            other
                .0
                .iter()
                .any(|(other_low, other_high)| other_low <= low && high <= other_high)
        })
    }

    /// The ranges, lowest first, both ends included.
    pub fn ranges(&self) -> impl Iterator<Item = (u16, u16)> {
        self.0.iter().copied()
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (low, high)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match low == high {
                true => write!(f, "{low}")?,
                false => write!(f, "{low}-{high}")?,
            }
        }
        Ok(())
    }
}
