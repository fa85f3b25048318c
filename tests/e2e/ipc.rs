//! Channels to processes of the host: security cases 25, 26, 30 and 33.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::process::{Input, Running};

use crate::support::{lines, outside_python};

wardian_tests::both_modes!(
    case_25_no_sockets_of_the_host,
    case_26_abstract_sockets_of_the_host,
    case_30_escape_sequences_are_made_visible,
    case_33_planted_paths_are_not_followed,
    state_is_for_its_owner_alone,
    shared_memory_and_semaphores_are_private,
);

/// Connects to a socket; a name that begins with `@` is abstract.
const CONNECT: &str = "import socket, sys
for name in sys.argv[1:]:
    try:
        s = socket.socket(socket.AF_UNIX); s.connect('\\0' + name[1:] if name[0] == '@' else name)
        print('connected')
    except OSError as e: print(e.strerror)";

fn case_25_no_sockets_of_the_host(mode: Mode) {
    let host = Host::new(mode);
    // Sockets of the kinds that agents get hold of, listening where programs look for them.
    let places = [
        host.base().join("run/docker.sock"),
        host.base().join("run/bus"),
        host.home().join(".ssh/agent.sock"),
        host.base().join("tmp/tmux-1000/default"),
    ];
    let mut listeners = Vec::new();
    for place in &places {
        if !place.parent().unwrap().exists() {
            host.make_directory(place.parent().unwrap());
        }
        listeners.push(UnixListener::bind(place).unwrap());
        host.give(place);
    }
    let texts: Vec<&str> = places.iter().map(|place| place.to_str().unwrap()).collect();
    assert_eq!(
        outside_python(&host, CONNECT, &texts).success().text(),
        "connected\n".repeat(places.len())
    );
    let words = ["/usr/bin/python3", "-c", CONNECT]
        .into_iter()
        .chain(texts.iter().copied());
    let inside = host
        .run(words)
        .host_env("SSH_AUTH_SOCK", texts[2])
        .host_env("DOCKER_HOST", &format!("unix://{}", texts[0]))
        .finish()
        .success();
    assert!(!inside.text().contains("connected"), "{inside:?}");
    // Nor any other socket of the host, wherever it is.
    let script = "find / -type s -not -path '/proc/*' 2>/dev/null; for s in /var/run/docker.sock /run/dbus/system_bus_socket /run/systemd/private /run/user/*/bus; do test -S $s && echo $s; done; \
        env | grep -E 'SOCK|DBUS|TMUX|DOCKER|DISPLAY|XDG_RUNTIME'; echo end";
    assert_eq!(lines(&host.shell(script).finish().success()), ["end"]);
}

fn case_26_abstract_sockets_of_the_host(mode: Mode) {
    let host = Host::new(mode);
    let name = format!("wardian-tests-{}", std::process::id());
    let _listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let name = format!("@{name}");
    assert_eq!(
        outside_python(&host, CONNECT, &[&name]).success().text(),
        "connected\n"
    );
    let inside = host
        .run(["/usr/bin/python3", "-c", CONNECT, &name])
        .finish()
        .success();
    assert!(!inside.text().contains("connected"), "{inside:?}");
    assert_eq!(
        host.shell("tail -n +2 /proc/net/unix | grep -c @; exit 0")
            .text(),
        "0\n"
    );
}

fn case_30_escape_sequences_are_made_visible(mode: Mode) {
    let host = Host::new(mode);
    // Titles, clipboards and cursor movements in whatever may be shown: arguments, host names, paths.
    let hostile = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}";
    let program = "import socket, sys
try: socket.create_connection(('198.51.100.7', 80), 5).sendall(b'GET /\\x1b]0;owned\\x07 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
except OSError: pass";
    let outcome = host
        .run(["/usr/bin/python3", "-c", program, hostile])
        .finish();
    let has_raw = |text: &str| {
        text.chars()
            .any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c))
    };
    assert!(!has_raw(&outcome.errors()), "{outcome:?}");
    for arguments in [
        vec!["events", &outcome.name],
        vec!["ls"],
        vec!["verify", &outcome.name],
    ] {
        let shown = host.wardian(&arguments);
        assert!(
            !has_raw(&shown.text()) && !has_raw(&shown.errors()),
            "{shown:?}"
        );
        // JSON is for programs, which get each character; those that a terminal obeys are escaped all the same.
        let shown = host.wardian(&[arguments.as_slice(), &["--json"]].concat());
        let obeyed = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');
        assert!(
            !obeyed(&shown.text()) && !has_raw(&shown.errors()),
            "{shown:?}"
        );
    }
    let refused = host.wardian(&["events", hostile]);
    assert!(!has_raw(&refused.errors()), "{refused:?}");
}

fn case_33_planted_paths_are_not_followed(mode: Mode) {
    let host = Host::new(mode);
    // Somebody was first at the places where state goes: links to a file that must not change.
    let victim = host.base().join("victim");
    host.write(&victim, "precious");
    let data = host.home().join(".local/share/wardian/sandboxes");
    host.make_directory(&data);
    symlink(&victim, data.join("planted")).unwrap();
    host.run(["true"]).named("planted").finish().failed();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    // A directory with links in it, as the file names that state has.
    let directory = data.join("planted2");
    host.make_directory(&directory);
    for file in [
        "journal.jsonl",
        "spec.json",
        "supervisor.log",
        "lock",
        "control.sock",
    ] {
        symlink(&victim, directory.join(file)).unwrap();
    }
    let _ = host.run(["true"]).named("planted2").finish();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
}

fn state_is_for_its_owner_alone(mode: Mode) {
    let host = Host::new(mode);
    let outcome = host.shell("echo new >made").finish().success();
    let state = host.state(&outcome.name);
    for path in [state.parent().unwrap(), &state] {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
    let journal = std::fs::metadata(state.join("journal.jsonl"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(journal & 0o077, 0, "journal: {journal:o}");
    // The control socket of one that runs, likewise.
    let mut started = host.run(["cat"]).stdin(Input::Open).start();
    started.wait_for_supervisor();
    let find = format!(
        "find {} /run/wardian {} -type s -perm /077 2>/dev/null; exit 0",
        host.home().display(),
        host.base().join("run").display()
    );
    let open = Running::start(command(&find), Input::Nothing).wait(wardian_tests::host::LIMIT);
    assert_eq!(open.text(), "");
    started.running.close_stdin();
    started.finish().success();
}

fn command(script: &str) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script]);
    command
}

fn shared_memory_and_semaphores_are_private(mode: Mode) {
    let host = Host::new(mode);
    let make = host
        .outside(["ipcmk", "-M", "4096", "-p", "0666"])
        .success();
    let id = make.text().split_whitespace().last().unwrap().to_owned();
    let path = format!("/dev/shm/wardian-tests-{}", std::process::id());
    std::fs::File::create(&path)
        .unwrap()
        .write_all(b"of the host")
        .unwrap();
    let inside = host
        .shell("ipcs -m | grep -c 666; ls /dev/shm | wc -l; exit 0")
        .finish()
        .success();
    assert_eq!(lines(&inside), ["0", "0"]);
    let mut text = String::new();
    std::fs::File::open(&path)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    host.outside(["ipcrm", "-m", &id]).success();
}
