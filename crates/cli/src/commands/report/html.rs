//! The report as one page that needs nothing else: no script, no font, no picture from anywhere.
//!
//! Most of what it shows came from inside the sandbox. All of that goes through [`text`]; the page also carries a
//! content security policy that allows nothing but its own style sheet, named by its digest.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wardian_events::{
    ChangeKind, Digest, Exit, FileType, FilesChanged, FilesOf, PrivilegeMode, Timestamp, visible,
};

use super::story::{Host, Model, Story};
use super::{Checked, dollars, verdict_of};
use crate::units::{self, bytes, milliseconds};

const STYLE: &str = include_str!("style.css");

/// `text` as it may stand in an element or a quoted attribute: nothing in it is markup, and all of it can be seen.
pub(super) fn text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

pub(super) fn page(name: &str, story: &Story, checked: &Checked) -> String {
    let mut page = Page(String::new());
    page.head(name);
    page.title(name, story, checked);
    page.tiles(story);
    page.activity(story);
    page.denials(story);
    page.hosts(story);
    page.models(story);
    page.commands(story);
    page.files(story);
    page.enforced(story);
    page.timeline(story);
    page.raw("</main></body></html>\n");
    page.0
}

struct Page(String);

impl Page {
    fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    fn head(&mut self, name: &str) {
        let hash = STANDARD.encode(Digest::of(STYLE.as_bytes()).as_bytes());
        let name = text(name);
        self.raw(&format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
             base-uri 'none'; form-action 'none'\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"referrer\" content=\"no-referrer\"><meta name=\"color-scheme\" content=\"light dark\">\
             <title>{name} - Wardian</title><style>{STYLE}</style></head><body><main>\n"
        ));
    }

    fn title(&mut self, name: &str, story: &Story, checked: &Checked) {
        let (word, class) = verdict_of(checked);
        let mut facts = Vec::new();
        if let Some((time, started)) = &story.first {
            let mode = match started.mode {
                PrivilegeMode::Root => "started by root",
                PrivilegeMode::Rootless => "rootless",
            };
            facts.push(format!(
                "<code>{}</code> in <code>{}</code>, {mode}",
                text(&units::command(&started.command)),
                text(&started.workspace)
            ));
            let last = story.last.unwrap_or(*time);
            let starts = match story.starts {
                0 | 1 => String::new(),
                starts => format!(", started {starts} times"),
            };
            facts.push(format!("{} to {}{starts}", moment(*time), moment(last)));
        }
        facts.push(ending(story));
        self.raw(&format!(
            "<header><h1>{}</h1><p class=\"record {class}\">{}</p></header><ul class=\"facts\">",
            text(name),
            text(&word)
        ));
        for fact in facts {
            self.raw(&format!("<li>{fact}</li>"));
        }
        self.raw("</ul>\n");
    }

    fn tiles(&mut self, story: &Story) {
        let mut tiles = vec![
            (
                story.count(|host| host.allowed).to_string(),
                "allowed",
                format!("at {}", units::count(story.reached() as u64, "host")),
                "good",
            ),
            (
                story.count(|host| host.denied).to_string(),
                "denied",
                format!("at {}", units::count(story.denied_places() as u64, "place")),
                "bad",
            ),
            (
                bytes(story.count(|host| host.up)),
                "sent",
                format!("{} received", bytes(story.count(|host| host.down))),
                "",
            ),
        ];
        let calls: u64 = story.models.values().map(|model| model.calls).sum();
        if calls > 0 {
            let cost = dollars(story.micro_usd());
            let about = units::count(calls, "model call");
            tiles.push((cost, "at list prices", about, ""));
        }
        let files = |of: fn(&FilesChanged) -> u64| story.files.iter().map(of).sum::<u64>();
        let written = files(|it| it.added) + files(|it| it.changed);
        if written + files(|it| it.removed) > 0 {
            let removed = format!("{} removed", files(|it| it.removed));
            tiles.push((written.to_string(), "files written", removed, ""));
        }
        self.raw("<section class=\"tiles\">");
        for (value, what, more, class) in tiles {
            self.raw(&format!(
                "<div class=\"tile {class}\"><b>{}</b><span>{}</span><small>{}</small></div>",
                text(&value),
                text(what),
                text(&more)
            ));
        }
        self.raw("</section>\n");
    }

    /// How much was allowed and denied when, in columns.
    fn activity(&mut self, story: &Story) {
        const COLUMNS: usize = 60;
        let times = story.timeline.iter().map(|line| line.time);
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else {
            return;
        };
        let span = (last.as_unix_ms() - first.as_unix_ms()).max(1) as u64;
        let mut columns = [(0_u64, 0_u64); COLUMNS];
        for line in &story.timeline {
            let at =
                (line.time.as_unix_ms() - first.as_unix_ms()) as u64 * (COLUMNS as u64 - 1) / span;
            let column = &mut columns[at as usize % COLUMNS];
            match line.tag {
                "denied" => column.1 += 1,
                _ => column.0 += 1,
            }
        }
        let most = columns.iter().map(|(a, d)| a + d).max().unwrap_or(1).max(1);
        self.raw("<svg class=\"activity\" viewBox=\"0 0 600 60\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Events over time\">");
        for (at, (allowed, denied)) in columns.iter().enumerate() {
            let height = |count: u64| count as f64 * 58.0 / most as f64;
            let (up, down) = (height(*allowed), height(*denied));
            let x = at * 10;
            for (class, y, height) in [("a", 60.0 - up, up), ("d", 60.0 - up - down, down)] {
                if height > 0.0 {
                    let _ = write!(
                        self.0,
                        "<rect class=\"{class}\" x=\"{x}\" y=\"{y:.1}\" width=\"8\" height=\"{height:.1}\"/>"
                    );
                }
            }
        }
        let label = |time: Timestamp| time.to_string()[11..19].to_owned();
        self.raw(&format!(
            "</svg><p class=\"axis\"><span>{}</span><span>{} (UTC)</span></p>\n",
            label(first),
            label(last)
        ));
    }

    fn section(&mut self, id: &str, title: &str) {
        self.raw(&format!("<section><h2 id=\"{id}\">{title}</h2>"));
    }

    fn table(&mut self, headings: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>) {
        let rows: Vec<Vec<Cell>> = rows.into_iter().collect();
        let is_number = |column| {
            let first = rows.first().and_then(|row| row.get(column));
            matches!(first, Some(Cell::Number(_)))
        };
        self.raw("<div class=\"wide\"><table><thead><tr>");
        for (column, heading) in headings.iter().enumerate() {
            let class = if is_number(column) {
                " class=\"n\""
            } else {
                ""
            };
            self.raw(&format!("<th{class}>{heading}</th>"));
        }
        self.raw("</tr></thead><tbody>");
        for row in rows {
            self.raw("<tr>");
            for cell in row {
                match cell {
                    Cell::Text(words) => self.raw(&format!("<td>{}</td>", text(&words))),
                    Cell::Code(words) => {
                        self.raw(&format!("<td><code>{}</code></td>", text(&words)))
                    }
                    Cell::Number(words) => {
                        self.raw(&format!("<td class=\"n\">{}</td>", text(&words)))
                    }
                    Cell::Tag(words) => self.raw(&format!(
                        "<td><span class=\"tag {words}\">{words}</span></td>"
                    )),
                }
            }
            self.raw("</tr>");
        }
        self.raw("</tbody></table></div>");
    }

    fn note(&mut self, words: &str) {
        self.raw(&format!("<p class=\"note\">{}</p>", text(words)));
    }

    fn denials(&mut self, story: &Story) {
        self.section("denied", "Denied");
        if story.denials.is_empty() {
            self.note("Nothing was denied.");
        } else {
            let rows = story.by_denials();
            let rows = rows.into_iter().map(|(key, denial)| {
                vec![
                    Cell::Number(denial.count.to_string()),
                    Cell::Text(key.place.clone()),
                    Cell::Text(key.reason.clone()),
                    Cell::Code(denial.example.clone()),
                    match &denial.allow {
                        Some(allow) => Cell::Code(allow.clone()),
                        None => Cell::Text("-".into()),
                    },
                ]
            });
            let headings = ["Times", "Place", "Reason", "The first", "To allow it"];
            self.table(&headings, rows);
            self.note("What a flag allows, a rule in the policy allows as well. Ask first whether it should.");
        }
        if story.further_denials > 0 {
            let further = units::count(story.further_denials, "denial");
            self.note(&format!("{further} at further places."));
        }
        self.raw("</section>\n");
    }

    fn hosts(&mut self, story: &Story) {
        if story.hosts.is_empty() {
            return;
        }
        self.section("hosts", "Hosts");
        let row = |name: &str, host: &Host| {
            vec![
                Cell::Text(name.to_owned()),
                Cell::Number(host.allowed.to_string()),
                Cell::Number(host.denied.to_string()),
                Cell::Number(host.failed.to_string()),
                Cell::Number(bytes(host.up)),
                Cell::Number(bytes(host.down)),
            ]
        };
        let mut rows: Vec<_> = story
            .by_traffic()
            .into_iter()
            .map(|(name, host)| row(name, host))
            .collect();
        if story.elsewhere.allowed + story.elsewhere.denied > 0 {
            rows.push(row("others", &story.elsewhere));
        }
        let headings = ["Host", "Allowed", "Denied", "Failed", "Sent", "Received"];
        self.table(&headings, rows);
        if !story.credentials.is_empty() {
            let rows = story.credentials.iter().map(|((name, host), count)| {
                vec![
                    Cell::Text(name.clone()),
                    Cell::Text(host.clone()),
                    Cell::Number(count.to_string()),
                ]
            });
            self.raw("<h3>Credentials put in at the door</h3>");
            self.table(&["Credential", "Host", "Times"], rows);
        }
        self.raw("</section>\n");
    }

    fn models(&mut self, story: &Story) {
        if story.models.is_empty() {
            return;
        }
        self.section("models", "Models");
        let rows = story.models.iter().map(|(name, model)| {
            let Model {
                calls,
                input,
                cached,
                output,
                micro_usd,
                unpriced,
                failed,
                tool_calls,
            } = model;
            let cost = match unpriced {
                0 => dollars(*micro_usd),
                count if count == calls => "unknown".to_owned(),
                count => format!("{} and {count} unknown", dollars(*micro_usd)),
            };
            let mut row = vec![Cell::Text(name.clone())];
            let numbers = [calls, failed, input, cached, output, tool_calls];
            row.extend(numbers.map(|number| Cell::Number(number.to_string())));
            row.push(Cell::Number(cost));
            row
        });
        let headings = [
            "Model",
            "Calls",
            "Failed",
            "Tokens in",
            "of these cached",
            "Tokens out",
            "Tool calls",
            "Cost",
        ];
        self.table(&headings, rows);
        self.note("At list prices; what a subscription is charged is another matter.");
        self.raw("</section>\n");
    }

    fn commands(&mut self, story: &Story) {
        if story.commands.is_empty() {
            return;
        }
        self.section("commands", "Commands");
        let rows = story.commands.iter().map(|command| {
            let (how, took) = match &command.exited {
                None => ("not ended".to_owned(), "-".to_owned()),
                Some(exited) => (exit(exited.exit), milliseconds(exited.milliseconds)),
            };
            vec![
                Cell::Number(moment(command.time)),
                Cell::Code(units::command(&command.started.argv)),
                Cell::Text(how),
                Cell::Number(took),
            ]
        });
        self.table(&["Started", "Command", "Ended with", "Took"], rows);
        let programs = story.by_runs();
        if !programs.is_empty() {
            self.raw("<h3>Programs executed inside</h3><ul class=\"chips\">");
            for (name, count) in programs {
                self.raw(&format!("<li><code>{}</code> {count}</li>", text(name)));
            }
            if story.further_programs > 0 {
                self.raw(&format!("<li>others {}</li>", story.further_programs));
            }
            self.raw("</ul>");
        }
        self.raw("</section>\n");
    }

    fn files(&mut self, story: &Story) {
        if story.files.is_empty() {
            return;
        }
        self.section("files", "Files");
        for changed in &story.files {
            let of = match changed.of {
                FilesOf::Clone => "compared with the commit it started from",
                FilesOf::Overlay => "compared with the directory below",
                FilesOf::Home => "written since the start",
            };
            self.raw(&format!(
                "<h3><code>{}</code></h3><p class=\"note\">{} added, {} changed, {} removed; {of}</p>",
                text(&changed.place),
                changed.added,
                changed.changed,
                changed.removed
            ));
            let size = |size: Option<u64>| size.map_or("-".to_owned(), bytes);
            let rows = changed.files.iter().map(|file| {
                vec![
                    Cell::Tag(change(file.change)),
                    Cell::Code(file.path.clone()),
                    Cell::Text(file_type(file.file).to_owned()),
                    Cell::Number(size(file.before)),
                    Cell::Number(size(file.after)),
                    Cell::Code(
                        file.sha256
                            .map_or("-".into(), |it| it.to_string()[..12].into()),
                    ),
                ]
            });
            self.table(&["", "Path", "Kind", "Before", "After", "SHA-256"], rows);
            if changed.further > 0 {
                self.note(&format!("{} more that are not listed.", changed.further));
            }
            if let Some(why) = &changed.unknown {
                self.note(&format!("Not told in full: {why}"));
            }
        }
        self.raw("</section>\n");
    }

    fn enforced(&mut self, story: &Story) {
        self.section("enforced", "What held");
        self.raw("<ul class=\"chips\">");
        if let Some((_, started)) = &story.first {
            for feature in &started.enforced {
                self.raw(&format!("<li>{}</li>", text(feature)));
            }
        }
        self.raw("</ul>");
        for missing in &story.not_enforced {
            self.note(&format!(
                "Not enforced: {} {} ({})",
                missing.limit, missing.requested, missing.why
            ));
        }
        for reached in &story.limits {
            self.note(&format!(
                "Limit reached: {} {}, {}",
                reached.limit, reached.value, reached.action
            ));
        }
        self.raw("</section>\n");
    }

    fn timeline(&mut self, story: &Story) {
        self.section("timeline", "Timeline");
        self.raw("<ol class=\"timeline\">");
        for line in &story.timeline {
            let time = &line.time.to_string()[11..23];
            self.raw(&format!(
                "<li><time>{time}</time><span class=\"tag {}\">{}</span><span>{}</span></li>",
                text(line.tag),
                text(line.tag),
                text(&line.text)
            ));
        }
        self.raw("</ol>");
        if story.further_lines > 0 {
            let further = units::count(story.further_lines, "line");
            self.note(&format!("{further} more: wardian events"));
        }
        self.raw("</section>\n");
    }
}

enum Cell {
    Text(String),
    Code(String),
    Number(String),
    /// A word of ours.
    Tag(&'static str),
}

fn moment(time: Timestamp) -> String {
    time.to_string()[..19].replace('T', " ")
}

fn ending(story: &Story) -> String {
    match &story.stopped {
        None => "not stopped: it runs, or its supervisor was killed".to_owned(),
        Some(stopped) => {
            let cause = serde_json::to_value(stopped.cause).unwrap_or_default();
            let cause = cause.as_str().unwrap_or("stopped").replace('_', " ");
            let how = stopped.exit.map(exit).map(|how| format!(" with {how}"));
            format!(
                "{}{} after {}",
                text(&cause),
                how.unwrap_or_default(),
                milliseconds(stopped.milliseconds)
            )
        }
    }
}

fn exit(exit: Exit) -> String {
    match exit {
        Exit::Status(status) => format!("status {status}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}

fn change(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "added",
        ChangeKind::Changed => "changed",
        ChangeKind::Removed => "removed",
        ChangeKind::LeftOut => "left-out",
    }
}

fn file_type(file: FileType) -> &'static str {
    match file {
        FileType::File => "file",
        FileType::Program => "program",
        FileType::Symlink => "symlink",
        FileType::Directory => "directory",
        FileType::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_inside_is_markup() {
        assert_eq!(
            text("<script>alert('1')</script>&\"\x1b\u{202e}"),
            "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;\\x1b\\u{202e}"
        );
    }
}
