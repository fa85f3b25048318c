//! Subscribers' logins: the tokens stay outside and are renewed there, and no program inside notices.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wardian_tests::account::{Account, jwt};
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::model::{ModelServer, Options, Script};
use wardian_tests::policy::Policy;
use wardian_tests::process::{Input, Running};
use wardian_tests::run::Outcome;

use crate::agents::{PATIENCE, agent};

wardian_tests::both_modes!(
    control_claude_reads_its_login_file,
    claude_works_with_a_login_that_expires_meanwhile,
    codex_works_with_a_login_that_expires_meanwhile,
    an_expired_token_is_renewed_before_it_is_used,
    twenty_sandboxes_renew_once,
    a_login_that_cannot_be_renewed_is_said_to_be,
);

struct Subscriber {
    account: Arc<Account>,
    vendor: ModelServer,
}

impl Subscriber {
    fn new() -> Self {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let account = Arc::new(Account::new(&format!("real{}", hex::encode(random))));
        let options = Options {
            script: Script::new(&["echo edited > made.txt"], "Created."),
            require_key: None,
            websocket: true,
        };
        Self {
            vendor: ModelServer::for_account(options, account.clone()),
            account,
        }
    }

    fn claude_file(&self, host: &Host) -> PathBuf {
        host.home().join(".claude/.credentials.json")
    }

    fn codex_file(&self, host: &Host) -> PathBuf {
        host.home().join(".codex/auth.json")
    }

    /// Logs in to Claude Code, with a token that its file says to hold for `left`.
    fn log_in_to_claude(&self, host: &Host, left: Duration) {
        let expires = SystemTime::now() + left;
        let expires = expires.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let tokens = json!({"claudeAiOauth": {
            "accessToken": self.account.access(0), "refreshToken": self.account.refresh(0),
            "expiresAt": expires, "scopes": ["user:inference", "user:profile"], "subscriptionType": "max"}});
        host.write(&self.claude_file(host), tokens.to_string());
    }

    fn log_in_to_codex(&self, host: &Host) {
        let tokens = json!({"auth_mode": "chatgpt", "OPENAI_API_KEY": null, "tokens": {
            "id_token": jwt("identity"), "access_token": self.account.access(0),
            "refresh_token": self.account.refresh(0), "account_id": "acc-1"},
            "last_refresh": "2099-01-01T00:00:00Z"});
        host.write(&self.codex_file(host), tokens.to_string());
    }

    /// The vendor's names, played by the model server.
    fn policy(&self) -> Policy {
        let names = [
            "api.anthropic.com",
            "platform.claude.com",
            "api.openai.com",
            "chatgpt.com",
            "auth.openai.com",
        ];
        names
            .into_iter()
            .fold(Policy::new(), |policy, name| {
                policy.pin(name, self.vendor.address())
            })
            .table("[env]\nIS_SANDBOX = \"1\"\nCLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC = \"1\"")
    }

    /// Renewed once, with what the file says now; no 401 got inside; no token did either.
    #[track_caller]
    fn assert_renewed(&self, host: &Host, outcome: &Outcome<'_>, file: &PathBuf) {
        assert_eq!((self.account.renewals(), self.account.refusals()), (1, 0));
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains(&self.account.refresh(1)), "{text}");
        assert!(text.contains(&self.account.access(1)), "{text}");
        self.assert_unnoticed(host, outcome);
    }

    #[track_caller]
    fn assert_unnoticed(&self, host: &Host, outcome: &Outcome<'_>) {
        let events = outcome.events();
        let refused: Vec<_> = events
            .of_kind("response")
            .into_iter()
            .filter(|event| event["status"] == 401)
            .collect();
        assert!(refused.is_empty(), "{refused:?}");
        assert!(!events.of_kind("credential_used").is_empty());
        let mut grep = std::process::Command::new("grep");
        grep.args([
            "-r",
            "-l",
            "-a",
            "-F",
            "--devices=skip",
            &self.account.mark(),
        ])
        .arg(host.base());
        let found = Running::start(grep, Input::Nothing).wait(Duration::from_secs(30));
        let own = [self.claude_file(host), self.codex_file(host)];
        let other: Vec<String> = found
            .text()
            .lines()
            .filter(|line| own.iter().all(|own| own.to_str() != Some(line)))
            .map(str::to_owned)
            .collect();
        assert!(other.is_empty(), "files that hold a token: {other:?}");
    }
}

const LONG: Duration = Duration::from_secs(8 * 3600);

fn control_claude_reads_its_login_file(mode: Mode) {
    let host = Host::new(mode);
    let subscriber = Subscriber::new();
    subscriber.log_in_to_claude(&host, LONG);
    let address = subscriber.vendor.address().port();
    let mut command = host.command([agent("claude").to_str().unwrap(), "-p", "hello"]);
    command
        .env("ANTHROPIC_BASE_URL", format!("https://localhost:{address}"))
        .env("NODE_EXTRA_CA_CERTS", host.ca_file())
        .env("IS_SANDBOX", "1")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    Running::start(command, Input::Nothing).wait(PATIENCE);
    let seen = subscriber.vendor.credentials_seen();
    assert_eq!(seen, [subscriber.account.access(0)]);
}

fn claude_works_with_a_login_that_expires_meanwhile(mode: Mode) {
    let host = Host::new(mode);
    let subscriber = Subscriber::new();
    subscriber.log_in_to_claude(&host, LONG);
    subscriber.account.expire();
    let program = agent("claude");
    let words = [
        program.to_str().unwrap(),
        "-p",
        "make a file",
        "--output-format",
        "json",
    ];
    let outcome = host
        .run(words)
        .policy(&subscriber.policy())
        .limit(PATIENCE)
        .finish()
        .success();
    assert!(
        outcome.text().contains("\"result\":\"Created.\""),
        "{outcome:?}"
    );
    subscriber.assert_renewed(&host, &outcome, &subscriber.claude_file(&host));
}

fn codex_works_with_a_login_that_expires_meanwhile(mode: Mode) {
    let host = Host::new(mode);
    let subscriber = Subscriber::new();
    subscriber.log_in_to_codex(&host);
    subscriber.account.expire();
    let program = agent("codex");
    let words = [
        program.to_str().unwrap(),
        "exec",
        "--skip-git-repo-check",
        "make a file",
    ];
    let outcome = host
        .run(words)
        .policy(&subscriber.policy())
        .limit(PATIENCE)
        .finish()
        .success();
    assert!(outcome.text().contains("Created."), "{outcome:?}");
    subscriber.assert_renewed(&host, &outcome, &subscriber.codex_file(&host));
}

/// Asks like the program, with the token that it finds.
const ASK: &str = r#"
import json, os, sys, urllib.request
token = json.load(open(os.path.expanduser('~/.claude/.credentials.json')))['claudeAiOauth']['accessToken']
request = urllib.request.Request('https://api.anthropic.com/v1/messages', b'{"x": "' + b'y' * 100000 + b'"}',
    {'authorization': 'Bearer ' + token, 'content-type': 'application/json'})
print(urllib.request.urlopen(request).status)
"#;

fn an_expired_token_is_renewed_before_it_is_used(mode: Mode) {
    let host = Host::new(mode);
    let subscriber = Subscriber::new();
    subscriber.log_in_to_claude(&host, Duration::from_secs(60));
    subscriber.account.expire();
    let outcome = host
        .python(ASK)
        .option(&["--preset", "claude"])
        .policy(&subscriber.policy())
        .finish()
        .success();
    assert_eq!(outcome.text().trim(), "200");
    subscriber.assert_renewed(&host, &outcome, &subscriber.claude_file(&host));
    let refused = subscriber.vendor.calls();
    assert!(refused.iter().all(|call| call.status != 401), "{refused:?}");
}

fn twenty_sandboxes_renew_once(mode: Mode) {
    let host = Host::new(mode);
    let subscriber = Subscriber::new();
    subscriber.log_in_to_claude(&host, LONG);
    subscriber.account.expire();
    let started: Vec<_> = (0..20)
        .map(|_| {
            host.python(ASK)
                .option(&["--preset", "claude"])
                .policy(&subscriber.policy())
                .limit(PATIENCE)
                .start()
        })
        .collect();
    for one in started {
        let outcome = one.finish().success();
        assert_eq!(outcome.text().trim(), "200");
        subscriber.assert_unnoticed(&host, &outcome);
    }
    assert_eq!(subscriber.account.renewals(), 1);
    assert_eq!(subscriber.account.refusals(), 0);
}

fn a_login_that_cannot_be_renewed_is_said_to_be(mode: Mode) {
    let host = Host::new(mode);
    let subscriber = Subscriber::new();
    subscriber.log_in_to_claude(&host, LONG);
    let file = subscriber.claude_file(&host);
    let mut tokens: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    tokens["claudeAiOauth"]["refreshToken"] = "rt-of-yesterday".into();
    host.write(&file, tokens.to_string());
    subscriber.account.expire();
    let outcome = host
        .python(ASK)
        .option(&["--preset", "claude"])
        .policy(&subscriber.policy())
        .finish();
    // The vendor's own answer is what the program gets, and nothing of the file has changed.
    assert!(outcome.errors().contains("401"), "{outcome:?}");
    let after: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(after, tokens);
    assert_eq!(subscriber.account.refusals(), 1);
}
