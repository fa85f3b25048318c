//! What a sandbox is told of itself, where its agent reads it, and what it gets of the user's own settings.
//!
//! The description is for a reader who acts on it: what is there, how work comes back, what to do about a
//! refusal. It says what is in force, and neither secrets nor paths of the host.

mod copies;
mod secret_names;
mod settings;

use std::io;
use std::path::{Path, PathBuf};

use wardian_events::visible;
use wardian_linux::cgroup::Outcome;
use wardian_policy::{
    CredentialSpec, EnvValue, Injection, LimitKind, Policy, Preset, RuleSummary, VisiblePath,
};
use wardian_sandbox::SandboxSpec;
use wardian_sandbox::parcel::{BLOCK, Label, Occupied, Parcel};
use wardian_sandbox::plan::Access;
use wardian_sandbox::spec::{Account, Mount, Persistence, Workspace, WorkspaceMode};
use wardian_supervisor::limits::Feature;

pub(super) use copies::{Copied, Copies, LeftOut};

/// Where every sandbox has its description.
const README: &str = "/run/wardian/README";
/// What lies below is Wardian's own.
const OWN: &str = "/run/wardian";
/// Things of a kind named before the rest is only counted: people have more to read than this.
const MOST_RULES: usize = 10;
const MOST_DIRECTORIES: usize = 4;
const MOST_CREDENTIALS: usize = 6;
/// What is named of one rule, or of all rules for one host.
const MOST_PARTS: usize = 4;

/// What there is to tell.
pub(super) struct Briefing<'a> {
    pub(super) spec: &'a SandboxSpec,
    pub(super) policy: &'a Policy,
    /// Those that have a value.
    pub(super) credentials: Vec<&'a str>,
    pub(super) limits: Vec<Feature>,
    /// What its agent is told besides.
    pub(super) prompt: Option<&'a str>,
}

impl Briefing<'_> {
    /// Packs it for every place where it is read. What the user's own files say there comes after it, so they
    /// have to be packed before.
    pub(super) fn pack(&self, parcel: &mut Parcel) -> io::Result<()> {
        let text = self.text();
        let label = |path, occupied| Label {
            path,
            mode: 0o644,
            occupied,
        };
        parcel.add(label(README.into(), Occupied::Replace), text.as_bytes())?;
        let presets = self.policy.presets().iter();
        let places = presets
            .filter_map(|name| Preset::find(name)?.briefing())
            .map(|path| expand(path, &self.spec.user.home));
        let block = format!("{}\n{text}{}\n", BLOCK.0, BLOCK.1);
        for place in places {
            parcel.add(label(place, Occupied::Precede), block.as_bytes())?;
        }
        Ok(())
    }

    fn text(&self) -> String {
        let sections = [
            self.introduction(),
            self.work(),
            self.network(),
            self.credentials(),
            self.refusals(),
            self.limits(),
            self.prompt(),
        ];
        sections.concat()
    }

    fn prompt(&self) -> String {
        self.prompt.map_or_else(String::new, |prompt| {
            format!("\n## What you are here for\n\n{}\n", prompt.trim())
        })
    }

    fn introduction(&self) -> String {
        let SandboxSpec { name, user, .. } = self.spec;
        let account = match self.spec.account {
            Account::User => format!("You are {} and cannot become root.", code(&user.name)),
            Account::Superuser => "You are uid 0 in here, so package managers work.".to_owned(),
        };
        let exception = if self.writes_to_host() {
            ", but for the directories that are said to be its own below"
        } else {
            ""
        };
        format!(
            "# Your surroundings: the Wardian sandbox `{name}`\n\n\
             You work in a sealed sandbox on the user's machine, with copies of that machine's tools. It is there \
             so that you can work freely. Nothing that you do changes the machine{exception}. {account}\n"
        )
    }

    fn writes_to_host(&self) -> bool {
        let is_bound = |it: &Workspace| it.mode == WorkspaceMode::Bind;
        self.spec.workspaces.iter().any(|(_, it)| is_bound(it))
            || self.shared().any(|mount| mount.access == Access::ReadWrite)
    }

    /// Directories of the machine besides the workspaces.
    fn shared(&self) -> impl Iterator<Item = &Mount> {
        let mounts = self.spec.mounts.iter();
        mounts.filter(|mount| !mount.target.starts_with(OWN))
    }

    fn work(&self) -> String {
        let SandboxSpec { name, user, .. } = self.spec;
        let workspaces = self.spec.workspaces.iter();
        let mut lines = some(
            workspaces.map(|(_, it)| self.workspace(it)),
            MOST_DIRECTORIES,
        );
        let is_layered = |(_, it): (usize, &Workspace)| it.mode.is_layered();
        if self.spec.workspaces.iter().any(is_layered) {
            lines.push(format!(
                "The user sees your changes with `wardian diff {name}` and takes them with `wardian apply {name}`."
            ));
            lines.push(
                "A directory that was there at the start is moved with `mv`; rename(2) and `git mv` of it fail \
                 with EXDEV."
                    .to_owned(),
            );
        }
        let shared = self.shared().map(|Mount { target, access, .. }| {
            let target = path(target);
            match access {
                Access::ReadOnly => format!("{target} is shared with the machine, read-only."),
                Access::ReadWrite => {
                    format!("{target} is the machine's own, shared with other sandboxes perhaps.")
                }
            }
        });
        lines.extend(some(shared, MOST_DIRECTORIES));
        let home = path(&user.home);
        lines.push(match self.spec.persistence {
            Persistence::Named => format!(
                "{home} is private to this sandbox and there again when it is resumed. `/tmp`, installed packages \
                 and other changes to the system vanish at its end."
            ),
            Persistence::Ephemeral => format!(
                "{home} is private to this sandbox. Leave nothing there that is needed: like `/tmp`, installed \
                 packages and other changes to the system, it vanishes at the end."
            ),
        });
        lines.push(
            "Not here: the user's other files, keys and logins, other processes of the machine, Docker, D-Bus, \
             ssh-agent."
                .to_owned(),
        );
        format!("\n## Your work\n{}", list(lines))
    }

    fn workspace(&self, workspace: &Workspace) -> String {
        let directory = path(&workspace.path);
        match workspace.mode {
            WorkspaceMode::Clone => format!(
                "{directory} is a clone of the user's repository, on a branch of its own: `wardian/{}`. Commit \
                 there; what is not committed comes back to the user as well.",
                self.spec.name
            ),
            WorkspaceMode::Overlay => {
                format!("{directory} is a copy of the user's directory: changes are kept apart.")
            }
            WorkspaceMode::Bind => format!(
                "{directory} is the machine's own directory: what you change there is changed at once."
            ),
            WorkspaceMode::BindReadOnly => {
                format!("{directory} is the machine's own directory, read-only.")
            }
        }
    }

    fn network(&self) -> String {
        let mut rules = self.policy.describe().rules;
        rules.retain(|rule| !is_for_logins(rule));
        if rules.iter().all(|rule| rule.action == "deny") {
            return "\n## Network\nYou can reach nothing. `localhost` is the sandbox's own.\n"
                .to_owned();
        }
        let is_ordered = rules.iter().any(|rule| rule.action == "deny");
        let lines = if is_ordered {
            rules.iter().map(rule_in_order).collect()
        } else {
            by_host(&rules)
        };
        let lines = some(lines.into_iter(), MOST_RULES);
        let order = if is_ordered {
            "The first of these that fits decides:"
        } else {
            "You can reach:"
        };
        format!(
            "\n## Network\nOne door judges every name, connection and HTTP request. {order}\n\n{}\n\
             Nothing else can be reached, by any protocol. `localhost` is the sandbox's own.\n",
            list(lines)
        )
    }

    fn credentials(&self) -> String {
        let known: Vec<_> = self
            .policy
            .credentials()
            .filter(|it| self.credentials.contains(&it.name().as_str()))
            .collect();
        if known.is_empty() {
            return String::new();
        }
        let lines = known.into_iter().map(|it| self.credential(it));
        let lines = some(lines, MOST_CREDENTIALS);
        format!(
            "\n## Credentials\nThe real ones are not in here. Use the placeholders as if they were real: the door \
             puts the real value into requests to the hosts named, and nowhere else.\n\n{}",
            list(lines)
        )
    }

    fn credential(&self, spec: &CredentialSpec) -> String {
        let hosts: Vec<_> = spec
            .hosts()
            .iter()
            .map(|host| code(&host.to_string()))
            .collect();
        let hosts = hosts.join(", ");
        let variables: Vec<_> = self
            .policy
            .environment()
            .iter()
            .filter(|it| matches!(it.value(), EnvValue::Placeholder(name) if name == spec.name()))
            .map(|it| format!("`${}`", it.name()))
            .collect();
        let name = spec.name();
        match (spec.injection(), variables.as_slice()) {
            (Injection::Placeholder, []) => format!("`{name}`, for {hosts}"),
            (Injection::Placeholder, variables) => {
                format!("{} (`{name}`), for {hosts}", variables.join(", "))
            }
            (Injection::Header { .. } | Injection::Basic { .. }, _) => {
                format!("`{name}`: the door signs in to {hosts} by itself")
            }
        }
    }

    fn refusals(&self) -> String {
        "\n## If something is denied\n\
         A name that is denied does not resolve, a connection is closed, a request is answered with 403 and the reason \
         as JSON. That is a decision, not a fault: do not retry, and do not look for a way around it. Do without, or \
         tell the user which host and path you need, and what for. They can add `--allow HOST` when \
         they start or resume the sandbox, or a rule to its policy.\n"
            .to_owned()
    }

    fn limits(&self) -> String {
        let enforced = self
            .limits
            .iter()
            .filter(|it| matches!(it.outcome, Outcome::Enforced { .. }));
        let (mut values, mut ends) = (Vec::new(), Vec::new());
        for Feature {
            kind, requested, ..
        } in enforced
        {
            values.push(format!("{} {requested}", kind.name()));
            if matches!(kind, LimitKind::Disk | LimitKind::Time) {
                ends.push(kind.name());
            }
        }
        if values.is_empty() {
            return String::new();
        }
        let mut text = format!("\n## Limits\n{}.", values.join(", "));
        if !ends.is_empty() {
            text += &format!(" The sandbox ends when its {} is up.", ends.join(" or "));
        }
        text + "\n"
    }
}

/// By such a rule logins are renewed from outside; requests from inside are refused.
fn is_for_logins(rule: &RuleSummary) -> bool {
    let mut logins = Preset::all().iter().filter_map(Preset::login);
    logins.any(|login| {
        let endpoint = &login.endpoint;
        rule.host == endpoint.host.to_string()
            && rule.paths.as_deref() == Some(std::slice::from_ref(&endpoint.path))
    })
}

fn expand(path: &VisiblePath, home: &Path) -> PathBuf {
    match path {
        VisiblePath::Home(below) => home.join(below),
        VisiblePath::Absolute(path) => path.into(),
    }
}

/// One line a host, in the order of the first rule for it. Only for policies without deny rules.
fn by_host(rules: &[RuleSummary]) -> Vec<String> {
    let mut places: Vec<(String, Vec<String>)> = Vec::new();
    for rule in rules {
        let (place, part) = (place(rule), part(rule));
        match places.iter_mut().find(|(known, _)| *known == place) {
            Some((_, parts)) if parts.contains(&part) => {}
            Some((_, parts)) => parts.push(part),
            None => places.push((place, vec![part])),
        }
    }
    let line = |(place, mut parts): (String, Vec<String>)| {
        if parts.iter().any(String::is_empty) {
            return place;
        }
        let more = parts.len() > MOST_PARTS;
        parts.truncate(MOST_PARTS);
        let more = if more { "; and more" } else { "" };
        format!("{place}: {}{more}", parts.join("; "))
    };
    places.into_iter().map(line).collect()
}

fn rule_in_order(rule: &RuleSummary) -> String {
    let (place, part) = (place(rule), part(rule));
    let part = if part.is_empty() {
        part
    } else {
        format!(": {part}")
    };
    match rule.action {
        "deny" => format!("not {place}{part}"),
        _ => format!("{place}{part}"),
    }
}

fn place(rule: &RuleSummary) -> String {
    let host = match rule.host.as_str() {
        "*" => "every host".to_owned(),
        host => code(host),
    };
    let is_usual = ["80,443", "443", "80"].contains(&rule.ports.as_str())
        || (rule.action == "deny" && rule.ports == "1-65535");
    let ports = match (is_usual, rule.mode) {
        (true, _) => String::new(),
        (false, "tcp") => format!(", port {}, any protocol", rule.ports),
        (false, _) => format!(", port {}", rule.ports),
    };
    host + &ports
}

/// Which requests; empty for all.
fn part(rule: &RuleSummary) -> String {
    let methods = rule.methods.as_ref().map(|methods| methods.join(", "));
    let paths = rule.paths.as_ref().map(|paths| {
        let mut shown: Vec<_> = paths
            .iter()
            .take(MOST_PARTS)
            .map(|path| code(path))
            .collect();
        if paths.len() > MOST_PARTS {
            shown.push("and more".to_owned());
        }
        shown.join(", ")
    });
    let parts: Vec<_> = methods.into_iter().chain(paths).collect();
    parts.join(" ")
}

/// The first few, and how many there are besides.
fn some(lines: impl Iterator<Item = String>, most: usize) -> Vec<String> {
    let mut lines: Vec<_> = lines.collect();
    // In place of a last one there is room for that one.
    if lines.len() > most + 1 {
        let more = lines.len() - most;
        lines.truncate(most);
        lines.push(format!("{more} more, which are not named here"));
    }
    lines
}

fn list(lines: Vec<String>) -> String {
    let line = |line: String| format!("- {line}\n");
    lines.into_iter().map(line).collect()
}

fn path(path: &Path) -> String {
    code(&path.to_string_lossy())
}

/// As Markdown's code, which no name can end early, nor can it end the block that all of this stands in.
fn code(text: &str) -> String {
    let text = visible(text)
        .replace('`', "\\x60")
        .replace("<!--", "\\x3c!--");
    format!("`{text}`")
}

#[cfg(test)]
mod tests;
