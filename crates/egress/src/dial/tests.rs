use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wardian_policy::Destination;

use super::*;
use crate::testing::{Origin, Quality, dialer, policy};

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn permit(policy: &Policy, host: &str, port: u16) -> ConnectionPermit {
    let to = Destination {
        host: Host::parse(host).unwrap(),
        port: Port::new(port).unwrap(),
    };
    policy.check_connection(&to).unwrap()
}

fn pinned(origin: &Origin, ca: &str) -> Policy {
    policy(&format!(
        "[[egress]]\nhost = \"api.test\"\nconnect = \"127.0.0.1:{}\"\n{ca}\n",
        origin.port()
    ))
}

fn tls() -> Option<TlsWanted> {
    Some(TlsWanted {
        name: Host::parse("api.test").unwrap(),
        alpn: AlpnOffer::Both,
    })
}

#[tokio::test]
async fn a_verified_upstream_is_connected_and_its_protocol_known() {
    let origin = Origin::tls("api.test", Quality::Good).await;
    let policy = pinned(&origin, "ca = \"test-ca.pem\"");
    let dialer = dialer(|_| Vec::new());
    let mut upstream = dialer
        .connect(&permit(&policy, "api.test", 443), &policy, tls())
        .await
        .unwrap();
    assert_eq!((upstream.alpn, upstream.peer), (Alpn::H1, origin.address));
    upstream.io.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    upstream.io.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("origin"));
    assert_eq!(origin.seen(), b"hello");
}

/// Case 92; the control is the test above.
#[tokio::test]
async fn an_upstream_that_does_not_prove_who_it_is_gets_nothing() {
    for (name, quality, ca, expected) in [
        (
            "api.test",
            Quality::Expired,
            "ca = \"test-ca.pem\"",
            "upstream_certificate_expired",
        ),
        (
            "api.test",
            Quality::NotYet,
            "ca = \"test-ca.pem\"",
            "upstream_certificate_not_yet_valid",
        ),
        (
            "api.test",
            Quality::SelfSigned,
            "ca = \"test-ca.pem\"",
            "upstream_certificate_untrusted",
        ),
        (
            "other.test",
            Quality::Good,
            "ca = \"test-ca.pem\"",
            "upstream_certificate_wrong_host",
        ),
        // The extra authority holds for rules that name it only.
        (
            "api.test",
            Quality::Good,
            "",
            "upstream_certificate_untrusted",
        ),
        (
            "api.test",
            Quality::Good,
            "ca = \"unknown.pem\"",
            "extra_ca_not_loaded",
        ),
    ] {
        let origin = Origin::tls(name, quality).await;
        let policy = pinned(&origin, ca);
        let dialer = dialer(|_| Vec::new());
        let error = dialer
            .connect(&permit(&policy, "api.test", 443), &policy, tls())
            .await
            .unwrap_err();
        assert_eq!(error.reason(), expected, "{quality:?} {error}");
        assert_eq!(error.status(), 502);
        assert!(origin.seen().is_empty());
    }
}

/// Case 71: what is dialled was checked, each time anew.
#[tokio::test]
async fn only_checked_addresses_are_dialled() {
    let policy = policy("[[egress]]\nhost = \"api.test\"\nports = [443]\nprotocol = \"tcp\"\n");
    let permit = permit(&policy, "api.test", 443);
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "224.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "fd77:6172:6469::1",
    ] {
        let ip: IpAddr = address.parse().unwrap();
        let error = dialer(move |_| vec![ip])
            .route(&permit, &policy)
            .await
            .unwrap_err();
        assert_eq!(
            (error.reason(), error.status()),
            ("private_address", 403),
            "{address}"
        );
    }
    // A public address among them is used, and it alone.
    let mixed = dialer(|_| {
        ["127.0.0.1", "192.0.2.7", "10.0.0.1"]
            .map(|ip| ip.parse().unwrap())
            .to_vec()
    });
    let route = mixed.route(&permit, &policy).await.unwrap();
    let Way::Addresses(addresses) = &route.way else {
        panic!("{route:?}")
    };
    let addresses: Vec<_> = addresses
        .iter()
        .map(|address| address.socket_addr().to_string())
        .collect();
    assert_eq!(addresses, ["192.0.2.7:443"]);
    // Rebinding: the second lookup says something else, and is judged for itself.
    let turn = AtomicUsize::new(0);
    let rebinding = dialer(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => vec!["192.0.2.7".parse().unwrap()],
        _ => vec![LOOPBACK],
    });
    assert!(rebinding.route(&permit, &policy).await.is_ok());
    assert!(matches!(
        rebinding.route(&permit, &policy).await,
        Err(DialError::Denied(_))
    ));
}

#[tokio::test]
async fn failures_have_names() {
    let policy =
        policy("[[egress]]\nhost = \"api.test\"\nports = [443]\nconnect = \"127.0.0.1:1\"\n");
    let permit = permit(&policy, "api.test", 443);
    let error = dialer(|_| Vec::new())
        .connect(&permit, &policy, None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "upstream_refused");

    let policy = crate::testing::policy("[[egress]]\nhost = \"api.test\"\n");
    let permit = super::tests::permit(&policy, "api.test", 443);
    let error = dialer(|_| Vec::new())
        .connect(&permit, &policy, None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "upstream_has_no_address");

    // A listener that never answers the handshake.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let policy = crate::testing::policy(&format!(
        "[[egress]]\nhost = \"api.test\"\nconnect = \"127.0.0.1:{port}\"\n"
    ));
    let permit = super::tests::permit(&policy, "api.test", 443);
    let hasty = Dialer {
        timeout: Duration::from_millis(100),
        ..dialer(|_| Vec::new())
    };
    let error = hasty.connect(&permit, &policy, tls()).await.unwrap_err();
    assert_eq!((error.reason(), error.status()), ("upstream_timeout", 504));
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_name() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let proxy = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 1024];
        let length = socket.read(&mut request).await.unwrap();
        socket
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\nhi")
            .await
            .unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let policy = policy(&format!(
        "[[egress]]\nhost = \"db.test\"\nports = [5432]\nprotocol = \"tcp\"\nproxy = \"http://localhost:{port}\"\n"
    ));
    let dialer = dialer(|name| match name.as_str() {
        "localhost" => vec![LOOPBACK],
        other => panic!("{other} must be left to the proxy"),
    });
    let mut upstream = dialer
        .connect(&permit(&policy, "db.test", 5432), &policy, None)
        .await
        .unwrap();
    let mut greeting = [0; 2];
    upstream.io.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hi");
    assert!(
        proxy
            .await
            .unwrap()
            .starts_with("CONNECT db.test:5432 HTTP/1.1\r\n")
    );
}

#[tokio::test]
async fn a_named_proxy_is_not_where_no_proxy_may_be() {
    let policy = policy("[[egress]]\nhost = \"a.test\"\nproxy = \"http://proxy.test:3128\"\n");
    for address in ["169.254.169.254", "127.0.0.1", "::1"] {
        let dialer = dialer(move |_| vec![address.parse().unwrap()]);
        let permit = permit(&policy, "a.test", 443);
        let error = dialer.connect(&permit, &policy, None).await.unwrap_err();
        assert_eq!(error.reason(), "private_address", "{address}");
    }
}

#[tokio::test]
async fn roots_come_from_where_the_configuration_says() {
    use crate::testing::AUTHORITY;
    use crate::tls::{Roots, RootsError, UpstreamTls};

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("roots.pem");
    std::fs::write(&file, &AUTHORITY.pem).unwrap();
    let origin = Origin::tls("api.test", Quality::Good).await;
    let policy = pinned(&origin, "");
    for (roots, trusted) in [
        (Roots::Files(vec![file.clone()]), true),
        (
            Roots::Files(vec![directory.path().join("absent.pem")]),
            false,
        ),
        (Roots::System, false),
        (Roots::Empty, false),
    ] {
        let dialer = Dialer::new(
            Resolver::with(|_: &wardian_policy::HostName| Vec::new()),
            UpstreamTls::new(roots),
            Duration::from_secs(5),
        );
        dialer.preload();
        let result = dialer
            .connect(&permit(&policy, "api.test", 443), &policy, tls())
            .await;
        assert_eq!(result.is_ok(), trusted, "{result:?}");
    }
    let mut tls = UpstreamTls::new(Roots::Empty);
    assert!(matches!(
        tls.trust("x.pem", b"nothing"),
        Err(RootsError::None { .. })
    ));
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        tls.trust("x.pem", broken),
        Err(RootsError::Unusable { .. })
    ));
}

#[tokio::test]
async fn the_hosts_own_settings_are_used() {
    let resolver = Resolver::system();
    let found = resolver
        .addresses(&Host::parse("localhost").unwrap())
        .await
        .unwrap();
    assert!(
        !found.is_empty() && found.iter().all(IpAddr::is_loopback),
        "{found:?}"
    );
    let address: IpAddr = "192.0.2.7".parse().unwrap();
    assert_eq!(
        resolver.addresses(&Host::Ip(address)).await.unwrap(),
        [address]
    );
}
