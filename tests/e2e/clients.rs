//! Common programs work unmodified: none is told of a proxy or of a certificate authority.

use std::path::PathBuf;
use std::time::Duration;

use wardian_tests::git;
use wardian_tests::host::{Host, TOOLS, copy_for_all};
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;
use wardian_tests::process::{Input, Running};

use crate::support::lines;

wardian_tests::both_modes!(
    curl_and_openssl,
    python_requests_httpx_and_urllib,
    node_fetch_and_https,
    java_http_client,
    a_go_program_github_cli,
    chromium_loads_a_page_with_a_websocket,
    git_clones_fetches_and_pushes,
    npm_installs_from_the_real_registry,
    pip_installs_from_the_real_registry,
    cargo_downloads_from_the_real_registry,
);

const HELLO: &str = "hello from the origin";

fn curl_and_openssl(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let script = "curl -sS https://origin.test/; curl -sS --http1.1 https://origin.test/; printf 'GET / HTTP/1.1\\r\\nHost: origin.test\\r\\nConnection: close\\r\\n\\r\\n' | \
        openssl s_client -quiet -verify_return_error -connect origin.test:443 -servername origin.test 2>/dev/null | tail -1";
    assert_eq!(
        lines(&host.shell(script).policy(&policy).finish().success()),
        [HELLO; 3]
    );
}

fn python_requests_httpx_and_urllib(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let program = "import urllib.request, requests, httpx
u = 'https://origin.test/'
print(urllib.request.urlopen(u).read().decode(), end='')
print(requests.get(u).text, end='')
print(httpx.get(u).text, end='')
print(httpx.Client(http2=True).get(u).text, end='')";
    let run = host.run([format!("{TOOLS}/python/bin/python").as_str(), "-c", program]);
    assert_eq!(lines(&run.policy(&policy).finish().success()), [HELLO; 4]);
}

fn node_fetch_and_https(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let program = "const https = require('https'), u = 'https://origin.test/';
fetch(u).then(r => r.text()).then(t => { process.stdout.write(t); https.get(u, r => r.pipe(process.stdout)); });";
    assert_eq!(
        lines(
            &host
                .run(["node", "-e", program])
                .policy(&policy)
                .finish()
                .success()
        ),
        [HELLO; 2]
    );
}

fn java_http_client(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    host.write(
        &host.project().join("Get.java"),
        "import java.net.*; import java.net.http.*;
public class Get { public static void main(String[] a) throws Exception {
    var request = HttpRequest.newBuilder(URI.create(\"https://origin.test/\")).build();
    System.out.print(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
    System.out.print(new String(new URL(\"https://origin.test/\").openStream().readAllBytes()));
} }",
    );
    let outcome = host
        .run(["java", "Get.java"])
        .policy(&policy)
        .finish()
        .success();
    assert_eq!(lines(&outcome), [HELLO; 2]);
}

fn a_go_program_github_cli(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new()
        .pin_with(
            "api.github.com",
            origin.address(),
            "credential = \"github\"",
        )
        .table("[env]\nGH_TOKEN = { credential = \"github\" }")
        .table(
            "[credential.github]\nsource = { env = \"REAL_KEY\" }\nhosts = [\"api.github.com\"]",
        );
    let outcome = host
        .run(["gh", "api", "echo", "--jq", ".method"])
        .policy(&policy)
        .host_env("REAL_KEY", "gho_real")
        .finish()
        .success();
    assert_eq!(outcome.text(), "GET\n");
    assert_eq!(
        origin.only_request().header("authorization"),
        Some("token gho_real")
    );
}

fn chromium_loads_a_page_with_a_websocket(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let words = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--user-data-dir=/tmp/profile",
        "--virtual-time-budget=8000",
        "--dump-dom",
        "https://origin.test/page",
    ];
    let outcome = host
        .run(words)
        .policy(&policy)
        .limit(Duration::from_secs(90))
        .finish()
        .success();
    assert!(
        outcome.text().contains("echoed: over a websocket"),
        "{outcome:?}"
    );
    assert!(
        origin
            .requests()
            .iter()
            .any(|request| request.path == "/websocket")
    );
    // With its own sandbox, where nested namespaces are granted.
    let own: Vec<&str> = words
        .into_iter()
        .filter(|word| *word != "--no-sandbox")
        .collect();
    if mode == Mode::Rootless {
        let nested = policy.table("[sandbox]\nnested = true");
        let outcome = host
            .run(own)
            .policy(&nested)
            .limit(Duration::from_secs(90))
            .finish()
            .success();
        assert!(
            outcome.text().contains("echoed: over a websocket"),
            "{outcome:?}"
        );
    }
}

fn git_clones_fetches_and_pushes(mode: Mode) {
    let host = Host::new(mode);
    let repositories = host.base().join("git/repositories");
    host.make_directory(&repositories);
    let prepare = "set -e; git init -q --bare repositories/acme.git; git init -q seed; cd seed; git config user.email a@b; git config user.name n
        head -c 3000000 /dev/urandom >big; echo one >file; git add .; git commit -qm one; git push -q ../repositories/acme.git HEAD:main
        git -C ../repositories/acme.git symbolic-ref HEAD refs/heads/main";
    let mut command = host.command(["sh", "-c", prepare]);
    command.current_dir(host.base().join("git"));
    Running::start(command, Input::Nothing)
        .wait(Duration::from_secs(30))
        .success();
    let server = git::serve(&repositories);
    let policy = Policy::new().pin("git.test", server.address());
    let script = "set -e; git clone -q https://git.test/acme.git; cd acme; cat file; git config user.email a@b; git config user.name n
        head -c 2000000 /dev/urandom >more; git add .; git commit -qm two; git push -q origin HEAD:refs/heads/two; git fetch -q origin two && git rev-parse FETCH_HEAD";
    let outcome = host
        .shell(script)
        .policy(&policy)
        .limit(Duration::from_secs(60))
        .finish()
        .success();
    let told = lines(&outcome);
    let outside = std::process::Command::new("git")
        .args(["-c", "safe.directory=*", "-C"])
        .arg(repositories.join("acme.git"))
        .args(["rev-parse", "refs/heads/two"])
        .output()
        .unwrap();
    assert_eq!(
        told,
        ["one", String::from_utf8(outside.stdout).unwrap().trim()]
    );
}

/// Whatever registry this machine uses: the point is that the package managers' own hosts work.
fn any_https() -> Policy {
    Policy::new().rule("host = \"*\"\nports = [443]")
}

fn npm_installs_from_the_real_registry(mode: Mode) {
    let host = Host::new(mode);
    let script = "npm install --no-audit --no-fund --loglevel=error is-number@7.0.0 >&2 && node -p 'require(\"is-number\")(5)'";
    let outcome = host
        .shell(script)
        .policy(&any_https())
        .limit(Duration::from_secs(120))
        .finish()
        .success();
    assert_eq!(outcome.text(), "true\n");
    assert!(!host.project().join("node_modules").exists());
    assert!(outcome.events().of_kind("request").len() >= 2);
}

fn pip_installs_from_the_real_registry(mode: Mode) {
    let host = Host::new(mode);
    let script = "/usr/bin/python3 -m venv /tmp/v && /tmp/v/bin/pip install -q --disable-pip-version-check six==1.16.0 && /tmp/v/bin/python -c 'import six; print(six.__version__)'";
    let outcome = host
        .shell(script)
        .policy(&any_https())
        .limit(Duration::from_secs(120))
        .finish()
        .success();
    assert_eq!(outcome.text(), "1.16.0\n");
    assert!(outcome.events().of_kind("request").len() >= 2);
}

fn cargo_downloads_from_the_real_registry(mode: Mode) {
    let host = Host::new(mode);
    let cargo = std::env::var_os("CARGO")
        .map(PathBuf::from)
        .expect("cargo sets CARGO for tests");
    let cargo = if rustix::process::geteuid().is_root() {
        copy_for_all(&cargo)
    } else {
        cargo
    };
    host.write(
        &host.project().join("Cargo.toml"),
        "[package]\nname = \"x\"\nversion = \"0.1.0\"\n[dependencies]\nitoa = \"=1.0.15\"\n",
    );
    host.write(&host.project().join("src/lib.rs"), "");
    let script = format!(
        "{} vendor -q >/dev/null && cat vendor/itoa/Cargo.toml | grep -c 'name = \"itoa\"'",
        cargo.display()
    );
    let outcome = host
        .shell(&script)
        .policy(&any_https())
        .limit(Duration::from_secs(120))
        .finish()
        .success();
    assert_ne!(outcome.text(), "0\n");
    assert!(outcome.events().of_kind("request").len() >= 2);
}
