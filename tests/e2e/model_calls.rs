//! Calls of language models are on the record: as the vendor counted them, whoever makes them and however.

use serde_json::Value;
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::model::{ModelServer, Options, Script};
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;
use wardian_tests::run::Outcome;

use crate::agents;

wardian_tests::both_modes!(
    calls_of_claude_are_on_record,
    calls_of_codex_over_websocket_are_on_record,
    calls_of_codex_by_server_sent_events_are_on_record,
    conversations_are_kept_where_the_policy_says_so,
    calls_at_any_host_and_by_any_client,
    what_is_no_call_is_not_one,
    prices_may_be_the_users_own,
);

/// What the model server says of each of its answers.
const TOKENS: (u64, u64) = (100, 20);

fn vendor(key: &str, websocket: bool) -> ModelServer {
    ModelServer::start(Options {
        script: Script::new(&["echo edited > made.txt"], "Created."),
        require_key: Some(key.to_owned()),
        websocket,
    })
}

fn calls(outcome: &Outcome<'_>) -> Vec<Value> {
    let events = outcome.events();
    events.of_kind("model_call").into_iter().cloned().collect()
}

/// Answers that the vendor gave to calls by this protocol, and so what must be on record.
fn answered(vendor: &ModelServer, api: &str) -> usize {
    let calls = vendor.calls();
    let answered = calls.iter().filter(|call| {
        // An upgrade has no body; the calls that follow it on its socket have one each.
        let was_asked = !call.body.is_empty() && matches!(call.status, 101 | 200);
        was_asked && call.api == Some(api) && !call.request.path.contains("count_tokens")
    });
    answered.count()
}

/// All calls are read, counted as the vendor counted them, and in the order of an agent's work: a tool, then a text.
#[track_caller]
fn assert_read(calls: &[Value], api: &str, tool: &[&str], stops: [&str; 2]) {
    for call in calls {
        assert_eq!(call["api"], api, "{call:#}");
        assert_eq!(call["decoded"], true, "{call:#}");
        let tokens = &call["tokens"];
        let counted = (tokens["input"].as_u64(), tokens["output"].as_u64());
        assert_eq!(counted, (Some(TOKENS.0), Some(TOKENS.1)), "{call:#}");
        assert!(call["model"].is_string(), "{call:#}");
    }
    let with_tool: Vec<_> = calls
        .iter()
        .filter(|call| call["tool_calls"].is_array())
        .collect();
    assert_eq!(with_tool.len(), 1, "{calls:#?}");
    let name = with_tool[0]["tool_calls"][0]["name"].as_str().unwrap();
    assert!(tool.iter().any(|tool| name.ends_with(tool)), "{name}");
    assert_eq!(with_tool[0]["stop"], stops[0]);
    assert_eq!(calls.last().unwrap()["stop"], stops[1]);
    assert!(with_tool[0]["milliseconds_to_first_token"].is_u64());
}

fn calls_of_claude_are_on_record(mode: Mode) {
    let host = Host::new(mode);
    let key = agents::key();
    let vendor = vendor(&key, true);
    let outcome = agents::claude(&host)
        .policy(&agents::claude_policy(&vendor))
        .host_env("REAL_KEY", &key)
        .finish()
        .success();
    let calls = calls(&outcome);
    assert_eq!(calls.len(), answered(&vendor, "anthropic"), "{calls:#?}");
    assert_read(
        &calls,
        "anthropic_messages",
        &["Bash"],
        ["tool_use", "end_turn"],
    );
    // The vendor's models have prices.
    assert!(calls.iter().all(|call| call["cost_micro_usd"].is_u64()));
    // By default nothing that was said is kept.
    assert!(!host.state(&outcome.name).join("conversations").exists());
    host.wardian(&["verify", &outcome.name]).success();

    let table = host.wardian(&["llm", &outcome.name]).success().text();
    assert_eq!(table.lines().count(), calls.len() + 3, "{table}");
    assert!(table.contains("tool_use"), "{table}");
    let total = format!("{} tokens in", TOKENS.0 as usize * calls.len());
    assert!(table.contains(&total), "{table}");
}

fn calls_of_codex_over_websocket_are_on_record(mode: Mode) {
    codex(mode, true);
}

fn calls_of_codex_by_server_sent_events_are_on_record(mode: Mode) {
    codex(mode, false);
}

fn codex(mode: Mode, websocket: bool) {
    let host = Host::new(mode);
    let key = agents::key();
    let vendor = vendor(&key, websocket);
    let outcome = agents::codex(&host)
        .policy(&agents::codex_policy(&vendor))
        .host_env("REAL_KEY", &key)
        .finish()
        .success();
    let calls = calls(&outcome);
    assert_eq!(calls.len(), answered(&vendor, "responses"), "{calls:#?}");
    let shells = [
        "shell",
        "exec",
        "exec_command",
        "shell_command",
        "local_shell_call",
    ];
    assert_read(
        &calls,
        "openai_responses",
        &shells,
        ["completed", "completed"],
    );
    let events = outcome.events();
    let requests = events.of_kind("request");
    for call in &calls {
        let request = requests
            .iter()
            .find(|request| request["id"] == call["request"])
            .unwrap();
        assert_eq!(request["upgrade"] == "websocket", websocket, "{request:#}");
    }
}

fn conversations_are_kept_where_the_policy_says_so(mode: Mode) {
    let host = Host::new(mode);
    let key = agents::key();
    let vendor = vendor(&key, true);
    let policy = agents::claude_policy(&vendor).head("record = \"full\"");
    let outcome = agents::claude(&host)
        .policy(&policy)
        .host_env("REAL_KEY", &key)
        .finish()
        .success();
    let calls = calls(&outcome);
    assert!(
        calls
            .iter()
            .all(|call| call["conversation"]["sha256"].is_string())
    );
    let last = calls.len().to_string();
    let name = outcome.name.as_str();
    let shown = host
        .wardian(&["llm", name, "--call", &last])
        .success()
        .text();
    for text in [
        "make a file",
        "calls Bash",
        "echo edited > made.txt",
        "result of toolu_",
        "Created.",
    ] {
        assert!(shown.contains(text), "{text} is not in {shown}");
    }
    let json = host
        .wardian(&["llm", name, "--call", &last, "--json"])
        .success();
    let json: Value = serde_json::from_str(&json.text()).unwrap();
    assert_eq!(json["answer"]["content"][0]["text"], "Created.");
    // Only the account may read it, and a text that was altered is not shown.
    let directory = host.state(name).join("conversations");
    let mode_of = |path: &std::path::Path| {
        std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777
    };
    assert_eq!(mode_of(&directory), 0o700);
    for file in std::fs::read_dir(&directory).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode_of(&path), 0o600);
        std::fs::write(&path, "altered").unwrap();
    }
    host.wardian(&["llm", name, "--call", &last]).failed();
    host.wardian(&["rm", "--force", name]).success();
    assert!(!directory.exists());
}

/// Each protocol, streamed and not, over both versions of HTTP, encoded as the client likes it.
const CLIENT: &str = r#"
import gzip, json, subprocess, sys
def call(path, body, *options):
    words = ['curl', '-sS', '--fail-with-body', '-H', 'content-type: application/json', '--data-binary', '@-', *options]
    return subprocess.run([*words, 'https://gateway.test' + path], input=body, stdout=subprocess.PIPE, check=True).stdout
chat = {'model': 'house-model', 'messages': [{'role': 'user', 'content': 'Hi'}]}
body = json.dumps(chat).encode()
call('/team/v1/chat/completions', body, '--http1.1')
call('/team/v1/chat/completions', json.dumps({**chat, 'stream': True}).encode(), '--http2')
call('/anthropic/v1/messages', body, '--http1.1')
call('/anthropic/v1/messages', json.dumps({**chat, 'stream': True}).encode(), '--http2')
call('/v1/responses', json.dumps({'model': 'house-model', 'input': 'Hi'}).encode(), '--http2')
call('/v1/responses', json.dumps({'model': 'house-model', 'input': 'Hi', 'stream': True}).encode(), '--http1.1')
# What the origin cannot read, the door can.
call('/v1/responses', gzip.compress(json.dumps({'model': 'packed', 'input': 'Hi'}).encode()), '-H', 'content-encoding: gzip')
"#;

fn calls_at_any_host_and_by_any_client(mode: Mode) {
    let host = Host::new(mode);
    let vendor = ModelServer::start(Options {
        script: Script::new(&[], "Hello."),
        require_key: None,
        websocket: true,
    });
    let policy = Policy::new().pin("gateway.test", vendor.address());
    let outcome = host
        .run(["/usr/bin/python3", "-c", CLIENT])
        .policy(&policy)
        .finish()
        .success();
    let calls = calls(&outcome);
    let told: Vec<_> = calls
        .iter()
        .map(|call| {
            (
                call["api"].as_str().unwrap(),
                call["model"].as_str().unwrap(),
            )
        })
        .collect();
    let twice = |api| [(api, "house-model"), (api, "house-model")];
    let mut expected = twice("openai_chat_completions").to_vec();
    expected.extend(twice("anthropic_messages"));
    expected.extend(twice("openai_responses"));
    expected.push(("openai_responses", "packed"));
    assert_eq!(told, expected);
    for call in &calls {
        assert_eq!(call["tokens"]["input"], 100, "{call:#}");
        assert_eq!(call["decoded"], true, "{call:#}");
        // Nobody knows what this model costs, which is not nothing.
        assert!(call.get("cost_micro_usd").is_none(), "{call:#}");
    }
    let table = host.wardian(&["llm", &outcome.name]).success().text();
    assert!(table.contains("7 calls without a price"), "{table}");
}

fn what_is_no_call_is_not_one(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let script = "for path in /chat/completions /v1/messages /v1/responses /x; do
        curl -sS -o /dev/null -d '{\"messages\": [\"a chat of people\"]}' https://origin.test$path
    done
    curl -sS -o /dev/null https://origin.test/v1/responses";
    let outcome = host.shell(script).policy(&policy).finish().success();
    assert_eq!(origin.requests().len(), 5);
    assert_eq!(calls(&outcome), Vec::<Value>::new());
    let text = host.wardian(&["llm", &outcome.name]).success().text();
    assert_eq!(text.trim(), "no calls of language models");
}

fn prices_may_be_the_users_own(mode: Mode) {
    let host = Host::new(mode);
    let vendor = ModelServer::start(Options {
        script: Script::new(&[], "Hello."),
        require_key: None,
        websocket: true,
    });
    let policy = Policy::new().pin("gateway.test", vendor.address());
    let prices = host.home().join(".config/wardian/prices.toml");
    host.write(
        &prices,
        "[[price]]\nmodel = \"house-*\"\ninput = 2\noutput = 10\n",
    );
    let ask = "curl -sS -o /dev/null -d '{\"model\":\"house-model\",\"messages\":[]}' https://gateway.test/v1/chat/completions";
    let outcome = host.shell(ask).policy(&policy).finish().success();
    let calls = calls(&outcome);
    assert_eq!(calls[0]["cost_micro_usd"], 400);
    assert_eq!(calls[0]["price"], "prices.toml: house-*");
    // A table that cannot be read is said before anything starts.
    host.write(
        &prices,
        "[[price]]\nmodel = \"house-*\"\ninput = \"cheap\"\noutput = 10\n",
    );
    let outcome = host.shell(ask).policy(&policy).finish().failed();
    assert!(outcome.errors().contains("prices.toml"), "{outcome:?}");
}
