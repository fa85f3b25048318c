//! A synthetic address per name, so that a connection tells which name it is for whatever protocol it speaks.
//!
//! Each name gets an index, and with it one IPv4 address of 198.18.0.0/15 and one IPv6 address of Wardian's unique
//! local prefix. A name keeps its address while a connection to it is open and for a grace after it was last answered;
//! after that it may lose it, the least recently used first, and only when the table is full. A freed address is given
//! to another name as late as possible, so that a program that kept it gets a refusal rather than another host.
//!
//! A program can make up names below a wildcard without end. They fill a share of the table that is theirs alone, so
//! that a name which the policy spells out always gets its address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wardian_policy::address::SYNTHETIC_V6_PREFIX;
use wardian_policy::{HostName, Spelled};

#[cfg(test)]
mod tests;

/// How long a program may keep an answer, in seconds.
pub const TTL: u32 = 30;
/// An address stands for its name at least this long after the last answer with it: twice the TTL, because the answer
/// may have been handed on from one cache to another.
const HELD: Duration = Duration::from_secs(2 * TTL as u64);

const FIRST_V4: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// Addresses of 198.18.0.0/15, less those ending in .0 of the first network and the last broadcast.
const POOL: u32 = (1 << 17) - 2;
/// Most names of one share: half of the pool is always free, to be given out late.
const MOST: usize = POOL as usize / 4;

/// The addresses of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synthetic {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Synthetic {
    fn of_index(index: u32) -> Self {
        let [a, b, c] = SYNTHETIC_V6_PREFIX;
        let [high, low] = [(index >> 16) as u16, index as u16];
        Self {
            v4: Ipv4Addr::from_bits(FIRST_V4 + index),
            v6: Ipv6Addr::new(a, b, c, 0, 0, 0, high, low),
        }
    }
}

/// What a destination address stands for.
#[derive(Debug)]
pub enum Meaning {
    /// A name; while the lease lives, the address stays its own.
    Name(Lease),
    /// In the synthetic ranges, but no name has it (any more).
    Unassigned,
    /// Outside the synthetic ranges: the program brought it along.
    Literal(IpAddr),
}

/// No name of the same share that has no open connection is old enough to give up its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many names are in use at once")]
pub struct TableFull;

/// The table of one door. Clones share it.
#[derive(Debug, Clone)]
pub struct Names {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug)]
struct Table {
    /// Most names that only the program spelled.
    most: usize,
    /// How many of those there are.
    made_up: usize,
    next: u32,
    by_name: HashMap<HostName, u32>,
    by_index: HashMap<u32, Entry>,
}

#[derive(Debug)]
struct Entry {
    name: HostName,
    spelled: Spelled,
    open: u32,
    used: Instant,
}

impl Names {
    /// Holds at most `most` names that only the program spelled, beside those that the policy spells out.
    pub fn new(most: usize) -> Self {
        let table = Table {
            most: most.clamp(1, MOST),
            made_up: 0,
            next: 1,
            by_name: HashMap::new(),
            by_index: HashMap::new(),
        };
        Self {
            table: Arc::new(Mutex::new(table)),
        }
    }

    /// The addresses of `name`, which gets some if it has none.
    pub fn assign(&self, name: &HostName, spelled: Spelled) -> Result<Synthetic, TableFull> {
        self.assign_at(name, spelled, Instant::now())
    }

    fn assign_at(
        &self,
        name: &HostName,
        spelled: Spelled,
        now: Instant,
    ) -> Result<Synthetic, TableFull> {
        let mut table = self.lock();
        if let Some(index) = table.touch(name, spelled, now) {
            return Ok(Synthetic::of_index(index));
        }
        if table.is_full(spelled) {
            table.evict(spelled, now)?;
        }
        Ok(Synthetic::of_index(table.insert(name, spelled, now)))
    }

    /// What `address` stands for. An IPv4-mapped IPv6 address means the IPv4 address that it carries.
    pub fn meaning(&self, address: IpAddr) -> Meaning {
        let address = address.to_canonical();
        let index = match address {
            IpAddr::V4(v4) => v4_index(v4),
            IpAddr::V6(v6) => v6_index(v6),
        };
        match index {
            Range::Outside => Meaning::Literal(address),
            Range::Hole => Meaning::Unassigned,
            Range::Index(index) => {
                let mut table = self.lock();
                match table.by_index.get_mut(&index) {
                    None => Meaning::Unassigned,
                    Some(entry) => {
                        entry.open += 1;
                        entry.used = Instant::now();
                        Meaning::Name(Lease {
                            name: entry.name.clone(),
                            index,
                            table: Arc::clone(&self.table),
                        })
                    }
                }
            }
        }
    }

    /// The name that `address` stands for, for reverse lookups.
    pub fn name_of(&self, address: IpAddr) -> Option<HostName> {
        match self.meaning(address) {
            Meaning::Name(lease) => Some(lease.name().clone()),
            Meaning::Unassigned | Meaning::Literal(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // No panic can happen between two changes that belong together.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// The index of a name that is there already. A replaced policy may spell it otherwise than the one before.
    fn touch(&mut self, name: &HostName, spelled: Spelled, now: Instant) -> Option<u32> {
        let index = *self.by_name.get(name)?;
        let entry = self.by_index.get_mut(&index)?;
        entry.used = now;
        let before = std::mem::replace(&mut entry.spelled, spelled);
        self.made_up = self.made_up + made_up(spelled) - made_up(before);
        Some(index)
    }

    fn is_full(&self, spelled: Spelled) -> bool {
        match spelled {
            Spelled::ByProgram => self.made_up >= self.most,
            Spelled::ByRule => self.by_index.len() - self.made_up >= MOST,
        }
    }

    fn evict(&mut self, spelled: Spelled, now: Instant) -> Result<(), TableFull> {
        let oldest = self
            .by_index
            .iter()
            .filter(|(_, entry)| {
                entry.spelled == spelled
                    && entry.open == 0
                    && now.saturating_duration_since(entry.used) >= HELD
            })
            .min_by_key(|(_, entry)| entry.used)
            .map(|(index, _)| *index);
        let entry = oldest
            .and_then(|index| self.by_index.remove(&index))
            .ok_or(TableFull)?;
        self.by_name.remove(&entry.name);
        self.made_up -= made_up(spelled);
        Ok(())
    }

    fn insert(&mut self, name: &HostName, spelled: Spelled, now: Instant) -> u32 {
        let index = self.free_index();
        self.by_name.insert(name.clone(), index);
        let entry = Entry {
            name: name.clone(),
            spelled,
            open: 0,
            used: now,
        };
        self.by_index.insert(index, entry);
        self.made_up += made_up(spelled);
        index
    }

    /// The next index in turn that nobody has; at most half of them are taken.
    fn free_index(&mut self) -> u32 {
        loop {
            let index = self.next;
            self.next = if index >= POOL { 1 } else { index + 1 };
            if !self.by_index.contains_key(&index) {
                return index;
            }
        }
    }
}

fn made_up(spelled: Spelled) -> usize {
    usize::from(spelled == Spelled::ByProgram)
}

enum Range {
    Outside,
    Hole,
    Index(u32),
}

fn v4_index(address: Ipv4Addr) -> Range {
    match address.to_bits().checked_sub(FIRST_V4) {
        Some(index @ 1..=POOL) => Range::Index(index),
        Some(0) => Range::Hole,
        Some(index) if index == POOL + 1 => Range::Hole,
        _ => Range::Outside,
    }
}

fn v6_index(address: Ipv6Addr) -> Range {
    let segments = address.segments();
    if segments[..3] != SYNTHETIC_V6_PREFIX {
        return Range::Outside;
    }
    match segments[3..] {
        [0, 0, 0, high, low] => match u32::from(high) << 16 | u32::from(low) {
            index @ 1..=POOL => Range::Index(index),
            _ => Range::Hole,
        },
        _ => Range::Hole,
    }
}

/// Keeps an address with its name while a connection to it is open.
#[derive(Debug)]
pub struct Lease {
    name: HostName,
    index: u32,
    table: Arc<Mutex<Table>>,
}

impl Lease {
    pub fn name(&self) -> &HostName {
        &self.name
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        if let Some(entry) = table.by_index.get_mut(&self.index) {
            entry.open = entry.open.saturating_sub(1);
            entry.used = Instant::now();
        }
    }
}
