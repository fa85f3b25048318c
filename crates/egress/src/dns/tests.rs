use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use wardian_policy::{HostName, Spelled};

use super::*;
use crate::names::Meaning;
use crate::testing::{Options, PATIENCE, TestDoor};

const POLICY: &str = "[[egress]]\nhost = \"api.example.com\"\n[[egress]]\nhost = \"*.pkgs.test\"\n";

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn responder(door: &TestDoor) -> Responder {
    Responder::new(&door.shared, "Sandbox-1", AddressFamilies::Both)
}

fn ask(responder: &Responder, name: &str, kind: RecordType) -> (ResponseCode, Vec<RData>) {
    let question = question(name, kind);
    let answer = responder
        .respond(&question.to_vec().unwrap(), DnsTransport::Udp)
        .unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, question.metadata.id);
    assert!(answer.metadata.recursion_available && answer.metadata.recursion_desired);
    assert_eq!(answer.queries, question.queries);
    (
        answer.metadata.response_code,
        answer
            .answers
            .into_iter()
            .map(|record| record.data)
            .collect(),
    )
}

#[tokio::test]
async fn an_allowed_name_gets_addresses_that_lead_back_to_it() {
    let door = TestDoor::new(POLICY).await;
    let responder = responder(&door);
    for (kind, name) in [
        (RecordType::A, "api.example.com."),
        (RecordType::AAAA, "aPi.eXample.COM."),
        (RecordType::A, "any.thing.pkgs.test."),
    ] {
        let (code, answers) = ask(&responder, name, kind);
        assert_eq!((code, answers.len()), (ResponseCode::NoError, 1));
        let address: IpAddr = match &answers[0] {
            RData::A(a) => a.0.into(),
            RData::AAAA(a) => a.0.into(),
            other => panic!("{other:?}"),
        };
        let Meaning::Name(lease) = door.shared.names.meaning(address) else {
            panic!("{address}")
        };
        assert_eq!(lease.name(), &HostName::parse(name).unwrap());
    }
    let events = door.kind("dns");
    assert_eq!(events.len(), 3);
    assert_eq!(events[0]["verdict"], "allowed");
    assert_eq!(events[0]["question"], "api.example.com");
    assert!(events[0]["answer"].as_str().unwrap().starts_with("198.18."));
    assert_eq!(events[1]["question"], "aPi.eXample.COM");
}

#[tokio::test]
async fn the_case_of_the_question_is_kept_in_question_and_answer() {
    let door = TestDoor::new(POLICY).await;
    let bytes = question("aPi.eXAmple.com.", RecordType::A)
        .to_vec()
        .unwrap();
    let answer = responder(&door).respond(&bytes, DnsTransport::Udp).unwrap();
    let needle = b"\x03aPi\x07eXAmple\x03com\x00";
    assert!(answer.windows(needle.len()).any(|window| window == needle));
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.answers[0].name.to_ascii(), "aPi.eXAmple.com.");
    assert!((1..=60).contains(&answer.answers[0].ttl));
}

/// Cases 68 and 70. That no packet leaves holds by construction: nothing here has a socket to the world.
#[tokio::test]
async fn everything_else_does_not_exist_and_says_why() {
    let door = TestDoor::new(POLICY).await;
    let responder = responder(&door);
    for (name, kind, code, reason) in [
        (
            "c2VjcmV0.evil.test.",
            RecordType::A,
            ResponseCode::NXDomain,
            "no_rule",
        ),
        (
            "c2VjcmV0.evil.test.",
            RecordType::TXT,
            ResponseCode::NXDomain,
            "no_rule",
        ),
        (
            "pkgs.test.",
            RecordType::A,
            ResponseCode::NXDomain,
            "no_rule",
        ),
        (
            "api.example.com.evil.test.",
            RecordType::A,
            ResponseCode::NXDomain,
            "no_rule",
        ),
        (
            "api.example.com.",
            RecordType::TXT,
            ResponseCode::NoError,
            "record_type_not_answered",
        ),
        (
            "x.pkgs.test.",
            RecordType::NULL,
            ResponseCode::NoError,
            "record_type_not_answered",
        ),
        (
            "x.pkgs.test.",
            RecordType::MX,
            ResponseCode::NoError,
            "record_type_not_answered",
        ),
        (
            "x.pkgs.test.",
            RecordType::SRV,
            ResponseCode::NoError,
            "record_type_not_answered",
        ),
        (
            "x.pkgs.test.",
            RecordType::ANY,
            ResponseCode::NoError,
            "record_type_not_answered",
        ),
        (
            "x.pkgs.test.",
            RecordType::CNAME,
            ResponseCode::NoError,
            "record_type_not_answered",
        ),
        (
            "api.example.com.",
            RecordType::AXFR,
            ResponseCode::Refused,
            "zone_transfer",
        ),
        (
            "127.0.0.1.",
            RecordType::A,
            ResponseCode::NXDomain,
            "not_a_host_name",
        ),
        (
            "127.1.",
            RecordType::A,
            ResponseCode::NXDomain,
            "not_a_host_name",
        ),
        (
            "2130706433.",
            RecordType::A,
            ResponseCode::NXDomain,
            "not_a_host_name",
        ),
        (
            "0x7f.0.0.1.",
            RecordType::A,
            ResponseCode::NXDomain,
            "not_a_host_name",
        ),
        (
            ".",
            RecordType::NS,
            ResponseCode::NXDomain,
            "not_a_host_name",
        ),
        (
            "7.2.0.192.in-addr.arpa.",
            RecordType::PTR,
            ResponseCode::NXDomain,
            "reverse_lookup",
        ),
        (
            "lb._dns-sd._udp.0.0.168.192.in-addr.arpa.",
            RecordType::PTR,
            ResponseCode::NXDomain,
            "reverse_lookup",
        ),
    ] {
        let before = door.denials().len();
        assert_eq!(
            ask(&responder, name, kind),
            (code, Vec::new()),
            "{name} {kind}"
        );
        let denials = door.denials();
        assert_eq!(denials[before..], [reason], "{name} {kind}");
    }
    // Asked for beside every address: absent, and no reason to complain.
    let before = door.denials().len();
    assert_eq!(
        ask(&responder, "api.example.com.", RecordType::HTTPS),
        (ResponseCode::NoError, Vec::new())
    );
    assert_eq!(door.denials().len(), before);
}

#[tokio::test]
async fn the_sandbox_itself_is_loopback_and_reverse_lookups_work_inside() {
    let door = TestDoor::new(POLICY).await;
    let responder = responder(&door);
    for name in [
        "localhost.",
        "LOCALHOST.",
        "app.localhost.",
        "sandbox-1.",
        "Sandbox-1.",
    ] {
        assert_eq!(
            ask(&responder, name, RecordType::A).1,
            [RData::A(Ipv4Addr::LOCALHOST.into())],
            "{name}"
        );
        assert_eq!(
            ask(&responder, name, RecordType::AAAA).1,
            [RData::AAAA(Ipv6Addr::LOCALHOST.into())],
            "{name}"
        );
        assert_eq!(ask(&responder, name, RecordType::TXT).1, []);
    }
    let at = door
        .shared
        .names
        .assign(
            &HostName::parse("api.example.com").unwrap(),
            Spelled::ByRule,
        )
        .unwrap();
    for address in [IpAddr::V4(at.v4), IpAddr::V6(at.v6)] {
        let reverse = Name::from(address).to_ascii();
        let (_, answers) = ask(&responder, &reverse, RecordType::PTR);
        let [RData::PTR(name)] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!(name.0.to_ascii(), "api.example.com.");
    }
    let (_, answers) = ask(&responder, "1.0.0.127.in-addr.arpa.", RecordType::PTR);
    assert!(matches!(&answers[..], [RData::PTR(name)] if name.0.to_ascii() == "localhost."));
}

#[tokio::test]
async fn names_of_the_local_network_need_a_rule_that_means_them() {
    let everything = TestDoor::new("[[egress]]\nhost = \"*\"\n").await;
    let everywhere = responder(&everything);
    assert_eq!(ask(&everywhere, "example.com.", RecordType::A).1.len(), 1);
    for (name, reason) in [
        ("intranet.", "local_name"),
        ("printer.local.", "local_name"),
        ("x.onion.", "reserved_name"),
    ] {
        assert_eq!(
            ask(&everywhere, name, RecordType::A),
            (ResponseCode::NXDomain, Vec::new())
        );
        assert_eq!(everything.denials().last().unwrap(), reason);
    }
    let named =
        TestDoor::new("[[egress]]\nhost = \"printer.local\"\nconnect = \"127.0.0.1:9\"\n").await;
    assert_eq!(
        ask(&responder(&named), "printer.local.", RecordType::A)
            .1
            .len(),
        1
    );
}

#[tokio::test]
async fn what_is_no_question_gets_an_error_or_nothing() {
    let door = TestDoor::new(POLICY).await;
    let responder = responder(&door);
    let good = question("api.example.com.", RecordType::A);
    let bytes = good.to_vec().unwrap();
    let code = |bytes: &[u8]| {
        responder
            .respond(bytes, DnsTransport::Udp)
            .map(|answer| Message::from_vec(&answer).unwrap().metadata.response_code)
    };
    assert_eq!(code(&bytes), Some(ResponseCode::NoError));
    assert_eq!(code(&bytes[..11]), None);
    assert_eq!(code(&bytes[..bytes.len() - 1]), Some(ResponseCode::FormErr));
    let mut response = bytes.clone();
    response[2] |= 0x80;
    assert_eq!(code(&response), None, "an answer is not answered");
    let mut many = bytes.clone();
    many[4..6].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(code(&many), Some(ResponseCode::FormErr));
    let mut none = bytes.clone();
    none[4..6].copy_from_slice(&[0, 0]);
    assert_eq!(code(&none), Some(ResponseCode::FormErr));
    let mut update = good.clone();
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(&update.to_vec().unwrap()), Some(ResponseCode::NotImp));
    assert_eq!(
        code(&[&bytes[..], &vec![0; message::MAX_MESSAGE]].concat()),
        Some(ResponseCode::FormErr)
    );
    // A name that points to itself.
    let looped = [&bytes[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
    assert_eq!(code(&looped), Some(ResponseCode::FormErr));
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos.to_vec().unwrap()), Some(ResponseCode::Refused));
}

#[tokio::test]
async fn edns_is_answered_in_kind() {
    let door = TestDoor::new(POLICY).await;
    let responder = responder(&door);
    let mut with_edns = question("api.example.com.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096)
        .set_version(0)
        .set_dnssec_ok(true);
    with_edns.set_edns(edns.clone());
    let answer = responder
        .respond(&with_edns.to_vec().unwrap(), DnsTransport::Udp)
        .unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    let theirs = answer.edns.unwrap();
    assert_eq!(
        (
            theirs.version(),
            theirs.max_payload(),
            theirs.flags().dnssec_ok
        ),
        (0, 1232, true)
    );
    edns.set_version(1);
    with_edns.set_edns(edns);
    let answer = responder
        .respond(&with_edns.to_vec().unwrap(), DnsTransport::Udp)
        .unwrap();
    // 16, which hickory reads as its other meaning.
    assert_eq!(
        u16::from(Message::from_vec(&answer).unwrap().metadata.response_code),
        u16::from(ResponseCode::BADVERS)
    );
    assert!(Message::from_vec(&answer).unwrap().answers.is_empty());
}

#[tokio::test]
async fn without_a_record_there_is_no_answer() {
    let door = TestDoor::with(
        POLICY,
        Options {
            journal_bytes: 10,
            ..Options::default()
        },
    )
    .await;
    let (code, answers) = ask(&responder(&door), "api.example.com.", RecordType::A);
    assert_eq!((code, answers), (ResponseCode::ServFail, Vec::new()));
}

/// Case 68 at volume: the journal tells of every question, and does not grow with every question.
#[tokio::test]
async fn a_flood_is_counted_rather_than_repeated() {
    let door = TestDoor::new(POLICY).await;
    let responder = responder(&door);
    for _ in 0..5000 {
        ask(&responder, "same.evil.test.", RecordType::A);
        ask(&responder, "api.example.com.", RecordType::A);
    }
    for n in 0..5000 {
        ask(&responder, &format!("n{n}.evil.test."), RecordType::A);
    }
    door.shared.refusals.flush();
    let events = door.events();
    assert!(events.len() < 1000, "{} events", events.len());
    let full = |event: &&serde_json::Value| event["kind"] == "dns" && event["verdict"] == "denied";
    let counted: u64 = events
        .iter()
        .filter(|event| event["kind"] == "further_denials")
        .map(|event| event["count"].as_u64().unwrap())
        .sum();
    assert_eq!(events.iter().filter(full).count() as u64 + counted, 10_000);
}

#[tokio::test]
async fn one_question_is_one_event() {
    let mut door = TestDoor::new(POLICY).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket
        .send_to(
            &question("x.evil.test.", RecordType::A).to_vec().unwrap(),
            door.dns,
        )
        .await
        .unwrap();
    let mut buffer = [0; 512];
    let length = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        Message::from_vec(&buffer[..length])
            .unwrap()
            .metadata
            .response_code,
        ResponseCode::NXDomain
    );
    tokio::time::sleep(Duration::from_millis(1300)).await;
    door.stop().await;
    assert_eq!(door.denials(), ["no_rule"]);
}

#[tokio::test]
async fn tcp_answers_pipelined_questions_in_order() {
    let door = TestDoor::new(POLICY).await;
    let mut stream = TcpStream::connect(door.dns_tcp).await.unwrap();
    let mut wire = Vec::new();
    let mut ids = Vec::new();
    for n in 0..50 {
        let question = question(&format!("n{n}.pkgs.test."), RecordType::AAAA);
        ids.push(question.metadata.id);
        let bytes = question.to_vec().unwrap();
        wire.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        wire.extend_from_slice(&bytes);
    }
    // In two odd pieces.
    stream.write_all(&wire[..333]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    stream.write_all(&wire[333..]).await.unwrap();
    for id in ids {
        let length = stream.read_u16().await.unwrap();
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(Message::from_vec(&answer).unwrap().metadata.id, id);
    }
    // Too long a message ends the connection.
    stream.write_all(&[0xff, 0xff, 0]).await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert_eq!(door.kind("dns")[0]["transport"], "tcp");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = message::decode(&bytes);
        // With a header that gets past the first checks.
        let _ = message::decode(&[&[1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1][..], &bytes].concat());
    }

    #[test]
    fn whatever_is_decoded_can_be_answered(labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..63), 0..4), kind in any::<u16>()) {
        let mut bytes = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in &labels {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label);
        }
        bytes.push(0);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        if let Decoded::Asked(asked) = message::decode(&bytes) {
            let policy = wardian_policy::Policy::build(&wardian_policy::PolicyInputs::default()).unwrap();
            let judge = Judge::new(crate::names::Names::new(4), "x", AddressFamilies::Both);
            let judged = judge.judge(&asked.query, &policy);
            let _ = judged.event(&asked.query, DnsTransport::Udp);
            let answer = message::encode(&asked, judged.outcome.into_reply()).unwrap();
            prop_assert_eq!(&answer[..2], &[0, 7]);
            prop_assert!(Message::from_vec(&answer).is_ok());
        }
    }
}
