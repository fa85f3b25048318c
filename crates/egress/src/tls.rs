//! Upstream verification.
