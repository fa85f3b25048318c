//! Where logins are renewed: by the custodian, never from inside.
//!
//! A token endpoint answers with real tokens. So no request of a program goes there, though a rule allows the host: it is
//! that rule by which the custodian reaches it.

use wardian_policy::{CredentialSource, Host, Policy, Preset};

/// Whether `path` of `host` is where a login that the policy knows is renewed.
pub(crate) fn is_token_endpoint(policy: &Policy, host: &Host, path: &str) -> bool {
    policy.credentials().any(|spec| {
        let CredentialSource::Login(preset) = spec.source() else {
            return false;
        };
        let Some(login) = Preset::find(preset).and_then(Preset::login) else {
            return false;
        };
        let endpoint = &login.endpoint;
        matches!(host, Host::Name(name) if *name == endpoint.host)
            && plain(path) == plain(&endpoint.path)
    })
}

/// Servers differ in what they read as the same path: whatever looks like the endpoint is it.
fn plain(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty());
    let names = parts.map(|part| part.split(';').next().unwrap_or(part));
    names.collect::<Vec<_>>().join("/").to_ascii_lowercase()
}

/// For whoever asks there.
pub(crate) const WHY: &str = "the login is kept outside of the sandbox and renewed there; \
     if it is no longer good, its owner logs in again outside";

#[cfg(test)]
mod tests {
    use wardian_policy::{HostName, PolicyInputs};

    use super::*;

    #[test]
    fn only_endpoints_of_logins() {
        let inputs = PolicyInputs {
            presets: vec!["claude".to_owned()],
            ..PolicyInputs::default()
        };
        let policy = Policy::build(&inputs).expect("a preset");
        let is = |policy: &Policy, host: &str, path: &str| {
            let host = Host::Name(HostName::parse(host).expect("a name"));
            is_token_endpoint(policy, &host, path)
        };
        for path in [
            "/v1/oauth/token",
            "/v1/oauth/token/",
            "/V1/OAuth/token",
            "/v1//oauth;x/token",
        ] {
            assert!(is(&policy, "platform.claude.com", path), "{path}");
        }
        assert!(!is(&policy, "platform.claude.com", "/v1/messages"));
        assert!(!is(&policy, "api.anthropic.com", "/v1/oauth/token"));
        assert!(!is(&policy, "auth.openai.com", "/oauth/token"));
        let empty = Policy::build(&PolicyInputs::default()).expect("empty");
        assert!(!is(&empty, "platform.claude.com", "/v1/oauth/token"));
    }
}
