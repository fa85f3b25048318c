//! What is executed inside is on record.

use wardian_events::Event;

use super::check::{Check, Promise};

const NAME: &str = "programs are recorded";

/// `events` are those of a sandbox whose program ran.
pub(super) fn check(events: &[Event]) -> Check {
    let unseen = events.iter().find_map(|event| match event {
        Event::ProcessesUnseen(event) => Some(event.why.clone()),
        _ => None,
    });
    if let Some(why) = unseen {
        let fix = "start Wardian outside of the container or program that listens";
        return Check::limited(Promise::OnTheRecord, NAME, why, Some(fix.to_owned()));
    }
    let command = events.iter().find_map(|event| match event {
        Event::CommandStarted(event) => Some(event.pid),
        _ => None,
    });
    let is_recorded = events.iter().any(|event| match event {
        Event::ProcessStarted(event) => Some(event.pid) == command && event.unreadable.is_none(),
        _ => false,
    });
    let against = match is_recorded {
        true => Vec::new(),
        false => vec!["the program has no record of its start".to_owned()],
    };
    Check::unless(
        Promise::OnTheRecord,
        NAME,
        against,
        "each one waits until its start is written down",
    )
}

#[cfg(test)]
mod tests {
    use wardian_events::{Command, CommandStarted, ProcessStarted, ProcessesUnseen};

    use super::*;
    use crate::commands::doctor::check::Finding;

    fn started(pid: u32, unreadable: Option<String>) -> Event {
        Event::ProcessStarted(ProcessStarted {
            pid,
            parent: 1,
            executable: "/bin/true".into(),
            arguments: vec!["true".into()],
            directory: "/".into(),
            truncated: false,
            unreadable,
        })
    }

    #[test]
    fn the_program_itself_must_be_on_record() {
        let command = Event::CommandStarted(CommandStarted {
            command: Command(1),
            argv: vec!["true".into()],
            pid: 2,
        });
        let found = |event: Event| check(&[command.clone(), event]).outcome;
        assert_eq!(found(started(2, None)), Finding::Holds);
        assert_eq!(found(started(3, None)), Finding::Fails);
        assert_eq!(found(started(2, Some("no".into()))), Finding::Fails);
        let unseen = ProcessesUnseen { why: "no".into() };
        assert_eq!(found(Event::ProcessesUnseen(unseen)), Finding::Limited);
    }
}
