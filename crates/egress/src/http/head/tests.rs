use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Result<RequestHead, HeadError> {
    let mut fields = Vec::new();
    Ok(parse_bytes(text.as_bytes(), &mut fields)?
        .expect("a whole head")
        .1)
}

#[test]
fn reads_an_ordinary_request() {
    let text = "POST /v1/messages?beta=true HTTP/1.1\r\nHost: api.example.com\r\ncontent-length: 12\r\nX-A:\r\n\r\n{\"a\":\"body\"}";
    let mut fields = Vec::new();
    let (end, head) = parse_bytes(text.as_bytes(), &mut fields)
        .expect("valid")
        .expect("whole");
    assert_eq!(&text[end..], "{\"a\":\"body\"}");
    assert_eq!(head.method.text(text.as_bytes()), "POST");
    assert_eq!(head.target.text(text.as_bytes()), "/v1/messages?beta=true");
    assert_eq!(
        head.host.expect("a host").text(text.as_bytes()),
        "api.example.com"
    );
    assert_eq!(head.body, BodyLength::Fixed(12));
    assert_eq!(head.persistence, Persistence::KeepAlive);
    assert_eq!(fields.len(), 3);
    assert_eq!(fields[2].value.text(text.as_bytes()), "");
}

#[test]
fn every_malformed_class_has_its_name() {
    use HeadError as E;
    let cases: &[(&str, E)] = &[
        ("GET / HTTP/1.1\nHost: a\n\n", E::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", E::BareLf),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n", E::BareCr),
        ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", E::BareCr),
        ("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", E::Control),
        ("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", E::Control),
        ("\x16\x03\x01\x02", E::NotHttp),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", E::NotHttp),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", E::NotHttp),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", E::Http2Preface),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", E::RequestLine),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        ("GET /\r\nHost: a\r\n\r\n", E::RequestLine),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", E::Version),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", E::Version),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        (
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            E::Field(FieldError::Name),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            E::Field(FieldError::Folded),
        ),
        (
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            E::Field(FieldError::Folded),
        ),
        (
            "GET / HTTP/1.1\r\nHost\r\n\r\n",
            E::Field(FieldError::NoColon),
        ),
        ("GET / HTTP/1.1\r\n\r\n", E::NoHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", E::ManyHosts),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::BothLengths,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            E::BothLengths,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            E::ManyLengths,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n",
            E::ManyLengths,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            E::Length,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            E::Length,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            E::Length,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n",
            E::Length,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\n",
            E::Length,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
            E::Length,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            E::BodyTooLarge,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n",
            E::BodyTooLarge,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunkedx\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
            E::Field(FieldError::Name),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            E::Control,
        ),
        (
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n",
            E::Connection,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Authorization\r\n\r\n",
            E::Connection,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\n\r\n",
            E::Connection,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n",
            E::Expect,
        ),
    ];
    for (text, error) in cases {
        assert_eq!(parsed(text), Err(*error), "{text:?}");
        assert!((400..=505).contains(&error.status()));
    }
}

#[test]
fn method_and_field_count_are_bounded() {
    let long = format!(
        "{} / HTTP/1.1\r\nHost: a\r\n\r\n",
        "A".repeat(MAX_METHOD + 1)
    );
    assert_eq!(parsed(&long), Err(HeadError::NotHttp));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(100)
    );
    assert_eq!(
        parse(many.as_bytes(), 100, &mut Vec::new()),
        Err(HeadError::Field(FieldError::TooMany))
    );
    assert!(parse(many.as_bytes(), 101, &mut Vec::new()).is_ok());
}

#[test]
fn persistence_follows_version_and_connection() {
    for (text, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Persistence::KeepAlive),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n",
            Persistence::Close,
        ),
        ("GET / HTTP/1.0\r\n\r\n", Persistence::Close),
        (
            "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
            Persistence::KeepAlive,
        ),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
            Persistence::Close,
        ),
    ] {
        assert_eq!(
            parsed(text).expect("valid").persistence,
            expected,
            "{text:?}"
        );
    }
}

#[test]
fn upgrade_counts_only_if_connection_names_it() {
    let with = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n";
    let without = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
    assert!(parsed(with).expect("valid").upgrade.is_some());
    assert!(parsed(without).expect("valid").upgrade.is_none());
}

#[test]
fn a_head_in_pieces_ends_where_a_whole_one_does() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
    let mut finder = HeadEnd::default();
    for end in 0..27 {
        assert_eq!(finder.find(&text[..end]), Ok(None), "{end}");
    }
    assert_eq!(finder.find(text), Ok(Some(27)));
}

type Reading = (String, String, String, Vec<(String, Vec<u8>)>);

/// A second reader of heads, written for obviousness: what it reads is what a careful origin would read.
fn reference(bytes: &[u8]) -> Option<Reading> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut lines = Vec::new();
    let mut rest = &bytes[..end + 2];
    while let Some(at) = rest.windows(2).position(|window| window == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    let first = std::str::from_utf8(lines[0]).ok()?;
    let words: Vec<_> = first.split(' ').collect();
    let [method, target, version] = words[..] else {
        return None;
    };
    let mut fields = Vec::new();
    for line in &lines[1..] {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = std::str::from_utf8(&line[..colon]).ok()?;
        if name.is_empty()
            || name.contains([' ', '\t'])
            || line.contains(&b'\n')
            || line.contains(&b'\r')
        {
            return None;
        }
        fields.push((name.to_owned(), line[colon + 1..].trim_ascii().to_vec()));
    }
    Some((method.into(), target.into(), version.into(), fields))
}

fn almost_a_head() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "GET ", "/ ", "HTTP/1.1", "\r\n", "\r\n", "Host: a\r\n", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n",
            "Connection: close\r\n", "Upgrade: websocket\r\n", "X: ", ":", " ", "\t", "a", "\r\n\r\n", "Expect: 100-continue\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
        1 => prop::sample::select(vec![b'\r', b'\n', 0, b' ']).prop_map(|byte| vec![byte]),
    ];
    (any::<bool>(), prop::collection::vec(piece, 0..14)).prop_map(|(start, pieces)| {
        let mut bytes = if start {
            b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec()
        } else {
            Vec::new()
        };
        bytes.extend(pieces.concat());
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_bytes(&bytes, &mut Vec::new());
        let _ = parse(&bytes, 100, &mut Vec::new());
    }

    #[test]
    fn what_is_accepted_reads_the_same_to_another_parser(bytes in almost_a_head()) {
        let mut fields = Vec::new();
        if let Ok(Some((end, head))) = parse_bytes(&bytes, &mut fields) {
            let (method, target, _, others) = reference(&bytes[..end]).expect("the other parser accepts it too");
            prop_assert_eq!(head.method.text(&bytes), method);
            prop_assert_eq!(head.target.text(&bytes), target);
            let ours: Vec<_> = fields
                .iter()
                .map(|field| (field.name.text(&bytes).to_owned(), field.value.of(&bytes).to_vec()))
                .collect();
            prop_assert_eq!(ours, others);
        }
    }

    #[test]
    fn pieces_change_nothing(bytes in almost_a_head(), cut in 0usize..200) {
        let whole = HeadEnd::default().find(&bytes);
        let mut finder = HeadEnd::default();
        let cut = cut.min(bytes.len());
        let pieced = match finder.find(&bytes[..cut]) {
            Ok(None) => finder.find(&bytes),
            early => early,
        };
        prop_assert_eq!(whole, pieced);
    }
}
