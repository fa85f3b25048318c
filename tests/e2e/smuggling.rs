//! Requests that two parsers might read in two ways: security cases 80 and 87.

use std::time::Duration;

use wardian_tests::host::{Host, TOOLS};
use wardian_tests::mode::Mode;
use wardian_tests::origin::{self, Origin};
use wardian_tests::policy::Policy;
use wardian_tests::server::{Server, Transport};

mod origins;

use crate::http::answers;
use crate::support::{RAW, lines, outside_python};

wardian_tests::both_modes!(
    case_80_malformed_http1_is_answered_and_closed,
    case_80_well_formed_http1_passes,
    case_80_malformed_http2_is_answered,
    case_80_frames_that_no_http2_may_hold,
    case_87_lengths_and_chunks_beyond_reason,
);

/// Requests that two parsers might read in two ways.
const MALFORMED: [(&str, &str); 40] = [
    (
        "length and chunked",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nContent-Length: 6\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\nX",
    ),
    (
        "chunked and length",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nTransfer-Encoding: chunked\\r\\nContent-Length: 6\\r\\n\\r\\n0\\r\\n\\r\\nX",
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nContent-Length: 3\\r\\nContent-Length: 4\\r\\n\\r\\nabcd",
    ),
    (
        "list of lengths",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nContent-Length: 3, 4\\r\\n\\r\\nabcd",
    ),
    (
        "signed length",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nContent-Length: +3\\r\\n\\r\\nabc",
    ),
    (
        "negative length",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nContent-Length: -1\\r\\n\\r\\nabc",
    ),
    (
        "length in hex",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nContent-Length: 0x3\\r\\n\\r\\nabc",
    ),
    (
        "no length at all",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nContent-Length: \\r\\n\\r\\nabc",
    ),
    (
        "length with a space",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nContent-Length: 1 3\\r\\n\\r\\nabc",
    ),
    (
        "length that overflows",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nContent-Length: 18446744073709551617\\r\\n\\r\\nabc",
    ),
    (
        "chunkedx",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nTransfer-Encoding: chunkedx\\r\\n\\r\\n0\\r\\n\\r\\n",
    ),
    (
        "x, chunked",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nTransfer-Encoding: x, chunked\\r\\n\\r\\n0\\r\\n\\r\\n",
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nTransfer-Encoding: chunked, chunked\\r\\n\\r\\n0\\r\\n\\r\\n",
    ),
    (
        "two encodings",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nTransfer-Encoding: chunked\\r\\nTransfer-Encoding: identity\\r\\n\\r\\n0\\r\\n\\r\\n",
    ),
    (
        "chunked not last",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nTransfer-Encoding: chunked, gzip\\r\\n\\r\\n0\\r\\n\\r\\n",
    ),
    (
        "encoding after vertical tab",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nTransfer-Encoding: \\x0bchunked\\r\\n\\r\\n0\\r\\n\\r\\n",
    ),
    (
        "space before the colon",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nTransfer-Encoding : chunked\\r\\n\\r\\n0\\r\\n\\r\\n",
    ),
    (
        "chunked in HTTP/1.0",
        "POST / HTTP/1.0\\r\\nHost: origin.test\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n",
    ),
    (
        "bare LF after the request line",
        "GET / HTTP/1.1\\nHost: origin.test\\r\\n\\r\\n",
    ),
    (
        "bare LF in a head",
        "GET / HTTP/1.1\\r\\nHost: origin.test\\nX: y\\r\\n\\r\\n",
    ),
    (
        "bare LF at the end",
        "GET / HTTP/1.1\\r\\nHost: origin.test\\n\\n",
    ),
    (
        "bare CR",
        "GET / HTTP/1.1\\r\\nHost: origin.test\\r\\nX: a\\rb\\r\\n\\r\\n",
    ),
    (
        "folded line",
        "GET / HTTP/1.1\\r\\nHost: origin.test\\r\\nX: a\\r\\n b\\r\\n\\r\\n",
    ),
    (
        "folded first line",
        "GET / HTTP/1.1\\r\\n Host: origin.test\\r\\n\\r\\n",
    ),
    (
        "no colon",
        "GET / HTTP/1.1\\r\\nHost: origin.test\\r\\nnonsense\\r\\n\\r\\n",
    ),
    (
        "empty name",
        "GET / HTTP/1.1\\r\\nHost: origin.test\\r\\n: x\\r\\n\\r\\n",
    ),
    (
        "NUL in a name",
        "GET / HTTP/1.1\\r\\nHost: origin.test\\r\\nX\\x00Y: z\\r\\n\\r\\n",
    ),
    (
        "NUL in a value",
        "GET / HTTP/1.1\\r\\nHost: origin.test\\r\\nX: y\\x00z\\r\\n\\r\\n",
    ),
    (
        "two spaces in the request line",
        "GET  / HTTP/1.1\\r\\nHost: origin.test\\r\\n\\r\\n",
    ),
    (
        "tab in the request line",
        "GET\\t/ HTTP/1.1\\r\\nHost: origin.test\\r\\n\\r\\n",
    ),
    (
        "space in the target",
        "GET /a b HTTP/1.1\\r\\nHost: origin.test\\r\\n\\r\\n",
    ),
    ("no version", "GET /\\r\\nHost: origin.test\\r\\n\\r\\n"),
    (
        "HTTP/1.2",
        "GET / HTTP/1.2\\r\\nHost: origin.test\\r\\n\\r\\n",
    ),
    (
        "HTTP/2.0 in HTTP/1",
        "GET / HTTP/2.0\\r\\nHost: origin.test\\r\\n\\r\\n",
    ),
    (
        "lower-case http",
        "GET / http/1.1\\r\\nHost: origin.test\\r\\n\\r\\n",
    ),
    (
        "method with a bracket",
        "GE(T / HTTP/1.1\\r\\nHost: origin.test\\r\\n\\r\\n",
    ),
    (
        "chunk size in words",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nzz\\r\\n",
    ),
    (
        "signed chunk size",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n+3\\r\\nabc\\r\\n0\\r\\n\\r\\n",
    ),
    (
        "0x in a chunk size",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0x3\\r\\nabc\\r\\n0\\r\\n\\r\\n",
    ),
    (
        "chunk size that overflows",
        "POST / HTTP/1.1\\r\\nHost: origin.test\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n10000000000000003\\r\\nabc\\r\\n0\\r\\n\\r\\n",
    ),
];

fn case_80_malformed_http1_is_answered_and_closed(mode: Mode) {
    let host = Host::new(mode);
    let server = lenient();
    // Control: the server itself takes any of them.
    let port = server.address().port().to_string();
    let control =
        outside_python(&host, RAW, &["127.0.0.1", &port, "plain", MALFORMED[0].1]).success();
    assert!(control.text().starts_with("200"), "{control:?}");
    let before = server.connections();
    let policy = Policy::new().pin_plain("origin.test", server.address());
    let requests: Vec<&str> = MALFORMED.iter().map(|(_, request)| *request).collect();
    let mut wrong = Vec::new();
    for ((name, _), told) in MALFORMED.iter().zip(answers(&host, &policy, &requests)) {
        let refused = ["400", "403", "411", "413", "501", "505"]
            .iter()
            .any(|status| told == format!("{status} closed") || told == format!("{status} reset"));
        // A version that does not exist may be answered by closing alone.
        if !(refused || told == "closed" || told == "reset") {
            wrong.push(format!("{name}: {told}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    // What was wrong in the head never reached the server; a bad chunk is only found once its head was forwarded.
    assert!(
        server.connections() - before <= 4,
        "{} connections",
        server.connections() - before
    );
}

fn case_80_well_formed_http1_passes(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let policy = Policy::new().pin_plain("origin.test", origin.address());
    let close = "Host: origin.test\\r\\nConnection: close\\r\\n";
    let requests = [
        format!("GET / HTTP/1.1\\r\\n{close}\\r\\n"),
        format!(
            "GET / HTTP/1.1\\r\\n{close}X-Tab: a\\tb\\r\\nX-Empty:\\r\\nX-High: \\xe9\\r\\n\\r\\n"
        ),
        format!(
            "POST /sha256 HTTP/1.1\\r\\n{close}Content-Length: 3\\r\\nContent-Length: 3\\r\\n\\r\\nabc"
        ),
        format!(
            "POST /sha256 HTTP/1.1\\r\\n{close}Transfer-Encoding: chunked\\r\\n\\r\\n3;ext=\\\"x\\\"\\r\\nabc\\r\\n0\\r\\nTrailer: x\\r\\n\\r\\n"
        ),
        format!("OPTIONS * HTTP/1.1\\r\\n{close}\\r\\n"),
        format!("GET http://origin.test/ HTTP/1.1\\r\\n{close}\\r\\n"),
        "GET / HTTP/1.0\\r\\nHost: origin.test\\r\\n\\r\\n".to_owned(),
        format!("\\r\\nGET / HTTP/1.1\\r\\n{close}\\r\\n"),
        format!(
            "GET / HTTP/1.1\\r\\nHost: origin.test\\r\\n\\r\\nGET / HTTP/1.1\\r\\n{close}\\r\\n"
        ),
    ];
    let texts: Vec<&str> = requests.iter().map(String::as_str).collect();
    let told = answers(&host, &policy, &texts);
    for (request, told) in requests.iter().zip(&told) {
        // Two equal lengths may be taken or refused; the line before the request may be skipped or not.
        let may_refuse = request.contains("3\\r\\nContent-Length")
            || request.starts_with("\\r")
            || request.starts_with("OPTIONS");
        assert!(
            told.starts_with("200") || (may_refuse && (told.starts_with("400") || told == "reset")),
            "{request}: {told}"
        );
    }
    assert_eq!(told[8], "200 200 closed");
}

fn case_80_malformed_http2_is_answered(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let passes = ["control", "control_body", "unknown_frame"];
    let refused = [
        "authority_mismatch",
        "authority_and_host_differ",
        "authority_userinfo",
        "authority_port_zero",
        "no_authority",
        "no_path",
        "empty_path",
        "no_method",
        "two_methods",
        "two_paths",
        "pseudo_after_field",
        "unknown_pseudo",
        "scheme_http",
        "upper_case_name",
        "newline_in_value",
        "newline_in_name",
        "newline_in_path",
        "space_in_method",
        "nul_in_value",
        "connection_field",
        "transfer_encoding",
        "te_not_trailers",
        "length_too_small",
        "length_too_large",
        "two_lengths",
        "connect",
        "even_stream",
        "stream_zero",
        "data_on_idle",
        "window_overflow",
        "frame_too_large",
        "broken_compression",
        "push_promise",
    ];
    let program = "import subprocess, sys
for attack in sys.argv[2:]:
    told = subprocess.run([sys.executable, '-c', sys.argv[1], 'origin.test', attack], stdout=subprocess.PIPE, text=True).stdout
    print(attack, ','.join(told.splitlines()))";
    let python = format!("{TOOLS}/python/bin/python");
    let words = [python.as_str(), "-c", program, crate::support::H2]
        .into_iter()
        .chain(passes)
        .chain(refused);
    let outcome = host
        .run(words)
        .policy(&policy)
        .limit(Duration::from_secs(150))
        .finish()
        .success();
    let told = lines(&outcome);
    assert_eq!(told.len(), passes.len() + refused.len(), "{outcome:?}");
    let wrong: Vec<&String> = told
        .iter()
        .enumerate()
        .filter(|(number, line)| {
            let (_, answer) = line.split_once(' ').unwrap_or((line, ""));
            if *number < passes.len() {
                !answer.contains("status 200")
            } else {
                answer.contains("status 2")
                    || !["status 4", "reset", "goaway", "closed"]
                        .iter()
                        .any(|word| answer.contains(word))
            }
        })
        .map(|(_, line)| line)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A body that is shorter or longer than it says is only found after the head was forwarded.
    let arrived: Vec<String> = origin
        .requests()
        .iter()
        .map(|request| format!("{} {}", request.method, request.path))
        .collect();
    assert!(arrived.len() <= passes.len() + 4, "{arrived:?}");
}

const H2_FRAMES: &str = include_str!("support/h2_frames.py");

fn case_80_frames_that_no_http2_may_hold(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::https();
    let policy = Policy::new().pin("origin.test", origin.address());
    let python = format!("{TOOLS}/python/bin/python");
    let outcome = host
        .run([python.as_str(), "-c", H2_FRAMES, "origin.test"])
        .policy(&policy)
        .limit(Duration::from_secs(300))
        .finish()
        .success();
    let told = lines(&outcome);
    let wrong: Vec<&String> = told
        .iter()
        .filter(|line| !line.ends_with("]: fine"))
        .collect();
    assert!(told.len() > 110 && wrong.is_empty(), "{wrong:#?}");
    // What is malformed in its head never arrives; whatever must work does.
    let arrived: Vec<String> = origin
        .requests()
        .into_iter()
        .map(|seen| seen.path)
        .collect();
    assert!(
        !arrived.iter().any(|path| path.starts_with("/no/")),
        "{arrived:?}"
    );
    for line in told.iter().filter(|line| line.contains("[/must/")) {
        let path = line.rsplit_once('[').unwrap().1.trim_end_matches("]: fine");
        assert!(arrived.iter().any(|seen| seen == path), "{line}");
    }
}

fn case_87_lengths_and_chunks_beyond_reason(mode: Mode) {
    let host = Host::new(mode);
    let origin = Origin::http();
    let policy = Policy::new().pin_plain("origin.test", origin.address());
    let program = "import socket, sys, time
def attempt(name, parts):
    s = socket.create_connection(('origin.test', 80), 5); s.settimeout(4)
    try:
        for part in parts: s.sendall(part)
    except OSError: pass
    try: print(name, s.recv(100).split(b'\\r\\n')[0].decode()[9:12] or 'closed')
    except TimeoutError: print(name, 'open')
    except OSError: print(name, 'closed')
head = b'POST /sha256 HTTP/1.1\\r\\nHost: origin.test\\r\\n'
attempt('length', [head + b'Content-Length: 99999999999999999999999\\r\\n\\r\\n'])
attempt('head', [head] + [b'X-%d: ' % n + b'y' * 1000 + b'\\r\\n' for n in range(4000)])
attempt('line', [b'GET /'] + [b'a' * 65536] * 100)
attempt('fields', [head] + [b'a:b\\r\\n' * 1000] * 200)
attempt('extension', [head + b'Transfer-Encoding: chunked\\r\\n\\r\\n1;'] + [b'x' * 65536] * 100)
attempt('trailers', [head + b'Transfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n'] + [b'X: ' + b'y' * 1000 + b'\\r\\n'] * 4000)
attempt('trailer_length', [head + b'Transfer-Encoding: chunked\\r\\n\\r\\n0\\r\\nContent-Length: 5\\r\\nHost: denied.test\\r\\nConnection: x\\r\\n\\r\\n'])
attempt('chunk', [head + b'Transfer-Encoding: chunked\\r\\n\\r\\nffffffffffffffff\\r\\n'])";
    let outcome = host
        .python(program)
        .policy(&policy)
        .limit(Duration::from_secs(60))
        .finish()
        .success();
    for line in lines(&outcome) {
        let (name, told) = line.split_once(' ').unwrap();
        // Fields in a trailer that no trailer may have: refused or dropped.
        let fine = told.starts_with('4')
            || told == "closed"
            || (name == "trailer_length" && told == "200");
        assert!(fine, "{line}: {outcome:?}");
    }
    assert!(outcome.finished.took < Duration::from_secs(40));
}

/// A server that takes whatever comes: what a smuggled request would be meant for.
fn lenient() -> Server {
    origin::scripted(
        Transport::Plain,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
}
