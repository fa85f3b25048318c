//! Field maps of HTTP/2 messages: what may not cross a hop, and what is put in.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::http::cached::Asking;
use crate::http::inject::Injection;

/// Fields of one hop (RFC 9113 section 8.2.2). `h2` refuses the first five itself; nothing rests on that.
const HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];

/// Removes what ends here. `Host` goes too: `:authority` says it.
pub(crate) fn strip(headers: &mut HeaderMap) {
    for name in &HOP {
        headers.remove(name);
    }
    headers.remove(header::HOST);
    if headers
        .get_all(header::TE)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers"))
    {
        headers.remove(header::TE);
    }
}

/// Leaves out and adds what a request has less and more if its answer may be kept.
pub(crate) fn ask(headers: &mut HeaderMap, asking: &Asking) {
    let left_out: Vec<_> = headers
        .keys()
        .filter(|name| asking.leaves_out(name.as_str()))
        .cloned()
        .collect();
    for name in left_out {
        headers.remove(name);
    }
    if let Some((name, value)) = asking.condition()
        && let Ok(value) = HeaderValue::from_str(value)
    {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Puts credentials in. Changed values are marked sensitive, so that no header compression table holds them.
pub(crate) fn inject(headers: &mut HeaderMap, injection: &mut Injection<'_>) {
    if injection.is_empty() {
        return;
    }
    for value in headers.values_mut() {
        if let Some(changed) = injection.value(value.as_bytes())
            && let Some(changed) = sensitive(&changed)
        {
            *value = changed;
        }
    }
    for (name, value) in injection.fields() {
        if let (Ok(name), Some(value)) =
            (HeaderName::from_bytes(name.as_bytes()), sensitive(&value))
        {
            headers.insert(name, value);
        }
    }
}

fn sensitive(value: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Is this a gRPC call, whose clients look for a status in the fields rather than for an HTTP status?
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        value.starts_with(b"application/grpc") && matches!(value.get(16), None | Some(b'+' | b';'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_fields_go_and_te_trailers_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x"),
            ("host", "a"),
            ("te", "trailers"),
            ("x-keep", "1"),
            ("upgrade", "h2c"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        assert_eq!(headers.len(), 2);
        assert!(headers.contains_key("te") && headers.contains_key("x-keep"));
        headers.insert("te", HeaderValue::from_static("trailers, deflate"));
        strip(&mut headers);
        assert!(!headers.contains_key("te"));
    }

    #[test]
    fn grpc_is_told_from_its_neighbours() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("text/plain", false),
        ] {
            let headers =
                HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_grpc(&headers), expected, "{value}");
        }
    }
}
