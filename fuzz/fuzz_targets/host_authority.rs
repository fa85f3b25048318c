#![no_main]

use wardian_policy::{Authority, Host, HostName, HostPattern};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(host) = Host::parse(text) {
        assert_eq!(
            Host::parse(&host.to_string()).expect("a host that is shown is a host"),
            host
        );
    }
    if let Ok(name) = HostName::parse(text) {
        assert!(name.as_str().parse::<std::net::IpAddr>().is_err());
        assert_eq!(
            HostName::parse(name.as_str())
                .expect("a canonical name is a name")
                .as_str(),
            name.as_str()
        );
    }
    let _ = Authority::parse(text);
    let _ = HostPattern::parse(text);
});
