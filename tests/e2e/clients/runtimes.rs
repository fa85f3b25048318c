//! Languages' own HTTP clients, and the TLS libraries below them.

use wardian_tests::host::{Host, TOOLS};
use wardian_tests::mode::Mode;
use wardian_tests::origin::Origin;
use wardian_tests::policy::Policy;

use super::{HELLO, INSPECTED, Reach};
use crate::support::lines;

wardian_tests::both_modes!(
    curl,
    openssl,
    nss,
    python,
    node,
    deno,
    bun,
    ruby,
    java,
    a_static_go_program,
    a_go_program_github_cli,
);

fn curl(mode: Mode) {
    let reach = Reach::new(mode);
    reach.gets(&["curl", "-sS"]);
    reach.gets(&["curl", "-sS", "--http1.1"]);
}

/// `$1` is a URL with an empty path.
const HOST_OF_URL: &str = "host=${1#https://}; host=${host%/};";

fn openssl(mode: Mode) {
    let script = format!(
        "{HOST_OF_URL} printf 'GET / HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n' $host |
        openssl s_client -quiet -verify_return_error -connect $host:443 -servername $host >/tmp/answer && tail -1 /tmp/answer"
    );
    Reach::new(mode).gets(&["sh", "-c", &script, "sh"]);
}

/// By the database in the home alone: its own tools know no system bundle.
fn nss(mode: Mode) {
    let reach = Reach::new(mode);
    let client = format!(
        "{HOST_OF_URL} printf 'GET / HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n' $host >/tmp/request
        tstclnt -d sql:$HOME/.pki/nssdb -h $host -p 443 -A /tmp/request >/tmp/answer && tail -1 /tmp/answer"
    );
    reach.gets(&["sh", "-c", &client, "sh"]);
    // It is listed, others can be added, and without it the origin is a stranger.
    let script = format!(
        "set -e; database=sql:$HOME/.pki/nssdb
        certutil -L -d $database | grep -q '^Wardian sandbox  *C,, *$'
        certutil -L -d $database -n 'Wardian sandbox' -a >/tmp/ours.pem
        certutil -D -d $database -n 'Wardian sandbox'
        if ({client}); then exit 1; fi
        certutil -A -d $database -n again -t C,, -i /tmp/ours.pem
        {client}"
    );
    let outcome = reach.run(&["sh", "-c", &script, "sh", INSPECTED]).success();
    assert_eq!(lines(&outcome), [HELLO], "{outcome:?}");
}

fn python(mode: Mode) {
    let reach = Reach::new(mode);
    let python = format!("{TOOLS}/python/bin/python");
    for program in [
        "import urllib.request as r; print(r.urlopen(u).read().decode(), end='')",
        "import requests as r; print(r.get(u).text, end='')",
        "import httpx as r; print(r.get(u).text, end='')",
        "import httpx as r; print(r.Client(http2=True).get(u).text, end='')",
    ] {
        let program = format!("import sys; u = sys.argv[1]; {program}");
        reach.gets(&[&python, "-c", &program]);
    }
}

const FETCH: &str = "process.stdout.write(await (await fetch(process.argv.at(-1))).text())";

fn node(mode: Mode) {
    let reach = Reach::new(mode);
    let https = "require('https').get(process.argv.at(-1), r => r.pipe(process.stdout))";
    reach.gets(&["node", "--input-type=module", "-e", FETCH]);
    reach.gets(&["node", "-e", https]);
}

fn deno(mode: Mode) {
    let deno = format!("{TOOLS}/deno/node_modules/.bin/deno");
    let program = "console.log((await (await fetch(Deno.args[0])).text()).trim())";
    Reach::new(mode).gets(&[&deno, "eval", program]);
}

fn bun(mode: Mode) {
    let bun = format!("{TOOLS}/bun/node_modules/.bin/bun");
    Reach::new(mode).gets(&[&bun, "-e", FETCH]);
}

fn ruby(mode: Mode) {
    let reach = Reach::new(mode);
    for program in [
        "require 'net/http'; print Net::HTTP.get(URI(ARGV[0]))",
        "require 'open-uri'; print URI.open(ARGV[0]).read",
    ] {
        reach.gets(&["ruby", "-e", program]);
    }
}

fn java(mode: Mode) {
    let reach = Reach::new(mode);
    for (class, expression) in [
        (
            "Modern",
            "HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(a[0])).build(), HttpResponse.BodyHandlers.ofString()).body()",
        ),
        (
            "Classic",
            "new String(new URL(a[0]).openStream().readAllBytes())",
        ),
    ] {
        let file = format!("{class}.java");
        reach.host.write(
            &reach.host.project().join(&file),
            format!(
                "import java.net.*; import java.net.http.*;
                public class {class} {{ public static void main(String[] a) throws Exception {{ System.out.print({expression}); }} }}"
            ),
        );
        reach.gets(&["java", &file]);
    }
}

fn a_static_go_program(mode: Mode) {
    let get = format!("{TOOLS}/go/bin/get");
    let program = std::fs::read(&get).unwrap();
    // An interpreter in its program headers would be a dynamic loader.
    assert!(!program.windows(8).any(|bytes| bytes == b"ld-linux"));
    Reach::new(mode).gets(&[&get]);
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
