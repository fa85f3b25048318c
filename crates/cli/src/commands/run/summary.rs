//! What a person wants to know when it is over, in a few lines on stderr.

use std::path::Path;

use wardian_events::{Event, Tally};
use wardian_sandbox::state::SandboxDirectory;
use wardian_supervisor::protocol::{End, How};

use crate::output::{self, Tone};
use crate::units;

/// Hosts named before the rest is only counted.
const MAX_PLACES: usize = 5;

pub(super) fn print(directory: &SandboxDirectory, end: &End) {
    let name = directory.name();
    let tally = tally(&directory.journal());
    let duration = units::milliseconds(end.milliseconds);
    match &end.how {
        How::Program(_) => {}
        How::TimeLimit => output::say(Tone::Bad, "stopped", "its time was up (limit `time`)"),
        How::DiskLimit => output::say(Tone::Bad, "stopped", "it wrote too much (limit `disk`)"),
        How::Lost(why) => output::say(Tone::Bad, "stopped", why),
    }
    output::say(
        Tone::Heading,
        "wardian",
        &format!(
            "{name} ran {duration}; allowed {}, denied {}",
            tally.allowed, tally.denied
        ),
    );
    let denied = tally.denied_by_place();
    for (denied, count) in denied.iter().take(MAX_PLACES) {
        output::say(
            Tone::Warning,
            "  denied",
            &format!("{} {count}x ({})", denied.place, denied.reason),
        );
    }
    if tally.denied > 0 {
        output::say(
            Tone::Faint,
            "  see",
            &format!("wardian events {name} --denied"),
        );
    }
    for path in &end.kept {
        output::say(Tone::Good, "  kept", &path.display().to_string());
    }
    if !end.kept.is_empty() {
        output::say(Tone::Faint, "  drop", &format!("wardian rm {name}"));
    }
}

/// What happened from the program's start on: the probes before it are refused on purpose.
fn tally(journal: &Path) -> Tally {
    let mut tally = Tally::default();
    if let Ok(records) = wardian_events::read(journal) {
        let events = records
            .map_while(Result::ok)
            .map(|entry| entry.record.event);
        for event in events.skip_while(|event| !matches!(event, Event::CommandStarted(_))) {
            tally.add(&event);
        }
    }
    tally
}
