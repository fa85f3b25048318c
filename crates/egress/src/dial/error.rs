//! Why no upstream connection was made.

use std::io;

use wardian_policy::{Denial, Host};

/// Why no upstream connection was made. `Display` holds no secret and may be shown inside the sandbox.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The policy refused every address of the host.
    #[error(transparent)]
    Denied(Box<Denial>),
    #[error("{0} does not exist")]
    NoSuchName(Host),
    #[error("{0} has no address")]
    NoAddress(Host),
    #[error("the name could not be looked up: {0}")]
    Lookup(String),
    #[error("the connection was refused")]
    Refused,
    #[error("the host cannot be reached: {0}")]
    Unreachable(io::ErrorKind),
    #[error("no answer in time")]
    Timeout,
    #[error("the door has no descriptors left")]
    Exhausted,
    #[error("the upstream proxy asks for a login, and there is none to send")]
    ProxyWantsLogin,
    #[error("the upstream proxy does not accept the login that the rule names")]
    ProxyLoginRefused,
    #[error("that the proxy's credential is used could not be recorded")]
    Unrecorded,
    #[error("the upstream proxy refused with status {0}")]
    ProxyRefused(u16),
    #[error("the upstream proxy did not answer with HTTP")]
    ProxyBroken,
    #[error("the upstream's certificate has expired")]
    CertificateExpired,
    #[error("the upstream's certificate is not valid yet")]
    CertificateNotYetValid,
    #[error("the upstream's certificate is for another host")]
    CertificateWrongHost,
    #[error("the upstream's certificate is not signed by a trusted authority")]
    CertificateUntrusted,
    #[error("the upstream's certificate was revoked")]
    CertificateRevoked,
    #[error("the upstream's certificate is not valid: {0}")]
    CertificateInvalid(String),
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    #[error("the upstream ended the TLS handshake: {0}")]
    TlsBroken(io::ErrorKind),
    /// A rule names a PEM file whose content the door was not given.
    #[error("the certificates of {0:?} were not loaded")]
    UnknownCa(String),
}

impl DialError {
    /// snake_case name for the journal and for the refusal.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.reason(),
            Self::NoSuchName(_) => "upstream_name_not_found",
            Self::NoAddress(_) => "upstream_has_no_address",
            Self::Lookup(_) => "upstream_lookup_failed",
            Self::Refused => "upstream_refused",
            Self::Unreachable(_) => "upstream_unreachable",
            Self::Timeout => "upstream_timeout",
            Self::Exhausted => "too_many_descriptors",
            Self::ProxyWantsLogin => "upstream_proxy_wants_login",
            Self::ProxyLoginRefused => "upstream_proxy_login_refused",
            Self::Unrecorded => "journal_unavailable",
            Self::ProxyRefused(_) => "upstream_proxy_refused",
            Self::ProxyBroken => "upstream_proxy_broken",
            Self::CertificateExpired => "upstream_certificate_expired",
            Self::CertificateNotYetValid => "upstream_certificate_not_yet_valid",
            Self::CertificateWrongHost => "upstream_certificate_wrong_host",
            Self::CertificateUntrusted => "upstream_certificate_untrusted",
            Self::CertificateRevoked => "upstream_certificate_revoked",
            Self::CertificateInvalid(_) => "upstream_certificate_invalid",
            Self::Tls(_) | Self::TlsBroken(_) => "upstream_tls_failed",
            Self::UnknownCa(_) => "extra_ca_not_loaded",
        }
    }

    /// The status with which HTTP answers.
    pub fn status(&self) -> u16 {
        match self {
            Self::Denied(_) => 403,
            Self::Timeout => 504,
            Self::Exhausted | Self::Unrecorded => 503,
            _ => 502,
        }
    }

    pub(super) fn denied(denial: Denial) -> Self {
        Self::Denied(Box::new(denial))
    }

    pub(super) fn from_connect(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::Timeout,
            _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => Self::Exhausted,
            kind => Self::Unreachable(kind),
        }
    }
}

const ENFILE: i32 = rustix::io::Errno::NFILE.raw_os_error();
const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();
