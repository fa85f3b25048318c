//! What a person wants to know when it is over, in a few lines on stderr.

use wardian_events::Tally;
use wardian_sandbox::state::SandboxDirectory;
use wardian_supervisor::protocol::{End, How};

use crate::output::{self, Tone};
use crate::units;

/// Hosts named before the rest is only counted.
const MAX_PLACES: usize = 5;

pub(super) fn print(directory: &SandboxDirectory, end: &End) {
    let name = directory.name();
    let tally = Tally::of_commands(&directory.journal()).unwrap_or_default();
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
