//! Floods and hogs: security cases 109, 111, 112 and 114.

use std::time::{Duration, Instant};

use wardian_tests::host::{Host, TOOLS};
use wardian_tests::mode::Mode;
use wardian_tests::origin::{self, Origin};
use wardian_tests::policy::Policy;
use wardian_tests::run::{Outcome, Run};
use wardian_tests::server::Transport;

use crate::memory::resident;
use crate::support::{H2, lines};

wardian_tests::both_modes!(
    case_109_fork_bomb,
    case_109_descriptors_and_memory,
    case_109_disk,
    case_109_terminals,
    case_111_slow_and_many_connections,
    case_111_http2_floods,
    case_111_compressed_bombs_pass_through,
    case_111_questions_without_end,
    case_112_an_upstream_that_never_ends,
    case_112_an_upstream_that_never_answers,
    case_114_a_time_limit_ends_the_whole_tree,
    case_114_a_program_that_stops_itself,
);

/// The most that a supervisor may hold under any of this.
const BOUND: u64 = 200 << 20;

/// Runs to the end; returns the most that the supervisor held.
fn most_held(run: Run<'_>) -> (u64, Outcome<'_>) {
    let mut started = run.start();
    let mut most = 0;
    let mut supervisor = None;
    while started.running.is_running() {
        std::thread::sleep(Duration::from_millis(50));
        supervisor = supervisor.or_else(|| started.supervisor());
        most = most.max(supervisor.map_or(0, resident));
    }
    (most, started.finish())
}

fn case_109_fork_bomb(mode: Mode) {
    let host = Host::new(mode);
    let policy = Policy::new().table("[limits]\npids = 200\ntime = \"4s\"");
    let bomb = host
        .run(["bash", "-c", "bomb() { bomb | bomb & }; bomb; sleep 60"])
        .policy(&policy)
        .start();
    std::thread::sleep(Duration::from_millis(1500));
    // The host and a sandbox beside it answer as ever.
    let start = Instant::now();
    assert_eq!(host.run(["echo", "sibling"]).text(), "sibling\n");
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    let inside = bomb.pids_inside().len();
    assert!(inside <= 210, "{inside} processes");
    bomb.finish().failed();
}

fn case_109_descriptors_and_memory(mode: Mode) {
    let host = Host::new(mode);
    let policy = Policy::new().table("[limits]\nfiles = 256\nmemory = \"256M\"\npids = 64");
    let program = "import os
held = []
try:
    while True: held.append(os.open('/dev/null', os.O_RDONLY))
except OSError as e: print('descriptors', len(held) < 256, e.errno, flush=True)
for fd in held: os.close(fd)
try:
    held = [bytearray(50 << 20) for _ in range(100)]; print('memory without end')
except MemoryError: print('memory refused')";
    let outcome = host.python(program).policy(&policy).finish();
    assert!(
        outcome.text().starts_with("descriptors True 24\n"),
        "{outcome:?}"
    );
    // Where the host cannot enforce a limit on memory, that is said; elsewhere it holds.
    if !outcome.errors().contains("memory") {
        assert!(!outcome.text().contains("without end"), "{outcome:?}");
    }
}

fn case_109_disk(mode: Mode) {
    let host = Host::new(mode);
    // Memory file systems are bounded whether or not anything was asked for.
    let script = "head -c 64G /dev/zero >/tmp/fill 2>/dev/null && echo filled; rm -f /tmp/fill; i=0; while [ $i -lt 300 ]; do i=$((i+1)); : >/dev/shm/$i || break; done; echo end";
    let policy = Policy::new().table("[limits]\nmemory = \"512M\"");
    let outcome = host.shell(script).policy(&policy).finish();
    assert!(!outcome.text().contains("filled"), "{outcome:?}");
}

fn case_109_terminals(mode: Mode) {
    let host = Host::new(mode);
    // All sandboxes have theirs from one pool of the host's.
    let program = "import os, time
held = []
try:
    while len(held) < 1000: held.append(os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY))
except OSError: pass
print(len(held), flush=True)";
    let outside = host
        .outside(["/usr/bin/python3", "-c", program])
        .success()
        .text();
    assert_eq!(outside, "1000\n");
    assert_eq!(host.python(program).text(), "256\n");
}

fn case_111_slow_and_many_connections(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new()
        .pin("origin.test", origin.address())
        .rule("host = \"origin.test\"\nports = [80]");
    let program = "import resource, socket, ssl, subprocess
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE); resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
address, held = socket.gethostbyname('origin.test'), []
try:
    for n in range(10000):
        s = socket.socket(); s.setblocking(False)
        try: s.connect((address, 443 if n % 2 else 80))
        except BlockingIOError: pass
        held.append(s)
        if n % 100 == 0:
            for s in held[-100:]:
                try: s.send(b'\\x16\\x03\\x01\\x02' if n % 200 else b'GET / HT')
                except OSError: pass
except OSError as e: print('stopped at', len(held), e)
print('held', len(held) > 500)
print(subprocess.run(['curl', '-sS', '-m', '30', 'https://origin.test/'], stdout=subprocess.PIPE, text=True).stdout.strip())
for s in held: s.close()
print(subprocess.run(['curl', '-sS', '-m', '30', 'https://origin.test/'], stdout=subprocess.PIPE, text=True).stdout.strip())";
    let (most, outcome) = most_held(
        host.python(program)
            .policy(&policy)
            .limit(Duration::from_secs(120)),
    );
    let told = lines(&outcome.success());
    // While they are held, a new one is served or waits; once they are gone, it is served.
    assert_eq!(told.last().unwrap(), "hello from the origin", "{told:?}");
    assert!(most < BOUND, "{} MiB", most >> 20);
}

fn case_111_http2_floods(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let python = format!("{TOOLS}/python/bin/python");
    for attack in [
        "continuation_flood",
        "rapid_reset",
        "settings_flood",
        "ping_flood",
        "big_head",
    ] {
        let before = origin.requests().len();
        let (most, outcome) = most_held(
            host.run([&python, "-c", H2, "origin.test", attack])
                .policy(&policy)
                .limit(Duration::from_secs(90)),
        );
        let told = outcome.success().text();
        assert!(most < BOUND, "{attack}: {} MiB", most >> 20);
        if attack != "settings_flood" && attack != "ping_flood" {
            assert!(
                told.contains("goaway") || told.contains("closed") || told.contains("reset"),
                "{attack}: {told}"
            );
        }
        assert!(
            origin.requests().len() - before < 5_000,
            "{attack}: {} requests went out",
            origin.requests().len() - before
        );
    }
    assert_eq!(
        host.shell("curl -sS https://origin.test/")
            .policy(&policy)
            .text(),
        "hello from the origin\n"
    );
}

fn case_111_compressed_bombs_pass_through(mode: Mode) {
    let host = Host::new(mode);
    // A gigabyte of zeros in a megabyte: the door forwards the megabyte and never unpacks it.
    let policy_origin = Origin::https();
    let policy = Policy::new().pin("origin.test", policy_origin.address());
    let script = "head -c 1073741824 /dev/zero | gzip -9 >/tmp/bomb.gz; for n in 1 2 3 4 5; do curl -sS -o /dev/null -w '%{http_code} ' -H 'Content-Encoding: gzip' --data-binary @/tmp/bomb.gz https://origin.test/sha256; done";
    let (most, outcome) = most_held(
        host.shell(script)
            .policy(&policy)
            .limit(Duration::from_secs(120)),
    );
    assert_eq!(outcome.success().text().trim(), "200 200 200 200 200");
    assert!(most < BOUND, "{} MiB", most >> 20);
}

fn case_111_questions_without_end(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new()
        .pin("origin.test", origin.address())
        .allow("*.many.test");
    let program = "import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setblocking(False)
server = [l.split()[1] for l in open('/etc/resolv.conf') if l.startswith('nameserver')][0]
for n in range(200000):
    name = f'a{n}.many.test' if n % 2 else f'b{n}.denied.test'
    question = b''.join(bytes([len(p)]) + p.encode() for p in name.split('.')) + b'\\0\\0\\1\\0\\1'
    try: s.sendto(struct.pack('>6H', n & 65535, 256, 1, 0, 0, 0) + question, (server, 53))
    except OSError: pass
print('sent')";
    // The name is known before the flood: what no longer fits are new ones.
    let script = "curl -sS https://origin.test/ && /usr/bin/python3 -c \"$1\"; sleep 1; curl -sS https://origin.test/";
    let (most, outcome) = most_held(
        host.run(["sh", "-c", script, "sh", program])
            .policy(&policy)
            .limit(Duration::from_secs(120)),
    );
    assert_eq!(
        lines(&outcome.success()),
        ["hello from the origin", "sent", "hello from the origin"]
    );
    assert!(most < BOUND, "{} MiB", most >> 20);
}

fn case_112_an_upstream_that_never_ends(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let (most, outcome) = most_held(
        host.shell("timeout 4 curl -sS -o /dev/null https://origin.test/endless; echo $?")
            .policy(&policy),
    );
    assert_eq!(outcome.success().text(), "124\n");
    assert!(most < BOUND, "{} MiB", most >> 20);
    // A head without end is no answer.
    let endless_head = origin::raw(Transport::TLS_HTTP1, |mut stream| async move {
        use tokio::io::AsyncWriteExt as _;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream
            .write_all(b"x-more: and more and more and more and more and more\r\n")
            .await
            .is_ok()
        {}
    });
    let policy = Policy::new().pin("origin.test", endless_head.address());
    let (most, outcome) = most_held(
        host.shell("curl -sS -m 20 -o /dev/null -w '%{http_code}' https://origin.test/")
            .policy(&policy),
    );
    assert_eq!(outcome.text(), "502", "{outcome:?}");
    assert!(most < BOUND, "{} MiB", most >> 20);
}

fn case_112_an_upstream_that_never_answers(mode: Mode) {
    let host = Host::new(mode);
    // Accepts and is silent: the program may give up, and everything else goes on.
    let silent = origin::raw(Transport::Plain, |mut stream| async move {
        use tokio::io::AsyncReadExt as _;
        let mut buffer = [0; 1024];
        while let Ok(1..) = stream.read(&mut buffer).await {}
    });
    let origin = Origin::https();
    let policy = Policy::new()
        .pin("silent.test", silent.address())
        .pin("origin.test", origin.address());
    let script = "for n in 1 2 3 4 5 6 7 8; do curl -s -m 3 https://silent.test/ & done; curl -sS https://origin.test/; wait; echo end";
    let outcome = host.shell(script).policy(&policy).finish().success();
    assert_eq!(lines(&outcome), ["hello from the origin", "end"]);
    outcome.within(Duration::from_secs(15));
}

fn case_114_a_time_limit_ends_the_whole_tree(mode: Mode) {
    let host = Host::new(mode);
    let policy = Policy::new().table("[limits]\ntime = \"2s\"");
    let script = "trap '' TERM INT HUP; (setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &) ; while :; do sleep 1; done";
    let outcome = host
        .shell(script)
        .policy(&policy)
        .finish()
        .failed()
        .within(Duration::from_secs(15));
    // Nothing of it lives when the command returns: no patience here.
    assert_eq!(
        wardian_tests::residue::processes(host.base()),
        Vec::<u32>::new()
    );
    assert_eq!(
        outcome.events().of_kind("sandbox_stopped")[0]["cause"],
        "limit"
    );
    // Control: without the limit it would go on.
    let started = host.shell("sleep 4; echo went on").start();
    assert_eq!(started.finish().success().text(), "went on\n");
}

fn case_114_a_program_that_stops_itself(mode: Mode) {
    let host = Host::new(mode);
    let policy = Policy::new().table("[limits]\ntime = \"2s\"");
    for stop in [
        "kill -STOP $$",
        // Being traced by pid 1, it stops at its next signal.
        "exec /usr/bin/python3 -c 'import ctypes, os; ctypes.CDLL(None).ptrace(0, 0, 0, 0); os.kill(os.getpid(), 10)'",
    ] {
        let outcome = host.shell(stop).policy(&policy).finish();
        // Whoever waits for the command is not stopped with it, and is told in time.
        let outcome = outcome.exited(124).within(Duration::from_secs(15));
        assert_eq!(
            outcome.events().of_kind("sandbox_stopped")[0]["cause"],
            "limit"
        );
    }
    // It can still be ended from outside before that.
    let started = host.shell("trap 'exit 9' TERM; kill -STOP $$").start();
    std::thread::sleep(Duration::from_secs(2));
    started.running.signal(rustix::process::Signal::TERM);
    started.finish().exited(9);
}
