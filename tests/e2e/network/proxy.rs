//! The way out leads through a proxy that asks who is there, as corporate networks have it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::origin::{self, Origin};
use wardian_tests::policy::Policy;
use wardian_tests::run::Outcome;
use wardian_tests::server::{Server, Stream, Transport};

use crate::support::lines;

wardian_tests::both_modes!(
    an_upstream_proxy_that_wants_a_login,
    the_login_of_a_proxy_goes_nowhere_else,
);

const PASSWORD: &str = "canary-proxy-password";
/// `alice:canary-proxy-password`.
const LOGIN: &str = "Basic YWxpY2U6Y2FuYXJ5LXByb3h5LXBhc3N3b3Jk";

/// Serves CONNECT for those who log in, and leads names to servers of the test.
struct Proxy {
    server: Server,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(names: &[(&str, SocketAddr)]) -> Self {
        let names = names.iter().map(|(name, to)| ((*name).to_owned(), *to));
        let names: Arc<HashMap<String, SocketAddr>> = Arc::new(names.collect());
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&heads);
        let server = origin::raw(Transport::Plain, move |stream| {
            serve(stream, Arc::clone(&names), Arc::clone(&log))
        });
        Self { server, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: Box<dyn Stream>,
    names: Arc<HashMap<String, SocketAddr>>,
    log: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    log.lock().unwrap().push(head.clone());
    let knows_us = head.lines().any(|line| {
        let field = line.split_once(": ");
        field.is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("proxy-authorization") && value == LOGIN
        })
    });
    let refusal: &[u8] = if knows_us {
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    } else {
        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\r\n"
    };
    let to = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| names.get(rest.split(' ').next()?));
    let Some(to) = to.filter(|_| knows_us) else {
        let _ = stream.write_all(refusal).await;
        return;
    };
    let Ok(mut upstream) = TcpStream::connect(to).await else {
        return;
    };
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
}

/// A rule that reaches `host` through `proxy`, and the credential of the proxy.
fn through(proxy: &Proxy, keys: &str) -> Policy {
    let at = proxy.server.address();
    Policy::new()
        .rule(&format!(
            "host = \"origin.test\"\nports = [443]\nca = \"@CA@\"\nproxy = \"http://{at}\"\n{keys}"
        ))
        .rule(&format!(
            "host = \"db.test\"\nports = [5432]\nprotocol = \"tcp\"\nproxy = \"http://{at}\"\n{keys}"
        ))
        .table(&format!(
            "[credential.corp]\nsource = {{ env = \"PROXY_PASSWORD\" }}\nhosts = [\"{}\"]\ninject = {{ basic = \"alice\" }}",
            at.ip()
        ))
}

const ASK: &str =
    "curl -s https://origin.test/ | tr , '\\n' | grep -o 'hello.*\\|upstream_proxy[a-z_]*\"'
printf quit | nc -w 2 db.test 5432 | head -1";

fn ask<'a>(host: &'a Host, policy: &Policy, password: &str) -> Outcome<'a> {
    host.shell(ASK)
        .policy(policy)
        .host_env("PROXY_PASSWORD", password)
        .finish()
}

fn an_upstream_proxy_that_wants_a_login(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let database = origin::tcp_echo();
    let proxy = Proxy::start(&[
        ("origin.test:443", origin.address()),
        ("db.test:5432", database.address()),
    ]);
    // Control: the proxy opens for curl with the login, and not without.
    let at = format!("http://{}", proxy.server.address());
    let curl = ["curl", "-sk", "-m", "10", "-x", &at, "https://origin.test/"];
    host.outside(curl).failed();
    let login = ["-U", &format!("alice:{PASSWORD}")];
    assert_eq!(
        host.outside(curl.iter().chain(&login)).success().text(),
        "hello from the origin\n"
    );
    let before = proxy.heads().len();

    let with = through(&proxy, "proxy_credential = \"corp\"");
    let outcome = ask(&host, &with, PASSWORD).success();
    assert_eq!(lines(&outcome), ["hello from the origin", "hello"]);
    let heads = proxy.heads().split_off(before);
    assert!(
        heads.iter().all(|head| head.contains(LOGIN)) && heads.len() == 2,
        "{heads:?}"
    );
    // On the record: for which connection, and that it went to the proxy. Never the value.
    let events = outcome.events();
    let used = events.of_kind("credential_used");
    assert_eq!(used.len(), 2);
    for event in &used {
        assert_eq!(event["credential"], "corp");
        assert_eq!(event["host"], proxy.server.address().ip().to_string());
        let connections = events.of_kind("connection");
        assert!(
            connections
                .iter()
                .any(|one| one["id"] == event["connection"]),
            "{event}"
        );
    }
    let told = host.wardian(&["events", &outcome.name]).success();
    assert!(
        told.text().contains("login at the proxy 127.0.0.1") && !told.text().contains(PASSWORD),
        "{told:?}"
    );

    // Without a login, and with a wrong one, the program hears why.
    let without = through(&proxy, "");
    let outcome = ask(&host, &without, PASSWORD).success();
    assert_eq!(lines(&outcome), ["upstream_proxy_wants_login\""]);
    assert!(outcome.events().of_kind("credential_used").is_empty());
    let outcome = ask(&host, &with, "wrong").success();
    assert_eq!(lines(&outcome), ["upstream_proxy_login_refused\""]);
    let cuts = outcome.events();
    let cuts = cuts.of_kind("connection_closed");
    assert!(
        cuts.iter()
            .any(|event| event["cut"] == "upstream_proxy_login_refused"),
        "{cuts:?}"
    );
}

fn the_login_of_a_proxy_goes_nowhere_else(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let plain = Origin::http();
    let proxy = Proxy::start(&[("origin.test:443", origin.address())]);
    let policy =
        through(&proxy, "proxy_credential = \"corp\"").pin_plain("plain.test", plain.address());
    // Neither a field that the program makes up nor the placeholder brings it to an origin, nor is it anywhere inside.
    let script = format!(
        "for u in https://origin.test/echo http://plain.test/echo; do
             curl -sS -H 'Proxy-Authorization: Basic eA==' -H 'Authorization: {LOGIN}x' $u; done
         env; cat /proc/self/mounts /proc/1/environ 2>/dev/null; grep -rIl {PASSWORD} ~ . /tmp /run 2>/dev/null; exit 0"
    );
    let outcome = host
        .shell(&script)
        .policy(&policy)
        .host_env("PROXY_PASSWORD", PASSWORD)
        .finish()
        .success();
    assert!(!outcome.text().contains(PASSWORD), "{outcome:?}");
    let seen = [origin.only_request(), plain.only_request()];
    for request in &seen {
        assert_eq!(request.header("proxy-authorization"), None);
        assert_eq!(
            request.header("authorization"),
            Some(format!("{LOGIN}x").as_str())
        );
    }
    assert_eq!(proxy.heads().len(), 1);
    // The program's own words stand in the record, and nothing else of it.
    for event in outcome.events().all() {
        let is_command = ["argv", "command", "arguments"]
            .iter()
            .any(|key| event.get(key).is_some());
        let is_ours = !is_command;
        let text = event.to_string();
        assert!(
            !is_ours || !(text.contains(PASSWORD) || text.contains(LOGIN)),
            "{event}"
        );
    }
}
