//! The tests' model server by itself, to try an agent by hand.
//!
//! `wardian-model-server ADDRESS [--plain] [--key KEY] [--no-websocket] [--ca FILE] [--shell COMMAND]... [--last TEXT]`
//! serves until its standard input ends, and then prints what it was asked, one JSON object a line.

#![allow(clippy::unwrap_used)]

use std::io::Read;

use wardian_tests::certificates::authority_pem;
use wardian_tests::model::{ModelServer, Options, Script};
use wardian_tests::server::Transport;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments
        .next()
        .expect("an address to serve at")
        .parse()
        .expect("ADDRESS is IP:PORT");
    let mut transport = Transport::TLS;
    let mut options = Options {
        script: Script::new(&[], "Done."),
        require_key: None,
        websocket: true,
    };
    while let Some(option) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .unwrap_or_else(|| panic!("{option} needs a value"))
        };
        match option.as_str() {
            "--plain" => transport = Transport::Plain,
            "--no-websocket" => options.websocket = false,
            "--key" => options.require_key = Some(value()),
            "--ca" => std::fs::write(value(), authority_pem()).expect("writing the CA certificate"),
            "--shell" => options.script.shell.push(value()),
            "--last" => options.script.last = value(),
            other => panic!("unknown option {other}"),
        }
    }
    let server = ModelServer::start_at(address, transport, options);
    eprintln!("serving at {}", server.address());
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .expect("reading standard input");
    for call in server.calls() {
        println!(
            "{}",
            serde_json::json!({
                "method": call.request.method, "host": call.request.host, "path": call.request.path, "status": call.status,
                "version": call.request.version, "credential": call.credential, "websocket": call.over_websocket, "bytes": call.body.len(),
                "encoding": call.request.header("content-encoding"),
            })
        );
    }
}
