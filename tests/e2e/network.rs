//! Ways out of the seal: security cases 64 to 67 and 73.

use std::net::SocketAddr;
use std::time::Duration;

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::{self, Origin};
use wardian_tests::policy::Policy;

mod noise;
mod proxy;

use crate::support::{AT_ONCE, lines, outside_python, refused_for};

wardian_tests::both_modes!(
    the_only_interface_is_loopback,
    case_64_a_name_that_no_rule_allows,
    case_64_an_address_that_no_rule_allows,
    case_64_dev_tcp,
    case_64_udp_is_refused_at_once,
    case_64_icmp_is_refused_at_once,
    case_64_servers_of_the_host_are_out_of_reach,
    case_66_the_door_is_no_open_proxy,
    case_66_proxy_protocols_get_a_quick_answer,
    case_67_as_uid_0_the_same,
    case_73_quic_is_refused_at_once,
    ipv6_is_captured_as_well,
    raw_tcp_where_a_rule_says_so,
    local_servers_inside_work,
);

/// `CONNECT ADDRESS PORT [BYTES]`: how connecting went, how long it took, what came back.
pub(crate) const CONNECT: &str = "import socket, sys, time
start = time.time()
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)
s.settimeout(5)
try:
    s.connect((sys.argv[1], int(sys.argv[2])))
    if len(sys.argv) > 3: s.sendall(sys.argv[3].encode().decode('unicode_escape').encode('latin1'))
    data = s.recv(1000)
    print('closed' if not data else data.decode(errors='replace').splitlines()[0])
except ConnectionError as e: print('refused')
except OSError as e: print('failed', type(e).__name__, e)
assert time.time() - start < 3, 'took too long'
";

/// `UDP ADDRESS PORT`: sends, waits for an answer or an error.
pub(crate) const UDP: &str = "import socket, sys, time
start = time.time()
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
try:
    s.connect((sys.argv[1], int(sys.argv[2])))
    s.send(b'hello')
    print('answered', s.recv(1000)[:20])
except TimeoutError: print('dropped')
except OSError as e: print('refused')
assert time.time() - start < 3, 'took too long'
";

fn the_only_interface_is_loopback(mode: Mode) {
    let host = Host::new(mode);
    for run in [
        host.shell("tail -n +3 /proc/net/dev | cut -d: -f1; ip -o link | wc -l"),
        host.shell("tail -n +3 /proc/net/dev | cut -d: -f1; ip -o link | wc -l")
            .as_inner_root(),
    ] {
        let outcome = run.finish().success();
        assert_eq!(lines(&outcome), ["lo", "1"]);
    }
}

fn case_64_a_name_that_no_rule_allows(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let allowed = Policy::new().pin("origin.test", origin.address());
    let curl = "curl -sS --noproxy '*' https://origin.test/";
    // Control: the same program with the rule.
    assert_eq!(
        host.shell(curl).policy(&allowed).text(),
        "hello from the origin\n"
    );
    let before = origin.server().connections();
    let outcome = host.shell(curl).finish().failed().within(AT_ONCE);
    assert_eq!(origin.server().connections(), before);
    let events = outcome.events();
    refused_for(&events, &["no_rule"]);
    assert!(
        events.denied().iter().all(|event| event["question"]
            .as_str()
            .is_some_and(|name| name.trim_end_matches('.') == "origin.test")),
        "{events:?}"
    );
}

fn case_64_an_address_that_no_rule_allows(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let port = origin.address().port();
    // A rule for the address pins it to the origin; without it the same program is refused.
    let policy = Policy::new().rule(&format!(
        "host = \"198.51.100.7\"\nports = [80]\nconnect = \"127.0.0.1:{port}\""
    ));
    let curl = "curl -sS -m 5 --noproxy '*' http://198.51.100.7/";
    assert_eq!(
        host.shell(curl).policy(&policy).text(),
        "hello from the origin\n"
    );
    let before = origin.server().connections();
    let outcome = host.shell(curl).finish().within(AT_ONCE);
    assert!(!outcome.text().contains("hello"), "{outcome:?}");
    assert_eq!(origin.server().connections(), before);
    outcome.events().one_refusal(&["no_rule"]);
}

fn case_64_dev_tcp(mode: Mode) {
    let host = Host::new(mode);
    let script = "exec 3<>/dev/tcp/198.51.100.7/80 && printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3 && head -c 20 <&3 | grep -c 200; exit 0";
    let outcome = host.run(["bash", "-c", script]).finish().within(AT_ONCE);
    assert_ne!(outcome.text().trim(), "1", "{outcome:?}");
    assert_eq!(outcome.events().only_refusal(), "no_rule");
}

fn case_64_udp_is_refused_at_once(mode: Mode) {
    let host = Host::new(mode);
    for (address, port) in [
        ("198.51.100.7", "5000"),
        ("198.51.100.7", "123"),
        ("2001:db8::7", "5000"),
        ("127.0.0.1", "5000"),
    ] {
        let outcome = host
            .run(["/usr/bin/python3", "-c", UDP, address, port])
            .finish()
            .success();
        assert_eq!(
            outcome.text().trim(),
            "refused",
            "{address} {port}: {outcome:?}"
        );
    }
    // Control: outside, a server on loopback answers the same program.
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let answering = std::thread::spawn(move || {
        let mut buffer = [0; 100];
        let (length, peer) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&buffer[..length], peer).unwrap();
    });
    assert!(
        outside_python(&host, UDP, &["127.0.0.1", &port])
            .success()
            .text()
            .contains("answered")
    );
    answering.join().unwrap();
}

fn case_64_icmp_is_refused_at_once(mode: Mode) {
    let host = Host::new(mode);
    let program = "import socket, time
start = time.time()
for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
    try:
        s = socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP); s.settimeout(5)
        s.sendto(b'\\x08\\0\\xf7\\xff\\0\\0\\0\\0', ('198.51.100.7', 0)); s.recv(100); print('answered')
    except TimeoutError: print('dropped')
    except OSError: print('refused')
assert time.time() - start < 3, 'took too long'";
    for run in [host.python(program), host.python(program).as_inner_root()] {
        let outcome = run.finish().success();
        assert_eq!(lines(&outcome), ["refused", "refused"]);
    }
}

fn case_64_servers_of_the_host_are_out_of_reach(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let port = origin.address().port().to_string();
    let request = "GET / HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\\r\\n";
    assert!(
        outside_python(&host, CONNECT, &["127.0.0.1", &port, request])
            .success()
            .text()
            .contains("200 OK")
    );
    let before = origin.server().connections();
    for address in [
        "127.0.0.1",
        "127.9.8.7",
        "::1",
        "0.0.0.0",
        "10.0.0.1",
        "::ffff:127.0.0.1",
    ] {
        let outcome = host
            .run(["/usr/bin/python3", "-c", CONNECT, address, &port, request])
            .finish()
            .success();
        assert!(!outcome.text().contains("200"), "{address}: {outcome:?}");
    }
    // The names that usually lead there.
    for name in [
        "localhost",
        "host.docker.internal",
        "gateway.docker.internal",
        "host.containers.internal",
    ] {
        let outcome = host
            .shell(&format!("curl -s -m 5 http://{name}:{port}/"))
            .finish()
            .failed();
        assert!(!outcome.text().contains("hello"), "{name}: {outcome:?}");
    }
    assert_eq!(origin.server().connections(), before);
}

/// Each listening TCP socket that can be seen inside, tried with what follows.
const EACH_LISTENER: &str = "import socket, sys
for family, path in ((socket.AF_INET, '/proc/net/tcp'), (socket.AF_INET6, '/proc/net/tcp6')):
    for line in open(path).readlines()[1:]:
        fields = line.split()
        if fields[3] != '0A': continue
        port = int(fields[1].split(':')[1], 16)
        for address in (('127.0.0.1', '198.51.100.7', '198.18.0.1', '10.0.0.1') if family == socket.AF_INET else ('::1', '2001:db8::7')):
            try:
                s = socket.socket(family); s.settimeout(5); s.connect((address, port))
                s.sendall(sys.argv[1].encode().decode('unicode_escape').encode('latin1'))
                print(address, port, s.recv(1000).split(b'\\r')[0])
            except TimeoutError: print(address, port, 'hangs')
            except OSError as e: print(address, port, 'refused')
";

fn case_66_the_door_is_no_open_proxy(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let secret = Origin::http();
    let policy = Policy::new().pin_plain("origin.test", origin.address());
    for request in [
        "GET http://denied.test/ HTTP/1.1\\r\\nHost: denied.test\\r\\n\\r\\n".to_owned(),
        "GET / HTTP/1.1\\r\\nHost: denied.test\\r\\n\\r\\n".to_owned(),
        format!(
            "CONNECT {} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n",
            secret.address()
        ),
        "GET / HTTP/1.1\\r\\nHost: origin.test\\r\\n\\r\\n".to_owned(),
    ] {
        let outcome = host
            .run(["/usr/bin/python3", "-c", EACH_LISTENER, &request])
            .policy(&policy)
            .finish()
            .success();
        assert!(
            !outcome.text().contains(" 200") && !outcome.text().contains("hangs"),
            "{request}: {outcome:?}"
        );
    }
    origin.assert_untouched();
    secret.assert_untouched();
    // Control: the name itself is allowed.
    assert_eq!(
        host.shell("curl -sS http://origin.test/")
            .policy(&policy)
            .text(),
        "hello from the origin\n"
    );
}

fn case_66_proxy_protocols_get_a_quick_answer(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let policy = Policy::new().pin_plain("origin.test", origin.address());
    // An image whose variables point to a proxy that is not there.
    for proxy in [
        "http://proxy.test:3128",
        "socks5h://198.51.100.9:1080",
        "http://origin.test:80",
    ] {
        let outcome = host
            .run([
                "curl",
                "-sS",
                "-m",
                "10",
                "-x",
                proxy,
                "https://elsewhere.test/",
            ])
            .policy(&policy)
            .finish()
            .failed()
            .within(AT_ONCE);
        assert!(!outcome.text().contains("hello"), "{proxy}: {outcome:?}");
        assert!(!outcome.events().denied().is_empty());
    }
    origin.assert_untouched();
}

fn case_67_as_uid_0_the_same(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let script = "id -u
        ip link add dummy0 type dummy 2>/dev/null && echo link; ip link set lo down 2>/dev/null && echo down
        if ip route flush table local 2>/dev/null; then echo flushed; fi
        ip addr add 198.51.100.1/24 dev lo 2>/dev/null && echo address
        curl -sS https://origin.test/
        curl -sS -m 5 https://denied.test/ && echo reached
        curl -sS -m 5 http://198.51.100.7/ | grep hello && echo reached; exit 0";
    let outcome = host
        .shell(script)
        .as_inner_root()
        .policy(&policy)
        .finish()
        .success();
    assert_eq!(lines(&outcome), ["0", "hello from the origin"]);
    assert!(outcome.events().denied().len() >= 2);
}

fn case_73_quic_is_refused_at_once(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let program = format!("{UDP}\nsys.argv[1] = socket.gethostbyname('origin.test')\n{UDP}");
    let outcome = host
        .run(["/usr/bin/python3", "-c", &program, "198.51.100.7", "443"])
        .policy(&policy)
        .finish()
        .success();
    assert_eq!(lines(&outcome), ["refused", "refused"]);
}

fn ipv6_is_captured_as_well(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let outcome = host
        .run(["curl", "-6", "-sS", "https://origin.test/"])
        .policy(&policy)
        .finish()
        .success();
    assert_eq!(outcome.text(), "hello from the origin\n");
    let outcome = host
        .run([
            "/usr/bin/python3",
            "-c",
            CONNECT,
            "2001:db8::7",
            "80",
            "GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n",
        ])
        .policy(&policy)
        .finish()
        .success();
    assert!(!outcome.text().contains("200"), "{outcome:?}");
    outcome.events().one_refusal(&["no_rule"]);
}

fn raw_tcp_where_a_rule_says_so(mode: Mode) {
    let host = Host::new(mode);
    let echo = origin::tcp_echo();
    let address: SocketAddr = echo.address();
    let policy = Policy::new().rule(&format!(
        "host = \"db.test\"\nports = [5432]\nprotocol = \"tcp\"\nconnect = \"{address}\""
    ));
    let program = "import socket
s = socket.create_connection(('db.test', 5432), 5); print(s.recv(100).decode().strip())
s.sendall(b'x' * 100000); n = 0
while n < 100000: n += len(s.recv(65536))
print(n)
for port in (5433, 443):
    try: c = socket.create_connection(('db.test', port), 5); print('refused' if not c.recv(10) else 'connected')
    except OSError: print('refused')";
    let outcome = host.python(program).policy(&policy).finish().success();
    assert_eq!(lines(&outcome), ["hello", "100000", "refused", "refused"]);
    assert_eq!(echo.connections(), 1);
    let events = outcome.events();
    assert_eq!(events.reasons("connection"), ["no_rule", "no_rule"]);
}

fn local_servers_inside_work(mode: Mode) {
    let host = Host::new(mode);
    let script = "cd /tmp && echo served >file && (/usr/bin/python3 -m http.server --bind 127.0.0.1 8123 >/dev/null 2>&1 &) ; \
        for i in 1 2 3 4 5 6 7 8 9; do curl -s http://127.0.0.1:8123/file && exit 0; sleep 0.2; done; exit 1";
    let outcome = host.shell(script).finish().success();
    assert_eq!(outcome.text(), "served\n");
    assert_eq!(outcome.events().denied().len(), 0);
}
