//! A plan in words, section by section.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use wardian_linux::cgroup::Outcome as Enforcement;
use wardian_linux::userns::IdRange;
use wardian_policy::RuleSummary;
use wardian_sandbox::ids::Identity;
use wardian_sandbox::plan::{Access, Content};
use wardian_sandbox::spec::{Account, Nesting, TerminalSize, Workspace, WorkspaceMode};
use wardian_supervisor::limits::Feature;

use super::{Copied, LeftOut, Plan, Source};
use crate::output::{Colour, Table, Tone, visible_path};
use crate::units;

impl Plan<'_> {
    pub(super) fn write(&self, out: &mut impl Write, colour: Colour) -> io::Result<()> {
        let heading = |text: &str| colour.paint(Tone::Heading, text);
        writeln!(
            out,
            "{}",
            heading("Nothing was started or changed. The command would do this:")
        )?;
        for (name, text) in self.facts() {
            let text = colour.paint(Tone::Plain, &text);
            writeln!(
                out,
                "  {}{text}",
                colour.paint(Tone::Faint, &format!("{name:<12}"))
            )?;
        }

        writeln!(out, "\n{}", heading("Files"))?;
        self.files(out, colour)?;
        self.copies(out, colour)?;
        writeln!(out, "\n{}", heading("Rules"))?;
        self.rules(out, colour)?;
        writeln!(out, "\n{}", heading("Credentials"))?;
        self.credentials(out, colour)?;
        writeln!(out, "\n{}", heading("Environment"))?;
        self.environment(out, colour)?;
        writeln!(out, "\n{}", heading("Limits"))?;
        self.limits(out, colour)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let spec = self.spec;
        let arguments: Vec<String> = spec
            .arguments
            .iter()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect();
        let mut facts = vec![
            ("sandbox", spec.name.to_string()),
            ("program", spec.program.display().to_string()),
            ("command", units::command(&arguments)),
            ("directory", spec.directory.display().to_string()),
        ];
        facts.extend(
            spec.workspaces
                .iter()
                .map(|(_, it)| ("workspace", workspace(it))),
        );
        facts.extend([
            ("account", self.account()),
            ("ids", ids(&self.identity)),
            ("streams", streams(spec.terminal)),
            (
                "namespaces",
                match spec.nesting {
                    Nesting::Forbidden => "none can be made inside".to_owned(),
                    Nesting::Allowed => "can be made inside (nested)".to_owned(),
                },
            ),
            ("record", self.directory.journal().display().to_string()),
        ]);
        if let Some(directory) = self.downloads {
            let kinds = self.policy.cache.join(", ");
            let text = format!("of {kinds} are kept in {}", directory.display());
            facts.push(("downloads", text));
        }
        if !self.policy.presets.is_empty() {
            facts.push(("presets", self.policy.presets.join(", ")));
        }
        facts
    }

    fn account(&self) -> String {
        let Identity { uid, gid, .. } = self.identity;
        match self.spec.account {
            Account::User => format!(
                "{} (uid {uid}, gid {gid}), without any capability",
                self.spec.user.name
            ),
            Account::Superuser if self.identity.has_subordinate_ids => {
                format!("root inside (uid {uid}, gid {gid}), nobody on this machine")
            }
            Account::Superuser => format!(
                "root inside (uid {uid}, gid {gid}) with no other id: this user has no subordinate ids"
            ),
        }
    }

    fn files(&self, out: &mut impl Write, colour: Colour) -> io::Result<()> {
        let mut table = Table::new(["PATH", "WHAT IS THERE"]);
        for entry in self.files.entries() {
            table.row([
                (Tone::Plain, entry.target.display().to_string()),
                (Tone::Plain, self.content(&entry.target, &entry.content)),
            ]);
        }
        indented(&table, out, colour)
    }

    fn content(&self, target: &Path, content: &Content) -> String {
        let below = |path: &Path| self.spec.workspaces.contain(path);
        match content {
            Content::Directory { .. } => "an empty directory".to_owned(),
            Content::Symlink { to } => format!("a link to {}", to.display()),
            Content::Removed => "nothing: you deleted it".to_owned(),
            Content::Overlay { lowers, .. } => {
                let lowers: Vec<PathBuf> = lowers
                    .iter()
                    .map(|place| self.files.on_host(place))
                    .collect();
                match lowers.as_slice() {
                    [same] if same == target && !below(target) => {
                        "this machine's, copy-on-write, private files hidden".to_owned()
                    }
                    [same] if same == target => "this machine's, copy-on-write".to_owned(),
                    lowers => {
                        let lowers: Vec<_> = lowers
                            .iter()
                            .map(|path| path.display().to_string())
                            .collect();
                        format!("copy-on-write over {}", lowers.join(", "))
                    }
                }
            }
            Content::Bind { source, access, .. } => {
                let source = self.files.on_host(source);
                let access = match access {
                    Access::ReadOnly => "read-only",
                    Access::ReadWrite => "read and write",
                };
                if source == target {
                    format!("this machine's, {access}")
                } else if source.starts_with(self.directory.layers()) {
                    "private to the sandbox, gone after it".to_owned()
                } else {
                    format!("{} of this machine, {access}", source.display())
                }
            }
            Content::Memory { .. } => "empty, in memory".to_owned(),
            Content::Proc => "the sandbox's own processes".to_owned(),
            Content::Devices => "null, zero, full, random, urandom, tty, pts, shm".to_owned(),
            Content::Sys => "processors and memory nodes, read-only".to_owned(),
        }
    }

    /// What presets name of the user's own, if there is any of it.
    fn copies(&self, out: &mut impl Write, colour: Colour) -> io::Result<()> {
        if self.copied.is_empty() && self.left_out.is_empty() {
            return Ok(());
        }
        let copied = self.copied.iter().map(|Copied { path, files }| {
            let text = match files {
                1 => "a copy".to_owned(),
                files => format!("a copy, {files} files"),
            };
            (path, Tone::Plain, text)
        });
        let left_out = self
            .left_out
            .iter()
            .map(|LeftOut { path, why }| (path, Tone::Warning, format!("left out: {why}")));
        let mut table = Table::new(["YOUR OWN", "WHAT GOES ALONG"]);
        for (path, tone, text) in copied.chain(left_out) {
            table.row([(Tone::Plain, visible_path(path)), (tone, text)]);
        }
        indented(&table, out, colour)
    }

    fn rules(&self, out: &mut impl Write, colour: Colour) -> io::Result<()> {
        if self.policy.rules.is_empty() {
            return writeln!(out, "  none: no network at all");
        }
        let mut table = Table::new(["RULE", "ACTION", "WHERE", "WHAT", "FROM"]);
        for rule in &self.policy.rules {
            let tone = match rule.action {
                "allow" => Tone::Good,
                _ => Tone::Bad,
            };
            table.row([
                (Tone::Plain, rule.id.clone()),
                (tone, rule.action.to_owned()),
                (Tone::Plain, format!("{}:{}", rule.host, rule.ports)),
                (Tone::Plain, describe(rule)),
                (Tone::Faint, rule.origin.clone()),
            ]);
        }
        indented(&table, out, colour)?;
        writeln!(
            out,
            "  The first rule that matches decides. What none allows is denied."
        )
    }

    fn credentials(&self, out: &mut impl Write, colour: Colour) -> io::Result<()> {
        if self.policy.credentials.is_empty() {
            return writeln!(out, "  none");
        }
        let mut table = Table::new(["NAME", "SOURCE", "VALUE", "ONLY FOR", "AS", "FROM"]);
        for (credential, source) in self.policy.credentials.iter().zip(&self.credentials) {
            let (tone, value) = match source {
                Source::Found => (Tone::Good, "found".to_owned()),
                Source::LeftOut => (Tone::Faint, "not found: left out".to_owned()),
                Source::Missing => (Tone::Bad, "not found: the run would be refused".to_owned()),
                Source::WouldRun(program) => (Tone::Plain, format!("would run {program}")),
            };
            table.row([
                (Tone::Plain, credential.name.clone()),
                (
                    Tone::Plain,
                    format!("{} {}", credential.source, credential.from.join(", ")),
                ),
                (tone, value),
                (Tone::Plain, credential.hosts.join(", ")),
                (Tone::Plain, credential.inject.clone()),
                (Tone::Faint, credential.origin.clone()),
            ]);
        }
        indented(&table, out, colour)?;
        writeln!(
            out,
            "  The sandbox sees placeholders; values stay outside and are never shown."
        )
    }

    fn environment(&self, out: &mut impl Write, colour: Colour) -> io::Result<()> {
        let of_policy = |name: &OsStr| {
            self.policy
                .environment
                .iter()
                .any(|variable| name == variable.name.as_str())
        };
        let mut names: Vec<_> = self
            .spec
            .environment
            .iter()
            .filter(|(name, _)| !of_policy(name))
            .map(|(name, _)| name.to_string_lossy())
            .collect();
        names.sort();
        let mut line = String::new();
        for name in names {
            if !line.is_empty() && line.len() + name.len() > LINE {
                writeln!(out, "  {}", colour.paint(Tone::Plain, &line))?;
                line.clear();
            }
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(&name);
        }
        writeln!(out, "  {}", colour.paint(Tone::Plain, &line))?;
        if self.policy.environment.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(["VARIABLE", "VALUE", "FROM"]);
        for variable in &self.policy.environment {
            table.row([
                (Tone::Plain, variable.name.clone()),
                (Tone::Plain, self.value(&variable.value)),
                (Tone::Faint, variable.origin.clone()),
            ]);
        }
        indented(&table, out, colour)
    }

    /// `described` is `literal`, `from_env X` or `credential x`.
    fn value(&self, described: &str) -> String {
        if let Some(name) = described.strip_prefix("from_env ") {
            return match self.set_outside.iter().any(|set| set == name) {
                true => format!("as {name} outside"),
                false => format!("left out: {name} is not set outside"),
            };
        }
        if described == "prompt" {
            return "asked for at the start".to_owned();
        }
        let Some(name) = described.strip_prefix("credential ") else {
            return "as written there".to_owned();
        };
        let source = self
            .policy
            .credentials
            .iter()
            .position(|credential| credential.name == name)
            .and_then(|position| self.credentials.get(position));
        match source {
            Some(Source::LeftOut | Source::Missing) | None => {
                format!("left out: the credential {name} was not found")
            }
            Some(Source::Found | Source::WouldRun(_)) => {
                format!("a placeholder for the credential {name}")
            }
        }
    }

    fn limits(&self, out: &mut impl Write, colour: Colour) -> io::Result<()> {
        if self.limits.is_empty() {
            return writeln!(out, "  none");
        }
        let mut table = Table::new(["LIMIT", "VALUE", "ON THIS HOST"]);
        for Feature {
            kind,
            requested,
            outcome,
        } in &self.limits
        {
            let required = self
                .policy
                .limits
                .iter()
                .any(|limit| limit.name == kind.name() && limit.required);
            let (tone, text) = match (outcome, required) {
                (Enforcement::Enforced { how }, _) => (Tone::Good, format!("enforced by {how}")),
                (Enforcement::NotEnforced { why, .. }, false) => {
                    (Tone::Warning, format!("not enforced: {why}"))
                }
                (Enforcement::NotEnforced { why, .. }, true) => (
                    Tone::Bad,
                    format!("required and not enforced, so the run would be refused: {why}"),
                ),
            };
            table.row([
                (Tone::Plain, kind.name().to_owned()),
                (Tone::Plain, requested.clone()),
                (tone, text),
            ]);
        }
        indented(&table, out, colour)
    }
}

/// Names of variables in one line.
const LINE: usize = 90;

fn indented<const N: usize>(
    table: &Table<N>,
    out: &mut impl Write,
    colour: Colour,
) -> io::Result<()> {
    let mut text = Vec::new();
    table.write(&mut text, colour)?;
    for line in text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        out.write_all(b"  ")?;
        out.write_all(line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

pub(in crate::commands) fn describe(rule: &RuleSummary) -> String {
    let mut parts = Vec::new();
    match rule.mode {
        "passthrough" => parts.push("TLS passed through unseen".to_owned()),
        "tcp" => parts.push("any bytes".to_owned()),
        _ => {
            parts.push(match &rule.methods {
                Some(methods) => methods.join(","),
                None => "every method".to_owned(),
            });
            parts.extend(rule.paths.as_ref().map(|paths| paths.join(" ")));
        }
    }
    let mut text = parts.join(" ");
    let mut add = |what: &str, value: &str| text.push_str(&format!("; {what} {value}"));
    if let Some(address) = &rule.connect {
        add("connects to", address);
    }
    if let Some(proxy) = &rule.proxy {
        add("through the proxy", proxy);
    }
    if let Some(credential) = &rule.proxy_credential {
        add("which is sent", credential);
    }
    if let Some(ca) = &rule.ca {
        add("also trusts", &visible_path(Path::new(ca)));
    }
    if !rule.credentials.is_empty() {
        add("with", &rule.credentials.join(", "));
    }
    text
}

fn workspace(workspace: &Workspace) -> String {
    let path = workspace.path.display();
    match workspace.mode {
        WorkspaceMode::Clone => {
            format!("{path}, as a clone of its own: HEAD's files, a new branch")
        }
        WorkspaceMode::Overlay => format!("{path}, as a copy: changes are kept apart"),
        WorkspaceMode::Bind => format!("{path} itself: changes are made in place"),
        WorkspaceMode::BindReadOnly => format!("{path} itself, read-only"),
    }
}

fn ids(identity: &Identity) -> String {
    let one = |range: &IdRange| {
        let span = |first: u32| match range.length {
            1 => first.to_string(),
            length => format!("{first}-{}", first.saturating_add(length - 1)),
        };
        format!("{} -> {}", span(range.inside), span(range.outside))
    };
    let all = |ranges: &[IdRange]| ranges.iter().map(one).collect::<Vec<_>>().join(", ");
    let (uids, gids) = (all(&identity.maps.uids), all(&identity.maps.gids));
    if uids == gids {
        format!("inside -> on this machine: {uids}")
    } else {
        format!("inside -> on this machine: uid {uids}; gid {gids}")
    }
}

fn streams(terminal: Option<TerminalSize>) -> String {
    match terminal {
        Some(TerminalSize { rows, columns }) => {
            format!("a terminal of its own, {columns} columns by {rows} rows")
        }
        None => "stdin, stdout and stderr, through pipes".to_owned(),
    }
}
