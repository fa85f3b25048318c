//! Lines about what was executed inside.

use wardian_events::{Event, FurtherProcesses, ProcessExited, ProcessFound, ProcessStarted};

use super::lines::{exit, joined};
use crate::units::{self, milliseconds};

/// Shown only if somebody asks for them: a build has more of these than of everything else.
pub(in crate::commands) const KINDS: [&str; 4] = [
    "process_started",
    "process_found",
    "process_exited",
    "further_processes",
];

/// The tag and text of such an event.
pub(super) fn line(event: &Event) -> Option<(&'static str, String)> {
    let text = match event {
        Event::ProcessStarted(event) => started(event),
        Event::ProcessFound(event) => found(event),
        Event::ProcessExited(event) => exited(event),
        Event::FurtherProcesses(event) => further(event),
        Event::ProcessesUnseen(event) => format!("not recorded: {}", event.why),
        _ => return None,
    };
    Some(("process", text))
}

/// `7 of 1  git status  /usr/bin/git  in /home/ann/acme`.
fn started(event: &ProcessStarted) -> String {
    let ProcessStarted {
        pid,
        parent,
        executable,
        arguments,
        directory,
        truncated,
        unreadable,
    } = event;
    let name = arguments.first().unwrap_or(executable);
    joined(
        format!("{pid} of {parent}"),
        [
            Some(units::command(arguments)),
            truncated.then(cut),
            (name != executable).then(|| executable.clone()),
            Some(format!("in {directory}")).filter(|_| !directory.is_empty()),
            unreadable.as_ref().map(|why| format!("unreadable: {why}")),
        ],
    )
}

/// `7 runs /usr/bin/python3.13  python3 ./tool`.
fn found(event: &ProcessFound) -> String {
    let ProcessFound {
        pid,
        executable,
        arguments,
        truncated,
    } = event;
    let arguments = Some(units::command(arguments));
    joined(
        format!("{pid} runs {executable}"),
        [arguments, truncated.then(cut)],
    )
}

fn cut() -> String {
    "[cut]".to_owned()
}

fn exited(event: &ProcessExited) -> String {
    let how = event
        .exit
        .map(|status| format!(" with {}", exit(status)))
        .unwrap_or_default();
    let time = milliseconds(event.milliseconds);
    format!("{} ended{how} after {time}", event.pid)
}

fn further(event: &FurtherProcesses) -> String {
    let executable = event.executable.as_deref().unwrap_or("various programs");
    format!("{executable}  {} more times", event.count)
}
