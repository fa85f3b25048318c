use std::ffi::OsString;

use wardian_linux::cgroup::Outcome as Enforcement;
use wardian_linux::mount::Depth;
use wardian_linux::userns::{IdMaps, IdRange, MapWriter};
use wardian_policy::{LimitKind, Policy};
use wardian_sandbox::SandboxName;
use wardian_sandbox::plan::{Access, Content, TreeRole};
use wardian_sandbox::spec::{
    Account, Nesting, Persistence, TerminalSize, User, Workspace, WorkspaceMode, Workspaces,
};
use wardian_supervisor::protocol::PolicySources;

use super::*;

const MANIFEST: &str = r#"
[limits]
memory = "4G"
pids = 512
require = ["memory"]

[[egress]]
host = "api.github.com"
methods = ["GET", "POST"]
paths = ["/repos/acme/**"]
credential = "github"

[[egress]]
host = "gist.github.com"
action = "deny"

[[egress]]
host = "git.corp.example"
connect = "127.0.0.1:8443"
ca = "/etc/corp.pem"
credential = "git"

[[egress]]
host = "db.corp.example"
ports = [5432]
protocol = "tcp"

[[egress]]
host = "*.pinned.example"
inspect = false

[credential.github]
source = { command = ["gh", "auth", "token"] }
hosts = ["api.github.com"]
inject = { header = "authorization", format = "Bearer {}" }

[credential.git]
source = { file = "~/.git-token" }
hosts = ["git.corp.example"]
inject = { basic = "x-access-token" }

[env]
GIT_TOKEN = { credential = "git" }
GH_TOKEN = { credential = "github" }
REGION = { from_env = "AWS_REGION" }
ZONE = { from_env = "AWS_ZONE" }
GREETING = "do not print this value"
"#;

fn policy() -> Policy {
    PolicySources {
        file: Some(("policy.toml".to_owned(), MANIFEST.to_owned())),
        allow: vec!["example.org".to_owned()],
        cache: vec!["npm".to_owned(), "cargo".to_owned()],
        ..PolicySources::default()
    }
    .build()
    .unwrap()
}

fn spec(account: Account, mode: WorkspaceMode) -> SandboxSpec {
    let arguments = ["make", "-C", "a\x1b[2Jb c"];
    SandboxSpec {
        name: SandboxName::parse("make-7f3k2q").unwrap(),
        program: "/usr/bin/make".into(),
        arguments: arguments.map(OsString::from).into(),
        directory: "/home/ann/acme".into(),
        user: User {
            uid: 1000,
            gid: 1000,
            name: "ann".to_owned(),
            home: "/home/ann".into(),
        },
        account,
        environment: ["PATH", "HOME", "GREETING"]
            .map(|name| (name.into(), "do not print this value".into()))
            .into(),
        workspaces: Workspaces::new(
            Workspace {
                path: "/home/ann/acme".into(),
                mode,
            },
            Vec::new(),
        ),
        removed: Vec::new(),
        mounts: Vec::new(),
        persistence: Persistence::Ephemeral,
        visible: vec!["/home/ann/.cargo/bin".into()],
        links: Vec::new(),
        terminal: Some(TerminalSize {
            rows: 24,
            columns: 80,
        }),
        nesting: Nesting::Forbidden,
    }
}

fn files(directory: &SandboxDirectory) -> FilesystemPlan {
    let mut files = FilesystemPlan::default();
    let own = files.tree(directory.layers(), Depth::ThisMount, TreeRole::Layers);
    let usr = files.tree("/usr", Depth::ThisMount, TreeRole::Layers);
    let tools = files.tree(
        "/home/ann/.cargo/bin",
        Depth::WithSubmounts,
        TreeRole::Whole,
    );
    let work = files.tree("/home/ann/acme", Depth::ThisMount, TreeRole::Layers);
    let overlay = |lower, name: &str| Content::Overlay {
        lowers: vec![lower],
        upper: own.join(format!("{name}/upper")),
        work: own.join(format!("{name}/work")),
    };
    let bind = |source, access| Content::Bind {
        source,
        access,
        depth: Depth::ThisMount,
    };
    files.add("/usr", overlay(usr.join(""), "usr"));
    files.add(
        "/bin",
        Content::Symlink {
            to: "usr/bin".into(),
        },
    );
    files.add("/proc", Content::Proc);
    files.add(
        "/tmp",
        Content::Memory {
            percent: 25,
            mode: 0o1777,
        },
    );
    files.add("/home/ann", bind(own.join("home"), Access::ReadWrite));
    files.add(
        "/home/ann/.cargo/bin",
        bind(tools.join(""), Access::ReadOnly),
    );
    files.add("/home/ann/acme", overlay(work.join(""), "workspaces/0"));
    files
}

fn shown(plan: &Plan) -> String {
    let mut out = Vec::new();
    plan.write(&mut out, Colour::Off).unwrap();
    String::from_utf8(out).unwrap()
}

fn directory(spec: &SandboxSpec) -> SandboxDirectory {
    SandboxDirectory::at("/state/make-7f3k2q".into(), spec.name.clone())
}

#[test]
fn a_plan_names_everything_and_shows_no_value() {
    let spec = spec(Account::User, WorkspaceMode::Overlay);
    let directory = directory(&spec);
    let limit = |kind, requested: &str, outcome| Feature {
        kind,
        requested: requested.to_owned(),
        outcome,
    };
    let plan = Plan {
        identity: Identity {
            maps: IdMaps {
                uids: vec![IdRange::one(1000, 1000)],
                gids: vec![IdRange::one(1000, 1000)],
            },
            writer: MapWriter::OwnIdsOnly,
            init: (1000, 1000),
            uid: 1000,
            gid: 1000,
            has_subordinate_ids: false,
        },
        files: files(&directory),
        policy: policy().describe(),
        credentials: vec![Source::Missing, Source::WouldRun("gh".to_owned())],
        set_outside: vec!["AWS_REGION".to_owned()],
        limits: vec![
            limit(
                LimitKind::Memory,
                "4G",
                Enforcement::NotEnforced {
                    why: "the memory controller is not delegated".to_owned(),
                    fix: None,
                },
            ),
            limit(
                LimitKind::Pids,
                "512",
                Enforcement::Enforced {
                    how: "cgroup v2 pids".to_owned(),
                },
            ),
        ],
        copied: &[
            Copied {
                path: "/home/ann/.claude/CLAUDE.md".into(),
                files: 1,
            },
            Copied {
                path: "/home/ann/.claude/skills".into(),
                files: 12,
            },
        ],
        left_out: &[LeftOut {
            path: "/home/ann/.claude/skills/x/.env".into(),
            why: "it could hold a secret".to_owned(),
        }],
        downloads: Some(Path::new("/home/ann/.cache/wardian/downloads")),
        spec: &spec,
        directory,
    };
    let text = shown(&plan);
    assert!(!text.contains("do not print"), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
    insta::assert_snapshot!("dry_run_full", text);
}

#[test]
fn a_plan_with_nothing_granted() {
    let mut spec = spec(Account::Superuser, WorkspaceMode::Bind);
    spec.terminal = None;
    spec.nesting = Nesting::Allowed;
    let directory = directory(&spec);
    let plan = Plan {
        identity: Identity {
            maps: IdMaps {
                uids: vec![
                    IdRange::one(0, 1000),
                    IdRange {
                        inside: 1,
                        outside: 100_000,
                        length: 65_536,
                    },
                ],
                gids: vec![IdRange::one(0, 1000)],
            },
            writer: MapWriter::Helpers,
            init: (0, 0),
            uid: 0,
            gid: 0,
            has_subordinate_ids: true,
        },
        files: FilesystemPlan::default(),
        policy: PolicySources::default().build().unwrap().describe(),
        credentials: Vec::new(),
        set_outside: Vec::new(),
        limits: Vec::new(),
        copied: &[],
        left_out: &[],
        downloads: None,
        spec: &spec,
        directory,
    };
    insta::assert_snapshot!("dry_run_empty", shown(&plan));
}

#[test]
fn looking_for_credentials_reads_and_runs_nothing() {
    let home = tempfile::tempdir().unwrap();
    let look_all = || -> Vec<Source> {
        policy()
            .credentials()
            .map(|credential| look(credential, home.path()))
            .collect()
    };
    let names: Vec<_> = policy()
        .credentials()
        .map(|credential| credential.name().to_string())
        .collect();
    assert_eq!(names, ["git", "github"]);
    let command = Source::WouldRun("gh".to_owned());
    assert_eq!(look_all(), [Source::Missing, command.clone()]);
    fs::write(home.path().join(".git-token"), "secret").unwrap();
    assert_eq!(look_all(), [Source::Found, command]);
}
