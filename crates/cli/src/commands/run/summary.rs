//! What a person wants to know when it is over, in a few lines on stderr.

use wardian_events::{LimitReached, Tally};
use wardian_policy::LimitKind;
use wardian_sandbox::builtin::Ended;
use wardian_sandbox::spec::Persistence;
use wardian_sandbox::state::SandboxDirectory;
use wardian_supervisor::protocol::{End, How, JOURNAL};

use crate::kept;
use crate::output::{self, Tone};
use crate::units;

/// Hosts named before the rest is only counted.
const MAX_PLACES: usize = 5;

pub(super) fn print(directory: &SandboxDirectory, persistence: Persistence, end: &End) {
    let name = directory.name();
    let tally = Tally::of_commands(&directory.journal()).unwrap_or_default();
    let duration = units::milliseconds(end.milliseconds);
    output::say(
        Tone::Heading,
        "wardian",
        &format!(
            "{name} ran {duration}; allowed {}, denied {}",
            tally.allowed, tally.denied
        ),
    );
    if let Some(why) = ended(end) {
        output::say(Tone::Bad, "  ended", &why);
    }
    for reached in end.limits.iter().filter(|reached| !has_ended(reached, end)) {
        let LimitReached {
            limit,
            value,
            action,
        } = reached;
        output::say(
            Tone::Warning,
            "  limit",
            &format!("{limit} {value}: {action}"),
        );
    }
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
    for line in kept::counted_lines(&end.kept) {
        output::say(Tone::Good, "  kept", &line);
    }
    if let Some(dropped) = kept::dropped(end.dropped) {
        output::say(Tone::Plain, "  dropped", &dropped);
    }
    let next: &[(&str, &str)] = match (end.kept.as_slice(), persistence) {
        ([_, ..], _) => &[("see", "diff"), ("take", "apply"), ("drop", "rm")],
        ([], Persistence::Named) => &[("go on", "resume"), ("drop", "rm")],
        ([], Persistence::Ephemeral) => &[],
    };
    for (what, verb) in next {
        output::say(
            Tone::Faint,
            &format!("  {what}"),
            &format!("wardian {verb} {name}"),
        );
    }
}

/// Why it ended, unless its program just came to an end.
fn ended(end: &End) -> Option<String> {
    let limit = |what: &str| {
        let limit = end.limits.iter().find(|reached| has_ended(reached, end));
        limit.map_or_else(
            || what.to_owned(),
            |LimitReached { limit, value, .. }| format!("{what} (limit `{limit}`, {value})"),
        )
    };
    Some(match &end.how {
        How::Program(Ended::Code(_)) => return None,
        How::Program(Ended::Signal(signal)) => format!("by signal {signal}"),
        How::TimeLimit => limit("its time was up"),
        How::DiskLimit => limit("it wrote too much"),
        How::MemoryLimit => limit("it took too much memory"),
        How::JournalFull => limit("its journal was full"),
        How::ClientGone => "its client went away".to_owned(),
        How::Lost(why) => why.clone(),
    })
}

fn has_ended(reached: &LimitReached, end: &End) -> bool {
    let kind = match &end.how {
        How::TimeLimit => LimitKind::Time,
        How::DiskLimit => LimitKind::Disk,
        How::MemoryLimit => LimitKind::Memory,
        How::JournalFull => return reached.limit == JOURNAL,
        How::Program(_) | How::ClientGone | How::Lost(_) => return false,
    };
    reached.limit == kind.name()
}
