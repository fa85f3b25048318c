use proptest::prelude::*;

use super::*;

fn parsed(text: &str, answering: Answering) -> Result<ResponseHead, HeadError> {
    parse(text.as_bytes(), answering, 100, &mut Vec::new())
}

#[test]
fn the_body_follows_request_status_and_fields() {
    use ResponseBody as B;
    for (text, answering, body) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Answering::Other,
            B::Fixed(5),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            Answering::Other,
            B::Fixed(5),
        ),
        (
            "HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n",
            Answering::Other,
            B::Chunked,
        ),
        ("HTTP/1.1 200 \r\n\r\n", Answering::Other, B::UntilClose),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Answering::Head,
            B::None,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            Answering::Other,
            B::None,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", Answering::Other, B::None),
        ("HTTP/1.1 100 Continue\r\n\r\n", Answering::Other, B::None),
    ] {
        assert_eq!(
            parsed(text, answering).expect("valid").body,
            body,
            "{text:?}"
        );
    }
    let head = parsed(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        Answering::Head,
    )
    .expect("valid");
    assert_eq!(head.declared, Some(5));
}

#[test]
fn ambiguous_responses_are_refused() {
    use HeadError as E;
    for (text, error) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            E::ManyLengths,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", E::Length),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::BothLengths,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::TransferEncoding,
        ),
        ("HTTP/1.1 20 OK\r\n\r\n", E::StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", E::StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", E::StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", E::StatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", E::Version),
        ("ICY 200 OK\r\n\r\n", E::Version),
        ("", E::StatusLine),
    ] {
        assert_eq!(parsed(text, Answering::Other), Err(error), "{text:?}");
    }
}

#[test]
fn persistence_follows_version_and_body() {
    for (text, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            Persistence::KeepAlive,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            Persistence::Close,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", Persistence::Close),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            Persistence::Close,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
            Persistence::KeepAlive,
        ),
    ] {
        assert_eq!(
            parsed(text, Answering::Other).expect("valid").persistence,
            expected,
            "{text:?}"
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), start in any::<bool>()) {
        let mut text = if start { b"HTTP/1.1 200".to_vec() } else { Vec::new() };
        text.extend(bytes);
        let _ = parse_bytes(&text, &mut Vec::new());
        let _ = parse(&text, Answering::Other, 100, &mut Vec::new());
    }
}
