//! Limits on what a sandbox may use.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

/// A number of bytes, at least 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(NonZeroU64);

/// Processor time per wall time, in thousandths of one processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpus(NonZeroU32);

/// A number of processes and threads together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pids(NonZeroU32);

/// A number of open files per process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenFiles(NonZeroU64);

/// Time from start to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(Duration);

/// What can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKind {
    /// Main memory, swap included.
    Memory,
    /// Processor time.
    Cpus,
    /// Processes and threads.
    Pids,
    /// Open files per process.
    Files,
    /// Bytes written to the sandbox's own layers.
    Disk,
    /// Wall time.
    Time,
}

/// One limit. Two of the same kind compare by how much they let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Limit {
    Memory(Bytes),
    Cpus(Cpus),
    Pids(Pids),
    Files(OpenFiles),
    Disk(Bytes),
    Time(WallTime),
}

/// The limits of one sandbox; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    pub(crate) memory: Option<Bytes>,
    pub(crate) cpus: Option<Cpus>,
    pub(crate) pids: Option<Pids>,
    pub(crate) files: Option<OpenFiles>,
    pub(crate) disk: Option<Bytes>,
    pub(crate) time: Option<WallTime>,
    pub(crate) require: Vec<LimitKind>,
}

/// Why a limit is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Not a size.
    #[error("`{0}` is no size; write for example \"512M\" or \"4G\" (1M = 1048576 bytes)")]
    Size(String),
    /// Below 1 MiB.
    #[error("`{0}` is too small: the least is \"1M\"")]
    TooSmall(String),
    /// Not a number of processors.
    #[error("`{0}` is no number of processors; write for example 2 or 0.5 (least 0.01, most 4096)")]
    Cpus(String),
    /// Not a positive whole number.
    #[error("`{0}` is no positive whole number")]
    Count(String),
    /// Not a time.
    #[error("`{0}` is no time; write for example \"90s\", \"30m\", \"2h\" or \"1h30m\"")]
    Time(String),
}

impl Bytes {
    const LEAST: u64 = 1 << 20;

    /// Parses `4G`, `512M`, `1.5G`, `4GiB` or plain bytes; K, M, G and T are powers of 1024.
    pub fn parse(text: &str) -> Result<Self, LimitError> {
        let error = || LimitError::Size(text.to_owned());
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.strip_suffix("iB").unwrap_or(unit);
        let shift = match unit {
            "" | "B" => 0,
            "K" | "k" => 10,
            "M" | "m" => 20,
            "G" | "g" => 30,
            "T" | "t" => 40,
            _ => return Err(error()),
        };
        let thousandths = parse_thousandths(number).ok_or_else(error)?;
        let bytes = u128::from(thousandths) * (1_u128 << shift) / 1000;
        let bytes = u64::try_from(bytes).map_err(|_| error())?;
        match NonZeroU64::new(bytes) {
            Some(bytes) if bytes.get() >= Self::LEAST => Ok(Self(bytes)),
            _ => Err(LimitError::TooSmall(text.to_owned())),
        }
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl Cpus {
    /// Parses `2`, `0.5`; at most three decimals.
    pub fn parse(text: &str) -> Result<Self, LimitError> {
        let error = || LimitError::Cpus(text.to_owned());
        let thousandths = parse_thousandths(text).ok_or_else(error)?;
        match u32::try_from(thousandths).ok().and_then(NonZeroU32::new) {
            Some(count) if (10..=4_096_000).contains(&count.get()) => Ok(Self(count)),
            _ => Err(error()),
        }
    }

    /// Thousandths of one processor.
    pub fn millis(self) -> u32 {
        self.0.get()
    }
}

impl Pids {
    /// Parses a positive number.
    pub fn parse(text: &str) -> Result<Self, LimitError> {
        parse_count(text)?
            .try_into()
            .map(Self)
            .map_err(|_| LimitError::Count(text.to_owned()))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl OpenFiles {
    /// Parses a positive number.
    pub fn parse(text: &str) -> Result<Self, LimitError> {
        parse_count(text).map(Self)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl WallTime {
    /// Parses `90s`, `30m`, `2h`, `1d`, and combinations from large to small (`1h30m`).
    pub fn parse(text: &str) -> Result<Self, LimitError> {
        let error = || LimitError::Time(text.to_owned());
        let mut seconds: u64 = 0;
        let mut rest = text;
        let mut last_unit = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
            let number: u64 = rest[..digits].parse().map_err(|_| error())?;
            let mut after = rest[digits..].chars();
            let unit = match after.next() {
                Some('s') => 1,
                Some('m') => 60,
                Some('h') => 3600,
                Some('d') => 86400,
                _ => return Err(error()),
            };
            if unit >= last_unit {
                return Err(error());
            }
            last_unit = unit;
            rest = after.as_str();
            seconds = number
                .checked_mul(unit)
                .and_then(|more| seconds.checked_add(more))
                .ok_or_else(error)?;
        }
        // A year is beyond any use, and keeps sums with clocks far from overflow.
        if seconds == 0 || seconds > 366 * 86400 {
            return Err(error());
        }
        Ok(Self(Duration::from_secs(seconds)))
    }

    /// The duration, in whole seconds.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl LimitKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Memory,
        Self::Cpus,
        Self::Pids,
        Self::Files,
        Self::Disk,
        Self::Time,
    ];

    /// Its key in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpus => "cpus",
            Self::Pids => "pids",
            Self::Files => "files",
            Self::Disk => "disk",
            Self::Time => "time",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Limits {
    /// Main memory.
    pub fn memory(&self) -> Option<Bytes> {
        self.memory
    }

    /// Processor time.
    pub fn cpus(&self) -> Option<Cpus> {
        self.cpus
    }

    /// Processes and threads.
    pub fn pids(&self) -> Option<Pids> {
        self.pids
    }

    /// Open files per process.
    pub fn files(&self) -> Option<OpenFiles> {
        self.files
    }

    /// Bytes in the sandbox's own layers.
    pub fn disk(&self) -> Option<Bytes> {
        self.disk
    }

    /// Wall time.
    pub fn time(&self) -> Option<WallTime> {
        self.time
    }

    /// Limits without which the sandbox must not start.
    pub fn required(&self) -> &[LimitKind] {
        &self.require
    }

    /// Whether a limit of this kind is set.
    pub fn has(&self, kind: LimitKind) -> bool {
        match kind {
            LimitKind::Memory => self.memory.is_some(),
            LimitKind::Cpus => self.cpus.is_some(),
            LimitKind::Pids => self.pids.is_some(),
            LimitKind::Files => self.files.is_some(),
            LimitKind::Disk => self.disk.is_some(),
            LimitKind::Time => self.time.is_some(),
        }
    }

    pub(crate) fn set(&mut self, limit: Limit) {
        match limit {
            Limit::Memory(value) => self.memory = Some(value),
            Limit::Cpus(value) => self.cpus = Some(value),
            Limit::Pids(value) => self.pids = Some(value),
            Limit::Files(value) => self.files = Some(value),
            Limit::Disk(value) => self.disk = Some(value),
            Limit::Time(value) => self.time = Some(value),
        }
    }
}

impl Limit {
    /// Parses the value of a key or of an option.
    pub(crate) fn parse(kind: LimitKind, value: &str) -> Result<Self, LimitError> {
        Ok(match kind {
            LimitKind::Memory => Self::Memory(Bytes::parse(value)?),
            LimitKind::Cpus => Self::Cpus(Cpus::parse(value)?),
            LimitKind::Pids => Self::Pids(Pids::parse(value)?),
            LimitKind::Files => Self::Files(OpenFiles::parse(value)?),
            LimitKind::Disk => Self::Disk(Bytes::parse(value)?),
            LimitKind::Time => Self::Time(WallTime::parse(value)?),
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(value) | Self::Disk(value) => value.fmt(f),
            Self::Cpus(value) => value.fmt(f),
            Self::Pids(value) => value.fmt(f),
            Self::Files(value) => value.fmt(f),
            Self::Time(value) => value.fmt(f),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.get();
        for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
            if bytes.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", bytes >> shift);
            }
        }
        write!(f, "{bytes}")
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.millis() / 1000, self.millis() % 1000);
        match part {
            0 => write!(f, "{whole}"),
            _ => f.write_str(format!("{whole}.{part:03}").trim_end_matches('0')),
        }
    }
}

impl fmt::Display for Pids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for OpenFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_secs();
        for (unit, name) in [(86400, "d"), (3600, "h"), (60, "m"), (1, "s")] {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

/// A decimal number with at most three digits behind the point, times 1000.
fn parse_thousandths(text: &str) -> Option<u64> {
    let (whole, part) = match text.split_once('.') {
        Some((whole, part)) if !part.is_empty() && part.len() <= 3 => (whole, part),
        Some(_) => return None,
        None => (text, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) {
        return None;
    }
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(part)
}

fn parse_count(text: &str) -> Result<NonZeroU64, LimitError> {
    let error = || LimitError::Count(text.to_owned());
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(error());
    }
    text.parse().map_err(|_| error())
}

#[cfg(test)]
mod tests;
