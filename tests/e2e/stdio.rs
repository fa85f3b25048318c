//! Exit codes, signals, standard streams, terminals.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::process::Input;
use wardian_tests::run::supervisor_of;

use crate::support::at_terminal;

wardian_tests::both_modes!(
    exit_code_is_passed_on,
    death_by_signal_is_128_and_more,
    a_program_that_is_not_there,
    a_program_that_may_not_be_executed,
    arguments_arrive_as_they_are,
    streams_are_apart_and_byte_exact,
    standard_input_arrives_byte_exact,
    closed_standard_input,
    open_standard_input_does_not_hold_the_end,
    a_quarter_of_a_gigabyte_through_pipes,
    a_reader_that_goes_away,
    streams_can_be_opened_anew,
    signals_are_forwarded,
    suspension_is_forwarded,
    background_processes_end_with_the_program,
    orphans_are_reaped,
    only_the_environment_that_was_granted,
    summary_at_the_end_unless_quiet,
    terminal_of_its_own,
    terminal_resize,
    terminal_interrupt_and_job_control,
    terminal_is_restored_when_the_supervisor_dies,
);

fn exit_code_is_passed_on(mode: Mode) {
    let host = Host::new(mode);
    for code in [0, 1, 7, 100, 255] {
        host.shell(&format!("exit {code}")).finish().exited(code);
    }
}

fn death_by_signal_is_128_and_more(mode: Mode) {
    let host = Host::new(mode);
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("SEGV", 139), ("INT", 130)] {
        host.shell(&format!("kill -{signal} $$; sleep 5"))
            .finish()
            .exited(code);
    }
}

fn a_program_that_is_not_there(mode: Mode) {
    let host = Host::new(mode);
    let outcome = host.run(["no-such-program-here"]).finish().exited(127);
    assert!(
        outcome.errors().contains("no-such-program-here"),
        "{outcome:?}"
    );
}

fn a_program_that_may_not_be_executed(mode: Mode) {
    let host = Host::new(mode);
    host.write(&host.project().join("notes"), "plain text\n");
    host.run(["./notes"]).finish().exited(126);
}

fn arguments_arrive_as_they_are(mode: Mode) {
    let host = Host::new(mode);
    let words = [
        "",
        " ",
        "a b",
        "new\nline",
        "tab\t",
        "'\"$HOME`",
        "--help",
        "-x",
        "\u{e9}\u{1f512}",
    ];
    let program = "import sys, json; print(json.dumps(sys.argv[1:]))";
    let outcome = host
        .run(["/usr/bin/python3", "-c", program].into_iter().chain(words))
        .finish()
        .success();
    let received: Vec<String> = serde_json::from_str(&outcome.text()).unwrap();
    assert_eq!(received, words);
}

fn streams_are_apart_and_byte_exact(mode: Mode) {
    let host = Host::new(mode);
    let program = "import sys; all = bytes(range(256)) * 40
sys.stdout.buffer.write(all); sys.stderr.buffer.write(all[::-1])";
    let outcome = host
        .python(program)
        .option(&["--quiet"])
        .finish()
        .success()
        .finished;
    let all: Vec<u8> = (0..=255).cycle().take(256 * 40).collect();
    assert!(outcome.stdout == all, "standard output differs");
    assert!(
        outcome.stderr.iter().eq(all.iter().rev()),
        "standard error differs: {}",
        outcome.errors()
    );
}

fn standard_input_arrives_byte_exact(mode: Mode) {
    let host = Host::new(mode);
    let mut bytes = vec![0; 3_000_001];
    getrandom(&mut bytes);
    let outcome = host
        .run(["cat"])
        .stdin(Input::Bytes(bytes.clone()))
        .finish()
        .success()
        .finished;
    assert!(
        outcome.stdout == bytes,
        "{} bytes came back of {}",
        outcome.stdout.len(),
        bytes.len()
    );
    // A program that reads none of it ends all the same.
    host.run(["true"])
        .stdin(Input::Bytes(bytes))
        .finish()
        .success();
}

fn getrandom(bytes: &mut [u8]) {
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), bytes).unwrap();
}

fn closed_standard_input(mode: Mode) {
    let host = Host::new(mode);
    let program = "import os, sys
try: print('read', len(os.read(0, 10)))
except OSError: print('closed')
print(sorted(os.listdir('/proc/self/fd')))";
    let outcome = host.python(program).stdin(Input::Closed).finish().success();
    let text = outcome.text();
    assert!(
        text.starts_with("read 0") || text.starts_with("closed"),
        "{outcome:?}"
    );
}

fn open_standard_input_does_not_hold_the_end(mode: Mode) {
    let host = Host::new(mode);
    let outcome = host
        .shell("echo done")
        .stdin(Input::Open)
        .finish()
        .success();
    assert_eq!(outcome.text(), "done\n");
    outcome.within(Duration::from_secs(5));
}

fn a_quarter_of_a_gigabyte_through_pipes(mode: Mode) {
    let host = Host::new(mode);
    let outer = "head -c 268435456 /dev/zero | \"$@\" | sha256sum";
    let outcome = host
        .run(["cat"])
        .by_way_of(&["sh", "-c", outer, "sh"])
        .limit(Duration::from_secs(60))
        .finish()
        .success();
    let expected = host
        .outside(["sh", "-c", "head -c 268435456 /dev/zero | sha256sum"])
        .success();
    assert_eq!(outcome.text(), expected.text());
}

fn a_reader_that_goes_away(mode: Mode) {
    let host = Host::new(mode);
    let outcome = host
        .run(["yes"])
        .by_way_of(&["sh", "-c", "\"$@\" | head -c 4", "sh"])
        .finish()
        .success();
    assert_eq!(outcome.text(), "y\ny\n");
    outcome.within(Duration::from_secs(10));
}

fn signals_are_forwarded(mode: Mode) {
    let host = Host::new(mode);
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::USR1, "USR1"),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 42' {name}; echo ready >\"$HOME/ready\"; echo ready; while :; do sleep 0.05; done"
        );
        let started = host.shell(&script).start();
        // The program is there once the sandbox runs it; its output is only collected at the end.
        wait_until("the program runs", || started.pids_inside().len() >= 2);
        std::thread::sleep(Duration::from_millis(300));
        started.running.signal(signal);
        let outcome = started.finish().exited(42);
        assert!(
            outcome.text().ends_with(&format!("got {name}\n")),
            "{outcome:?}"
        );
    }
}

/// As scripts do with /dev/stderr, and as `tee` does.
fn streams_can_be_opened_anew(mode: Mode) {
    let host = Host::new(mode);
    let script = "cat /dev/stdin; echo out >/dev/stdout; echo error >/dev/stderr";
    for run in [host.shell(script), host.shell(script).as_inner_root()] {
        let outcome = run
            .option(&["--quiet"])
            .stdin(Input::Bytes(b"in\n".to_vec()))
            .finish()
            .success();
        assert_eq!(
            (outcome.text(), outcome.errors()),
            ("in\nout\n".to_owned(), "error\n".to_owned())
        );
    }
}

/// Without a terminal as well: `wardian` stops when its program does as it was told to, and both go on.
fn suspension_is_forwarded(mode: Mode) {
    let host = Host::new(mode);
    let script = "echo ready >\"$HOME/ready\"; while ! test -e \"$HOME/end\"; do sleep 0.05; done";
    let started = host.shell(script).option(&["--time", "20s"]).start();
    wait_until("the program runs", || started.pids_inside().len() >= 2);
    std::thread::sleep(Duration::from_millis(300));
    started.running.signal(Signal::TSTP);
    let pid = started.running.pid();
    wait_until("wardian stops", || state(pid) == "T");
    started.running.signal(Signal::CONT);
    wait_until("wardian goes on", || state(pid) != "T");
    started.running.signal(Signal::TERM);
    started.finish().exited(143);
}

fn state(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    after_name.chars().take(1).collect()
}

#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never happened: {what}");
}

fn background_processes_end_with_the_program(mode: Mode) {
    let host = Host::new(mode);
    let outcome = host
        .shell("sleep 1000 & setsid sleep 1000 & (trap '' TERM HUP INT; sleep 1000) & echo started")
        .finish()
        .success();
    assert_eq!(outcome.text(), "started\n");
    outcome.within(Duration::from_secs(5));
}

fn orphans_are_reaped(mode: Mode) {
    let host = Host::new(mode);
    let script = "for i in 1 2 3 4 5; do sh -c 'sleep 0.1 & exit 0'; done; sleep 0.6
        for status in /proc/[0-9]*/status; do grep -l '^State:.Z' $status 2>/dev/null; done | wc -l";
    assert_eq!(host.shell(script).text().trim(), "0");
}

fn only_the_environment_that_was_granted(mode: Mode) {
    let host = Host::new(mode);
    let outcome = host
        .run(["env"])
        .host_env("AWS_SECRET_ACCESS_KEY", "from-the-host")
        .host_env("SSH_AUTH_SOCK", "/tmp/agent.sock")
        .host_env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/bus")
        .env("GRANTED", "yes = and no")
        .finish()
        .success();
    let text = outcome.text();
    assert!(text.contains("GRANTED=yes = and no\n"), "{text}");
    assert!(
        !text.contains("from-the-host")
            && !text.contains("SSH_AUTH_SOCK")
            && !text.contains("DBUS_"),
        "{text}"
    );
    assert!(
        text.lines().any(|line| line.starts_with("HOME="))
            && text.lines().any(|line| line.starts_with("PATH=")),
        "{text}"
    );
}

fn summary_at_the_end_unless_quiet(mode: Mode) {
    let host = Host::new(mode);
    assert!(!host.run(["true"]).finish().success().errors().is_empty());
    let quiet = host.run(["true"]).option(&["--quiet"]).finish().success();
    assert_eq!(quiet.errors(), "");
}

fn terminal_of_its_own(mode: Mode) {
    let host = Host::new(mode);
    let script = "test -t 0 && test -t 1 && test -t 2 && echo is-a-terminal; tty; stty size; read line; echo \"read: $line\"";
    let steps = json!([
        ["expect", "is-a-terminal"],
        ["expect", "24 80"],
        ["send", "typed\n"],
        ["expect", "read: typed"]
    ]);
    let screen = at_terminal(host.shell(script), &steps);
    assert_eq!(screen.exit, Some(0), "{screen:?}");
    assert!(screen.restored, "the terminal's settings changed");
    // Not the user's terminal: one of the sandbox's own.
    assert!(
        screen.shown.contains("/dev/pts/0") || screen.shown.contains("/dev/console"),
        "{screen:?}"
    );
}

fn terminal_resize(mode: Mode) {
    let host = Host::new(mode);
    let script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done";
    let screen = at_terminal(
        host.shell(script),
        &json!([
            ["expect", "ready"],
            ["wait", 0.3],
            ["resize", 33, 111],
            ["expect", "33 111"]
        ]),
    );
    assert_eq!(screen.exit, Some(0), "{screen:?}");
}

fn terminal_interrupt_and_job_control(mode: Mode) {
    let host = Host::new(mode);
    // Ctrl-C reaches the program, not `wardian`.
    let screen = at_terminal(
        host.shell("trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done"),
        &json!([
            ["expect", "ready"],
            ["send", "\u{3}"],
            ["expect", "interrupted"]
        ]),
    );
    assert_eq!(
        (screen.exit, screen.restored),
        (Some(5), true),
        "{screen:?}"
    );
    // Ctrl-Z stops the foreground job of a shell inside, and `fg` goes on with it.
    let steps = json!([
        ["expect", "$ "],
        ["send", "sh -c 'echo job-runs; sleep 1; echo job-done'\n"],
        ["expect", "job-runs\r\n"],
        // Not between a vfork and its execve: a child that is stopped there leaves its parent no way to stop.
        ["wait", 0.3],
        ["send", "\u{1a}"],
        ["expect", "Stopped"],
        ["send", "fg\n"],
        ["expect", "job-done\r\n"],
        ["send", "exit 3\n"]
    ]);
    let screen = at_terminal(
        host.run(["bash", "--norc", "--noprofile", "-i"])
            .env("PS1", "$ "),
        &steps,
    );
    assert_eq!(
        (screen.exit, screen.restored),
        (Some(3), true),
        "{screen:?}"
    );
}

fn terminal_is_restored_when_the_supervisor_dies(mode: Mode) {
    let host = Host::new(mode);
    let steps = json!([["expect", "ready"], ["wait", 3]]);
    let run = host.shell("echo ready; sleep 100");
    let base = host.base().to_owned();
    let killer = std::thread::spawn(move || {
        for _ in 0..600 {
            std::thread::sleep(Duration::from_millis(20));
            if let Some(pid) = supervisor_of(&base) {
                // Once the program runs and the terminal is raw.
                std::thread::sleep(Duration::from_millis(700));
                let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
                return rustix::process::kill_process(pid, Signal::KILL).is_ok();
            }
        }
        false
    });
    let screen = at_terminal(run, &steps);
    assert!(killer.join().unwrap(), "there was no supervisor to kill");
    assert!(
        screen.restored,
        "the terminal's settings were left changed: {screen:?}"
    );
    assert!(screen.exit.is_some_and(|code| code != 0), "{screen:?}");
}
