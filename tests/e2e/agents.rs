//! Real agents at work against a scripted model vendor: they edit a file and finish, and never hold the real key.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use wardian_tests::host::{Host, TOOLS};
use wardian_tests::mode::Mode;
use wardian_tests::model::{ModelServer, Options, Script};
use wardian_tests::policy::Policy;
use wardian_tests::process::{Input, Running};
use wardian_tests::run::{Outcome, Run};

wardian_tests::both_modes!(
    control_the_agents_work_without_a_sandbox,
    claude_edits_a_file,
    claude_by_its_preset_from_the_command_line,
    codex_edits_a_file_over_websocket,
    codex_falls_back_to_server_sent_events,
    codex_in_its_own_sandbox_where_granted,
    a_wrong_key_never_becomes_the_real_one,
    somebody_elses_key_is_refused_unless_that_is_allowed,
    the_real_key_is_nowhere_inside,
);

/// Agents retry for minutes what will never work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) fn key() -> String {
    let mut random = [0; 12];
    getrandom(&mut random);
    format!("sk-real-{}", hex(&random))
}

fn getrandom(bytes: &mut [u8]) {
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), bytes).unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn vendor(key: &str, websocket: bool, shell: &[&str]) -> ModelServer {
    ModelServer::start(Options {
        script: Script::new(shell, "Created."),
        require_key: Some(key.to_owned()),
        websocket,
    })
}

pub(crate) fn agent(name: &str) -> PathBuf {
    let path = PathBuf::from(format!("{TOOLS}/{name}/node_modules/.bin/{name}"));
    assert!(
        path.exists(),
        "{} is not there; run `cargo xtask setup`",
        path.display()
    );
    path
}

/// The vendor's names, played by the model server; the key comes from a variable of the host.
pub(crate) fn claude_policy(vendor: &ModelServer) -> Policy {
    Policy::new()
        .pin_with("api.anthropic.com", vendor.address(), "credential = \"anthropic\"")
        .table("[env]\nANTHROPIC_API_KEY = { credential = \"anthropic\" }\nIS_SANDBOX = \"1\"\nCLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC = \"1\"")
        .table("[credential.anthropic]\nsource = { env = \"REAL_KEY\" }\nhosts = [\"api.anthropic.com\"]")
}

pub(crate) fn codex_policy(vendor: &ModelServer) -> Policy {
    Policy::new()
        .pin_with("api.openai.com", vendor.address(), "credential = \"openai\"")
        .pin_with("chatgpt.com", vendor.address(), "credential = \"openai\"")
        .table("[env]\nCODEX_API_KEY = { credential = \"openai\" }")
        .table("[credential.openai]\nsource = { env = \"REAL_KEY\" }\nhosts = [\"api.openai.com\", \"chatgpt.com\"]")
}

pub(crate) fn claude(host: &Host) -> Run<'_> {
    let program = agent("claude");
    let words = [
        program.to_str().unwrap(),
        "-p",
        "make a file",
        "--dangerously-skip-permissions",
        "--output-format",
        "json",
    ];
    host.run(words).limit(PATIENCE)
}

pub(crate) fn codex(host: &Host) -> Run<'_> {
    let program = agent("codex");
    let words = [
        program.to_str().unwrap(),
        "exec",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
        "make a file",
    ];
    host.run(words).limit(PATIENCE)
}

/// The server saw the real key, and nothing else for a key.
#[track_caller]
fn assert_only_real_key(vendor: &ModelServer, key: &str) {
    assert_eq!(
        vendor.credentials_seen(),
        [key],
        "{:#?}",
        vendor
            .calls()
            .iter()
            .map(|call| (&call.request.path, &call.credential))
            .collect::<Vec<_>>()
    );
}

/// Neither the journal nor any file of the account holds the key.
#[track_caller]
fn assert_not_stored(host: &Host, outcome: &Outcome<'_>, key: &str) {
    assert!(
        !outcome.text().contains(key) && !outcome.errors().contains(key),
        "the key was printed"
    );
    let found =
        Running::start(command_grep(host, key), Input::Nothing).wait(Duration::from_secs(30));
    assert_eq!(found.text(), "", "files that hold the key");
    let events = outcome.events();
    assert!(
        events
            .all()
            .iter()
            .all(|event| !event.to_string().contains(key)),
        "the key is on the record"
    );
    assert!(
        !events.of_kind("credential_used").is_empty(),
        "no use of the credential is on the record"
    );
}

fn command_grep(host: &Host, key: &str) -> std::process::Command {
    let mut command = std::process::Command::new("grep");
    command
        .args(["-r", "-l", "-a", "-F", "--devices=skip", key])
        .arg(host.base());
    command
}

/// What the sandbox wrote is kept in its upper layer, the workspace on the host is as it was.
#[track_caller]
fn assert_edited(host: &Host, outcome: &Outcome<'_>, file: &str, content: &str) {
    assert!(
        !host.project().join(file).exists(),
        "the overlay let a write through"
    );
    let kept = host
        .state(&outcome.name)
        .join("layers/workspaces/0/upper")
        .join(file);
    assert_eq!(
        std::fs::read_to_string(&kept)
            .unwrap_or_else(|error| panic!("{}: {error}", kept.display())),
        content
    );
}

fn control_the_agents_work_without_a_sandbox(mode: Mode) {
    let host = Host::new(mode);
    let key = key();
    let vendor = vendor(&key, true, &["echo edited > made.txt"]);
    let base = format!("https://localhost:{}", vendor.address().port());
    let mut command = host.command([
        agent("claude").to_str().unwrap(),
        "-p",
        "make a file",
        "--dangerously-skip-permissions",
    ]);
    command
        .env("ANTHROPIC_BASE_URL", &base)
        .env("ANTHROPIC_API_KEY", &key)
        .env("NODE_EXTRA_CA_CERTS", host.ca_file());
    command
        .env("IS_SANDBOX", "1")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    Running::start(command, Input::Nothing)
        .wait(PATIENCE)
        .success();
    assert_eq!(
        std::fs::read_to_string(host.project().join("made.txt")).unwrap(),
        "edited\n"
    );
    assert_eq!(vendor.credentials_seen(), [key]);
}

fn claude_edits_a_file(mode: Mode) {
    let host = Host::new(mode);
    let key = key();
    let vendor = vendor(&key, true, &["echo edited > made.txt", "cat made.txt"]);
    let outcome = claude(&host)
        .policy(&claude_policy(&vendor))
        .host_env("REAL_KEY", &key)
        .finish()
        .success();
    assert!(
        outcome.text().contains("\"result\":\"Created.\""),
        "{outcome:?}"
    );
    assert_edited(&host, &outcome, "made.txt", "edited\n");
    assert_only_real_key(&vendor, &key);
    assert_not_stored(&host, &outcome, &key);
    let last = vendor
        .calls()
        .into_iter()
        .rfind(|call| call.api == Some("anthropic"))
        .unwrap();
    assert!(
        String::from_utf8_lossy(&last.body).contains("edited"),
        "the model never saw what the command printed"
    );
}

fn claude_by_its_preset_from_the_command_line(mode: Mode) {
    let host = Host::new(mode);
    let key = key();
    let vendor = vendor(&key, true, &["echo edited > made.txt"]);
    // Installed in the user's home, where only the preset makes it visible.
    let installed = host.home().join(".local/bin/claude");
    host.make_directory(installed.parent().unwrap());
    std::os::unix::fs::symlink(agent("claude"), &installed).unwrap();
    host.write(&host.home().join(".ssh/id_ed25519"), "a private key");
    let policy = Policy::new()
        .head("presets = [\"claude\"]")
        .pin("api.anthropic.com", vendor.address())
        .table("[env]\nIS_SANDBOX = \"1\"\nCLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC = \"1\"");
    let path = format!(
        "{}:/usr/local/bin:/usr/bin:/bin",
        installed.parent().unwrap().display()
    );
    let outcome = host
        .run([
            "claude",
            "-p",
            "make a file",
            "--dangerously-skip-permissions",
        ])
        .policy(&policy)
        .host_env("ANTHROPIC_API_KEY", &key)
        .host_env("PATH", &path)
        .limit(PATIENCE)
        .finish()
        .success();
    assert_edited(&host, &outcome, "made.txt", "edited\n");
    assert_only_real_key(&vendor, &key);
    assert_not_stored(&host, &outcome, &key);
}

fn codex_edits_a_file_over_websocket(mode: Mode) {
    let host = Host::new(mode);
    let key = key();
    let vendor = vendor(&key, true, &["echo edited > made.txt"]);
    let outcome = codex(&host)
        .policy(&codex_policy(&vendor))
        .host_env("REAL_KEY", &key)
        .finish()
        .success();
    assert!(outcome.text().contains("Created."), "{outcome:?}");
    assert_edited(&host, &outcome, "made.txt", "edited\n");
    assert_only_real_key(&vendor, &key);
    assert_not_stored(&host, &outcome, &key);
    let ways: BTreeSet<bool> = vendor
        .calls()
        .iter()
        .filter(|call| call.api == Some("responses"))
        .map(|call| call.over_websocket)
        .collect();
    assert_eq!(
        ways,
        BTreeSet::from([true]),
        "the conversation did not stay on the WebSocket"
    );
}

fn codex_falls_back_to_server_sent_events(mode: Mode) {
    let host = Host::new(mode);
    let key = key();
    let vendor = vendor(&key, false, &["echo edited > made.txt"]);
    let outcome = codex(&host)
        .policy(&codex_policy(&vendor))
        .host_env("REAL_KEY", &key)
        .finish()
        .success();
    assert_edited(&host, &outcome, "made.txt", "edited\n");
    assert_only_real_key(&vendor, &key);
}

fn codex_in_its_own_sandbox_where_granted(mode: Mode) {
    let host = Host::new(mode);
    let key = key();
    let vendor = vendor(
        &key,
        true,
        &["echo edited > made.txt; echo x > /etc/outside || echo refused by codex"],
    );
    let program = agent("codex");
    let words = [
        program.to_str().unwrap(),
        "exec",
        "--skip-git-repo-check",
        "-s",
        "workspace-write",
        "make a file",
    ];
    let policy = codex_policy(&vendor).head("nested = true");
    let outcome = host
        .run(words)
        .limit(PATIENCE)
        .policy(&policy)
        .host_env("REAL_KEY", &key)
        .finish()
        .success();
    assert_edited(&host, &outcome, "made.txt", "edited\n");
    assert!(
        !host
            .state(&outcome.name)
            .join("layers/etc/upper/outside")
            .exists()
    );
}

fn a_wrong_key_never_becomes_the_real_one(mode: Mode) {
    let host = Host::new(mode);
    let key = key();
    let vendor = vendor(&key, true, &["true"]);
    // The program inside sends a key of its own: it goes out as it is, or is refused, but is not replaced.
    let script = "curl -sS -o /dev/null -w '%{http_code}\\n' -H 'x-api-key: sk-somebody-elses' -H 'content-type: application/json' -d '{}' https://api.anthropic.com/v1/messages";
    let outcome = host
        .shell(script)
        .policy(&claude_policy(&vendor))
        .host_env("REAL_KEY", &key)
        .finish()
        .success();
    assert_ne!(outcome.text().trim(), "200", "{outcome:?}");
    assert!(!vendor.credentials_seen().contains(&key));
}

fn somebody_elses_key_is_refused_unless_that_is_allowed(mode: Mode) {
    let host = Host::new(mode);
    let key = key();
    let vendor = vendor(&key, true, &["true"]);
    let script = "curl -sS -H 'authorization: Bearer sk-somebody-elses' -H 'content-type: application/json' -d '{}' https://api.anthropic.com/v1/messages; \
                  curl -sS -o /dev/null -w '%{http_code}\n' https://api.anthropic.com/v1/models?access_token=sk-somebody-elses";
    let ask = |policy: &Policy| {
        let run = host.shell(script).policy(policy);
        run.host_env("REAL_KEY", &key).finish().success()
    };
    let outcome = ask(&claude_policy(&vendor));
    assert!(outcome.text().contains("foreign_credential"), "{outcome:?}");
    assert!(outcome.text().ends_with("403\n"), "{outcome:?}");
    assert!(vendor.calls().is_empty(), "{:?}", vendor.calls());
    let events = outcome.events();
    let denied = events.of_kind("request").into_iter();
    let reasons: Vec<_> = denied.map(|event| event["reason"].clone()).collect();
    assert_eq!(reasons, ["foreign_credential", "foreign_credential"]);
    // Control: with leave, the vendor gets to see it.
    let text = "[credential.anthropic]";
    let policy = Policy::new()
        .pin_with("api.anthropic.com", vendor.address(), "credential = \"anthropic\"")
        .table(&format!("{text}\nsource = {{ env = \"REAL_KEY\" }}\nhosts = [\"api.anthropic.com\"]\nforeign = \"allow\""));
    ask(&policy);
    assert_eq!(vendor.credentials_seen(), ["sk-somebody-elses"]);
}

/// Looks for the key in what a program inside can read: its environment, all files, the memory of all processes.
const SEARCH: &str = r#"
import os, sys
key = bytes.fromhex(sys.argv[1])[::-1]  # so that our own arguments do not hold it
found = []
for pid in filter(str.isdigit, os.listdir('/proc')):
    for name in ('environ', 'cmdline'):
        try:
            if key in open(f'/proc/{pid}/{name}', 'rb').read(): found.append(f'/proc/{pid}/{name}')
        except OSError: pass
    if int(pid) == os.getpid(): continue
    try:
        with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb', 0) as memory:
            for line in maps:
                start, end = (int(x, 16) for x in line.split()[0].split('-'))
                if 'r' not in line.split()[1] or end - start > 1 << 30: continue
                try:
                    memory.seek(start)
                    if key in memory.read(end - start): found.append(f'/proc/{pid}/mem {line.strip()}')
                except (OSError, ValueError, OverflowError): pass
    except OSError: pass
for top in ('/etc', '/home', '/root', '/run', '/tmp', '/var', os.environ['HOME'], os.getcwd()):
    for directory, _, files in os.walk(top):
        for name in files:
            path = os.path.join(directory, name)
            try:
                if os.path.isfile(path) and os.path.getsize(path) < 1 << 26 and key in open(path, 'rb').read(): found.append(path)
            except OSError: pass
print(found)
"#;

fn the_real_key_is_nowhere_inside(mode: Mode) {
    let host = Host::new(mode);
    let key = key();
    let reversed: Vec<u8> = key.bytes().rev().collect();
    let vendor = vendor(&key, true, &["true"]);
    // A process that used the placeholder stays alive while the others are searched.
    let script = "import subprocess, sys, urllib.request, os
request = urllib.request.Request('https://api.anthropic.com/v1/messages', b'{}', {'x-api-key': os.environ['ANTHROPIC_API_KEY'], 'content-type': 'application/json'})
print(urllib.request.urlopen(request).status, os.environ['ANTHROPIC_API_KEY'], flush=True)
subprocess.run(['/usr/bin/python3', '-c', sys.argv[1], sys.argv[2]], check=True)";
    let words = ["/usr/bin/python3", "-c", script, SEARCH, &hex(&reversed)];
    let outcome = host
        .run(words)
        .policy(&claude_policy(&vendor))
        .host_env("REAL_KEY", &key)
        .finish()
        .success();
    let told: Vec<String> = outcome.text().lines().map(str::to_owned).collect();
    assert!(
        told[0].starts_with("200 ") && !told[0].contains(&key),
        "{outcome:?}"
    );
    assert_eq!(told[1], "[]", "the key is inside");
    assert_only_real_key(&vendor, &key);
    assert_not_stored(&host, &outcome, &key);
    // Control: a key that is handed in for real is found.
    let outcome = host
        .run(words)
        .policy(&claude_policy(&vendor))
        .host_env("REAL_KEY", &key)
        .env("LEAKED", &key)
        .finish()
        .success();
    assert!(outcome.text().contains("/environ"), "{outcome:?}");
}
