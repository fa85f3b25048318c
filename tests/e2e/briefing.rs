//! What a sandbox is told of itself, where agents read it, and what they get of the user's own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use wardian_tests::host::{Host, TOOLS};
use wardian_tests::mode::Mode;
use wardian_tests::model::{ModelServer, Options, Script};
use wardian_tests::policy::Policy;

use crate::support::lines;

wardian_tests::both_modes!(
    every_sandbox_describes_itself,
    it_says_what_becomes_of_the_work,
    it_names_placeholders_and_no_secret,
    claude_reads_it_before_anything_else,
    codex_reads_it_before_the_users_own,
    it_lies_where_the_other_agents_read,
    skills_are_copies_without_secrets,
    settings_go_along_in_part,
    nothing_is_written_through_a_directory_of_the_user,
    a_resumed_sandbox_keeps_its_own,
    a_resumed_home_leads_nobody_out,
);

const PATIENCE: Duration = Duration::from_secs(90);
const KEY: &str = "sk-the-users-own-key";

fn every_sandbox_describes_itself(mode: Mode) {
    let host = Host::new(mode);
    let script =
        "cat /run/wardian/README; ls -d /etc/claude-code ~/.codex ~/.gemini ~/.config ~/.claude";
    let outcome = host
        .shell(script)
        .option(&["--allow", "GET https://api.example.org/v1/**"])
        .option(&["--allow", "*.example.net", "--memory", "1G"])
        .finish();
    let text = outcome.text();
    for told in [
        &format!("the Wardian sandbox `{}`", outcome.name),
        &format!("- `{}` is a copy", host.project().display()),
        "- `api.example.org`: GET `/v1/**`\n- `*.example.net`\n",
        "do not retry",
        "`--allow HOST`",
    ] {
        assert!(text.contains(told), "{told}: {outcome:?}");
    }
    assert!(text.lines().count() <= 45, "{text}");
    // Nobody but an agent has a use for the rest.
    assert!(outcome.errors().contains("No such file"), "{outcome:?}");
    assert!(
        !text.contains("\n/etc/claude-code") && !text.contains(".codex"),
        "{text}"
    );
    // What it says of the network is so.
    let script = "cat /run/wardian/README; getent hosts api.example.org || echo unknown";
    let text = host.shell(script).text();
    assert!(text.contains("You can reach nothing"), "{text}");
    assert!(text.ends_with("\nunknown\n"), "{text}");
}

fn it_says_what_becomes_of_the_work(mode: Mode) {
    let host = Host::new(mode);
    let script = "git init -q . && git config user.name A && git config user.email a@example.org \
        && echo x >x && git add x && git commit -qm first";
    host.outside(["sh", "-c", script]).success();
    let project = host.project();
    let project = project.display();

    let outcome = host
        .shell("git branch --show-current; cat /run/wardian/README")
        .finish()
        .success();
    let branch = format!("wardian/{}", outcome.name);
    assert_eq!(lines(&outcome)[0], branch);
    let told = format!(
        "- `{project}` is a clone of the user's repository, on a branch of its own: `{branch}`"
    );
    assert!(outcome.text().contains(&told), "{outcome:?}");
    let told = format!("`wardian apply {}`", outcome.name);
    assert!(outcome.text().contains(&told), "{outcome:?}");

    for (option, told) in [
        ("--overlay", "is a copy of the user's directory"),
        (
            "--bind",
            "is the machine's own directory: what you change there",
        ),
        ("--bind=.:ro", "is the machine's own directory, read-only"),
    ] {
        let run = host.shell("cat /run/wardian/README").option(&[option]);
        let outcome = run.finish().success();
        let told = format!("- `{project}` {told}");
        assert!(outcome.text().contains(&told), "{option}: {outcome:?}");
    }
}

fn it_names_placeholders_and_no_secret(mode: Mode) {
    let host = Host::new(mode);
    let script = "cat /run/wardian/README /etc/claude-code/CLAUDE.md; printenv ANTHROPIC_API_KEY";
    let outcome = host
        .shell(script)
        .option(&["--preset", "claude"])
        .host_env("ANTHROPIC_API_KEY", KEY)
        .finish()
        .success();
    let told = "- `$ANTHROPIC_API_KEY` (`anthropic-api-key`), for `api.anthropic.com`";
    assert_eq!(outcome.text().matches(told).count(), 2, "{outcome:?}");
    assert!(!outcome.text().contains(KEY), "{outcome:?}");
    assert!(
        !outcome.text().contains("CLAUDE_CODE_OAUTH_TOKEN"),
        "{outcome:?}"
    );
}

fn vendor(shell: &[&str]) -> ModelServer {
    ModelServer::start(Options {
        script: Script::new(shell, "Done."),
        require_key: Some(KEY.to_owned()),
        websocket: true,
    })
}

/// Of all that the model was sent: the longest is the whole conversation.
fn conversation(vendor: &ModelServer, api: &str) -> String {
    let calls = vendor.calls().into_iter();
    let bodies = calls
        .filter(|call| call.api == Some(api))
        .map(|call| call.body);
    let longest = bodies.max_by_key(|body| body.len()).unwrap();
    String::from_utf8_lossy(&longest).into_owned()
}

#[track_caller]
fn assert_order(text: &str, parts: &[&str]) {
    let mut at = 0;
    for part in parts {
        let found = text[at..].find(part);
        at += found.unwrap_or_else(|| panic!("{part} is not after the others: {text}"));
    }
}

fn agent(name: &str) -> String {
    format!("{TOOLS}/{name}/node_modules/.bin/{name}")
}

fn claude_reads_it_before_anything_else(mode: Mode) {
    let host = Host::new(mode);
    let vendor = vendor(&["cat ~/.claude/skills/greet/SKILL.md"]);
    let claude = host.home().join(".claude");
    host.write(
        &claude.join("CLAUDE.md"),
        "The user's own word: MARMALADE.\n",
    );
    host.write(
        &claude.join("skills/greet/SKILL.md"),
        "---\nname: greet\ndescription: Says hello in Quenya\n---\nSay: aiya\n",
    );
    let policy = Policy::new()
        .pin("api.anthropic.com", vendor.address())
        .allow("mirror.example.org")
        .table("[env]\nIS_SANDBOX = \"1\"\nCLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC = \"1\"");
    let outcome = host
        .run([agent("claude").as_str(), "-p", "greet"])
        .policy(&policy)
        .host_env("ANTHROPIC_API_KEY", KEY)
        .limit(PATIENCE)
        .finish()
        .success();
    let text = conversation(&vendor, "anthropic");
    let name = format!("the Wardian sandbox `{}`", outcome.name);
    assert_order(
        &text,
        &[&name, "`mirror.example.org`", "do not retry", "MARMALADE"],
    );
    assert!(
        text.contains("Says hello in Quenya") && text.contains("Say: aiya"),
        "{text}"
    );
}

fn codex_reads_it_before_the_users_own(mode: Mode) {
    let host = Host::new(mode);
    let vendor = vendor(&["true"]);
    host.write(
        &host.home().join(".codex/AGENTS.md"),
        "The user's own word: MARMALADE.\n",
    );
    host.write(
        &host.home().join(".agents/skills/greet/SKILL.md"),
        "---\nname: greet\ndescription: Says hello in Quenya\n---\nSay: aiya\n",
    );
    let policy = Policy::new()
        .pin("api.openai.com", vendor.address())
        .pin("chatgpt.com", vendor.address())
        .allow("mirror.example.org");
    let agent = agent("codex");
    let words = [agent.as_str(), "exec", "--skip-git-repo-check", "greet"];
    let outcome = host
        .run(words)
        .policy(&policy)
        .host_env("OPENAI_API_KEY", KEY)
        .limit(PATIENCE)
        .finish()
        .success();
    let text = conversation(&vendor, "responses");
    let name = format!("the Wardian sandbox `{}`", outcome.name);
    assert_order(
        &text,
        &[&name, "`mirror.example.org`", "do not retry", "MARMALADE"],
    );
    assert!(text.contains("Says hello in Quenya"), "{text}");
}

fn it_lies_where_the_other_agents_read(mode: Mode) {
    let host = Host::new(mode);
    host.write(
        &host.home().join(".gemini/GEMINI.md"),
        "The user's own word.\n",
    );
    let script = "cat ~/.gemini/GEMINI.md; echo; echo ---; cat ~/.config/opencode/AGENTS.md; \
        stat -c %u ~/.gemini ~/.gemini/GEMINI.md ~/.config/opencode; echo more >>~/.gemini/GEMINI.md";
    let outcome = host
        .shell(script)
        .option(&["--preset", "gemini", "--preset", "opencode"])
        .finish()
        .success();
    let text = outcome.text();
    let (gemini, opencode) = text.split_once("---\n").unwrap();
    let name = format!("the Wardian sandbox `{}`", outcome.name);
    assert_order(
        gemini,
        &[
            &name,
            "`generativelanguage.googleapis.com`",
            "The user's own word.\n",
        ],
    );
    assert_order(opencode, &[&name, "`models.dev`"]);
    let owners: Vec<_> = lines(&outcome).into_iter().rev().take(3).collect();
    assert!(
        owners.iter().all(|uid| *uid == host.uid().to_string()),
        "{outcome:?}"
    );
    let mine = fs::read_to_string(host.home().join(".gemini/GEMINI.md")).unwrap();
    assert_eq!(mine, "The user's own word.\n");
}

fn skills_are_copies_without_secrets(mode: Mode) {
    let host = Host::new(mode);
    let home = host.home();
    let skill = home.join(".claude/skills/x");
    host.write(&home.join(".ssh/id_ed25519"), KEY);
    host.write(&home.join(".claude/.credentials.json"), KEY);
    host.write(&home.join(".claude/history.jsonl"), KEY);
    host.write(&skill.join("SKILL.md"), "as it was\n");
    host.write_program(&skill.join("scripts/run"), "#!/bin/sh\necho runs\n");
    for secret in [".credentials.json", ".env", "auth.json"] {
        host.write(&skill.join(secret), KEY);
    }
    for (to, link) in [
        ("../../../.ssh/id_ed25519", "relative.md"),
        ("../../../.ssh", "all"),
    ] {
        std::os::unix::fs::symlink(to, skill.join(link)).unwrap();
    }
    std::os::unix::fs::symlink(home.join(".ssh/id_ed25519"), skill.join("absolute.md")).unwrap();

    let script = "cd ~/.claude/skills/x && cat SKILL.md && ./scripts/run && echo changed >SKILL.md && cat SKILL.md \
        && rm scripts/run && find ~/.claude ~/.ssh; grep -rl sk-the-users ~ || echo none";
    let run = || host.shell(script).option(&["--preset", "claude"]);
    let outcome = run().finish().success();
    let told = lines(&outcome);
    assert_eq!(told[..3], ["as it was", "runs", "changed"], "{outcome:?}");
    assert_eq!(told.last().unwrap(), "none", "{outcome:?}");
    for name in [
        "relative.md",
        "absolute.md",
        "all",
        "credentials",
        ".env",
        "auth.json",
        ".ssh",
        "history",
    ] {
        assert!(!outcome.text().contains(name), "{name}: {outcome:?}");
    }
    // Not silently: the user may be looking for it.
    let note = "skills/x/.credentials.json is not copied into the sandbox: it could hold a secret";
    assert!(outcome.errors().contains(note), "{outcome:?}");
    let mine = fs::read_to_string(skill.join("SKILL.md")).unwrap();
    assert_eq!(mine, "as it was\n");
    assert!(skill.join("scripts/run").exists());

    // Control: an ordinary copy of the same directory holds the key in every way.
    let script = "cp -rL ~/.claude/skills ../copied && grep -rl sk-the-users ../copied | wc -l";
    assert_eq!(
        host.outside(["sh", "-c", script]).success().text().trim(),
        "6"
    );

    let planned = run().option(&["--dry-run"]).finish().success();
    let text = planned.text();
    for (path, what) in [
        (".claude/skills ", "a copy, 2 files"),
        (".claude/skills/x/.env", "left out: it could hold a secret"),
        (
            ".claude/skills/x/relative.md",
            "left out: it is a link that leads out",
        ),
    ] {
        let line = text.lines().find(|line| line.contains(path));
        assert!(
            line.is_some_and(|line| line.contains(what)),
            "{path}: {text}"
        );
    }
}

fn settings_go_along_in_part(mode: Mode) {
    let host = Host::new(mode);
    let settings = format!(
        "{{\"model\": \"opus\", \"env\": {{\"ANTHROPIC_AUTH_TOKEN\": \"{KEY}\"}}, \"apiKeyHelper\": \"/bin/helper\", \
         \"hooks\": {{\"PreToolUse\": [{{\"hooks\": [{{\"command\": \"~/.claude/hooks/guard\"}}]}}]}}, \
         \"permissions\": {{\"deny\": [\"Bash(git push:*)\"], \"allow\": [\"Bash(curl -H {KEY}:*)\"]}}}}"
    );
    host.write(&host.home().join(".claude/settings.json"), &settings);
    let codex = format!(
        "model = \"o3\"\nnotify = [\"/bin/notify\"]\n[mcp_servers.x.env]\nTOKEN = \"{KEY}\"\n"
    );
    host.write(&host.home().join(".codex/config.toml"), &codex);
    let script = "cat ~/.claude/settings.json; echo ---; cat ~/.codex/config.toml";
    let outcome = host
        .shell(script)
        .option(&["--preset", "claude", "--preset", "codex"])
        .finish()
        .success();
    let (claude, codex) = outcome
        .text()
        .split_once("---\n")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let claude: serde_json::Value = serde_json::from_str(&claude).unwrap();
    let expected =
        serde_json::json!({"model": "opus", "permissions": {"deny": ["Bash(git push:*)"]}});
    assert_eq!(claude, expected);
    assert_eq!(codex, "model = \"o3\"\n");
}

/// The user works on their settings themselves: then these are no place for a description.
fn nothing_is_written_through_a_directory_of_the_user(mode: Mode) {
    let host = Host::new(mode);
    let codex = host.home().join(".codex");
    host.write(&codex.join("AGENTS.md"), "as it was\n");
    let bind = format!("--bind={}", codex.display());
    let names = || {
        let mut names: Vec<_> = fs::read_dir(&codex)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let run = |script: &str| {
        let run = host.shell(script).option(&["--preset", "codex", &bind]);
        run.finish().success()
    };
    let outcome = run("cat ~/.codex/AGENTS.md");
    assert_eq!(outcome.text(), "as it was\n");
    assert_eq!(names(), ["AGENTS.md"]);
    assert_eq!(read(&codex.join("AGENTS.md")), "as it was\n");
    // Control: what is written there does come out.
    run("echo changed >~/.codex/AGENTS.md");
    assert_eq!(read(&codex.join("AGENTS.md")), "changed\n");
    // A clone of it is left alone, too: a description would look like work of the agent's.
    let git = "git -c user.name=A -c user.email=a@example.org";
    let script = format!("cd ~/.codex && git init -q && git add . && {git} commit -qm first");
    host.outside(["sh", "-c", &script]).success();
    let outcome = host
        .shell("cat ~/.codex/AGENTS.md; git -C ~/.codex status --short")
        .option(&["--preset", "codex", &bind.replace("--bind", "--repo")])
        .finish()
        .success();
    assert_eq!(outcome.text(), "changed\n");
}

fn a_resumed_sandbox_keeps_its_own(mode: Mode) {
    let host = Host::new(mode);
    let codex = host.home().join(".codex");
    host.write(&codex.join("AGENTS.md"), "The user's own word.\n");
    host.write(&codex.join("prompts/a.md"), "as it was\n");
    let script = "echo 'A note to myself.' >>~/.codex/AGENTS.md; echo mine >~/.codex/prompts/a.md";
    let run = host.shell(script).option(&["--preset", "codex"]);
    let name = run.finish().success().name;
    host.write(&codex.join("prompts/a.md"), "new\n");
    host.write(&codex.join("prompts/b.md"), "new too\n");
    let script = "cat ~/.codex/AGENTS.md ~/.codex/prompts/*";
    let resume = [
        "resume",
        "--allow",
        "mirror.example.org",
        &name,
        "--",
        "sh",
        "-c",
        script,
    ];
    let text = host.wardian(&resume).success().text();
    let heading = format!("# Your surroundings: the Wardian sandbox `{name}`");
    let own = "The user's own word.\nA note to myself.\n";
    // What it may reach now, and once.
    assert_order(
        &text,
        &[&heading, "`mirror.example.org`", own, "mine\nnew too\n"],
    );
    assert_eq!(text.matches(&heading).count(), 1, "{text}");
}

/// Its program could make whatever it wanted of the home; the next start is Wardian's.
fn a_resumed_home_leads_nobody_out(mode: Mode) {
    let host = Host::new(mode);
    host.write(
        &host.home().join(".codex/AGENTS.md"),
        "The user's own word.\n",
    );
    let victim = host.base().join("victim");
    host.make_directory(&victim);
    host.make_directory(&victim.join("nssdb"));
    host.write(&victim.join("AGENTS.md"), "as it was\n");
    let script = format!(
        "rm -rf ~/.pki ~/.codex ~/.agents && for name in .pki .codex .agents; do ln -s {} ~/$name; done",
        victim.display()
    );
    let run = host.shell(&script).option(&["--preset", "codex"]);
    let name = run.finish().success().name;

    // Control: a process of the host that writes there is led out.
    let home = host.state(&name).join("layers/home");
    host.write(&home.join(".codex/control"), "led out");
    assert_eq!(read(&victim.join("control")), "led out");
    fs::remove_file(victim.join("control")).unwrap();

    let script = "cat ~/.codex/AGENTS.md; ls ~/.pki/nssdb; ls -A ~";
    let resume = ["resume", &name, "--", "sh", "-c", script];
    let text = host.wardian(&resume).success().text();
    let told = [
        &format!("the Wardian sandbox `{name}`")[..],
        "cert9.db\nkey4.db\n",
        ".moved-by-wardian.",
    ];
    assert_order(&text, &told);
    assert!(!text.contains("as it was"), "{text}");
    assert_eq!(read(&victim.join("AGENTS.md")), "as it was\n");
    let names = fs::read_dir(&victim).unwrap().count();
    assert_eq!(
        (names, fs::read_dir(victim.join("nssdb")).unwrap().count()),
        (2, 0)
    );
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
