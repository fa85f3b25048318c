//! The shape of a manifest as people write it, in TOML or JSON. `convert` gives it meaning.
//!
//! These types are the one description of the format: documents are read into them, the JSON Schema and the reference
//! in the documentation are made from them, and programs that write manifests fill them in. What stands above a field
//! here is what an editor shows for the key.

mod decode;
mod encode;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::decode::Spanned;
use crate::login::LoginTable;

/// A string and its place.
pub type Text = Spanned<String>;
/// A list and the places of all in it.
pub type List<T> = Spanned<Vec<Spanned<T>>>;

/// `wardian.toml`: sandboxes by name, the agents that work in them, and the credentials that they use.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ManifestDocument {
    /// The sandbox that is used where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Text>,
    /// The sandbox that stands below every other one, whatever the project. Only in the user's own `wardian.toml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Text>,
    /// What sandboxes may do, by name.
    #[serde(skip_serializing_if = "Entries::is_empty")]
    pub sandbox: Entries<SandboxTable>,
    /// Agents, by name: `wardian run NAME` starts one.
    #[serde(skip_serializing_if = "Entries::is_empty")]
    pub agent: Entries<AgentTable>,
    /// Secrets that stay outside, by name.
    #[serde(skip_serializing_if = "Entries::is_empty")]
    pub credential: Entries<Spanned<CredentialTable>>,
}

/// The file of `--policy`: the body of one sandbox, and its credentials.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PolicyDocument {
    /// The sandbox.
    #[serde(flatten)]
    pub sandbox: SandboxTable,
    /// Secrets that stay outside, by name.
    #[serde(skip_serializing_if = "Entries::is_empty", default)]
    pub credential: Entries<Spanned<CredentialTable>>,
}

/// A built-in preset: what it is for, how its program is started, and a document.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PresetDocument {
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) programs: Vec<String>,
    #[serde(default)]
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) autonomy_args: Vec<String>,
    pub(crate) briefing: Option<Text>,
    #[serde(default)]
    pub(crate) copies: Vec<Text>,
    #[serde(default)]
    pub(crate) settings: Vec<SettingsTable>,
    pub(crate) login: Option<Spanned<LoginTable>>,
    #[serde(default)]
    pub(crate) policy: PolicyDocument,
}

/// A file of settings, and what of it is carried over.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingsTable {
    pub(crate) path: Text,
    pub(crate) keys: Vec<String>,
}

/// What one sandbox may do.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxTable {
    /// Sandboxes on which this one builds: it has what they have, and its own keys are nearer. A name or a list of names,
    /// the nearest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extends: Option<OneOrMany>,
    /// Built-in sets of rules, such as `"claude"`. Their rules come after all others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub presets: Vec<Text>,
    /// What the program works on: one table or a list of them, the main one first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Workspaces>,
    /// Programs inside may make namespaces and mounts of their own: browsers, bubblewrap, rootless containers. More of
    /// the kernel is in reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nested: Option<Spanned<bool>>,
    /// Paths of the host that exist inside too, read-only: `"~/..."` or `"/..."`. Those that do not exist are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub visible: Vec<Text>,
    /// Whose downloads the door keeps for other sandboxes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<Spanned<CacheWord>>,
    /// How much of conversations with models is kept: their sizes, tokens and costs, or the messages too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Spanned<RecordWord>>,
    /// What it may use of the machine.
    #[serde(skip_serializing_if = "LimitsTable::is_empty")]
    pub limits: LimitsTable,
    /// Variables inside.
    #[serde(skip_serializing_if = "Entries::is_empty")]
    pub env: Entries<EnvEntry>,
    /// Rules about the network, the first that matches decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Spanned<EgressTable>>,
}

/// One place to work on. Exactly one of `clone`, `bind`, `overlay` and `volume`. Paths are relative to the manifest.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkspaceTable {
    /// The git repository at this path, as a clone of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clone: Option<Text>,
    /// This directory itself: what the program changes there is changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<Text>,
    /// A copy of this directory as it is, though it is a git repository. It holds the one in which the run is started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Text>,
    /// The volume of this name, which outlives the sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Text>,
    /// Where the volume lies inside: an absolute path; `/volumes/NAME` if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Text>,
    /// The program cannot change what is in the directory or the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<Spanned<bool>>,
    /// The clone has changes that are not committed, and files that git does not know yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_changes: Option<Spanned<bool>>,
    /// Files and directories that the clone has though git ignores them, relative to the repository.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Text>,
}

/// A build tool whose downloads can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheWord {
    /// Crates and the index of their registry.
    Cargo,
    /// Packages of npm, pnpm and yarn.
    Npm,
    /// Packages of pip and uv.
    Pip,
    /// Modules of Go.
    Go,
}

/// How much of conversations is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecordWord {
    /// Models, tokens, costs and the names of tools.
    Metadata,
    /// The messages too, without the values of credentials.
    Full,
}

/// What a sandbox may use of the machine. Without a key there is no limit.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsTable {
    /// Main memory and swap of the whole sandbox: `"512M"`, `"4G"`, `"1.5GiB"`; K, M, G, T are powers of 1024; least 1M.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Spanned<Scalar>>,
    /// Processor time per time: `2`, `0.5`; 0.01 to 4096, three decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Spanned<Scalar>>,
    /// Processes and threads together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<Spanned<Scalar>>,
    /// Open files of one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Spanned<Scalar>>,
    /// What the sandbox writes to disk: workspace, system directories, home. A size as for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Spanned<Scalar>>,
    /// Time from start to end: `"90s"`, `"30m"`, `"2h"`, `"1h30m"`, `"1d"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Spanned<Scalar>>,
    /// The sandbox does not start unless these are set and enforced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<Spanned<LimitWord>>,
}

/// The name of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LimitWord {
    /// Main memory and swap.
    Memory,
    /// Processor time.
    Cpus,
    /// Processes and threads.
    Pids,
    /// Open files.
    Files,
    /// What is written to disk.
    Disk,
    /// Time from start to end.
    Time,
}

/// One rule about the network.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressTable {
    /// Which hosts: `"api.example.com"`, `"*.example.com"` for every name below it, `"*"`, an address or a network.
    pub host: Text,
    /// `[443]`, `[80, "8000-8100"]`. Left out: 80 and 443 in an allow rule, 443 with `inspect = false`, every port in a
    /// deny rule. To be given with `protocol = "tcp"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<List<PortEntry>>,
    /// HTTP methods, in capitals. `"WEBSOCKET"` stands for opening a WebSocket. Left out: every method, and WebSocket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<List<String>>,
    /// Path patterns: `*` within one segment, `**` for any number of segments. Left out: every path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<List<String>>,
    /// What the rule does with what it matches.
    #[serde(default, skip_serializing_if = "ActionWord::is_allow")]
    pub action: ActionWord,
    /// How the bytes are understood.
    #[serde(default, skip_serializing_if = "ProtocolWord::is_http")]
    pub protocol: ProtocolWord,
    /// `false`: TLS passes through untouched after its server name was checked, for programs that pin certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inspect: Option<Spanned<bool>>,
    /// `"ADDRESS:PORT"`: connect there, whatever the name resolves to. It may be any address, also of this machine or of
    /// a private network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Text>,
    /// Path of a PEM file with further roots for this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<Text>,
    /// `"http://HOST:PORT"`: reach the host through this proxy, by CONNECT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Text>,
    /// The name of a credential with `inject = { basic = "USER" }`: what the proxy is sent to let us through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_credential: Option<Text>,
    /// A name or a list of names: credentials that may be put into requests under this rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<OneOrMany>,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActionWord {
    /// Lets it pass.
    #[default]
    Allow,
    /// Refuses it, whatever later rules say.
    Deny,
}

/// How bytes are understood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProtocolWord {
    /// HTTP/1.1, HTTP/2 and WebSocket, plain or over TLS.
    #[default]
    Http,
    /// Any bytes, unread.
    Tcp,
}

/// A secret: where it is read, outside the sandbox, and where it may go.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialTable {
    /// Where the value is read, once, before the start.
    pub source: Spanned<SourceTable>,
    /// Hosts that it may be sent to: names, `*.` patterns or addresses, not `*` or networks.
    pub hosts: List<String>,
    /// How it is put in. `"placeholder"` if it is left out: what stands in for it is replaced where the program sends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inject: Option<Spanned<InjectEntry>>,
    /// What stands in for it inside; `{}` becomes 32 random letters and digits. 16 to 200 letters, digits, `-`, `_`, `.`;
    /// `wardian-placeholder-NAME-{}` if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<Text>,
    /// `true`: without a value, the credential and its variables are absent. `false`: the sandbox does not start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// What becomes of a request to its hosts that carries another credential than this one, such as a token of somebody
    /// else's: `"deny"` refuses it, `"allow"` lets it through.
    #[serde(default, skip_serializing_if = "ForeignWord::is_default")]
    pub foreign: ForeignWord,
}

/// What becomes of somebody else's credentials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForeignWord {
    /// Refused.
    #[default]
    Deny,
    /// Sent as they are.
    Allow,
}

impl ForeignWord {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a secret is read. Exactly one key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceTable {
    /// A variable outside, or a list of them, of which the first that is set and not empty counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<OneOrMany>,
    /// A file: `"~/path"` or `"/path"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Text>,
    /// A program and its arguments, executed as written, outside, by no shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<List<String>>,
    /// The preset whose program the person is logged in with: the token of that login, renewed as it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<Text>,
}

/// How a secret is put into a request: `header` with `format`, or `basic`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InjectTable {
    /// The field that the door sets, whatever the program sent there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<Text>,
    /// The text around the secret: `"Bearer {}"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Text>,
    /// `Authorization: Basic` with this user name and the secret as password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<Text>,
}

/// Where a variable gets its value. Exactly one key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvTable {
    /// The variable of this name outside; absent inside if it is unset there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_env: Option<Text>,
    /// The placeholder of a credential; absent if an optional credential has no value. Some rule must use the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Text>,
    /// What the person is asked on the terminal before the start. The answer is shown and written down nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Text>,
}

/// An agent: a program, what it is told, and the sandbox in which it works.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentTable {
    /// The sandbox in which it works; the default one if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Text>,
    /// The program and its arguments. What stands behind the agent's name on the command line is added.
    pub command: List<String>,
    /// Directories with a `SKILL.md`, relative to the manifest, that a known agent finds where it looks for skills.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<Text>,
    /// What a known agent is told before anything else, in the file that it reads at its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Text>,
}

/// `"placeholder"` or a table.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum InjectEntry {
    /// `"placeholder"`: what stands in for the secret is replaced in the values of header fields and in the query.
    Word(String),
    /// A header that the door sets.
    Table(InjectTable),
}

/// `"text"` or a table.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum EnvEntry {
    /// That text.
    Literal(Text),
    /// A value from elsewhere.
    Table(Spanned<EnvTable>),
}

/// `443` or `"8000-8100"`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum PortEntry {
    /// One port.
    Number(i64),
    /// `"8000-8100"`, both included.
    Range(String),
}

/// `"a"` or `["a", "b"]`.
#[derive(Debug, Clone)]
pub struct OneOrMany(pub Vec<Text>);

/// One table or a list of tables.
#[derive(Debug, Clone)]
pub struct Workspaces(pub Vec<Spanned<WorkspaceTable>>);

/// A string or a number, as text.
#[derive(Debug, Clone)]
pub struct Scalar(pub String);

/// A table whose keys are names.
#[derive(Debug, Clone)]
pub struct Entries<T>(pub Vec<(Text, T)>);

impl<T> Entries<T> {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl LimitsTable {
    fn is_empty(&self) -> bool {
        let Self {
            memory,
            cpus,
            pids,
            files,
            disk,
            time,
            require,
        } = self;
        [memory, cpus, pids, files, disk, time]
            .iter()
            .all(|limit| limit.is_none())
            && require.is_empty()
    }
}

impl ActionWord {
    fn is_allow(&self) -> bool {
        *self == Self::Allow
    }
}

impl ProtocolWord {
    fn is_http(&self) -> bool {
        *self == Self::Http
    }
}
