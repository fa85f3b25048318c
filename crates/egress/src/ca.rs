//! The certificate authority of one sandbox.

#[derive(Debug)]
pub struct CertificateAuthority {}
