//! Many starts of one program, as of a configure script or a build, without a record each.
//!
//! Within one window, the first starts of each executable are recorded one by one; further ones are counted, and
//! the counts are recorded when it is over. An executable that was not started before in the window is always
//! recorded, as long as a window tells executables apart.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use wardian_events::FurtherProcesses;

use super::text;

const WINDOW: Duration = Duration::from_secs(60);
/// Starts of one executable that one window records one by one.
const FULL: u64 = 256;
/// As many altogether; beyond it only the first of each executable.
const MOST_FULL: u64 = 4096;
/// Executables that one window tells apart.
const MOST_EXECUTABLES: usize = 512;

#[derive(Debug)]
pub(super) struct Crowd {
    began: Instant,
    recorded: u64,
    executables: HashMap<OsString, Counts>,
    /// Of executables beyond [`MOST_EXECUTABLES`].
    others: u64,
    /// How many are to be told of.
    further: u64,
}

#[derive(Debug, Default)]
struct Counts {
    recorded: u64,
    further: u64,
}

impl Crowd {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            recorded: 0,
            executables: HashMap::new(),
            others: 0,
            further: 0,
        }
    }

    /// Counts one start; true if it is to be recorded by itself. The first one begins a window.
    pub(super) fn admits(&mut self, executable: &OsStr, now: Instant) -> bool {
        if self.executables.is_empty() {
            self.began = now;
        }
        let is_full = self.executables.len() >= MOST_EXECUTABLES;
        if is_full && !self.executables.contains_key(executable) {
            self.others += 1;
            self.further += 1;
            return false;
        }
        let counts = self.executables.entry(executable.to_owned()).or_default();
        let admitted = match counts.recorded {
            0 => true,
            recorded => recorded < FULL && self.recorded < MOST_FULL,
        };
        if admitted {
            counts.recorded += 1;
            self.recorded += 1;
        } else {
            counts.further += 1;
            self.further += 1;
        }
        admitted
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= WINDOW
    }

    /// How long until what was counted is to be recorded, if anything was.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let any = self.further > 0;
        any.then(|| WINDOW.saturating_sub(now.saturating_duration_since(self.began)))
    }

    /// Begins a new window, and tells what was counted in this one.
    pub(super) fn end(&mut self, now: Instant) -> Vec<FurtherProcesses> {
        let ended = std::mem::replace(self, Self::new(now));
        let known = ended.executables.into_iter();
        let known = known.map(|(executable, counts)| (Some(text(&executable)), counts.further));
        let mut further: Vec<_> = known
            .chain([(None, ended.others)])
            .filter(|(_, count)| *count > 0)
            .map(|(executable, count)| FurtherProcesses { executable, count })
            .collect();
        further.sort_by(|one, other| one.executable.cmp(&other.executable));
        further
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_counted_and_what_is_new_is_not() {
        let now = Instant::now();
        let mut crowd = Crowd::new(now);
        let admitted = |crowd: &mut Crowd, executable: &str| crowd.admits(executable.as_ref(), now);
        let storm = (0..1000)
            .filter(|_| admitted(&mut crowd, "/bin/true"))
            .count();
        assert_eq!(storm as u64, FULL);
        assert!(admitted(&mut crowd, "/bin/other"));
        assert_eq!(crowd.left(now), Some(WINDOW));
        let end = now + WINDOW;
        assert!(crowd.is_over(end) && !crowd.is_over(end - Duration::from_millis(1)));
        let further = crowd.end(end);
        let true_ = FurtherProcesses {
            executable: Some("/bin/true".into()),
            count: 1000 - FULL,
        };
        assert_eq!(further, [true_]);
        assert_eq!(crowd.left(end), None);
        assert!(crowd.end(end).is_empty() && admitted(&mut crowd, "/bin/true"));
    }

    #[test]
    fn no_start_goes_uncounted_and_no_window_grows_without_bound() {
        let now = Instant::now();
        let mut crowd = Crowd::new(now);
        let starts = 100_000;
        let admitted = (0..starts)
            .filter(|number| crowd.admits(format!("/tmp/{}", number % 1000).as_ref(), now))
            .count() as u64;
        assert!(
            admitted <= MOST_FULL + MOST_EXECUTABLES as u64,
            "{admitted}"
        );
        let further = crowd.end(now);
        assert!(further.len() <= MOST_EXECUTABLES + 1);
        assert_eq!(further[0].executable, None);
        let counted: u64 = further.iter().map(|further| further.count).sum();
        assert_eq!(admitted + counted, starts);
    }
}
